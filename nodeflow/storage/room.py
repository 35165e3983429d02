"""Waiting until a bounded queue has room again: of the callers of a process one waits at a time, first come first."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

import anyio

from nodeflow.storage.connection import RedisConnection
from nodeflow.storage.keys import PUSH_WAKES
from nodeflow.storage.sweep import keep_in_use
from nodeflow.storage.waits import Slots, Turns

ROOM_SECONDS = 0.05
"""How long at most until a full queue is looked at again: `pop` and foreign clients wake nobody."""


async def once_there_is_room(
    connection: RedisConnection, keys: Sequence[str], deadline: float, attempt: Callable[[], Awaitable[bool]]
) -> bool:
    """Try something that may find a queue full until it did not, or the deadline has passed.

    Args:
        connection: the connection that all stores share.
        keys: the queue's keys.
        deadline: until when there may be any waiting, on the clock of `anyio.current_time`.
        attempt: tries it; False when this queue was full.

    Returns:
        whether it worked.
    """
    if await attempt():
        return True
    async with turn_to_wait(connection, keys, deadline) as has_turn:
        while has_turn:
            if await attempt():
                return True
            has_turn = await wait_for_room(connection, keys, deadline)
    return False


@asynccontextmanager
async def turn_to_wait(connection: RedisConnection, keys: Sequence[str], deadline: float) -> AsyncIterator[bool]:
    """The turn of those who wait for room in a queue; gives whether it came before the deadline."""
    turns, key = Turns.of(await connection.session()), keys[PUSH_WAKES]
    has_turn = await turns.take(key, deadline)
    try:
        yield has_turn
    finally:
        if has_turn:
            turns.give_back(key)


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
    await keep_in_use(connection)
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
