"""Express: the short way of plain values through nodes that take one value and give one; all else goes the long way."""

from __future__ import annotations

from collections.abc import Callable
from types import CoroutineType
from typing import TYPE_CHECKING, Any, NamedTuple

from attrs import define, field

from nodeflow.engine.results import Results, done_count
from nodeflow.engine.rows import Pack
from nodeflow.engine.stages import Entry
from nodeflow.engine.work import Work
from nodeflow.errors import PayloadError
from nodeflow.graph import Kind, NodeSpec

if TYPE_CHECKING:
    from nodeflow.engine.runner import Runner

Send = Callable[[str, Any], bool]
"""Gives a value to the queues of a node; False, and nothing is done, when there is more to it."""


class Stray(NamedTuple):
    """An item that can't go on the short way.

    Args:
        item: its id.
        place: how many nodes are done with it; the next one has been called.
        outcomes: what has been given for it.
        result: what the next node has returned.
        error: what it raised instead.
        is_waiting: whether `result` is a coroutine that was begun, waits, and gives what the node returns.
        waits_for: what that waits for.
    """

    item: str
    place: int
    outcomes: list[Any]
    result: Any = None
    error: BaseException | None = None
    is_waiting: bool = False
    waits_for: Any = None


@define(eq=False)
class Express:
    """The short way behind a head.

    Args:
        runner: what it belongs to.
        entry: the head.
        results: what comes of items is added to these.
    """

    runner: Runner
    entry: Entry
    results: Results
    done: int = field(default=0, init=False)
    """How many items have come through since `count` was called."""
    _stops: list[tuple[int, Callable[..., Any], NodeSpec | None, int, int, bool, Send | None]] = field(init=False)
    _first: Send | None = field(init=False)
    _outcomes: list[Any] = field(init=False)
    _may_wait: bool = field(init=False)
    _place: int = field(default=0, init=False)
    _is_astray: bool = field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        rows = self.runner.rows
        assert self.entry.step is not None
        self._outcomes = [None] * len(self.entry.places)
        self._first = self._send(rows.packs(self.entry.step))
        self._stops = [
            (
                number,
                row.call or row.with_context or _never,
                row.step.spec if row.with_context is not None else None,
                row.source,
                row.place,
                row.is_async,
                self._send(row.packs),
            )
            for number, row in enumerate(rows.of(self.entry.stage))
        ]
        self._may_wait = any(stop[5] for stop in self._stops)

    @staticmethod
    def is_for(runner: Runner, entry: Entry) -> bool:
        """Whether all nodes behind a head are such that values can go the short way."""
        step, stage = entry.step, entry.stage
        if step is None or step.spec.kind is Kind.COLLECT or step.spec.takes_context:
            return False
        if stage.parts or stage.fan_outs or runner.watch is not None or runner.flights is not None:
            return False
        rows = runner.rows.of(stage)
        if step.spec.kind is Kind.PRODUCER and not all(row.call for row in rows):
            return False
        if runner.rows.packs(step) is None or any(row.packs is None for row in rows):
            return False
        return all(row.call or row.with_context for row in rows)

    def through(self, item: str, value: Any) -> Stray | None:
        """Take a value through.

        Returns:
            None when it has come through, else how far it has come; a place of -1 is not at all.
        """
        plain, outcomes = self.runner.rows.plain, self._outcomes
        if value.__class__ not in plain or (self._first is not None and not self._first(item, value)):
            return Stray(item, -1, [value])
        outcomes[0] = value
        if self._may_wait:
            return self._through_what_may_wait(item)
        for number, call, spec, source, place, _, send in self._stops:
            try:
                result = call(outcomes[source]) if spec is None else call(outcomes[source], item)
            except BaseException as error:
                return Stray(item, number, outcomes.copy(), error=error)
            if spec is not None and not self._is_noted(spec):
                return Stray(item, number, outcomes.copy(), result)
            if result.__class__ not in plain or (send is not None and not send(item, result)):
                return Stray(item, number, outcomes.copy(), result)
            outcomes[place] = result
        self.done += 1
        return None

    def _through_what_may_wait(self, item: str) -> Stray | None:
        self._is_astray = False
        journey = self._journey(item)
        try:
            waits_for = journey.send(None)
        except StopIteration as stop:
            stray: Stray | None = stop.value
            return stray
        self._is_astray = True
        return Stray(item, self._place, self._outcomes.copy(), journey, None, True, waits_for)

    async def _journey(self, item: str) -> Any:
        """As `through`, of nodes that may wait; behind one that does it gives what that gives, and ends there."""
        plain, outcomes = self.runner.rows.plain, self._outcomes
        for number, call, spec, source, place, is_async, send in self._stops:
            try:
                result = call(outcomes[source]) if spec is None else call(outcomes[source], item)
                if is_async and result.__class__ is CoroutineType:
                    self._place = number
                    result = await result
            except BaseException as error:
                if self._is_astray:
                    raise
                return Stray(item, number, outcomes.copy(), error=error)
            if self._is_astray:
                return result
            if spec is not None and not self._is_noted(spec):
                return Stray(item, number, outcomes.copy(), result)
            if result.__class__ not in plain or (send is not None and not send(item, result)):
                return Stray(item, number, outcomes.copy(), result)
            outcomes[place] = result
        self.done += 1
        return None

    async def astray(self, stray: Stray, key: str = "") -> None:
        """Take an item on by the long way.

        Args:
            stray: it.
            key: its key, in a loop with `by=`.
        """
        node, partition = self.entry.spec.id, self.runner.nodes.partition
        work = Work(item=stray.item, entry=node, kept={node: stray.outcomes[0]}, key=key, partition=partition)
        if stray.place < 0:
            await self.runner.run(work, self.results)
        else:
            await self.runner.go_on(work, stray, self.results)

    def _is_noted(self, spec: NodeSpec) -> bool:
        """Note what a node remembers; False when more came of it than that, which the long way finds."""
        nodes = self.runner.nodes
        if nodes.pushed:
            return False
        state = nodes.state(spec)
        try:
            if state is not None:
                state.note()
        except PayloadError:
            return False
        return True

    async def settle(self) -> None:
        """Count what has come through, and have saved what nodes remember of it."""
        self.count()
        states, packing = self.runner.nodes.states, self.runner.packing
        for state in states.all if states is not None else ():
            for name, data in state.unsaved().items():
                self.results.remember(state.name, name, None if data is None else await packing.field(state.name, data))

    def count(self) -> None:
        """Count what has come through."""
        if self.done:
            if self.entry.spec.kind is not Kind.READER:
                self.results.count(done_count(self.entry.spec.id), self.done)
            for row in self.runner.rows.of(self.entry.stage):
                self.results.count(row.done, self.done)
            self.done = 0

    def _send(self, packs: tuple[Pack, ...] | None) -> Send | None:
        """What gives a value to the queues of a node; None when it has none."""
        if not packs:
            return None
        pack, push = packs[0], self.results.push

        def send_to_one(item: str, value: Any) -> bool:
            packed = pack(item, value)
            if packed is None:
                return False
            push(*packed)
            return True

        def send(item: str, value: Any) -> bool:
            packed = [pack(item, value) for pack in packs]
            if None in packed:
                return False
            for each in packed:
                assert each is not None
                push(*each)
            return True

        return send_to_one if len(packs) == 1 else send


def _never(value: Any) -> Any:
    raise AssertionError("`Express.is_for` has seen that each node can be called")
