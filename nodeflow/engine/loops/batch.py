"""The items of a lease, taken through a loop one after the other, and committed together."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
from attrs import define, field, frozen

from nodeflow.engine.core.partitioning import partition_of
from nodeflow.engine.core.refusals import RefusedError
from nodeflow.engine.core.results import Results, refused_count
from nodeflow.engine.core.work import Work
from nodeflow.engine.way.express import Express
from nodeflow.engine.way.hands import Hand
from nodeflow.engine.way.way import HOP_BYTES, Flush
from nodeflow.graph import NodeSpec
from nodeflow.storage import Item, Lease

if TYPE_CHECKING:
    from nodeflow.engine.loops.loop import Worker

_LEASE_SECONDS = 0.1
"""How much work a lease should hold: enough to fill a hop, little enough for others to get their share."""

MOST_LEASED = 2_000
"""How many items a lease has at most: more gain little, and are longer in the hands of one process."""


_SOON_SECONDS = 0.02
"""When a full lease is done sooner than this, the next one is taken before it is, so that nobody waits for that."""

_HEAVY_BYTES = 16 << 20
"""From how many bytes on what came of a part of a lease is committed by itself."""

_SLICE = 50
"""How many items are read at a time, so that they stay in the cache; behind them others have their turn, as those that
send and receive."""


@frozen
class Pace:
    """How fast items went through.

    Args:
        items: how many.
        seconds_for_all: how long that took.
        size: how many bytes came of them.
    """

    items: int
    seconds_for_all: float
    size: int

    def seconds(self, items: int) -> float:
        """How long so many items will take."""
        return items * self.seconds_for_all / self.items

    def next(self, most: int) -> int:
        """How many items the next lease should have at most, when the last could have had so many."""
        fitting = self.items * min(_LEASE_SECONDS / max(self.seconds_for_all, 1e-6), HOP_BYTES / max(1, self.size))
        return max(1, min(MOST_LEASED, round(fitting), 2 * most))


@define(eq=False)
class Batch:
    """The items of a lease, taken through the loop one after the other, and what came of them.

    Args:
        worker: takes them through.
        lease: holds them.
        head: by which they come in; None for the loop's own queue.
    """

    worker: Worker
    lease: Lease
    head: NodeSpec | None
    results: Results = field(factory=Results)
    passed: int = 0
    """How many of them are done."""
    left: Mapping[str, Any] = field(factory=dict)
    _key_in_turn: str = field(default="", init=False)

    async def run(self, most: int, go_on: Callable[[int], None]) -> None:
        """Take them through and commit.

        When they were all that there was, nobody waits for the next ones, and what comes of them goes first.

        Args:
            most: how many they could have been.
            go_on: told when the next ones may be taken, and how many at most.
        """
        hops, paces = self.worker.hops, self.worker.paces
        await _acquire(self.worker.turn)
        try:
            hops.go_on()
            known = paces.get(self.lease.name)
            number = len(self.lease)
            is_full = number == most > 1
            is_ahead = is_full and known is not None and known.seconds(most) < _SOON_SECONDS
            if is_ahead and known is not None:
                go_on(known.next(most))
            start = time.monotonic()
            with hops.all_or_nothing():
                size = await self._each()
            pace = paces[self.lease.name] = Pace(number, time.monotonic() - start, size)
            await _acquire(hops.order)
        finally:
            self.worker.turn.release()
        try:
            if is_full and not is_ahead:
                go_on(pace.next(most))
            if self.lease.is_open or not self.results.is_empty:
                await hops.commit_now(self.results, self.lease if self.lease.is_open else None)
        finally:
            hops.order.release()
        if not is_full:
            go_on(pace.next(most))

    async def _each(self) -> int:
        """Take each item through; how many bytes came of them."""
        size = 0
        for outbox in self.worker.outboxes:  # what nodes remember of its items is in these already
            await outbox.flush()
        await self._recall()
        express = self.worker.express(self.head, self.results)
        while self.passed < len(self.lease):
            if express is not None:
                await self._hurry(express)
                await express.settle()  # a part of what comes of the item behind may be committed, and what is done
                size = max(size, self.results.size)
            if self.passed == len(self.lease):
                break
            await self.lease.open()
            if self.passed < len(self.lease):
                await self._handle(self.lease[self.passed])
                self.passed += 1
                size = max(size, self.results.size)
                await self._lighten()
        return size

    async def _hurry(self, express: Express) -> None:
        """Take items the short way, up to one that isn't new, or not as it mostly is."""
        while self.passed < len(self.lease):
            some = await self._contents(self.passed, self.passed + _SLICE)
            number, stray = express.through(self._new(some))
            if stray is not None:
                await express.astray(stray, self._key_in_turn)
                number += 1
            self.passed += number
            if self.passed == len(self.lease) or (stray is None and number < len(some) and not self._is_heavy):
                return
            await self._lighten(express)
            await anyio.lowlevel.checkpoint()

    def _new(self, contents: Sequence[Any]) -> Iterator[tuple[str, Any]]:
        """The items' ids and values, up to one that isn't new, or not as it mostly is."""
        by_key, nodes = self.worker.post.plan.partitioning is not None, self.worker.runner.nodes
        held, results, width = self.worker.held.keys, self.results, 3 if by_key else 2
        for content in contents:
            if (
                type(content) is not dict
                or len(content) != width
                or "value" not in content
                or results.size > _HEAVY_BYTES
            ):
                return
            item = content.get("id")
            if type(item) is not str:
                return
            if by_key:
                key = content.get("key")
                if type(key) is not str or key in held:
                    return
                nodes.partition, self._key_in_turn = partition_of(key), key
            yield item, content["value"]

    @property
    def _is_heavy(self) -> bool:
        return self.results.size > _HEAVY_BYTES

    async def _lighten(self, express: Express | None = None) -> None:
        """Commit what is done, before more comes of it than a hop can carry."""
        if self._is_heavy:
            if express is not None:
                await express.settle()
            await self._commit_passed()

    async def _commit_passed(self) -> None:
        await self.lease.open()
        held = {item.id for item in self.lease.held}
        done = [item for item in self.lease[: self.passed] if item.id in held]
        await self.worker.hops.commit(self.results.take(), self.lease if held else None, done)

    async def _contents(self, start: int, stop: int) -> Sequence[Any]:
        """What lies in some items, as in a channel; None for those that are delivered again."""
        plan = self.worker.post.plan
        is_foreign = plan.partitioning is None and self.head in plan.foreign
        values = None if is_foreign else await self.lease.read(start, stop)
        if values is not None:
            return values
        await self.lease.open()
        items = [item if _is_new(item) else None for item in self.lease[start:stop]]
        if is_foreign:
            return [item and {"id": item.id, "value": item.value} for item in items]
        return [item and item.value for item in items]

    async def _handle(self, item: Item) -> None:
        try:
            works = await self._works(item, self.results)
            if await self._must_wait(item, works, self.results):
                return
            await self._through(item, works, self.results)
        except RefusedError as refusal:
            await self._refuse(item, refusal, self.results)
        else:
            await self._over(item, works, self.results)

    async def _recall(self) -> None:
        """Look up how far items are that come back."""
        if self.lease.is_fresh:
            return
        await self.lease.open()
        back = [self._key(item) for item in self.lease if not item.id.startswith(f"{self.lease.id}.")]
        self.left = await self.worker.in_parts.left(back)

    async def _works(self, item: Item, results: Results) -> list[Work]:
        if (left := self.left.get(self._key(item))) is not None:
            return self.worker.intake.left(left, item, results)
        return [await self.worker.intake.work(self.head, item, results)]

    async def _must_wait(self, item: Item, works: Sequence[Work], results: Results) -> bool:
        """Whether an item waits for others of its key that are tried again."""
        if self._key(item) in self.left or works[0].holds or works[0].key not in self.worker.held:
            return False
        await self.worker.held.add(works[0], results)
        return True

    async def _through(self, item: Item, works: Sequence[Work], results: Results, hand: Hand | None = None) -> None:
        if item.deaths >= self.worker.post.most_deaths:
            error = {"type": "Death", "message": f"{item.error}, {item.deaths} times", "traceback": ""}
            await self.worker.runner.bury(works, results, error, item.deaths)
        else:
            await self.worker.runner.run_each(works, results, item.attempt, self._flush_of(item, hand), hand)

    async def _refuse(self, item: Item, refusal: RefusedError, results: Results) -> None:
        results.refused.append((item, str(refusal)))
        plan = self.worker.post.plan
        is_ours = self.lease.name in plan.own_queues or self._key(item) in self.left
        if is_ours:  # what other programs push to a channel is no failure of the job
            results.count(refused_count(plan.loop.name))
            if isinstance(item.value, Mapping) and item.value.get("holds"):
                await self.worker.held.end(str(item.value.get("key")), results)

    async def _over(self, item: Item, works: Sequence[Work], results: Results) -> None:
        if works[0].holds:
            await self.worker.held.end(works[0].key, results)
        self.worker.in_parts.over(self._key(item), results)

    def _flush_of(self, item: Item, hand: Hand | None) -> Flush:
        """What commits parts of an item."""
        return partial(self._flush, self._key(item))

    async def _flush(self, key: str, results: Results, works: Sequence[Work]) -> None:
        if await self.worker.in_parts.note(key, works, results):
            await self._commit_passed()

    def _key(self, item: Item) -> str:
        return self.worker.intake.key(self.head, item)


