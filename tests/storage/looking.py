"""Looking at queues and servers: sums that must come out even, and how much a server was asked."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from redis.asyncio import Redis

from nodeflow.storage import DataStore, Tally
from tests.support import until


async def balanced(store: DataStore, name: str = "jobs", **expected: int) -> Tally:
    """What became of a queue's items; each that was pushed is in exactly one place.

    A pop that had to wait for its item is counted a moment after it has returned.

    Args:
        store: the store.
        name: the queue's name.
        expected: what some of the counts must be.
    """
    tally = await store.queue.tally(name)
    deadline = time.monotonic() + 1
    while not _is_right(tally, expected) and time.monotonic() < deadline:
        tally = await store.queue.tally(name)
    assert _is_right(tally, {}), tally
    assert {field: getattr(tally, field) for field in expected} == expected, tally
    return tally


def _is_right(tally: Tally, expected: dict[str, int]) -> bool:
    found = tally.waiting + tally.delayed + tally.leased + tally.dead + tally.discarded + tally.done
    return tally.pushed == found and all(getattr(tally, field) == number for field, number in expected.items())


async def drained(store: DataStore, name: str = "jobs") -> list[Any]:
    """All values that wait, leased and acknowledged in as many leases as it takes."""
    values: list[Any] = []
    while True:
        async with store.queue.lease(name, 10_000, timeout=0) as lease:
            values += [item.value for item in lease]
        if not lease:
            return values


async def calls(client: Redis, *commands: str) -> int:
    """How often a server was given these commands since it was started."""
    counts = await client.info("commandstats")
    return sum(int(counts.get(f"cmdstat_{command}", {}).get("calls", 0)) for command in commands)


async def seconds_of(client: Redis) -> float:
    """The server's time."""
    seconds, microseconds = await client.time()
    return float(seconds) + float(microseconds) / 1e6


async def until_passed(client: Redis, seconds: float) -> None:
    """Wait until the server's clock has gone on for so long."""
    end = await seconds_of(client) + seconds

    async def is_over() -> bool:
        return await seconds_of(client) > end

    await until(is_over, seconds + 10, f"{seconds:g} s have passed")


def values(items: Iterable[Any]) -> list[Any]:
    """The values of items."""
    return [item.value for item in items]
