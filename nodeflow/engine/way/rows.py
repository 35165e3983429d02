"""Rows: the steps of a stage as they are gone through for each item, with what is looked up only once."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from types import AsyncGeneratorType, GeneratorType
from typing import Any, NamedTuple

from nodeflow.engine.calls.invoke import Nodes
from nodeflow.engine.calls.state import State
from nodeflow.engine.core.evaluation import Absent, Branches
from nodeflow.engine.core.results import done_count
from nodeflow.engine.core.stages import Stage, Step
from nodeflow.engine.way.packing import Packing
from nodeflow.graph import Branch, Kind
from nodeflow.values import RefValue

_SPECIAL = (Absent, Branches, Branch, RefValue, GeneratorType, AsyncGeneratorType)


Pack = Callable[[str, Any], tuple[str, bytes] | None]
"""Packs a value that an item's node gave; None when there is more to it."""


class Row(NamedTuple):
    """A step.

    Args:
        call: what is called with the value of its only input; None when there is more to it.
        source: where that value lies.
        place: where its outcome lies.
        is_async: whether it is waited for.
        done: the name of its count.
        step: the step.
        packs: what packs what it gives, for each of its writers; None when there is more to one of these.
        with_context: what is called with value, item's id and state instead, when the node takes the context.
    """

    call: Callable[[Any], Any] | None
    source: int
    place: int
    is_async: bool
    done: str
    step: Step
    packs: tuple[Pack, ...] | None
    with_context: Callable[[Any, str, State | None], Any] | None = None


class Rows:
    """The rows of each stage, and the classes of the values with which nothing is to be done.

    Args:
        nodes: the nodes, set up.
        packing: makes what they give ready to be sent.
    """

    def __init__(self, nodes: Nodes, packing: Packing) -> None:
        self.plain: set[type] = set()
        """Classes whose values are neither references nor branches nor anything else that is not just passed on."""
        self._nodes, self._packing = nodes, packing
        self._known: dict[Stage, list[Row]] = {}

    def of(self, stage: Stage) -> list[Row]:
        """The rows of a stage."""
        found = self._known.get(stage)
        if found is None:
            found = self._known[stage] = [self._row(step) for step in stage.steps]
        return found

    def note(self, value: Any) -> None:
        """Learn from a value that was looked at whether those of its class are plain."""
        kind = type(value)
        if not issubclass(kind, _SPECIAL) and not hasattr(kind, "__await__"):
            self.plain.add(kind)

    def _row(self, step: Step) -> Row:
        spec = step.spec
        is_simple = spec.kind is Kind.BLOCKING and len(step.sources) == 1 and step.sources[0][2] is None
        call = self._nodes.simple(spec) if is_simple else None
        with_context = self._nodes.with_context(spec) if is_simple and not spec.fans_out else None
        function = spec.function if with_context else call.func if isinstance(call, partial) else call
        source = step.sources[0][1] if step.sources else 0
        is_async = inspect.iscoroutinefunction(function)
        packs = self.packs(step)
        return Row(call, source, step.place, is_async, done_count(spec.id), step, packs, with_context)

    def packs(self, step: Step) -> tuple[Pack, ...] | None:
        """What packs what a step gives, for each of its writers; None when there is more to one of these."""
        if not all(write.is_simple for write in step.writes):
            return None
        return tuple(map(self._packing.plain, step.writes))