def _is_new(item: Item) -> bool:
    return item.attempt == 1 and not item.error


@define(eq=False)
class OverlappingBatch(Batch):
    """Items of a lease, of which several are in hand at once: the loop goes on while nodes that don't block are at one.

    Args:
        works: what is done of those that are in hand, by id.
    """

    works: dict[str, Sequence[Work]] = field(factory=dict)

    @property
    def line(self) -> object:
        """Leases are committed in the order in which their items are whole."""
        return self.worker.hands

    async def run(self, most: int, go_on: Callable[[int], None]) -> None:
        """Take them through, and wait until they are committed; the next ones may be taken meanwhile."""
        await self.lease.open()
        await self._recall()
        for item in self.lease:
            await self._handle(item)
        go_on(min(MOST_LEASED, 2 * most))
        await self.worker.hands.until_committed(self)

    async def _handle(self, item: Item) -> None:
        hands = self.worker.hands
        hand = Hand(hands, self, item)
        async with hands.turn(hand):
            try:
                works = await self._works(item, hand.results)
                hand.key, hand.partition = works[0].key, works[0].partition
                await hands.until_first_of_key(hand)
                if await self._must_wait(item, works, hand.results):
                    return
                self.works[item.id] = works
                await self._through(item, works, hand.results, hand)
            except RefusedError as refusal:
                await self._refuse(item, refusal, hand.results)

    async def when_whole(self, hand: Hand) -> None:
        """An item is whole: it is forgotten."""
        if (works := self.works.pop(hand.name.id, None)) is not None:
            await self._over(hand.name, works, hand.results)

    async def commit(self, hands: Sequence[Hand]) -> None:
        """Commit what has come of whole items."""
        results = Results()
        for hand in hands:
            results.add(hand.results)
        held = {item.id for item in self.lease.held}
        done = [hand.name for hand in hands if hand.name.id in held]
        if done or not results.is_empty:
            await self.worker.hops.commit(results, self.lease if held else None, done)

    async def _flush_hand(self, hand: Hand, key: str, results: Results, works: Sequence[Work]) -> None:
        await self.worker.hands.until_only(hand)
        if await self.worker.in_parts.note(key, works, results):
            await self.worker.hops.commit(results.take(), self.lease, [])

    def _flush_of(self, item: Item, hand: Hand | None) -> Flush:
        assert hand is not None
        return partial(self._flush_hand, hand, self._key(item))


async def _acquire(lock: anyio.Lock) -> None:
    """Have a lock; where nobody has it, without a look at all cancel scopes around."""
    try:
        lock.acquire_nowait()
    except anyio.WouldBlock:
        await lock.acquire()
