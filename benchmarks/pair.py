"""One producer and one consumer, each in a process of its own, at work at the same time."""

from __future__ import annotations

import asyncio
import cProfile
import multiprocessing
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import FIRST_EXCEPTION, Future, ProcessPoolExecutor, wait
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, TypeVar

from attrs import define, field
from redis.asyncio import Redis

from benchmarks.design import Design, Figure, Figures, Round
from nodeflow.storage import DataStore

T = TypeVar("T")
P = TypeVar("P")
C = TypeVar("C")

PATIENCE = 30.0
"""How long one process waits for the other or for an item before it gives up, in seconds."""


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


Side = Callable[[Round], Awaitable[T]]
"""A module-level coroutine function: what one process does."""


def pair(name: str, producer: Side[Stopwatch], consumer: Side[Stopwatch], items: int) -> Design:
    """The design whose rounds are `run_pair`."""
    return Design(name, items, partial(run_pair, producer, consumer))


def run_pair(
    producer: Side[Stopwatch], consumer: Side[Stopwatch], task: Round, *, leaves_keys: bool = False
) -> Figures:
    """Run both sides in new processes until both have ended.

    Args:
        producer: what one process does.
        consumer: what the other one does.
        task: the round.
        leaves_keys: whether it may leave something in the server.

    Raises:
        Exception: what a side raised, as when an item is missing or out of order.
        AssertionError: something is left in the server that may not be, as an item that came twice.
    """
    computed = task.server.cpu_seconds()
    produced, consumed = run_sides(partial(run_side, producer, task), partial(run_side, consumer, task))
    computed = task.server.cpu_seconds() - computed
    if not leaves_keys:
        task.server.check_empty()
    return {
        **rates(task, produced, consumed),
        Figure.PRODUCER_CPU: produced.computed / task.items * 1e6,
        Figure.CONSUMER_CPU: consumed.computed / task.items * 1e6,
        Figure.SERVER_CPU: computed / task.items * 1e6,
    }


def rates(task: Round, produced: Stopwatch, consumed: Stopwatch) -> Figures:
    """Items per second until the consumer had handled the last one, and until the producer had sent it."""
    return {
        Figure.RATE: task.items / (consumed.ended - produced.began),
        Figure.PUSH_RATE: task.items / (produced.ended - produced.began),
    }


def run_sides(
    producer: Callable[[], P],
    consumer: Callable[[], C],
    initializer: Callable[..., None] | None = None,
    initargs: tuple[Any, ...] = (),
) -> tuple[P, C]:
    """What both returned, each from a new process.

    Args:
        producer: what one process calls; it can be pickled.
        consumer: what the other one calls.
        initializer: what both call before.
        initargs: its arguments, among which may be what only a new process can inherit.

    Raises:
        Exception: what a side raised.
    """
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, context, initializer, initargs) as processes:
        consumed = processes.submit(consumer)
        produced = processes.submit(producer)
        sides: list[Future[Any]] = [consumed, produced]
        for side in wait(sides, return_when=FIRST_EXCEPTION).done:
            side.result()
        return produced.result(), consumed.result()


def run_alone(side: Side[T], task: Round) -> T:
    """What a side returned, from a new process."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as processes:
        return processes.submit(run_side, side, task).result()


def run_side(side: Side[T], task: Round) -> T:
    """What a side returns, run in this process."""
    if task.profiles is None:
        return asyncio.run(_await(side, task))
    profile = cProfile.Profile()
    try:
        return profile.runcall(asyncio.run, _await(side, task))
    finally:
        profile.dump_stats(task.profiles / f"{getattr(side, '__name__', 'side')}.prof")


async def _await(side: Side[T], task: Round) -> T:
    return await side(task)


def plain_client(task: Round) -> Redis:
    """redis-py's asyncio client as it comes, but patient: its own 5 seconds would cut a longer BRPOP off."""
    return Redis.from_url(task.server.url, socket_timeout=2 * PATIENCE)


@asynccontextmanager
async def connected_store(task: Round) -> AsyncIterator[DataStore]:
    """nodeflow's store, connected."""
    async with DataStore.from_url(task.server.url, prefix=task.server.prefix) as store:
        await store.connection.ensure_connection()
        yield store


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


def described(place: int) -> dict[str, Any]:
    """The item at a place: about 140 bytes of JSON."""
    return {**_ITEM, "metadata": {"a": place}}


def check(item: Any, place: int) -> None:
    """Refuse an item that isn't the one for this place."""
    if item["metadata"]["a"] != place:
        raise AssertionError(f"item {place} was expected, not {item}")


class Tally:
    """Which items have come, in whatever order.

    Args:
        items: how many are to come.
    """

    def __init__(self, items: int) -> None:
        self._seen = bytearray(items)
        self.missing = items

    def add(self, item: Any) -> None:
        """Count an item; refuse one that came before or that nobody sent."""
        place = item["metadata"]["a"]
        if not 0 <= place < len(self._seen) or self._seen[place]:
            raise AssertionError(f"nobody sent {item}, or it came twice")
        self._seen[place] = True
        self.missing -= 1


_ITEM = {"id": "node_1", "data": {"x": list(range(10)), "text": "hello world" * 5}, "metadata": {"a": 1}}
