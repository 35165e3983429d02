"""Seeing that tasks wait in the server, instead of giving them time to get there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar, cast

from redis.asyncio import Redis

from tests.support import until

T = TypeVar("T")


@asynccontextmanager
async def started(work: Coroutine[Any, Any, T]) -> AsyncIterator[asyncio.Task[T]]:
    """A task for the length of the context, cancelled at its end."""
    task = asyncio.create_task(work)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait([task])


async def until_blocked(client: Redis, command: str, count: int = 1) -> None:
    """Wait until so many connections to the server block in this command, 0 for none."""

    async def are_there() -> bool:
        found = await client.client_list()
        return sum(each["cmd"] == command and "b" in each["flags"] for each in found) == count

    await until(are_there, 5, f"{count} connections that block in {command}")


async def execute(client: Redis, command: str) -> None:
    """Send a command that redis-py has no types for."""
    await cast("Any", client).execute_command(*command.split())
