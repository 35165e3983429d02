"""A return that was forgotten: a node gives None, though it is annotated to give something else."""

from __future__ import annotations

import inspect

from nodeflow.engine.core.evaluation import Outcome
from nodeflow.engine.passes import never_none
from nodeflow.errors import NoneReturnedError
from nodeflow.graph import Kind, Location, NodeSpec
from nodeflow.graph.names import innermost

_RETURN_ONE = (Kind.PRODUCER, Kind.BLOCKING, Kind.NON_BLOCKING)


def check_returned(spec: NodeSpec, item: str, outcome: Outcome) -> None:
    """Refuse None from a node that returns a value, and is annotated never to give None.

    Args:
        spec: the node.
        item: the item's id.
        outcome: what it gave.

    Raises:
        NoneReturnedError: it is None all the same.
    """
    if outcome is None and not spec.fans_out and spec.kind in _RETURN_ONE and (promised := never_none(spec)):
        function = inspect.unwrap(innermost(spec.function))
        code = getattr(function, "__code__", None)
        where = spec.location if code is None else Location(code.co_filename, code.co_firstlineno)
        name = getattr(function, "__qualname__", type(function).__qualname__)
        raise NoneReturnedError(spec.id, item, f"{name}() at {where}", promised)
