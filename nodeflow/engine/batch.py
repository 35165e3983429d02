"""The items of a lease, taken through a loop one after the other, and committed together."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from attrs import define, field

from nodeflow.engine.express import Express
from nodeflow.engine.hands import Hand
from nodeflow.engine.intake import RefusedError
from nodeflow.engine.partitioning import partition_of
from nodeflow.engine.results import Results, refused_count
from nodeflow.engine.way import HOP_BYTES, Flush
from nodeflow.engine.work import Work
from nodeflow.graph import NodeSpec
from nodeflow.storage import Item, Lease

if TYPE_CHECKING:
    from nodeflow.engine.loop import Worker

_LEASE_SECONDS = 0.1
"""How much work a lease should hold: enough to fill a hop, little enough for others to get their share."""

MOST_LEASED = 1_000
"""How many items a lease has at most: more gain little, and are longer in the hands of one process."""


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
    done: list[Item] = field(factory=list)
    left: Mapping[str, list[Work]] = field(factory=dict)

    async def run(self, most: int, go_on: Callable[[int], None]) -> None:
        """Take them through and commit.

        Args:
            most: how many they could have been.
            go_on: told when the next ones may be taken, and how many at most.
        """
        hops = self.worker.hops
        async with self.worker.turn:
            start = time.monotonic()
            size = await self._each()
            seconds = time.monotonic() - start
            await hops.order.acquire()
        try:
            go_on(self._next(most, seconds, size))
            if self.lease.is_open or not self.results.is_empty:
                await hops.commit_now(self.results, self.lease if self.lease.is_open else None)
        finally:
            hops.order.release()

    async def _each(self) -> int:
        """Take each item through; how many bytes came of them."""
        size = 0
        for outbox in self.worker.outboxes:  # what nodes remember of its items is in these already
            await outbox.flush()
        await self._recall()
        express = self.worker.express(self.head, self.results)
        for item in self.lease:
            if express is None:
                await self._handle(item)
            elif self._is_simple(item):
                await self._hurry(express, item.value)
            else:
                await express.settle()  # a part of what comes of the item may be committed, and what is done with it
                await self._handle(item)
            self.done.append(item)
            size = max(size, self.results.size)
        if express is not None:
            await express.settle()
        return size

    async def _hurry(self, express: Express, value: dict[str, Any]) -> None:
        """Take a simple item the short way."""
        key = value.get("key", "")
        if key:
            self.worker.runner.nodes.partition = partition_of(key)
        if (stray := express.through(value["id"], value["value"])) is not None:
            await express.astray(stray, key)

    def _is_simple(self, item: Item) -> bool:
        """Whether it is new, and as it mostly is."""
        value = item.value
        if item.attempt != 1 or item.error or type(value) is not dict or type(value.get("id")) is not str:
            return False
        if self.worker.post.plan.partitioning is None:
            return len(value) == 2 and "value" in value
        key = value.get("key")
        return len(value) == 3 and "value" in value and type(key) is str and key not in self.worker.held

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
        back = [self._key(item) for item in self.lease if not item.id.startswith(f"{self.lease.id}.")]
        self.left = await self.worker.in_parts.left(back)

    async def _works(self, item: Item, results: Results) -> list[Work]:
        return self.left.get(self._key(item)) or [await self.worker.intake.work(self.head, item, results)]

    async def _must_wait(self, item: Item, works: Sequence[Work], results: Results) -> bool:
        """Whether an item waits for others of its key that are tried again."""
        if self._key(item) in self.left or works[0].holds or works[0].key not in self.worker.held:
            return False
        await self.worker.held.add(works[0], results)
        return True

    async def _through(self, item: Item, works: Sequence[Work], results: Results, hand: Hand | None = None) -> None:
        if item.deaths >= self.worker.post.most_deaths:
            error = {"type": "Death", "message": f"{item.error}, {item.deaths} times", "traceback": ""}
            await self.worker.runner.bury(works, results, error)
        else:
            await self.worker.runner.run_each(works, results, item.attempt, self._flush_of(item, hand), hand)

    async def _refuse(self, item: Item, refusal: RefusedError, results: Results) -> None:
        results.refused.append((item, str(refusal)))
        plan = self.worker.post.plan
        if self.lease.name in plan.own_queues:  # what other programs push to a channel is no failure of the job
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
            held = {item.id for item in self.lease.held}
            done = [item for item in self.done if item.id in held]
            self.done.clear()
            await self.worker.hops.commit(results.take(), self.lease, done)

    def _next(self, most: int, seconds: float, size: int) -> int:
        """How many the next items should be at most."""
        fitting = len(self.lease) * min(_LEASE_SECONDS / max(seconds, 1e-6), HOP_BYTES / max(1, size))
        return max(1, min(MOST_LEASED, round(fitting), 2 * most))

    def _key(self, item: Item) -> str:
        return self.worker.intake.key(self.head, item)


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
