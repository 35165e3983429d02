"""Delayed items: taken in the order in which they are due, by the server's clock and not before."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from redis.asyncio import Redis

from nodeflow.storage import DataStore
from tests.storage.looking import balanced, drained, seconds_of, until_passed, values
from tests.storage.waiting import started
from tests.support import until


async def by_pop(store: DataStore) -> Any:
    return await store.queue.pop("jobs", timeout=10)


async def by_lease(store: DataStore) -> Any:
    async with store.queue.lease("jobs", timeout=10) as lease:
        return lease[0].value


async def by_stream_to_the_end(store: DataStore) -> Any:
    return [item.value async for item in store.queue.stream("jobs")]


Taker = Callable[[DataStore], Coroutine[Any, Any, Any]]
TAKERS: list[Taker] = [by_pop, by_lease]


@pytest.mark.parametrize("taker", TAKERS)
async def test_items_are_taken_in_the_order_in_which_they_are_due_and_not_before(
    store: DataStore, client: Redis, taker: Taker
) -> None:
    delays = [0.7, 0.1, 0.5, 0.3]
    began = await seconds_of(client)
    for delay in delays:
        await store.queue.push("jobs", delay, delay=delay)
    found = []
    for _ in delays:
        found.append(await taker(store))
        assert await seconds_of(client) >= began + found[-1]
    assert found == sorted(delays)
    await balanced(store, pushed=4, done=4)


@pytest.mark.parametrize("taker", TAKERS)
async def test_whoever_waits_already_gets_an_item_that_is_pushed_with_a_delay(
    store: DataStore, client: Redis, taker: Taker
) -> None:
    async with started(taker(store)) as taking:
        await until(lambda: is_asked(store, client), 5, "the taker waits")
        began = await seconds_of(client)
        await store.queue.push("jobs", "x", delay=0.3)
        assert await asyncio.wait_for(taking, 5) == "x"
        assert 0.3 <= await seconds_of(client) - began < 2.5  # a command blocks for a second at most
    await balanced(store, done=1)


async def is_asked(store: DataStore, client: Redis) -> bool:
    return any(each["cmd"] in ("brpop", "blmove") for each in await client.client_list())


async def test_a_stream_waits_for_what_is_due_later(store: DataStore, client: Redis) -> None:
    await store.queue.register_writers("jobs", ["w"])
    async with started(by_stream_to_the_end(store)) as streaming:
        async with store.queue.write_as("jobs", "w"):
            began = await seconds_of(client)
            await store.queue.push("jobs", "later", delay=0.7)
            await store.queue.push("jobs", "now")
        assert await asyncio.wait_for(streaming, 10) == ["now", "later"]
        assert await seconds_of(client) >= began + 0.7
    await balanced(store, done=2)


async def test_what_is_delayed_does_not_wait_but_is_counted(store: DataStore, client: Redis) -> None:
    await store.queue.push_many("jobs", list("ab"), delay=60)
    await store.queue.push("jobs", "c", delay=0.05)
    await store.queue.push("jobs", "d")
    await balanced(store, delayed=3, waiting=1)
    assert await store.queue.delayed("jobs") == 3
    assert await store.queue.length("jobs") == 1
    assert await store.queue.peek("jobs") == ["d"]
    await until_passed(client, 0.05)
    assert await drained(store) == ["c", "d"]
    await balanced(store, delayed=2, done=2)
    assert await store.queue.names() == ["jobs"]
    assert await store.queue.clear("jobs") == 2
    await balanced(store, delayed=0, discarded=2)
    assert await store.queue.names() == []


@pytest.mark.parametrize("late", [3, 1_500])
@pytest.mark.parametrize("taker", ["lease", "pop"])
async def test_what_is_due_comes_before_what_waits(store: DataStore, client: Redis, late: int, taker: str) -> None:
    await store.queue.push_many("jobs", ["waiting"] * 10)
    await store.queue.push_many("jobs", range(late), delay=0.001)
    await until_passed(client, 0.01)
    if taker == "lease":
        found = await drained(store)
    else:
        found = [await store.queue.pop("jobs", timeout=0) for _ in range(late + 10)]
    assert found == [*range(late), *["waiting"] * 10]
    await balanced(store, done=late + 10)


async def test_an_item_is_tried_again_after_its_delay_and_not_before(store: DataStore, client: Redis) -> None:
    await store.queue.push_many("jobs", list("abc"))
    async with store.queue.lease("jobs", 3, timeout=0) as lease:
        began = await seconds_of(client)
        await lease.retry(lease[0], delay=0.4, error="busy")
        await lease.retry(lease[1], delay=0.2)
        await balanced(store, leased=1, delayed=2)
    async with store.queue.lease("jobs", 10, timeout=0) as nothing:
        assert not nothing
    for item, delay, error in ((lease[1], 0.2, ""), (lease[0], 0.4, "busy")):
        async with store.queue.lease("jobs", 10, timeout=10) as again:
            assert await seconds_of(client) >= began + delay
            assert [(each.id, each.value, each.attempt, each.error) for each in again] == [
                (item.id, item.value, 2, error)
            ]
    await balanced(store, done=3)


async def test_an_item_may_be_retried_again_and_again(store: DataStore) -> None:
    await store.queue.push("jobs", "x")
    for attempt in range(1, 10):
        async with store.queue.lease("jobs", timeout=5) as lease:
            assert lease[0].attempt == attempt
            await lease.retry(lease[0], delay=0.01)
            assert not lease.is_open
    await balanced(store, delayed=1, done=0)
    await store.queue.clear("jobs")


@pytest.mark.parametrize("jump", [-3600.0, 3600.0])
async def test_a_jump_of_the_clients_clock_changes_nothing(
    store: DataStore, client: Redis, jump: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    true_time, true_nanoseconds = time.time, time.time_ns
    began = await seconds_of(client)
    await store.queue.push("jobs", "before", delay=0.3)
    async with store.queue.lease("others", timeout=0):
        monkeypatch.setattr(time, "time", lambda: true_time() + jump)
        monkeypatch.setattr(time, "time_ns", lambda: true_nanoseconds() + round(jump * 1e9))
        await store.queue.push("jobs", "after", delay=0.4)
        await balanced(store, delayed=2)
        assert await store.queue.pop("jobs", timeout=0) is None
        for value, delay in (("before", 0.3), ("after", 0.4)):
            assert await store.queue.pop("jobs", timeout=10) == value
            assert began + delay <= await seconds_of(client) < began + delay + 5


async def test_delayed_items_outlive_their_store(server_url: str, store: DataStore) -> None:
    async with DataStore.from_url(server_url, prefix=store.prefix) as other:
        await other.queue.push("jobs", "x", delay=0.1)
    assert await store.queue.pop("jobs", timeout=5) == "x"


async def test_delays_of_many_stores_are_in_one_order(server_url: str, store: DataStore) -> None:
    async with DataStore.from_url(server_url, prefix=store.prefix) as other:
        for place in range(8):
            await (store, other)[place % 2].queue.push("jobs", place, delay=1 - place / 10)
        assert [await by_pop(store) for _ in range(8)] == list(reversed(range(8)))


async def test_no_delay_is_a_plain_push(store: DataStore) -> None:
    await store.queue.push("jobs", 1, delay=0)
    await store.queue.push_many("jobs", [2, 3], delay=0.0)
    await balanced(store, waiting=3, delayed=0)
    assert await drained(store) == [1, 2, 3]


@pytest.mark.parametrize("delay", [-1, -0.1, math.nan, math.inf, True, "1"], ids=repr)
async def test_a_bad_delay_is_refused(store: DataStore, delay: Any) -> None:
    for call in (store.queue.push("jobs", 1, delay=delay), store.queue.push_many("jobs", [1], delay=delay)):
        with pytest.raises(ValueError, match="delay must be seconds, 0 or more"):
            await call
    await store.queue.push("jobs", 1)
    async with store.queue.lease("jobs", timeout=0) as lease:
        with pytest.raises(ValueError, match="delay must be seconds, 0 or more"):
            await lease.retry(lease[0], delay=delay)
        assert values(lease.held) == [1]
    await balanced(store, pushed=1, done=1)


async def test_what_is_hastened_is_due_at_once_in_the_order_of_the_times(store: DataStore) -> None:
    for number, delay in enumerate((3600, 60, 1800)):
        await store.queue.push("jobs", number, delay=delay)
    await store.queue.push("jobs", "waits")
    await store.queue.hasten("jobs")
    assert [await store.queue.pop("jobs", timeout=0) for _ in range(4)] == [1, 2, 0, "waits"]
    await store.queue.hasten("jobs")
