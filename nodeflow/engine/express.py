"""Express: the short way of plain values through nodes that take one value and give one; all else goes the long way."""

from __future__ import annotations

from collections.abc import Callable
from types import CoroutineType
from typing import TYPE_CHECKING, Any, NamedTuple

from attrs import define, field

from nodeflow.engine.results import Results, done_count
from nodeflow.engine.stages import Entry, Write
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
        is_waiting: whether `result` is its coroutine, which was begun and waits.
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

    def __attrs_post_init__(self) -> None:
        assert self.entry.step is not None
        self._outcomes = [None] * len(self.entry.places)
        self._first = self._send(self.entry.step.writes)
        self._stops = [
            (
                number,
                row.call or row.with_context or _never,
                row.step.spec if row.with_context is not None else None,
                row.source,
                row.place,
                row.is_async,
                self._send(row.step.writes),
            )
            for number, row in enumerate(self.runner.rows.of(self.entry.stage))
        ]

    @staticmethod
    def is_for(runner: Runner, entry: Entry) -> bool:
        """Whether all nodes behind a head are such that values can go the short way."""
        step, stage = entry.step, entry.stage
        if step is None or step.spec.kind is Kind.COLLECT or step.spec.takes_context:
            return False
        if stage.parts or stage.fan_outs or runner.watch is not None or runner.flights is not None:
            return False
        writes = [write for each in (step, *stage.steps) for write in each.writes]
        rows = runner.rows.of(stage)
        if step.spec.kind is Kind.PRODUCER and not all(row.call for row in rows):
            return False
        return all(row.call or row.with_context for row in rows) and all(write.is_simple for write in writes)

    def through(self, item: str, value: Any) -> Stray | None:
        """Take a value through.

        Returns:
            None when it has come through, else how far it has come; a place of -1 is not at all.
        """
        plain, outcomes = self.runner.rows.plain, self._outcomes
        if value.__class__ not in plain or (self._first is not None and not self._first(item, value)):
            return Stray(item, -1, [value])
        outcomes[0] = value
        for number, call, spec, source, place, is_async, send in self._stops:
            try:
                result = call(outcomes[source]) if spec is None else call(outcomes[source], item)
                if is_async and result.__class__ is CoroutineType:
                    try:
                        waits_for = result.send(None)
                    except StopIteration as stop:
                        result = stop.value
                    else:
                        return Stray(item, number, outcomes.copy(), result, None, True, waits_for)
            except BaseException as error:
                return Stray(item, number, outcomes.copy(), error=error)
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

    def _send(self, writes: tuple[Write, ...]) -> Send | None:
        """What gives a value to the queues of a node; None when it has none."""
        if not writes:
            return None
        pack, push = self.runner.packing.push_plain, self.results.push

        def send_to_one(item: str, value: Any) -> bool:
            packed = pack(writes[0], item, value)
            if packed is None:
                return False
            push(*packed)
            return True

        def send(item: str, value: Any) -> bool:
            packed = [pack(write, item, value) for write in writes]
            if None in packed:
                return False
            for each in packed:
                assert each is not None
                push(*each)
            return True

        return send_to_one if len(writes) == 1 else send


def _never(value: Any) -> Any:
    raise AssertionError("`Express.is_for` has seen that each node can be called")
