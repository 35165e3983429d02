"""Flights: calls of nodes that don't block, under way while the loop goes on with other items."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
from anyio.abc import TaskGroup
from attrs import define, field, frozen

from nodeflow.engine.calls.arguments import Reads
from nodeflow.engine.core.endings import DrainedError
from nodeflow.engine.core.evaluation import Outcome
from nodeflow.engine.core.failures import Failure
from nodeflow.engine.core.stages import Step
from nodeflow.engine.way.hands import Hand, Hands

if TYPE_CHECKING:
    from nodeflow.engine.way.way import Way


@frozen
class Landed:
    """What a call gave.

    Args:
        step: the node.
        given: what it was called with, by port, constants left out.
        attempt: which attempt this was.
        outcome: what it gave.
        pushed: what it pushed to other queues.
        error: what it raised; None when it raised nothing.
    """

    step: Step
    given: Mapping[str, Any]
    attempt: int
    outcome: Outcome = None
    pushed: Sequence[tuple[str, bytes]] = ()
    error: BaseException | None = None


@define(eq=False)
class Flight:
    """Nodes that are called at the same time, since something behind them takes what they give together.

    Args:
        way: the item's way so far.
        hand: the item.
        level: the fan-outs below which the nodes stand.
        item: the item's id.
        outcomes: what was given for it so far.
        reads: what was read for it.
        group: the nodes, and those that failed whose outcome is taken together with theirs.
    """

    way: Way
    hand: Hand
    level: tuple[str, ...]
    item: str
    outcomes: list[Outcome]
    reads: Reads
    group: Sequence[Failure]

    @property
    def steps(self) -> list[Step]:
        """The nodes that are called."""
        return [self.way.entry.steps[each.again.node] for each in self.group if each.is_flying]


@define(eq=False)
class Flights:
    """The calls that are under way in one process.

    Args:
        tasks: in which they run.
        hands: the items in hand.
    """

    tasks: TaskGroup
    hands: Hands
    _count: Counter[str] = field(factory=Counter, init=False)
    _lines: defaultdict[str, deque[Flight]] = field(factory=lambda: defaultdict(deque), init=False)

    async def start(self, flight: Flight) -> None:
        """Begin the calls; while too many are under way, others have their turn."""
        await self.hands.until(flight.hand, partial(self._has_places, flight))
        for step in flight.steps:
            self._count[step.spec.id] += 1
            if step.spec.options.ordered:
                self._lines[step.spec.id].append(flight)
        flight.hand.flights += 1
        self.tasks.start_soon(self._fly, flight)

    async def _fly(self, flight: Flight) -> None:
        landed: list[Landed] = []
        async with anyio.create_task_group() as calls:
            for step, each in zip(flight.steps, (each for each in flight.group if each.is_flying), strict=True):
                calls.start_soon(self._call, flight, step, each, landed)
        with suppress(DrainedError):
            async with self.hands.turn(flight.hand):
                await self._land(flight, landed)

    async def _land(self, flight: Flight, landed: Sequence[Landed]) -> None:
        await self.hands.until(flight.hand, partial(self._is_first, flight))
        for step in flight.steps:  # before what follows, which may wait for older items that need a place
            self._count[step.spec.id] -= 1
            if step.spec.options.ordered:
                self._lines[step.spec.id].popleft()
        await flight.way.land(flight, landed)

    async def _call(self, flight: Flight, step: Step, flying: Failure, landed: list[Landed]) -> None:
        again = flying.again
        landed.append(await flight.way.steps.fly(step, flight.item, flight.reads, again.given, again.attempt))

    def _has_places(self, flight: Flight) -> bool:
        specs = [step.spec for step in flight.steps]
        return all(self._count[spec.id] < spec.options.max_in_flight for spec in specs)

    def _is_first(self, flight: Flight) -> bool:
        return all(self._lines[step.spec.id][0] is flight for step in flight.steps if step.spec.options.ordered)
