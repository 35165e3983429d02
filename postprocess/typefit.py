"""Whether what one node gives fits into the port of another, by their annotations."""

from __future__ import annotations

import collections.abc
import inspect
import types
import typing
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeVar

from beartype import BeartypeConf
from beartype.door import is_bearable, is_subhint
from beartype.roar import BeartypeException

from nodeflow.graph import Edge, Kind, LogicalNode, NodeSpec, ProducerNode

_CONF = BeartypeConf(is_pep484_tower=True)
_TOWER: dict[Any, Any] = {float: float | int, complex: complex | float | int}
_BARE: dict[Any, Any] = {list: list[Any], dict: dict[Any, Any], set: set[Any], tuple: tuple[Any, ...]}
_MANY = (
    collections.abc.Iterator,
    collections.abc.Iterable,
    collections.abc.Generator,
    collections.abc.AsyncIterator,
    collections.abc.AsyncIterable,
    collections.abc.AsyncGenerator,
)


def misfit(nodes: Mapping[str, NodeSpec], target: NodeSpec, port: str) -> str | None:
    """What is wrong with the input of a port, or None when it fits or can't be told.

    Args:
        nodes: all nodes of the graph.
        target: the node.
        port: one of its ports that is wired.
    """
    wanted = _annotations(target.function).get(port, Any)
    source = target.inputs[port]
    if not isinstance(source, Edge):
        if _holds(source.value, wanted):
            return None
        return f"{target.id}.{port} expects {shown(wanted)}, the constant is {source.value!r}"
    origin = _origin(nodes, nodes[source.source])
    given = gives(origin)
    # The type of a logical node is that of all its branches together, so one of its members has to fit.
    if any(fits(each, wanted) for each in (_members(given) if origin.kind is Kind.LOGICAL else [given])):
        return None
    return f"{target.id}.{port} expects {shown(wanted)}, {origin.id} gives {shown(given)}"


def gives(spec: NodeSpec) -> Any:
    """The type of one value that a node gives; Any where it isn't said."""
    if isinstance(spec.target, ProducerNode | LogicalNode):
        declared = _argument(type(spec.target), ProducerNode, LogicalNode)
        if declared is not Any or spec.kind is Kind.LOGICAL:
            return declared
    if spec.kind in (Kind.READER, Kind.WRITER):
        return Any
    returned = _annotations(spec.function).get("return", Any)
    if not spec.fans_out:
        return returned
    return typing.get_args(returned)[0] if typing.get_origin(returned) in _MANY and typing.get_args(returned) else Any


def fits(given: Any, wanted: Any) -> bool:
    """Whether each value of one type is one of another; True where it can't be told."""
    if given is Any or wanted in (Any, object, inspect.Parameter.empty) or isinstance(wanted, TypeVar):
        return True
    try:
        return bool(is_subhint(_widened(given, _BARE), _widened(_widened(wanted, _BARE), _TOWER)))
    except (BeartypeException, TypeError):
        return True


def shown(hint: Any) -> str:
    """A type as one would write it."""
    return (
        hint.__qualname__ if isinstance(hint, type) and not typing.get_args(hint) else str(hint).replace("typing.", "")
    )


def _holds(value: Any, wanted: Any) -> bool:
    try:
        return bool(is_bearable(value, wanted, conf=_CONF))
    except (BeartypeException, TypeError):
        return True


def _origin(nodes: Mapping[str, NodeSpec], spec: NodeSpec) -> NodeSpec:
    """The node whose values arrive, behind any writers and readers."""
    while spec.kind in (Kind.READER, Kind.WRITER) and spec.edges:
        spec = nodes[next(iter(spec.edges.values())).source]
    return spec


def _annotations(function: Callable[..., Any]) -> dict[str, Any]:
    while isinstance(function, partial):
        function = function.func
    called = function if inspect.isroutine(function) else getattr(function, "__call__", function)  # noqa: B004
    try:
        return typing.get_type_hints(inspect.unwrap(called))
    except (NameError, TypeError, AttributeError):
        return {}


def _members(hint: Any) -> tuple[Any, ...]:
    return typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)


def _argument(kind: type, *generics: type) -> Any:
    """What stands for `T` in the base class `ProducerNode[T]` or `LogicalNode[T]` of a class."""
    for each in kind.__mro__:
        for base in getattr(each, "__orig_bases__", ()):
            if typing.get_origin(base) in generics and not isinstance(typing.get_args(base)[0], TypeVar):
                return typing.get_args(base)[0]
    return Any


def _widened(hint: Any, wider: Mapping[Any, Any]) -> Any:
    """A type in which some types stand for others, at all depths."""
    if isinstance(hint, type) and not typing.get_args(hint):
        return wider.get(hint, hint)
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if not arguments or origin in (typing.Literal, typing.Annotated, collections.abc.Callable):
        return hint
    widened = tuple(_widened(argument, wider) for argument in arguments)
    if origin in (typing.Union, types.UnionType):
        return typing.Union[widened]  # noqa: UP007 - made from a tuple
    generic: Any = origin
    return generic[widened] if isinstance(origin, type) else hint
