"""Processes that die, freeze or compute for too long while they hold items or push them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from nodeflow.settings import Settings
from nodeflow.storage import DataStore
from tests.faults.balance import all_values, balanced
from tests.faults.workers import worker
from tests.storage.waiting import started
from tests.support import until

LEASE = 1.0
SETTINGS = {"lease_seconds": LEASE}


@pytest.fixture
async def store(server_url: str, token: str) -> AsyncIterator[DataStore]:
    async with DataStore.open(Settings(url=server_url, lease_seconds=LEASE), prefix=f"{token}:") as store:
        yield store


async def test_what_a_killed_consumer_held_comes_back_to_another_first_and_in_order(store: DataStore) -> None:
    await store.queue.push_many("jobs", range(510))
    async with worker("hold", store, max_items=500, settings=SETTINGS) as holder:
        assert await holder.said() == list(range(500))
        await holder.kill()
    died = time.monotonic()
    taken: list[Any] = []
    async with store.queue.lease("jobs", 10) as lease:  # in the queue waits what the dead one left
        taken += [item.value for item in lease]
    assert taken == list(range(500, 510))
    while len(taken) < 510:
        async with store.queue.lease("jobs", 100, timeout=LEASE + 5) as lease:
            assert len(lease) == 1, "suspects come one at a time"
            assert lease[0].attempt == 2
            assert "died, was cut off" in lease[0].error
            taken.append(lease[0].value)
    assert time.monotonic() - died < LEASE + 5 + 20
    assert taken[10:] == list(range(500))
    assert (await balanced(store, "jobs", 510)).done == 510


async def test_it_is_found_within_the_lease_and_five_seconds_by_one_who_waits(store: DataStore) -> None:
    await store.queue.push("jobs", "held")
    async with worker("hold", store, max_items=1, settings=SETTINGS) as holder:
        assert await holder.said() == ["held"]
        async with store.queue.lease("jobs", timeout=0) as lease:
            assert not lease, "from now on this store looks after the queue"
        await holder.kill()
        died = time.monotonic()
        async with store.queue.lease("jobs", timeout=LEASE + 5) as lease:
            assert [item.value for item in lease] == ["held"]
    assert time.monotonic() - died < LEASE + 5
    assert store.stats().recovered == 1
    await balanced(store, "jobs", 1)


async def test_a_successor_in_the_slot_takes_over_at_once_and_the_former_holder_can_do_nothing_any_more(
    store: DataStore,
) -> None:
    await store.queue.push_many("jobs", range(3))
    slot = {"max_items": 3, "consumer": "count/0", "settings": {"lease_seconds": 60}}
    async with worker("hold", store, **slot) as former:
        assert await former.said() == [0, 1, 2]
        before = time.monotonic()
        async with store.queue.lease("jobs", 3, timeout=5, consumer="count/0") as lease:
            assert [item.value for item in lease] == [0]
        assert time.monotonic() - before < 3
        former.go()
        assert await former.said() == "lost"
    assert await all_values(store, "jobs") == [1, 2]
    assert await store.queue.length("out") == 0
    assert not await store.cache.exists("late")
    assert (await balanced(store, "jobs", 3)).done == 3


async def test_a_consumer_that_was_frozen_past_its_lease_loses_it_and_none_of_its_late_writes_count(
    store: DataStore,
) -> None:
    await store.queue.push_many("jobs", range(2))
    async with worker("hold", store, max_items=2, settings=SETTINGS) as frozen:
        assert await frozen.said() == [0, 1]
        async with store.queue.lease("jobs", timeout=0) as lease:
            assert not lease
        frozen.freeze()
        async with store.queue.lease("jobs", timeout=LEASE + 5) as lease:
            assert [item.value for item in lease] == [0]
            frozen.thaw()
            frozen.go()
            assert await frozen.said() == "lost"
    assert await all_values(store, "jobs") == [1]
    assert await store.queue.length("out") == 0
    assert not await store.cache.exists("late")
    assert (await balanced(store, "jobs", 2)).done == 2


async def test_one_that_was_frozen_and_whom_nobody_missed_has_lost_its_lease_all_the_same(store: DataStore) -> None:
    await store.queue.push("jobs", 1)
    async with worker("hold", store, max_items=1, settings={"lease_seconds": 0.4}) as frozen:
        assert await frozen.said() == [1]
        frozen.freeze()
        client = await store.connection.ensure_connection()

        async def is_silent() -> bool:
            return not [key async for key in client.scan_iter(f"*{store.prefix}*heartbeat*")]

        await until(is_silent, 5, "its sign of life has run out")
        frozen.thaw()
        frozen.go()
        assert await frozen.said() == "lost"
    assert await store.queue.length("out") == 0
    await store.queue.clear_leases("jobs")
    await store.queue.clear("jobs")


async def test_a_consumer_whose_event_loop_is_blocked_for_two_leases_keeps_its_items(store: DataStore) -> None:
    await store.queue.push_many("jobs", range(10))
    async with worker("spin", store, seconds=2 * LEASE + 0.5, settings=SETTINGS) as spinning:
        assert await spinning.said() == 10
        async with started(_take_all(store)) as other:
            assert await spinning.said() == "done"
            assert not other.done(), "nobody else got anything"
    tally = await balanced(store, "jobs", 10)
    assert tally.done == 10
    assert store.stats().recovered == 0


async def _take_all(store: DataStore) -> None:
    async with store.queue.lease("jobs", 10):
        pass


async def test_a_producer_that_is_killed_in_the_middle_loses_nothing_that_was_confirmed_and_doubles_nothing(
    store: DataStore,
) -> None:
    async with worker("push", store, count=10_000, parts=100) as producer:
        confirmed = 0
        while confirmed < 3_000:
            confirmed = await producer.said()
        await producer.kill()
        while (more := await producer.said()) is not None:
            confirmed = more
    values = await all_values(store, "jobs")
    assert values == list(range(len(values)))
    assert confirmed <= len(values) <= 10_000
    await balanced(store, "jobs", len(values))


@pytest.mark.slow
async def test_a_poison_item_goes_to_the_dead_letters_and_its_neighbours_are_handled(store: DataStore) -> None:
    """Consumers in one slot, each started when the former has died, as a supervisor does."""
    await store.queue.push_many("jobs", range(60))
    deaths = 0
    while await store.queue.length("out") < 59 or not await store.queue.dead_letters("jobs"):
        async with worker("consume", store, poison=30, settings={"lease_seconds": 0.5}) as consumer:

            async def is_over() -> bool:
                return await store.queue.length("out") == 59 and bool(await store.queue.dead_letters("jobs"))

            async with started(consumer.ended()) as ended, started(until(is_over, 20, "the others are out")) as over:
                await asyncio.wait([ended, over], return_when=asyncio.FIRST_COMPLETED)
                deaths += ended.done()
                assert over.done() is False or over.exception() is None
        assert deaths <= 5
    letter, *none = await store.queue.dead_letters("jobs")
    assert (letter.value, none) == (30, [])
    assert "died, was cut off" in letter.error
    assert deaths == 4, "one in company, three alone"
    assert sorted(map(str, await all_values(store, "out"))) == sorted(map(str, [*range(30), *range(31, 60)]))
    assert (await balanced(store, "jobs", 60)).dead == 1
    assert await store.queue.discard("jobs", [letter.id]) == 1
    await balanced(store, "jobs", 60)
