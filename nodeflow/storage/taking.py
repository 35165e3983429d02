"""Leasing with patience: of the tasks that wait for the same queue, one waits in the server for all."""

from __future__ import annotations

import math

import anyio

from nodeflow.storage.connection import RedisConnection
from nodeflow.storage.hops import Hops, Taken
from nodeflow.storage.lease import Lease
from nodeflow.storage.waits import Turns, wait_for_items


async def lease_before(
    connection: RedisConnection, hops: Hops, name: str, max_items: int, consumer: str | None, deadline: float
) -> Lease:
    """Lease what waits, or what comes before the deadline; empty when nothing did.

    Args:
        connection: the connection that all stores share.
        hops: what takes items.
        name: the queue's name.
        max_items: the most to take.
        consumer: a slot, or None for this process's own consumer.
        deadline: until when to wait, on the clock of `anyio.current_time`.
    """
    taken = await hops.take(name, max_items, consumer)
    turns = Turns.of(await connection.session())
    main = taken.lease.member.keys[0]
    if not _is_to_wait(taken, deadline):
        return taken.lease
    began = anyio.current_time()
    was_free = turns.is_free(main)
    if await turns.take(main, deadline):
        try:
            if not was_free:
                taken = await hops.take(name, max_items, consumer)
            while _is_to_wait(taken, deadline):
                await _wait(connection, taken, deadline)
                taken = await hops.take(name, max_items, consumer)
        finally:
            turns.give_back(main)
    connection.stats.waited_for_item(anyio.current_time() - began)
    return taken.lease


def _is_to_wait(taken: Taken, deadline: float) -> bool:
    return not taken.lease and (taken.was_garbage or anyio.current_time() < deadline)


async def _wait(connection: RedisConnection, taken: Taken, deadline: float) -> None:
    if taken.was_garbage:
        return
    due = math.inf if taken.next_due is None else taken.next_due
    lease = taken.lease
    await wait_for_items(connection, lease.member.keys, min(due, deadline - anyio.current_time()), lease.name)
