"""Reslotting: a loop with `by=` goes on in another number of processes, and each item goes where its key is now."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from attrs import frozen

from nodeflow.engine.core.marks import epoch_mark
from nodeflow.engine.core.partitioning import gathered_queue, partition_of, slot_queue
from nodeflow.engine.core.queues import Queues
from nodeflow.engine.core.results import loop_queue
from nodeflow.engine.loops.batch import MOST_LEASED
from nodeflow.graph import Loop
from nodeflow.storage import DataStore, Item


@frozen
class Reslotting:
    """Moves the items of a loop while none of its processes runs.

    They are gathered first, in order, and then given to the new slots; either part may be begun again.

    Args:
        store: the store, below the graph's prefix.
        job: the job's id.
        loop: the loop, as it is now.
    """

    store: DataStore
    job: str
    loop: Loop

    async def gather(self, queues: Queues, slots: int) -> None:
        """Bring together what lies in the old slots, of which no process can commit any more.

        Args:
            queues: the graph's queues.
            slots: how many processes there were.
        """
        for slot in range(slots):
            await self.store.ledger(self.job).begin(epoch_mark(self.loop.name, slot))
        for name in self._names(queues):
            for slot in range(slots):
                part = slot_queue(name, slot)
                await self.store.queue.bound(part, None)
                await self.store.queue.hasten(part)
                await self._move(part, f"{self.loop.name}/{slot}", partial(_to, gathered_queue(name)))

    async def scatter(self, queues: Queues) -> None:
        """Give what was gathered to the slots that there are now."""
        for name in self._names(queues):
            await self._move(gathered_queue(name), f"{self.loop.name}/moved", partial(self._to_slot, name))

    def _names(self, queues: Queues) -> list[str]:
        return [*queues.into(self.loop.name), loop_queue(self.loop.name)]

    def _to_slot(self, name: str, item: Item) -> str:
        value = item.value if isinstance(item.value, Mapping) else {}
        partition = value.get("partition", partition_of(str(value.get("key", value.get("id")))))
        return slot_queue(name, int(partition) % self.loop.processes)

    async def _move(self, queue: str, consumer: str, target: Callable[[Item], str]) -> None:
        while True:
            async with self.store.queue.lease(queue, MOST_LEASED, timeout=0, consumer=consumer) as lease:
                if not lease:
                    return
                moved: dict[str, list[tuple[Item, Any]]] = {}
                for item in lease:
                    moved.setdefault(target(item), []).append((item, item.value))
                await lease.commit(items=[], moved=moved)


def _to(queue: str, _: Item) -> str:
    return queue
