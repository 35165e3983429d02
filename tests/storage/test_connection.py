"""The connection: made on first use, one for all, at most so many, and closed for good."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest
from redis.asyncio import Redis

from nodeflow.errors import StorageError, StoreClosedError
from nodeflow.settings import Settings
from nodeflow.storage import DataStore, RedisConnection
from nodeflow.storage.endings import to_the_end
from tests.storage.servers import deaf_port
from tests.storage.waiting import execute, started, until_blocked
from tests.support import until


async def clients(client: Redis) -> int:
    """How many connections are younger than the one that asks; those of an earlier test may be closing still."""
    own = await client.client_id()
    return sum(int(each["id"]) > own for each in await client.client_list())


async def test_nothing_is_connected_before_the_first_call(server_url: str, client: Redis, token: str) -> None:
    before = await clients(client)
    async with DataStore.from_url(server_url, prefix=f"{token}:") as store:
        repr(store)
        store.queue.lease("jobs")
        assert await clients(client) == before
        await store.queue.length("jobs")
        assert await clients(client) == before + 1


async def test_concurrent_first_use_makes_one_client(server_url: str, client: Redis, token: str) -> None:
    before = await clients(client)
    async with DataStore.from_url(server_url, prefix=f"{token}:") as store:
        views = [store, store.scoped("a:"), store.scoped("b:")]
        found = await asyncio.gather(*(views[each % 3].connection.ensure_connection() for each in range(100)))
        assert {id(each) for each in found} == {id(await store.connection.ensure_connection())}
        assert await clients(client) == before + 1


async def test_the_client_is_that_of_redis_py(store: DataStore) -> None:
    client = await store.connection.ensure_connection()
    assert isinstance(client, Redis)
    assert await client.ping() is True


async def test_an_error_among_several_replies_leaves_none_for_who_has_the_connection_next(store: DataStore) -> None:
    connection = store.connection
    a_list, a_text = f"{store.prefix}list", f"{store.prefix}text"
    await connection.call("RPUSH", a_list, "element", operation="push")
    await connection.call("SET", a_text, "text", operation="set")
    for _ in range(3):
        with pytest.raises(StorageError, match="WRONGTYPE"):
            await connection.pipeline([("GET", a_text), ("GET", a_list), ("GET", a_text)], "read")
        assert await connection.call("STRLEN", a_text, operation="measure") == 4
    await connection.call("DEL", a_list, a_text, operation="remove")


async def test_the_first_use_may_be_cancelled_and_the_next_one_connects(server_url: str, token: str) -> None:
    for turns in range(15):
        async with DataStore.from_url(server_url, prefix=f"{token}:") as store:
            async with started(store.queue.length("jobs")):
                for _ in range(turns):
                    await asyncio.sleep(0)
            assert await store.queue.length("jobs") == 0


async def test_no_more_connections_are_held_than_the_pool_may_have(server_url: str, client: Redis, token: str) -> None:
    before = await clients(client)
    async with DataStore.from_url(server_url, pool_size=6, prefix=f"{token}:") as store:
        async with asyncio.TaskGroup() as tasks:
            waiting = [tasks.create_task(store.queue.pop("jobs")) for _ in range(40)]
            calls = [tasks.create_task(store.cache.get("key")) for _ in range(200)]
            await until_blocked(client, "brpop", 1)
            await asyncio.wait(calls)
            assert await clients(client) <= before + 6
            await store.queue.push_many("jobs", range(40))
        assert sorted(task.result() for task in waiting) == list(range(40))
        assert await clients(client) <= before + 6


@pytest.mark.parametrize("size", [3, 1, 4.5, "10", True, 0, -1])
def test_a_pool_that_is_too_small_or_no_number_is_refused(size: Any) -> None:
    makers: list[Callable[[], DataStore]] = [
        lambda: DataStore(pool_size=size),
        lambda: DataStore.from_url("redis://server", pool_size=size),
        lambda: DataStore.embedded("folder", pool_size=size),
    ]
    for make in makers:
        with pytest.raises((ValueError, TypeError)):
            make()


async def test_scripts_that_the_server_forgot_are_sent_again(store: DataStore, client: Redis) -> None:
    for _ in range(3):
        await store.queue.push("jobs", 1)
        await execute(client, "SCRIPT FLUSH")
        async with store.queue.lease("jobs", timeout=0) as lease:
            assert lease[0].value == 1
            await execute(client, "SCRIPT FLUSH")


CALLS: dict[str, Callable[[DataStore], Awaitable[Any]]] = {
    "push": lambda store: store.queue.push("jobs", 1),
    "push_many": lambda store: store.queue.push_many("jobs", [1]),
    "push_many of nothing": lambda store: store.queue.push_many("jobs", []),
    "pop": lambda store: store.queue.pop("jobs", timeout=0),
    "waiting pop": lambda store: store.queue.pop("jobs"),
    "lease": lambda store: store.queue.lease("jobs").__aenter__(),
    "length": lambda store: store.queue.length("jobs"),
    "peek": lambda store: store.queue.peek("jobs"),
    "clear": lambda store: store.queue.clear("jobs"),
    "names": lambda store: store.queue.names(),
    "leased": lambda store: store.queue.leased("jobs"),
    "clear_leases": lambda store: store.queue.clear_leases("jobs"),
    "release": lambda store: store.queue.release("jobs", "parse/0"),
    "dead_letters": lambda store: store.queue.dead_letters("jobs"),
    "requeue": lambda store: store.queue.requeue("jobs"),
    "discard": lambda store: store.queue.discard("jobs", None),
    "delayed push": lambda store: store.queue.push("jobs", 1, delay=1),
    "tally": lambda store: store.queue.tally("jobs"),
    "bound": lambda store: store.queue.bound("jobs", 1),
    "commit": lambda store: store.queue.commit(pushes={"jobs": [1]}),
    "set": lambda store: store.cache.set("key", 1),
    "get": lambda store: store.cache.get("key"),
    "delete": lambda store: store.cache.delete("key"),
    "exists": lambda store: store.cache.exists("key"),
    "ttl": lambda store: store.cache.ttl("key"),
    "read": lambda store: store.ledger("job").read(),
    "fields": lambda store: store.ledger("job").fields("states", ["a"]),
    "unmark": lambda store: store.ledger("job").unmark(["mark"]),
    "jobs": lambda store: store.jobs().list(),
    "remove": lambda store: store.ledger("job").remove(),
    "ensure_connection": lambda store: store.connection.ensure_connection(),
}


@pytest.mark.parametrize("is_used", [True, False], ids=["used", "never used"])
@pytest.mark.parametrize("call", CALLS)
async def test_every_call_on_a_closed_store_says_so(server_url: str, token: str, call: str, is_used: bool) -> None:
    store = DataStore.from_url(server_url, prefix=f"{token}:")
    view = store.scoped("view:")
    if is_used:
        await store.queue.length("jobs")
    await store.close()
    await store.close()
    await store.aclose()
    for closed in (store, view):
        with pytest.raises(StoreClosedError, match="this store is closed"):
            await CALLS[call](closed)


async def test_work_that_must_not_be_left_half_done_ends_however_often_its_caller_is_cancelled() -> None:
    may_end, has_ended = asyncio.Event(), False

    async def work() -> None:
        nonlocal has_ended
        await may_end.wait()
        has_ended = True

    caller = asyncio.create_task(to_the_end(asyncio.create_task(work())))
    for _ in range(5):
        await asyncio.sleep(0)
        caller.cancel()
    await asyncio.sleep(0)
    assert not caller.done()
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert has_ended


async def test_a_connection_that_is_closed_by_itself_closes_the_stores(server_url: str, client: Redis) -> None:
    before = await clients(client)
    connection = RedisConnection(Settings(url=server_url))
    await connection.ensure_connection()
    await connection.close()
    await connection.close()
    with pytest.raises(StoreClosedError):
        await connection.ensure_connection()

    async def is_gone() -> bool:
        return await clients(client) == before

    await until(is_gone, 5, "the connection is gone")


@pytest.mark.parametrize("is_used", [True, False], ids=["used", "never used"])
@pytest.mark.parametrize("turns", [0, 1, 2, 3, 5, 8, 13, 21, 34])
async def test_closing_ends_the_calls_that_are_under_way_and_leaves_no_connection(
    server_url: str, client: Redis, token: str, turns: int, is_used: bool
) -> None:
    before = await clients(client)
    store = DataStore.from_url(server_url, pool_size=4, prefix=f"{token}:")
    if is_used:
        await store.queue.length("jobs")
    calls = ("waiting pop", "lease", "get", "length", "names", "peek", "ensure_connection")
    tasks = [asyncio.ensure_future(CALLS[call](store)) for call in calls * 10]
    for _ in range(turns):
        await asyncio.sleep(0)
    await store.close()
    with anyio.fail_after(5):
        results = await asyncio.gather(*tasks, return_exceptions=True)
    assert {type(each) for each in results if isinstance(each, BaseException)} == {StoreClosedError}
    gc.collect()  # what was not closed warns now, and warnings are errors

    async def are_gone() -> bool:
        return await clients(client) == before

    await until(are_gone, 5, "no connection of the store is left")


@pytest.mark.parametrize(("call", "command"), [("waiting pop", "brpop"), ("lease", "blmove")])
async def test_calls_that_wait_in_the_server_or_for_their_turn_hear_that_the_store_was_closed(
    server_url: str, client: Redis, token: str, call: str, command: str
) -> None:
    store = DataStore.from_url(server_url, prefix=f"{token}:")
    tasks = [asyncio.ensure_future(CALLS[call](store)) for _ in range(20)]
    await until_blocked(client, command, 1)
    await store.close()
    with anyio.fail_after(5):
        results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(each) for each in results] == [StoreClosedError] * 20


async def test_a_store_that_never_connected_is_closed_without_a_server() -> None:
    with deaf_port() as port:
        async with DataStore(port=port) as store:
            pass
    with pytest.raises(StoreClosedError):
        await store.queue.length("jobs")
