"""Few connections for many tasks: waiting for items keeps no other call waiting, and the pool is a hard limit."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any

import anyio
import pytest
from redis.asyncio import Redis

from nodeflow.errors import StoreClosedError
from nodeflow.storage import DataStore
from tests.storage.looking import balanced, calls, values
from tests.storage.servers import Server
from tests.storage.waiting import started, until_blocked
from tests.support import until

QUEUES = [f"jobs-{number}" for number in range(10)]


@pytest.fixture
async def client(server: Server) -> AsyncIterator[Redis]:
    async with Redis.from_url(server.url, client_name="looking") as client:
        yield client


async def others(client: Redis) -> list[dict[str, Any]]:
    """The connections of the stores."""
    return [each for each in await client.client_list() if each["name"] != "looking"]


@asynccontextmanager
async def watched(client: Redis) -> AsyncIterator[list[tuple[int, int]]]:
    """How many connections there were, and how many of them blocked, at each of many moments."""
    seen: list[tuple[int, int]] = []
    is_over = False

    async def watch() -> None:
        while not is_over:
            found = await others(client)
            seen.append((len(found), sum("b" in each["flags"] for each in found)))

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(watch())
        try:
            yield seen
        finally:
            is_over = True  # before Python 3.12 redis-py may miss a cancellation


async def pop(store: DataStore, name: str) -> Any:
    return await store.queue.pop(name)


async def lease(store: DataStore, name: str) -> Any:
    async with store.queue.lease(name) as lease:
        return lease[0].value


async def stream(store: DataStore, name: str) -> Any:
    return [item.value async for item in store.queue.stream(name, 1)]


@pytest.mark.parametrize("pool_size", [4, 6, 10])
async def test_a_thousand_waiting_tasks_starve_no_other_call_and_need_no_more_connections(
    server: Server, client: Redis, pool_size: int
) -> None:
    async with (
        DataStore.from_url(server.url, pool_size=pool_size, lease_seconds=2) as store,
        watched(client) as seen,
        asyncio.TaskGroup() as tasks,
    ):
        work: list[Callable[..., Coroutine[Any, Any, Any]]] = [pop, lease]
        waiting = {name: [tasks.create_task(work[place % 2](store, name)) for place in range(100)] for name in QUEUES}
        await until_blocked_somewhere(client, pool_size // 2)
        with anyio.fail_after(5):
            for number in range(50):
                assert await store.cache.get(f"key-{number}", default="nothing") == "nothing"
        assert not any(task.done() for name in QUEUES for task in waiting[name])
        await until_beaten(client)
        for name in QUEUES:
            await store.queue.push_many(name, [[name, number] for number in range(100)])
        for name in QUEUES:
            found = await asyncio.gather(*waiting[name])
            assert sorted(found) == [[name, number] for number in range(100)]
            await balanced(store, name, pushed=100, done=100)
    assert max(number for number, _ in seen) == pool_size
    assert max(blocked for _, blocked in seen) <= pool_size // 2


async def until_blocked_somewhere(client: Redis, number: int) -> None:
    async def are_there() -> bool:
        return sum("b" in each["flags"] for each in await others(client)) >= number

    await until(are_there, 10, f"{number} connections block")


async def until_beaten(client: Redis) -> None:
    """Wait until the heartbeat, which has a connection of its own, was heard."""
    before = await calls(client, "pexpire")

    async def is_heard() -> bool:
        return await calls(client, "pexpire") > before

    await until(is_heard, 10, "the heart beats")


async def test_everything_at_once_stays_within_the_pool(server: Server, client: Redis) -> None:
    async with DataStore.from_url(server.url, pool_size=4, lease_seconds=1) as store, watched(client) as seen:
        await store.queue.bound("full", 1)
        await store.queue.push("full", 0)
        async with anyio.create_task_group() as tasks:
            for name in QUEUES:
                for work in (pop, lease, stream):
                    tasks.start_soon(work, store, name)
                tasks.start_soon(store.queue.push, "full", name)
            for _ in range(10):
                tasks.start_soon(one_hop, store)
            await until_beaten(client)
            with anyio.fail_after(5):
                await asyncio.gather(*(store.cache.get(f"key-{number}") for number in range(100)))
            # A connection that is cut by a cancellation is seen for a moment beside the one that replaces it.
            most, blocked = (max(numbers) for numbers in zip(*seen, strict=True))
            tasks.cancel_scope.cancel()
        await until_blocked_nowhere(client)
    assert (most, blocked) == (4, 2)


async def one_hop(store: DataStore) -> None:
    await store.queue.commit(pushes={"full": [1]})


async def until_blocked_nowhere(client: Redis) -> None:
    async def is_free() -> bool:
        return not any("b" in each["flags"] for each in await others(client))

    await until(is_free, 5, "no connection blocks any more")


@pytest.mark.parametrize("work", [pop, lease])
async def test_a_queue_for_which_no_connection_blocks_is_looked_at_all_the_same(
    server: Server, client: Redis, work: Callable[..., Coroutine[Any, Any, Any]]
) -> None:
    async with DataStore.from_url(server.url, pool_size=4) as store, anyio.create_task_group() as tasks:
        for name in QUEUES[:2]:
            tasks.start_soon(pop, store, name)
        await until_blocked(client, "brpop", 2)
        async with started(work(store, "jobs")) as waiting, asyncio.timeout(5):
            await until_looked_at(client)
            await store.queue.push("jobs", 1)
            assert await waiting == 1
        tasks.cancel_scope.cancel()


async def until_looked_at(client: Redis) -> None:
    """Wait until the queues without a blocking connection were looked at once more."""
    before = await calls(client, "exists")

    async def has_looked() -> bool:
        return await calls(client, "exists") > before + 1

    await until(has_looked, 5, "the other queues are looked at")


async def test_queues_without_a_connection_are_looked_at_together_twenty_times_a_second(
    server: Server, client: Redis
) -> None:
    async with DataStore.from_url(server.url, pool_size=4) as store, anyio.create_task_group() as tasks:
        for number in range(40):
            tasks.start_soon(pop, store, f"many-{number}")
        await until_looked_at(client)
        began = anyio.current_time()
        before = await calls(client, "exists")
        while (looked := await calls(client, "exists") - before) < 38 * 10:
            await anyio.lowlevel.checkpoint()
        assert looked / 38 <= (anyio.current_time() - began) / 0.05 + 2
        tasks.cancel_scope.cancel()


async def test_who_stops_waiting_for_a_queue_takes_nobodys_wake_up_along(server: Server, client: Redis) -> None:
    async with DataStore.from_url(server.url, pool_size=4) as store, anyio.create_task_group() as tasks:
        for name in QUEUES[:2]:
            tasks.start_soon(pop, store, name)
        await until_blocked(client, "brpop", 2)
        async with started(pop(store, "jobs")) as popping:
            await until_looked_at(client)
            async with store.queue.lease("jobs", timeout=0.12) as nothing:
                assert not nothing
            await store.queue.push("jobs", 1)
            assert await asyncio.wait_for(popping, 0.6) == 1
        tasks.cancel_scope.cancel()


async def test_the_connections_are_gone_when_the_store_is_closed(server: Server, client: Redis) -> None:
    async with DataStore.from_url(server.url, pool_size=4, lease_seconds=1) as store:
        async with store.queue.lease("jobs", timeout=0), started(pop(store, "jobs")):
            await until_beaten(client)
        assert len(await others(client)) == 3

    async def are_gone() -> bool:
        return await others(client) == []

    await until(are_gone, 5, "the server has no connection of the store any more")


async def test_items_are_shared_by_the_waiting_tasks_of_two_stores(server: Server) -> None:
    async with (
        DataStore.from_url(server.url, pool_size=4) as one,
        DataStore.from_url(server.url, pool_size=4) as other,
        asyncio.TaskGroup() as tasks,
    ):
        waiting = [
            tasks.create_task(work(store, "jobs")) for store in (one, other) for work in (pop, lease) for _ in range(50)
        ]
        for number in range(200):
            await one.queue.push("jobs", number)
    assert sorted(task.result() for task in waiting) == list(range(200))


async def test_a_lease_of_many_takes_what_is_there_while_others_wait(server: Server, client: Redis) -> None:
    async with DataStore.from_url(server.url, pool_size=4) as store, started(lease(store, "others")):
        await until_blocked(client, "blmove")
        await store.queue.push_many("jobs", range(500))
        async with store.queue.lease("jobs", 500) as found:
            assert values(found) == list(range(500))


async def test_a_store_may_be_closed_at_any_turn_of_a_lease_that_begins(server_url: str, token: str) -> None:
    for turns in range(40):
        store = DataStore.from_url(server_url, prefix=f"{token}:")
        await store.queue.length("jobs")
        async with started(lease_one(store)):
            for _ in range(turns):
                await asyncio.sleep(0)
            await store.close()


async def lease_one(store: DataStore) -> None:
    with suppress(StoreClosedError):
        async with store.queue.lease("jobs"):
            pytest.fail("there is nothing to lease")
