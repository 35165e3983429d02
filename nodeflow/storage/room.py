"""Waiting until a bounded queue has room again."""

from __future__ import annotations

from collections.abc import Sequence

import anyio

from nodeflow.storage.connection import RedisConnection
from nodeflow.storage.keys import PUSH_WAKES
from nodeflow.storage.waits import Slots

ROOM_SECONDS = 0.05
"""How long at most until a full queue is looked at again: `pop` and foreign clients wake nobody."""


async def wait_for_room(connection: RedisConnection, keys: Sequence[str], deadline: float) -> bool:
    """Wait until somebody has taken items out of a full queue, but for `ROOM_SECONDS` at most.

    Args:
        connection: the connection that all stores share.
        keys: the queue's keys.
        deadline: until when there may be any waiting, on the clock of `anyio.current_time`.

    Returns:
        whether it is worth trying again: False when the deadline has passed.
    """
    began = anyio.current_time()
    if began >= deadline:
        return False
    slots = Slots.of(await connection.session(), connection.blocking_slots)
    seconds = min(ROOM_SECONDS, deadline - began)
    if slots.take():
        try:
            await connection.block(("BRPOP", keys[PUSH_WAKES], None), seconds, "wait for room", is_repeatable=True)
        finally:
            slots.give_back()
    else:
        await anyio.sleep(seconds)
    connection.stats.room_waits += 1
    connection.stats.room_wait_seconds += anyio.current_time() - began
    return True
