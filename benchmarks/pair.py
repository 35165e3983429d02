"""One producer and one consumer, each in a process of its own, at work at the same time."""

from __future__ import annotations

import asyncio
import cProfile
import multiprocessing
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import FIRST_EXCEPTION, ProcessPoolExecutor, wait
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from attrs import define, field, frozen
from redis.asyncio import Redis

from benchmarks.server import Server

PATIENCE = 30.0
"""How long one process waits for the other or for an item before it gives up, in seconds."""


@frozen
class Round:
    """What one pair has to do.

    Args:
        server: where.
        name: the queue's name, which no other round has.
        items: how many items.
        profiles: the folder for the profiles of both processes, None for none.
    """

    server: Server
    name: str
    items: int
    profiles: Path | None = None

    @property
    def start_key(self) -> str:
        """The list on which the consumer says that it is ready."""
        return f"{self.server.prefix}{self.name}:start"


@frozen
class Outcome:
    """What one pair took.

    Args:
        items: how many items went through.
        seconds: from the producer's first item until the consumer had handled the last one.
        producer: the producer's seconds of computing.
        consumer: the consumer's.
        server: the server's.
    """

    items: int
    seconds: float
    producer: float
    consumer: float
    server: float

    @property
    def rate(self) -> float:
        """Items per second."""
        return self.items / self.seconds


@define
class Stopwatch:
    """When one side began and ended, and how long its process computed meanwhile, in seconds."""

    began: float = field(factory=time.monotonic)
    computed: float = field(factory=time.process_time)
    ended: float = 0.0

    def stop(self) -> None:
        """The side has done its part."""
        self.ended = time.monotonic()
        self.computed = time.process_time() - self.computed


Side = Callable[[Round], Awaitable[Stopwatch]]
"""A module-level coroutine function: what one process does."""


def run_pair(producer: Side, consumer: Side, task: Round) -> Outcome:
    """Run both sides in new processes until both have ended.

    Raises:
        Exception: what a side raised, as when an item is missing or out of order.
        AssertionError: something is left in the server, as an item that came twice.
    """
    context = multiprocessing.get_context("spawn")
    computed = task.server.cpu_seconds()
    with ProcessPoolExecutor(max_workers=2, mp_context=context) as processes:
        sides = [processes.submit(_run, side, task) for side in (consumer, producer)]
        for side in wait(sides, return_when=FIRST_EXCEPTION).done:
            side.result()
        consumed, produced = (side.result() for side in sides)
    if left := task.server.keys():
        raise AssertionError(f"all items arrived, but the server still holds {left}")
    return Outcome(
        items=task.items,
        seconds=consumed.ended - produced.began,
        producer=produced.computed,
        consumer=consumed.computed,
        server=task.server.cpu_seconds() - computed,
    )


def plain_client(task: Round) -> Redis:
    """redis-py's asyncio client as it comes, but patient: its own 5 seconds would cut a longer BRPOP off."""
    return Redis.from_url(task.server.url, socket_timeout=2 * PATIENCE)


@asynccontextmanager
async def measured(task: Round, *, is_producer: bool) -> AsyncIterator[Stopwatch]:
    """Begin when both sides are connected; stop at the end of the block.

    The clock is the system's, which both processes read alike.
    """
    async with plain_client(task) as client:
        if not is_producer:
            await client.lpush(task.start_key, "ready")
        elif not await client.brpop([task.start_key], timeout=PATIENCE):
            raise TimeoutError("the consumer didn't get ready")
    watch = Stopwatch()
    yield watch
    watch.stop()


def _run(side: Side, task: Round) -> Stopwatch:
    if task.profiles is None:
        return asyncio.run(_await(side, task))
    profile = cProfile.Profile()
    try:
        return profile.runcall(asyncio.run, _await(side, task))
    finally:
        profile.dump_stats(task.profiles / f"{getattr(side, '__name__', 'side')}.prof")


async def _await(side: Side, task: Round) -> Stopwatch:
    return await side(task)


def described(place: int) -> dict[str, Any]:
    """The item at a place: about 140 bytes of JSON."""
    return {**_ITEM, "metadata": {"a": place}}


def check(item: Any, place: int) -> None:
    """Refuse an item that isn't the one for this place."""
    if item["metadata"]["a"] != place:
        raise AssertionError(f"item {place} was expected, not {item}")


_ITEM = {"id": "node_1", "data": {"x": list(range(10)), "text": "hello world" * 5}, "metadata": {"a": 1}}
