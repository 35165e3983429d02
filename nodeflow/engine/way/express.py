"""Express: the short way of plain values through nodes that take one value and give one; all else goes the long way."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable
from types import CoroutineType
from typing import TYPE_CHECKING, Any, NamedTuple

from attrs import define, field

from nodeflow.engine.calls.state import State
from nodeflow.engine.core.results import Results, done_count
from nodeflow.engine.core.stages import Entry
from nodeflow.engine.core.work import Work
from nodeflow.engine.way.rows import Pack, Row
from nodeflow.errors import PayloadError
from nodeflow.graph import Kind

if TYPE_CHECKING:
    from nodeflow.engine.way.runner import Runner

Then = Callable[[str, Any], bool]
"""Does with what a node gave for an item what is to be done; False, and nothing is done, when there is more to it."""


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
        results: what comes of items is added to these; others may be put in their place.
    """

    runner: Runner
    entry: Entry
    results: Results = field(factory=Results)
    done: int = field(default=0, init=False)
    """How many items have come through since `count` was called."""
    _stops: list[tuple[int, Callable[[Any], Any], int, int, bool, Then | None]] = field(init=False)
    _first: Then | None = field(init=False)
    _outcomes: list[Any] = field(init=False)
    _count: int = field(default=0, init=False)
    _item: str = field(default="", init=False)
    _state: State | None = field(default=None, init=False)
    _place: int = field(default=0, init=False)
    _is_astray: bool = field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        rows = self.runner.rows
        assert self.entry.step is not None
        self._outcomes = [None] * len(self.entry.places)
        self._first = self._then(rows.packs(self.entry.step))
        self._stops = [
            (
                number,
                self._call(row),
                row.source,
                row.place,
                row.is_async,
                self._then(row.packs, remembers=row.with_context is not None),
            )
            for number, row in enumerate(rows.of(self.entry.stage))
        ]

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

    def through(self, items: Iterable[tuple[str, Any]]) -> tuple[int, Stray | None]:
        """Take values through, each with its item's id, up to one that can't go the short way.

        Returns:
            how many have come through; and how far the one behind them has come, None when there is none. A place of
            -1 is not at all.
        """
        self._count, self._is_astray = 0, False
        stray = self._begin(self._journey(items))
        self.done += self._count
        return self._count, stray

    def _begin(self, journey: Coroutine[Any, Any, Any]) -> Stray | None:
        try:
            waits_for = journey.send(None)
        except StopIteration as stop:
            stray: Stray | None = stop.value
            return stray
        self._is_astray = True
        return Stray(self._item, self._place, self._outcomes.copy(), journey, None, True, waits_for)

    async def _journey(self, items: Iterable[tuple[str, Any]]) -> Any:
        """The way of the values, to the first that can't go on; behind a node that waited it gives what that gave."""
        plain, outcomes, first, stops = self.runner.rows.plain, self._outcomes, self._first, self._stops
        coroutine = CoroutineType
        for item, value in items:
            if value.__class__ not in plain or (first is not None and not first(item, value)):
                return Stray(item, -1, [value])
            outcomes[0], self._item = value, item
            for number, call, source, place, is_async, then in stops:
                try:
                    result = call(outcomes[source])
                    if is_async and result.__class__ is coroutine:
                        self._place = number
                        result = await result
                        if self._is_astray:
                            return result
                except BaseException as error:
                    if self._is_astray:
                        raise
                    return Stray(item, number, outcomes.copy(), error=error)
                if result.__class__ not in plain or (then is not None and not then(item, result)):
                    return Stray(item, number, outcomes.copy(), result)
                outcomes[place] = result
            self._count += 1
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

    def _is_noted(self) -> bool:
        """Note what the node remembers; False when more came of it than that, which the long way finds."""
        if self.runner.nodes.pushed:
            return False
        try:
            if self._state is not None:
                self._state.note()
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

    def _call(self, row: Row) -> Callable[[Any], Any]:
        """What calls a node with a value."""
        if row.call is not None:
            return row.call
        assert row.with_context is not None, "`is_for` has seen that each node can be called"
        with_context, spec, nodes = row.with_context, row.step.spec, self.runner.nodes
        states: dict[int, State | None] = {}

        def call(value: Any) -> Any:
            partition = nodes.partition
            if partition not in states:
                states[partition] = nodes.state(spec)
            self._state = states[partition]
            return with_context(value, self._item, self._state)

        return call

    def _then(self, packs: tuple[Pack, ...] | None, *, remembers: bool = False) -> Then | None:
        """What is done with what a node gave; None for nothing.

        Args:
            packs: what packs it for the node's queues.
            remembers: whether the node may remember something.
        """
        if not packs and not remembers:
            return None
        pack = packs[0] if packs else None

        def then_one(item: str, value: Any) -> bool:
            packed = pack(item, value) if pack is not None else None
            if packed is None or (remembers and not self._is_noted()):
                return False
            self.results.push(*packed)
            return True

        def then(item: str, value: Any) -> bool:
            packed = [pack(item, value) for pack in packs or ()]
            if None in packed or (remembers and not self._is_noted()):
                return False
            for each in packed:
                assert each is not None
                self.results.push(*each)
            return True

        return then_one if len(packs or ()) == 1 else then
