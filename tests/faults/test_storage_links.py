"""Connections that are cut, slow, silent, or lose a reply; scripts that the server forgets."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
from redis.asyncio import Redis

from nodeflow.errors import LeaseLostError, QueueFullError, StorageConnectionError, StorageTimeoutError
from nodeflow.settings import Settings
from nodeflow.storage import DataStore, link
from tests.faults.balance import all_values, balanced
from tests.faults.proxy import Proxy, proxied
from tests.storage.servers import Server
from tests.storage.waiting import execute, started
from tests.support import until

ITEMS = 1_500


@pytest.fixture
async def proxy(server: Server) -> AsyncIterator[Proxy]:
    async with proxied(server.socket) as proxy:
        yield proxy


@asynccontextmanager
async def again_and_again(what: Callable[[], Awaitable[Any]], seconds: float) -> AsyncIterator[None]:
    """Do something all the time, with pauses of so many seconds."""

    async def repeat() -> None:
        while True:
            await asyncio.sleep(seconds)
            await what()

    async with started(repeat()) as repeating:
        yield
        assert not repeating.done()


async def put_through(store: DataStore) -> list[Any]:
    """Push numbers one by one and in batches, hand them on by hops with five consumers, and take them out."""

    async def push() -> None:
        async with asyncio.TaskGroup() as tasks:
            for number in range(0, ITEMS, 3):
                tasks.create_task(store.queue.push("in", number))
                if number % 60 == 0:
                    await store.queue.push_many("in", [number + 1, number + 2])
                else:
                    tasks.create_task(store.queue.push("in", number + 1))
                    await store.queue.push("in", number + 2)

    async def hand_on() -> None:
        while (await store.queue.tally("in")).done < ITEMS:
            async with store.queue.lease("in", 20, timeout=0.2) as lease:
                if lease:
                    await lease.commit(
                        pushes={"out": [item.value for item in lease]}, counts={"n": len(lease)}, job="j"
                    )

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(push())
        for _ in range(5):
            tasks.create_task(hand_on())
    return sorted(await all_values(store, "out"))


async def check_exact(store: DataStore) -> None:
    """After `put_through`: everything once, nothing twice."""
    assert (await balanced(store, "in", ITEMS)).done == ITEMS
    assert (await balanced(store, "out", ITEMS)).done == ITEMS
    assert await store.ledger("j").read() == {"n": ITEMS}


async def test_connections_that_are_killed_every_50_ms_lose_and_double_nothing(server: Server) -> None:
    async with DataStore.from_url(server.url) as store, Redis(unix_socket_path=str(server.socket)) as client:
        kill = lambda: client.client_kill_filter(_type="normal", skipme=True)  # noqa: E731
        async with again_and_again(kill, 0.05):
            assert await put_through(store) == list(range(ITEMS))
        await check_exact(store)
        assert store.stats().reconnects > 0


async def test_scripts_that_are_forgotten_under_load_are_sent_again(server: Server) -> None:
    async with DataStore.from_url(server.url) as store, Redis(unix_socket_path=str(server.socket)) as client:
        async with again_and_again(lambda: execute(client, "SCRIPT FLUSH"), 0.01):
            assert await put_through(store) == list(range(ITEMS))
        await check_exact(store)
        assert store.stats().reconnects == 0


async def test_links_that_are_cut_at_any_point_lose_and_double_nothing(proxy: Proxy) -> None:
    async def cut() -> None:
        proxy.cut()

    async with DataStore.from_url(proxy.url) as store:
        async with again_and_again(cut, 0.03):
            assert await put_through(store) == list(range(ITEMS))
        await check_exact(store)


STEPS: dict[str, Callable[[DataStore], Awaitable[Any]]] = {
    "push": lambda store: store.queue.push("jobs", 1),
    "push_many": lambda store: store.queue.push_many("jobs", [1]),
    "delayed push": lambda store: store.queue.push("jobs", 1, delay=60),
    "commit": lambda store: store.queue.commit(pushes={"jobs": [1]}, counts={"n": 1}, job="j"),
}


@pytest.mark.parametrize("step", STEPS)
async def test_a_step_whose_reply_was_lost_is_done_once_and_says_so(proxy: Proxy, step: str) -> None:
    async with DataStore.from_url(proxy.url) as store:
        await store.queue.length("jobs")
        await STEPS[step](store) if step != "mark" else None
        before = await store.queue.tally("jobs")
        proxy.cuts_replies_to = b"EVALSHA"
        result = await STEPS[step](store)
        assert proxy.lost_replies == 1
        assert result is (True if step == "mark" else None)
        assert (await balanced(store, "jobs")).pushed == before.pushed + (step != "mark")
        assert store.stats().reconnects == 1


async def test_a_lease_a_hop_and_a_give_back_whose_replies_were_lost_are_done_once(proxy: Proxy) -> None:
    async with DataStore.from_url(proxy.url) as store:
        await store.queue.push_many("jobs", range(10))
        await store.queue.length("jobs")
        proxy.cuts_replies_to = b"EVALSHA"
        async with store.queue.lease("jobs", 4) as lease:
            assert [item.value for item in lease] == [0, 1, 2, 3]
            assert [item.attempt for item in lease] == [1, 1, 1, 1]
            proxy.cuts_replies_to = b"EVALSHA"
            await lease.commit(items=lease[:2], pushes={"out": [0, 1]}, states={"seen": 2})
            proxy.cuts_replies_to = b"EVALSHA"
            await lease.give_back()
        proxy.cuts_replies_to = b"EVALSHA"
        assert await store.queue.pop("jobs") == 2
        assert proxy.lost_replies == 4
        assert await store.queue.peek("out") == [0, 1]
        tally = await balanced(store, "jobs", 10)
        assert (tally.waiting, tally.done) == (7, 3)


async def test_dead_letters_are_requeued_and_discarded_once_when_replies_are_lost(proxy: Proxy) -> None:
    async with DataStore.from_url(proxy.url) as store:
        await store.queue.commit(dead={"jobs": [1, 2, 3]}, reason="bad")
        proxy.cuts_replies_to = b"EVALSHA"
        assert await store.queue.requeue("jobs", [letter.id for letter in await store.queue.dead_letters("jobs", 0, 1)])
        proxy.cuts_replies_to = b"EVALSHA"
        assert await store.queue.clear("jobs") == 2
        proxy.cuts_replies_to = b"EVALSHA"
        assert await store.queue.discard("jobs", None) == 1
        assert proxy.lost_replies == 3
        assert (await balanced(store, "jobs", 3)).discarded == 3


@pytest.mark.slow
async def test_a_slow_link_is_no_death(proxy: Proxy) -> None:
    async with DataStore.from_url(proxy.url, lease_seconds=2.0) as store:
        await store.queue.push_many("jobs", range(5))
        proxy.delay = 0.2
        async with store.queue.lease("jobs", 5) as lease, DataStore.from_url(proxy.url, lease_seconds=2.0) as other:
            began = time.monotonic()
            async with other.queue.lease("jobs", timeout=4.5) as nothing:
                assert not nothing
            assert time.monotonic() - began > 4, "longer than two leases"
            assert len(lease) == 5
        proxy.delay = 0.0
        assert (await balanced(store, "jobs", 5)).done == 5
        assert store.stats().recovered == 0


async def test_a_link_that_swallows_everything_is_an_error_that_says_what_is_not_known(
    server: Server, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link, "_ANSWER_SECONDS", 0.5)
    settings = Settings(url=proxy.url, reconnect_seconds=0.5)
    async with DataStore.open(settings) as store, DataStore.from_url(server.url) as direct:
        await store.queue.push("jobs", 0)
        proxy.swallows = True
        with pytest.raises((StorageTimeoutError, StorageConnectionError), match="not known") as caught:
            await store.queue.push("jobs", 1)
        assert caught.value.may_have_happened
        proxy.swallows = False
        proxy.cut()
        await store.queue.push("jobs", 2)
        assert await direct.queue.peek("jobs") == [0, 2]


async def test_a_consumer_behind_a_black_hole_has_lost_its_lease_when_it_comes_back(
    server: Server, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link, "_ANSWER_SECONDS", 0.5)
    async with (
        DataStore.from_url(proxy.url, lease_seconds=0.8) as cut_off,
        DataStore.from_url(server.url, lease_seconds=0.8) as other,
    ):
        await other.queue.push("jobs", 1)

        async def hold() -> None:
            async with cut_off.queue.lease("jobs"):
                proxy.swallows = True
                async with other.queue.lease("jobs", timeout=6) as lease:
                    assert [item.value for item in lease] == [1]
                proxy.swallows = False
                proxy.cut()

        with pytest.raises(LeaseLostError):
            await hold()
        assert (await balanced(other, "jobs", 1)).done == 1


@pytest.mark.parametrize("answer", ["CLIENT UNBLOCK ID ERROR", "REPLICAOF nodeflow.invalid 1"])
async def test_refusals_that_pass_are_waited_out(server: Server, answer: str) -> None:
    async with DataStore.from_url(server.url) as store, Redis(unix_socket_path=str(server.socket)) as client:
        await store.queue.length("jobs")
        async with started(store.queue.pop("jobs")) as popping:

            async def number() -> Any:
                blocked = [each for each in await client.client_list() if "b" in each["flags"]]
                return blocked and blocked[0]["id"]

            await until(number, 5, "it blocks")
            await execute(client, answer.replace("ID", str(await number())) if "ID " in answer else answer)
            if answer.startswith("REPLICAOF"):
                async with started(store.queue.push("jobs", 1)) as pushing:
                    await until(_has_waited(store), 5, "the push has met the refusal")
                    await execute(client, "REPLICAOF NO ONE")
                    await pushing
            else:
                await store.queue.push("jobs", 1)
            assert await asyncio.wait_for(popping, 5) == 1


def _has_waited(store: DataStore) -> Callable[[], Awaitable[bool]]:
    async def has() -> bool:
        return store.stats().reconnects > 0

    return has


async def test_requests_that_come_late_when_all_is_over_do_nothing(server: Server, proxy: Proxy) -> None:
    """As when a network stalls, and delivers what its sender has long given up and sent again."""
    async with DataStore.from_url(proxy.url) as store, DataStore.from_url(server.url) as other:
        await store.queue.push_many("jobs", ["one"])
        proxy.holds_back = b"EVALSHA"
        async with store.queue.lease("jobs", timeout=0) as lease:
            assert [item.value for item in lease] == ["one"]
        await other.queue.push("jobs", "two")
        await proxy.deliver_late()
        assert (await balanced(store, "jobs", 2)).leased == 0, "no item is leased by nobody"
        assert await store.queue.pop("jobs") == "two"

        proxy.holds_back = b"EVALSHA"
        assert await store.queue.pop("jobs", timeout=0) is None
        await other.queue.push("jobs", "three")
        await proxy.deliver_late()
        assert await store.queue.pop("jobs", timeout=0) == "three", "it was popped by nobody"

        await store.queue.bound("jobs", 1)
        await other.queue.push("jobs", "four")
        proxy.holds_back = b"EVALSHA"
        with pytest.raises(QueueFullError):
            await store.queue.push("jobs", "five", timeout=0)
        assert await other.queue.pop("jobs") == "four"
        await proxy.deliver_late()
        assert await store.queue.length("jobs") == 0, "its caller was told that it was not pushed"

        await other.queue.push("jobs", "six")
        proxy.holds_back = b"EVALSHA"
        with pytest.raises(QueueFullError):
            await store.queue.commit(pushes={"jobs": ["seven"]}, states={"a": 1}, timeout=0)
        assert await other.queue.pop("jobs") == "six"
        await proxy.deliver_late()
        assert await store.queue.length("jobs") == 0
        assert not await store.cache.exists("a")
        await store.queue.bound("jobs", None)
        await balanced(store, "jobs", 5)


async def test_a_writer_that_begins_late_takes_nothing_from_its_successor(server: Server, proxy: Proxy) -> None:
    async with DataStore.from_url(proxy.url) as store, DataStore.from_url(server.url) as other:
        proxy.holds_back = b"begin"
        async with store.queue.write_as("jobs", "read/0"):
            pass
        async with other.queue.write_as("jobs", "read/0"):
            await proxy.deliver_late()
        assert [item async for item in other.queue.stream("jobs")] == []


@pytest.mark.slow
async def test_heartbeats_for_many_queues_over_a_slow_link_come_in_time(server: Server, proxy: Proxy) -> None:
    names = [f"jobs{number}" for number in range(20)]
    async with (
        DataStore.from_url(proxy.url, lease_seconds=2.0) as store,
        DataStore.from_url(server.url, lease_seconds=2.0) as other,
        AsyncExitStack() as leases,
    ):
        for name in names:
            await other.queue.push(name, 1)
            await leases.enter_async_context(store.queue.lease(name, timeout=0))
        proxy.delay = 0.1
        async with other.queue.lease(names[0], timeout=5) as nothing:
            assert not nothing, "more than two leases' time"
        for name in names:
            async with other.queue.lease(name, timeout=0) as nothing:
                assert not nothing
        proxy.delay = 0.0
    assert other.stats().recovered == 0
