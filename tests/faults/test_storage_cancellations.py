"""Cancelling any call at any point: no item is lost or doubled, and no reply is left for the next caller."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import anyio
import pytest

from nodeflow.storage import DataStore
from tests.faults.balance import all_values, balanced
from tests.support import until

pytestmark = pytest.mark.slow

TIMES = 1_000
WAYS = ["task", "scope", "timeout"]

Call = Callable[[DataStore, int], Awaitable[Any]]


async def _lease(store: DataStore, number: int) -> Any:
    async with store.queue.lease("jobs", 3) as lease:
        await asyncio.sleep(0)
        values = [item.value for item in lease]
        await lease.commit(items=lease[:1])
    return values


async def _hop(store: DataStore, number: int) -> None:
    async with store.queue.lease("jobs", 2) as lease:
        await lease.commit(pushes={"out": [item.value for item in lease]})


async def _stream(store: DataStore, number: int) -> None:
    async for _ in store.queue.stream("jobs", 5):
        await asyncio.sleep(0)


CALLS: dict[str, Call] = {
    "push": lambda store, number: store.queue.push("jobs", number),
    "push_many": lambda store, number: store.queue.push_many("jobs", [number, number]),
    "delayed push": lambda store, number: store.queue.push("jobs", number, delay=0.001),
    "pop": lambda store, _: store.queue.pop("jobs"),
    "lease": _lease,
    "hop": _hop,
    "stream": _stream,
    "commit": lambda store, number: store.queue.commit(pushes={"jobs": [number]}, counts={"n": 1}, job="j"),
    "requeue": lambda store, _: store.queue.requeue("letters"),
    "tally": lambda store, _: store.queue.tally("jobs"),
    "get": lambda store, _: store.cache.get("key"),
}


async def cancelled(call: Callable[[], Awaitable[Any]], way: str, turns: int) -> Any:
    """Start a call and cancel it after so many turns of the event loop; what it gave if it was faster."""
    if way == "task":
        task = asyncio.ensure_future(call())
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        return (await asyncio.gather(task, return_exceptions=True))[0]
    if way == "scope":
        results = []
        async with anyio.create_task_group() as tasks:

            async def run() -> None:
                results.append(await call())

            tasks.start_soon(run)
            for _ in range(turns):
                await asyncio.sleep(0)
            tasks.cancel_scope.cancel()
        return results[0] if results else None
    try:
        async with asyncio.timeout(turns / 20_000):
            return await call()
    except TimeoutError:
        return None


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("call", CALLS)
async def test_a_thousand_cancellations_lose_and_double_nothing(store: DataStore, call: str, way: str) -> None:
    dice = random.Random(f"{call} {way}")
    await store.cache.set("key", "value", ttl=60)
    await store.queue.commit(dead={"letters": [1, 2, 3]})
    ends: Counter[str] = Counter()
    popped: list[Any] = []
    for number in range(TIMES):
        if call in ("pop", "lease", "hop", "stream") and number % 2:
            await store.queue.push("jobs", number)
        result = await cancelled(partial(CALLS[call], store, number), way, dice.randrange(60))
        ends[type(result).__name__] += 1
        if call == "pop" and isinstance(result, int):
            popped.append(result)
        if number % 50 == 0:
            assert await store.cache.get("key") == "value", "the reply is the next caller's own"
    await check(store, call, popped)
    assert not isinstance(ends.get("StorageError"), int)


@pytest.mark.parametrize("way", WAYS)
async def test_a_lease_of_many_that_is_cancelled_loses_and_doubles_nothing(store: DataStore, way: str) -> None:
    for turns in range(100):
        name, begun = f"jobs{turns}", asyncio.Event()
        await store.queue.push_many(name, range(300))

        async def take(name: str = name, begun: asyncio.Event = begun) -> None:
            async with store.queue.lease(name, 300) as lease:
                begun.set()
                assert [item.value for item in lease] == list(range(300))

        await cancelled(take, way, turns)
        await until(partial(_has_no_lease, store, name), 5, "what was taken is given back")
        left = await all_values(store, name)
        assert left == list(range(300)) or (left == [] and begun.is_set())


async def _has_no_lease(store: DataStore, name: str) -> bool:
    return not await store.queue.leased(name)


async def _is_settled(store: DataStore, at_least: int) -> bool:
    try:
        return (await balanced(store, "jobs")).waiting >= at_least
    except AssertionError:
        return False


async def check(store: DataStore, call: str, popped: list[Any]) -> None:
    """After the cancellations: all is where it should be."""
    at_least = TIMES // 2 - len(popped) if call == "pop" else 0  # until it is put back a popped item counts as done
    await until(lambda: _is_settled(store, at_least), 5, "what came for those who are gone is put back")
    tally = await balanced(store, "jobs")
    left: Any = await all_values(store, "jobs")
    if call == "pop":
        assert sorted([*popped, *left]) == list(range(1, TIMES, 2))
    elif call == "hop":
        out = await all_values(store, "out")
        assert sorted(map(str, [*out, *left])) == sorted(map(str, range(1, TIMES, 2)))
    elif call in ("push", "push_many", "commit"):
        counts = Counter(left)
        assert set(counts.values()) <= ({2} if call == "push_many" else {1}), "each is there once or not at all"
        assert list(counts) == sorted(counts), "in order"
    assert tally.leased == 0
    if call == "commit":
        assert (await store.ledger("j").read()).get("n", 0) == len(left)
    await balanced(store, "letters", 3)
    await store.queue.discard("letters", None)
    await store.queue.clear("letters")
    await store.queue.clear("jobs")
