"""The items of a lease, taken through a loop one after the other, and committed together."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from attrs import define, field

from nodeflow.engine.intake import RefusedError
from nodeflow.engine.results import Results, refused_count
from nodeflow.engine.way import HOP_BYTES
from nodeflow.engine.work import Work
from nodeflow.graph import NodeSpec
from nodeflow.storage import Item, Lease

if TYPE_CHECKING:
    from nodeflow.engine.loop import Worker

_LEASE_SECONDS = 0.1
"""How much work a lease should hold: enough to fill a hop, little enough for others to get their share."""

MOST_LEASED = 500


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

    async def run(self, most: int) -> int:
        """Take them through and commit.

        Args:
            most: how many they could have been.

        Returns:
            how many the next ones should be at most.
        """
        start = time.monotonic()
        size = 0
        left = await self.worker.in_parts.left([self._key(item) for item in self.lease if self._came_back(item)])
        for item in self.lease:
            await self._handle(item, left)
            self.done.append(item)
            size = max(size, self.results.size)
        if self.lease.is_open or not self.results.is_empty:
            await self.worker.hops.commit(self.results, self.lease if self.lease.is_open else None)
        seconds = time.monotonic() - start
        fitting = len(self.lease) * min(_LEASE_SECONDS / seconds, HOP_BYTES / max(1, size))
        return max(1, min(MOST_LEASED, round(fitting), 2 * most))

    async def _handle(self, item: Item, left: Mapping[str, list[Work]]) -> None:
        key = self._key(item)
        held = self.worker.held
        try:
            works = left.get(key) or [await self.worker.intake.work(self.head, item, self.results)]
            if key not in left and not works[0].holds and works[0].key in held:
                await held.add(works[0], self.results)
                return
            if item.deaths >= self.worker.post.most_deaths:
                error = {"type": "Death", "message": f"{item.error}, {item.deaths} times", "traceback": ""}
                await self.worker.runner.bury(works, self.results, error)
            else:
                flush = partial(self._flush, key)
                await self.worker.runner.run_each(works, self.results, item.attempt, flush)
        except RefusedError as refusal:
            await self.lease.dead_letter(item, str(refusal))
            plan = self.worker.post.plan
            if self.lease.name in plan.own_queues:  # what other programs push to a channel is no failure of the job
                self.results.count(refused_count(plan.loop.name))
                if item.value.get("holds"):
                    await held.end(str(item.value["key"]), self.results)
            return
        if works[0].holds:
            await held.end(works[0].key, self.results)
        self.worker.in_parts.over(key, self.results)

    async def _flush(self, key: str, results: Results, works: Sequence[Work]) -> None:
        if await self.worker.in_parts.note(key, works, results):
            held = {item.id for item in self.lease.held}
            done = [item for item in self.done if item.id in held]
            self.done.clear()
            await self.worker.hops.commit(results.take(), self.lease, done)

    def _key(self, item: Item) -> str:
        return self.worker.intake.key(self.head, item)

    def _came_back(self, item: Item) -> bool:
        return not item.id.startswith(f"{self.lease.id}.")
