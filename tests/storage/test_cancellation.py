"""A call that is cancelled ends there and then, wherever it was; the next one finds nothing of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from nodeflow.storage import DataStore
from tests.storage.looking import balanced, drained


async def lease(store: DataStore) -> None:
    async with store.queue.lease("jobs", 3, timeout=0) as lease:
        if lease:
            await lease.commit(items=lease[:1], pushes={"jobs": [1]})
            await lease.retry(lease[-1])


CALLS: dict[str, Callable[[DataStore], Awaitable[Any]]] = {
    "push": lambda store: store.queue.push("jobs", 1),
    "push with a deadline": lambda store: store.queue.push("jobs", 1, timeout=5),
    "push_many": lambda store: store.queue.push_many("jobs", [1, 2, 3]),
    "delayed push": lambda store: store.queue.push("jobs", 1, delay=0.001),
    "pop": lambda store: store.queue.pop("jobs", timeout=0),
    "waiting pop": lambda store: store.queue.pop("jobs", timeout=0.001),
    "lease": lease,
    "commit": lambda store: store.queue.commit(pushes={"jobs": [1]}),
    "tally": lambda store: store.queue.tally("jobs"),
    "peek": lambda store: store.queue.peek("jobs"),
    "clear": lambda store: store.queue.clear("jobs"),
    "names": lambda store: store.queue.names(),
    "bound": lambda store: store.queue.bound("others", None),
    "dead_letters": lambda store: store.queue.dead_letters("jobs"),
    "requeue": lambda store: store.queue.requeue("jobs"),
    "set": lambda store: store.cache.set("gone", 1, ttl=60),
    "get": lambda store: store.cache.get("key"),
    "stream": lambda store: anext(store.queue.stream("others", 1)),
}


@pytest.fixture
async def other(server_url: str, store: DataStore) -> AsyncIterator[DataStore]:
    """The store whose calls are cancelled; what these have taken is back when it is closed."""
    async with DataStore.from_url(server_url, prefix=store.prefix) as other:
        await other.queue.push_many("jobs", range(5))
        yield other
    await store.queue.clear("jobs")
    await balanced(store)


@pytest.mark.parametrize("call", CALLS)
async def test_a_call_that_is_cancelled_at_any_moment_does_not_go_on(other: DataStore, call: str) -> None:
    await other.cache.set("key", "answer", ttl=60)
    for turns in range(60):
        await other.queue.push_many("jobs", range(5))
        task = asyncio.create_task(again_and_again(other, call))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        assert await other.cache.get("key") == "answer"  # and not that of another call
        assert await other.queue.leased("jobs") == 0
        assert set(await drained(other)) <= {0, 1, 2, 3, 4}


async def again_and_again(store: DataStore, call: str) -> None:
    for _ in range(200):
        await CALLS[call](store)


@pytest.mark.parametrize("call", CALLS)
async def test_a_time_out_around_a_call_is_kept(other: DataStore, call: str) -> None:
    async def go_on_for(seconds: float) -> None:
        async with asyncio.timeout(seconds):
            while True:
                await CALLS[call](other)

    for milliseconds in range(1, 15, 2):
        with pytest.raises(TimeoutError):
            await go_on_for(milliseconds / 1_000)
