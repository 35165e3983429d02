"""Routing: what comes without an address goes to the process of a loop that has the items of its key."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from attrs import frozen

from nodeflow.engine.core.partitioning import Partitioning
from nodeflow.engine.core.plan import LoopPlan
from nodeflow.engine.core.refusals import RefusedError, uncount_refusal
from nodeflow.engine.core.results import Results, loop_queue, refused_count
from nodeflow.engine.core.work import Work
from nodeflow.engine.loops.batch import MOST_LEASED
from nodeflow.engine.loops.hops import Hops
from nodeflow.engine.way.packing import Packing, addressed
from nodeflow.errors import KeyMissingError, PayloadError
from nodeflow.graph import NodeSpec
from nodeflow.storage import Item, Lease

AddressOf = Callable[[Item], Awaitable[tuple[str, bytes]]]


@frozen
class Routing:
    """Sends items on to the process that has their key; the first process of a loop does it, so that order stays.

    Args:
        plan: the loop.
        partitioning: how its processes share its items.
        packing: makes items ready to be pushed.
        hops: commits.
    """

    plan: LoopPlan
    partitioning: Partitioning
    packing: Packing
    hops: Hops

    async def route(self, lease: Lease, address_of: AddressOf, most: int) -> int:
        """Send the items of a lease on.

        Args:
            lease: they.
            address_of: the queue of an item, and what goes into it.
            most: how many they could have been.

        Returns:
            how many the next ones should be at most.
        """
        await lease.open()
        if not lease:
            return most
        results, loop = Results(), self.plan.loop.name
        is_own = lease.name == loop_queue(loop)
        for item in lease:
            if is_own:
                uncount_refusal(item, loop, results)
            try:
                queue, data = await address_of(item)
            except RefusedError as refusal:
                results.refused.append((item, str(refusal)))
                if is_own:  # what other programs push elsewhere is no failure of the job
                    results.count(refused_count(loop))
            else:
                results.push(queue, data)
        await self.hops.commit(results, lease)
        return min(MOST_LEASED, 2 * most)

    def of_reader(self, reader: NodeSpec) -> AddressOf:
        """What addresses the items of a queue that other programs fill."""
        name = str(reader.target.queue)

        async def address(item: Item) -> tuple[str, bytes]:
            try:
                queue, content = await addressed(self.partitioning, name, {"id": item.id, "value": item.value})
                return queue, await self.packing.store.prepare(queue, content)
            except (KeyMissingError, PayloadError) as error:
                raise RefusedError(str(error)) from error

        return address

    async def of_loop(self, item: Item) -> tuple[str, bytes]:
        """Addresses what was requeued: work that the loop had given up."""
        try:
            queue = self.plan.own_queue(Work.from_data(item.value).partition)
            return queue, await self.packing.store.prepare(queue, item.value)
        except PayloadError as error:
            raise RefusedError(error.reason) from error
