"""Bounded queues: a push or hop waits until there is room, is woken then, and the bound holds for everybody."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest
from redis.asyncio import Redis

from nodeflow.errors import LeaseLostError, QueueFullError, StoreClosedError
from nodeflow.storage import DataStore
from tests.storage.looking import balanced, calls, drained, values
from tests.storage.servers import Server
from tests.storage.waiting import started
from tests.support import until

Room = Callable[[DataStore], Awaitable[Any]]

PUSHER = """
import asyncio, sys
from nodeflow.storage import DataStore

async def main(url, prefix, who, count):
    async with DataStore.from_url(url, prefix=prefix) as store:
        for number in range(0, int(count), 10):
            values = [[int(who), number + place] for place in range(10)]
            await asyncio.gather(*(store.queue.push("jobs", value) for value in values[:4]))
            await store.queue.push_many("jobs", values[4:7])
            await store.queue.commit(pushes={"jobs": values[7:9]})
            await store.queue.push("jobs", values[9], delay=0.001)

asyncio.run(main(*sys.argv[1:]))
"""


async def lease_all(store: DataStore) -> None:
    async with store.queue.lease("jobs", 10, timeout=0) as lease:
        assert lease


ROOM: dict[str, Room] = {
    "lease": lease_all,
    "pop": lambda store: store.queue.pop("jobs", timeout=0),
    "waiting pop": lambda store: store.queue.pop("jobs"),
    "clear": lambda store: store.queue.clear("jobs"),
    "a higher bound": lambda store: store.queue.bound("jobs", 10),
    "no bound": lambda store: store.queue.bound("jobs", None),
}


@pytest.fixture
async def other(server_url: str, store: DataStore) -> AsyncIterator[DataStore]:
    """Another store on the same queues."""
    async with DataStore.from_url(server_url, prefix=store.prefix) as other:
        yield other


@asynccontextmanager
async def bounded(store: DataStore, bound: int, *values: Any) -> AsyncIterator[None]:
    """A queue with a bound and values in it; empty and free at the end."""
    await store.queue.bound("jobs", bound)
    await store.queue.push_many("jobs", values)
    try:
        yield
    finally:
        await store.queue.bound("jobs", None)
        await store.queue.clear("jobs")


async def until_waiting(store: DataStore, times: int = 1) -> None:
    """Wait until a push or hop of this store has waited for room so often again."""
    before = store.stats().room_waits

    async def is_waiting() -> bool:
        return store.stats().room_waits >= before + times

    await until(is_waiting, 20, "something waits for room")


@pytest.mark.parametrize("way", ROOM)
async def test_a_push_waits_until_another_store_makes_room(store: DataStore, other: DataStore, way: str) -> None:
    async with bounded(store, 2, "a", "b"), started(store.queue.push("jobs", "c")) as pushing:
        await until_waiting(store)
        await balanced(store, waiting=2)
        assert not pushing.done()
        await ROOM[way](other)
        await asyncio.wait_for(pushing, 5)
        assert (await store.queue.peek("jobs"))[-1] == "c"
    await balanced(store, pushed=3)


@pytest.mark.parametrize("way", ["lease", "pop", "clear"])
async def test_a_push_is_woken_and_does_not_wait_for_its_next_look(
    store: DataStore, other: DataStore, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nodeflow.storage.room.ROOM_SECONDS", 30.0)  # a command blocks for a second at most
    async with bounded(store, 1, "a"):
        for value in "bcd":
            began = time.monotonic()
            async with started(store.queue.push("jobs", value)) as pushing:
                await until(lambda: is_full_said(store), 5, "the push has found the queue full")
                await ROOM[way](other)
                await asyncio.wait_for(pushing, 5)
            assert time.monotonic() - began < 0.7
    await balanced(store, pushed=4)


async def is_full_said(store: DataStore) -> bool:
    client = await store.connection.ensure_connection()
    return bool(await client.exists(f"{{{store.prefix}queue:jobs}}:push-waits"))


@pytest.mark.parametrize("timeout", [0, 0.1])
@pytest.mark.parametrize("delay", [0, 60])
async def test_a_push_that_finds_no_room_in_time_was_not_made(store: DataStore, timeout: float, delay: float) -> None:
    async with bounded(store, 2, "a", "b"):
        with pytest.raises(QueueFullError, match="queue 'jobs' may hold 2 items") as caught:
            await store.queue.push("jobs", "c", timeout=timeout, delay=delay)
        assert (caught.value.queue, caught.value.max_length, caught.value.pushed) == ("jobs", 2, 0)
        assert await drained(store) == ["a", "b"]
    await balanced(store, pushed=2)


@pytest.mark.parametrize("timeout", [0, 0.1])
@pytest.mark.parametrize("delay", [0, 60])
async def test_of_many_values_the_first_are_pushed_and_the_error_says_how_many(
    store: DataStore, timeout: float, delay: float
) -> None:
    async with bounded(store, 3):
        with pytest.raises(QueueFullError, match="the first 3 values were pushed, the others were not") as caught:
            await store.queue.push_many("jobs", list("abcde"), timeout=timeout, delay=delay)
        assert caught.value.pushed == 3
        if not delay:
            assert await drained(store) == ["a", "b", "c"]
    await balanced(store, pushed=3)


async def test_more_values_than_the_bound_go_in_portions_and_in_order(store: DataStore, other: DataStore) -> None:
    async with bounded(store, 7), started(store.queue.push_many("jobs", range(500), timeout=30)) as pushing:
        found: list[Any] = []
        while len(found) < 500:
            async with other.queue.lease("jobs", 3, timeout=5) as lease:
                found += values(lease)
            assert (await balanced(store)).waiting <= 7
        await pushing
        assert found == list(range(500))


async def test_many_waiting_pushes_all_get_their_turn_and_each_caller_keeps_its_order(
    store: DataStore, other: DataStore
) -> None:
    async def caller(who: int) -> None:
        for number in range(10):
            await store.queue.push("jobs", [who, number])

    async with bounded(store, 1, "first"), asyncio.TaskGroup() as tasks:
        for who in range(10):
            tasks.create_task(caller(who))
        found = [await other.queue.pop("jobs", timeout=5) for _ in range(101)]
    for who in range(10):
        assert [number for each, number in found[1:] if each == who] == list(range(10))
    await balanced(store, pushed=101, done=101)


async def test_delayed_items_need_room_too(store: DataStore) -> None:
    async with bounded(store, 3, "a"):
        await store.queue.push_many("jobs", list("bc"), delay=60)
        for delay in (0, 60):
            with pytest.raises(QueueFullError):
                await store.queue.push("jobs", "d", delay=delay, timeout=0)
        await balanced(store, waiting=1, delayed=2)
    await balanced(store, discarded=3)


async def test_a_cancelled_push_that_waited_is_never_made_and_those_behind_it_are(store: DataStore) -> None:
    async with bounded(store, 1, "a"), started(store.queue.push("jobs", "gone")) as first:
        async with started(store.queue.push("jobs", "b")) as second:
            await until_waiting(store)
            first.cancel()
            assert await store.queue.pop("jobs", timeout=0) == "a"
            await asyncio.wait_for(second, 5)
        assert await drained(store) == ["b"]
    await balanced(store, pushed=2)


async def test_closing_the_store_ends_a_push_that_waits(store: DataStore, other: DataStore) -> None:
    async with bounded(store, 1, "a"), started(other.queue.push("jobs", "b")) as pushing:
        await until_waiting(other)
        await other.close()
        with pytest.raises(StoreClosedError):
            await asyncio.wait_for(pushing, 5)
        await balanced(store, pushed=1)


async def hundred_pushes(store: DataStore) -> None:
    await asyncio.gather(*(store.queue.push("jobs", value) for value in range(100)))


async def twenty_hops(store: DataStore) -> None:
    await asyncio.gather(*(store.queue.commit(pushes={"jobs": [value]}) for value in range(20)))


async def all_at_once(store: DataStore) -> None:
    delayed = (store.queue.push("jobs", value, delay=60) for value in range(20))
    await asyncio.gather(hundred_pushes(store), twenty_hops(store), *delayed)


@pytest.mark.parametrize("what", ["pushes", "a hop", "hops", "a delayed push", "all"])
async def test_what_waits_for_room_looks_no_more_than_twenty_times_a_second(server: Server, what: str) -> None:
    work: dict[str, Callable[[DataStore], Coroutine[Any, Any, None]]] = {
        "pushes": hundred_pushes,
        "a hop": lambda store: store.queue.commit(pushes={"jobs": [1]}),
        "hops": twenty_hops,
        "all": all_at_once,
        "a delayed push": lambda store: store.queue.push("jobs", 1, delay=60),
    }
    async with DataStore.from_url(server.url) as store, Redis.from_url(server.url) as client:
        await client.config_set("hz", 500)  # so that it ends in time what blocks
        await store.queue.bound("jobs", 1)
        await store.queue.push("jobs", "a")
        async with started(work[what](store)):
            await until_waiting(store, 3)  # then each has tried at least once
            began, before = time.monotonic(), [await calls(client, name) for name in ("evalsha", "brpop")]
            await until_waiting(store, 6)
            looks = [await calls(client, name) for name in ("evalsha", "brpop")]
            assert time.monotonic() - began > 0.25  # six looks take three tenths of a second at least
            assert all(after - earlier <= 8 for after, earlier in zip(looks, before, strict=True))


async def test_a_hop_waits_for_room_and_keeps_its_lease_meanwhile(server_url: str, token: str) -> None:
    def store_of_short_leases() -> DataStore:
        return DataStore.from_url(server_url, prefix=f"{token}:", lease_seconds=0.5)

    async with store_of_short_leases() as store, store_of_short_leases() as other, bounded(store, 1, "full"):
        await store.queue.push_many("in", [1, 2])
        async with store.queue.lease("in", 2, timeout=0) as lease:
            async with started(lease.commit(items=lease[:1], pushes={"jobs": ["out"]}, timeout=30)) as hop:
                await until_waiting(store, 20)  # a second at least, which is two leases
                async with other.queue.lease("in", timeout=0) as nothing:
                    assert not nothing
                assert await other.queue.pop("jobs", timeout=0) == "full"
                await asyncio.wait_for(hop, 5)
            await balanced(store, "in", done=1, leased=1)
        assert await drained(store) == ["out"]


async def test_a_hop_that_finds_no_room_in_time_did_nothing(store: DataStore) -> None:
    await store.queue.push_many("in", [1, 2])
    async with bounded(store, 2, "a"), store.queue.lease("in", 2, timeout=0) as lease:
        for timeout in (0, 0.1):
            with pytest.raises(QueueFullError, match="queue 'jobs' may hold 2 items") as caught:
                await lease.commit(pushes={"free": [0], "jobs": ["b", "c"]}, states={"state": 1}, timeout=timeout)
            assert caught.value.pushed == 0
        assert lease.held == list(lease)
        assert await store.cache.get("state") is None
        await balanced(store, "free", pushed=0)
        await balanced(store, waiting=1)
        await lease.commit(pushes={"jobs": ["b"]}, timeout=0)
        assert await drained(store) == ["a", "b"]
    await balanced(store, "in", done=2)


@pytest.mark.parametrize("value", ["late", os.urandom(20_000).hex()], ids=["small", "large"])
async def test_a_hop_that_lost_its_lease_while_it_waited_says_so(
    store: DataStore, other: DataStore, value: str
) -> None:
    await store.queue.push("in", 1)
    async with bounded(store, 1, "full"), store.queue.lease("in", consumer="count/0", timeout=0) as lease:
        async with started(lease.commit(pushes={"jobs": [value]})) as hop:
            await until_waiting(store)
            async with other.queue.lease("in", consumer="count/0", timeout=0) as successor:
                assert values(successor) == [1]
                with pytest.raises(LeaseLostError):
                    await asyncio.wait_for(hop, 5)
        await lease.give_back()
        assert await drained(store) == ["full"]


async def test_hops_that_wait_go_in_turn_and_those_that_wait_for_another_queue_hold_nobody_up(
    store: DataStore, other: DataStore
) -> None:
    async with bounded(store, 1, "full"), started(store.queue.commit(pushes={"jobs": [0], "more": [0]})) as both:
        await store.queue.bound("more", 1)
        await store.queue.push("more", "full")
        await until_waiting(store)
        async with started(store.queue.commit(pushes={"jobs": [1]})) as second:
            assert await other.queue.pop("jobs", timeout=0) == "full"
            await asyncio.wait_for(second, 5)
            assert not both.done()
            assert await other.queue.pop("more", timeout=0) == "full"
            assert await other.queue.pop("jobs", timeout=5) == 1
            await asyncio.wait_for(both, 5)
        assert await drained(store) == await drained(store, "more") == [0]
        await store.queue.bound("more", None)


async def test_a_hop_larger_than_the_bound_goes_when_the_queue_is_empty(store: DataStore, other: DataStore) -> None:
    async with bounded(store, 3, "a"), started(store.queue.commit(pushes={"jobs": range(5)})) as hop:
        await until_waiting(store, 2)
        await balanced(store, waiting=1)
        assert await other.queue.pop("jobs", timeout=0) == "a"
        await asyncio.wait_for(hop, 5)
        assert await drained(store) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("size", [10, 10_000])
async def test_a_hop_waits_for_room_at_a_full_server_too(server: Server, size: int) -> None:
    async with DataStore.from_url(server.url) as store, Redis.from_url(server.url) as client:
        await store.queue.bound("out", 5)
        await store.queue.push_many("out", range(5))
        await store.queue.push_many("in", range(3))
        async with store.queue.lease("in", 3, timeout=0) as lease:
            await client.config_set("maxmemory", 1)
            large = [os.urandom(size).hex() for _ in range(3)]
            async with started(lease.commit(pushes={"out": large})) as hop:
                await until_waiting(store)
                assert [await store.queue.pop("out") for _ in range(5)] == list(range(5))
                await hop
        assert [await store.queue.pop("out") for _ in range(3)] == large


async def test_a_large_hop_that_waits_for_room_is_not_sent_again_and_again(
    store: DataStore, other: DataStore, client: Redis
) -> None:
    await store.queue.bound("jobs", 5)
    await store.queue.push_many("jobs", range(5))

    async def received() -> int:
        return int((await client.info("stats"))["total_net_input_bytes"])

    large, before = [os.urandom(20_000).hex() for _ in range(5)], await received()
    async with started(store.queue.commit(pushes={"jobs": large})) as hop:
        await until_waiting(store, 4)
        assert await received() - before < 2 * sum(map(len, large)), "it was sent once"
        found = await drained(other, "jobs")
        await hop
    assert found + await drained(other, "jobs") == [*range(5), *large]
    await store.queue.bound("jobs", None)


@pytest.mark.parametrize("timeout", [0, 0.0001, 5])
async def test_a_queue_without_a_bound_is_never_full(store: DataStore, timeout: float) -> None:
    async with started(store.queue.push_many("jobs", range(30_000))) as pushing:
        await until(lambda: store.queue.length("jobs"), 5, "the first values are there")
        await store.queue.push("jobs", "x", timeout=timeout)
        await pushing
    await balanced(store, waiting=30_001)
    await store.queue.clear("jobs")


@pytest.mark.parametrize("bound", [0, -1, 1.5, True, "3"])
async def test_a_bad_bound_is_refused(store: DataStore, bound: Any) -> None:
    with pytest.raises(ValueError, match="max_length must be a whole number, 1 or more"):
        await store.queue.bound("jobs", bound)


async def test_the_bound_holds_over_processes_that_push_at_once_while_others_consume(
    store: DataStore, other: DataStore, server_url: str
) -> None:
    each, bound, found = 400, 10, list[Any]()
    lengths: list[int] = []
    async with bounded(store, bound), asyncio.TaskGroup() as tasks:
        watching = tasks.create_task(watch(other, lengths))
        pushing = [tasks.create_task(run(server_url, store.prefix, who, each)) for who in range(3)]
        while len(found) < 3 * each:
            async with store.queue.lease("jobs", 4, timeout=30) as lease:
                found += values(lease)
        await asyncio.gather(*pushing)
        watching.cancel()
    assert max(lengths) <= bound
    assert len(lengths) > 100
    assert sorted(found) == [[who, number] for who in range(3) for number in range(each)]
    await balanced(store, pushed=3 * each, done=3 * each)


async def watch(store: DataStore, lengths: list[int]) -> None:
    """Write down again and again how many items wait."""
    while True:
        tally = await store.queue.tally("jobs")
        lengths.append(tally.waiting + tally.delayed)


async def run(url: str, prefix: str, who: int, count: int) -> None:
    """A process that pushes in every way there is."""
    arguments = [url, prefix, json.dumps(who), str(count)]
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", PUSHER, *arguments)
    try:
        assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
