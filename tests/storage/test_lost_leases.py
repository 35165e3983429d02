"""A lease whose items went to others, or were removed: whatever it does says so, and does nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from redis.asyncio import Redis

from nodeflow.errors import LeaseLostError, UsageError
from nodeflow.storage import DataStore, Lease, heart
from tests.storage.leases import attempts, one_by_one, values
from tests.storage.servers import Server
from tests.storage.waiting import execute
from tests.support import until

ENDS: dict[str, Callable[[Lease], Awaitable[Any]]] = {
    "commit": lambda lease: lease.commit(pushes={"out": [1]}, states={"seen": 1}, counts={"done": 1}, job="job"),
    "commit of one": lambda lease: lease.commit(items=lease[:1], pushes={"out": [1]}),
    "extend": lambda lease: lease.extend(),
    "retry": lambda lease: lease.retry(lease[0], delay=60),
    "dead_letter": lambda lease: lease.dead_letter(lease[0], "no use"),
}


@pytest.fixture
async def successor(server_url: str, store: DataStore) -> AsyncIterator[DataStore]:
    """Another process's store, as far as the server can tell."""
    async with DataStore.from_url(server_url, prefix=store.prefix) as successor:
        yield successor


async def nothing_came_of_it(store: DataStore) -> None:
    assert await store.queue.length("out") == 0
    assert not await store.cache.exists("seen")
    assert await store.ledger("job").read() == {}
    assert await store.queue.dead_letters("jobs") == []
    assert await store.queue.delayed("jobs") == 0


@pytest.mark.parametrize("end", ENDS)
async def test_a_lease_whose_slot_was_taken_over_is_lost_and_can_do_nothing(
    store: DataStore, successor: DataStore, end: str
) -> None:
    await store.queue.push_many("jobs", list("ab"))

    async def work() -> None:
        async with (
            store.queue.lease("jobs", 2, timeout=0, consumer="count/0") as former,
            successor.queue.lease("jobs", 10, timeout=0, consumer="count/0") as latter,
        ):
            assert (values(latter), attempts(latter)) == (["a"], [2])
            with pytest.raises(LeaseLostError, match="lease from 'jobs' is lost"):
                await ENDS[end](former)
            assert await store.queue.leased("jobs") == 1

    with pytest.raises(LeaseLostError):  # at the exit too
        await work()
    assert values(await one_by_one(successor, "jobs", 1)) == ["b"]
    await nothing_came_of_it(store)


@pytest.mark.parametrize("end", ENDS)
async def test_a_lease_whose_items_were_removed_is_lost_and_can_do_nothing(store: DataStore, end: str) -> None:
    await store.queue.push_many("jobs", list("ab"))

    async def work() -> None:
        async with store.queue.lease("jobs", 2, timeout=0) as lease:
            await store.queue.clear_leases("jobs")
            with pytest.raises(LeaseLostError, match="lease from 'jobs' is lost"):
                await ENDS[end](lease)

    with pytest.raises(LeaseLostError):  # at the exit too
        await work()
    assert await store.queue.length("jobs") == 0
    await nothing_came_of_it(store)
    tally = await store.queue.tally("jobs")
    assert (tally.pushed, tally.discarded) == (2, 2)


async def test_a_lost_lease_gives_nothing_back(store: DataStore, successor: DataStore) -> None:
    await store.queue.push("jobs", "a")

    async def work() -> None:
        async with store.queue.lease("jobs", timeout=0, consumer="count/0"):
            async with successor.queue.lease("jobs", timeout=0, consumer="count/0") as latter:
                assert values(latter) == ["a"]
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await work()
    assert await store.queue.length("jobs") == 0
    assert await store.queue.leased("jobs") == 0


async def test_who_has_lost_its_slot_cannot_lease_in_it_again(store: DataStore, successor: DataStore) -> None:
    async with store.queue.lease("jobs", timeout=0, consumer="count/0"):
        pass
    async with successor.queue.lease("jobs", timeout=0, consumer="count/0"):
        pass
    await store.queue.push("jobs", "a")
    with pytest.raises(LeaseLostError, match="another process has taken over as consumer count/0"):
        async with store.queue.lease("jobs", timeout=0, consumer="count/0"):
            pytest.fail("it has lost the slot")
    async with successor.queue.lease("jobs", timeout=0, consumer="count/0") as lease:
        assert values(lease) == ["a"]


async def test_a_slot_that_a_process_had_long_ago_is_not_taken_back_from_who_has_it_now(
    server_url: str, store: DataStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heart, "_LEAST_IDLE", 0.0)
    monkeypatch.setattr(heart, "_IDLE_LEASES", 0.1)
    async with DataStore.from_url(server_url, prefix=store.prefix, lease_seconds=1) as former:
        async with former.queue.lease("jobs", timeout=0, consumer="count/0"):
            pass
        session = await former.connection.session()

        async def is_forgotten() -> bool:
            return not heart.heart_of(former.connection, session).members

        await until(is_forgotten, 5, "the heart has forgotten who does nothing")
        async with store.queue.lease("jobs", timeout=0, consumer="count/0"):
            with pytest.raises(LeaseLostError, match="taken over"):
                async with former.queue.lease("jobs", timeout=0, consumer="count/0"):
                    pytest.fail("the slot is another's")


async def test_what_is_wrong_with_one_queue_keeps_no_heartbeat_from_the_others(
    server_url: str, store: DataStore, client: Redis
) -> None:
    async with DataStore.from_url(server_url, prefix=store.prefix, lease_seconds=0.5) as holder:
        await store.queue.push_many("bad", [1])
        await store.queue.push_many("good", [2])
        async with holder.queue.lease("bad", timeout=0), holder.queue.lease("good", timeout=0) as good:
            leases, returned = (f"{{{store.prefix}queue:bad}}:{part}" for part in ("leases", "returned"))
            await client.hset(leases, "x:1:1", "junk")
            await client.hset(leases, "y:1:1", "1:1:0:1")
            await client.set(returned, "no list", px=60_000)
            async with store.queue.lease("good", timeout=2) as nothing:
                assert not nothing, "two leases' time"
            await good.commit()
            await client.delete(returned)
            await client.hdel(leases, "x:1:1", "y:1:1")


async def test_a_hop_whose_caller_was_cancelled_is_known_to_be_done_and_not_done_again(
    server: Server,
) -> None:
    async with DataStore.from_url(server.url) as store, Redis(unix_socket_path=str(server.socket)) as client:
        await store.queue.push_many("jobs", [1, 2])
        async with store.queue.lease("jobs", 2, timeout=0) as lease:
            await execute(client, "CLIENT PAUSE 300 WRITE")
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await lease.commit(items=lease[:1], pushes={"out": ["one"]})
            assert [item.value for item in lease.held] == [2]
            with pytest.raises(UsageError):
                await lease.commit(items=lease[:1], pushes={"out": ["one"]})
        assert await store.queue.peek("out") == ["one"]


async def test_a_consumer_waits_at_a_full_server_too(server: Server) -> None:
    async with DataStore.from_url(server.url) as store, Redis(unix_socket_path=str(server.socket)) as client:
        await store.queue.push("jobs", 1)
        assert await store.queue.pop("jobs") == 1
        await execute(client, "CONFIG SET maxmemory 1")
        async with store.queue.lease("jobs", timeout=0.2) as nothing:
            assert not nothing
        assert await store.queue.pop("jobs", timeout=0.2) is None


async def test_a_job_goes_on_at_a_full_server_so_that_it_can_be_emptied(server: Server) -> None:
    async with DataStore.from_url(server.url) as store, Redis(unix_socket_path=str(server.socket)) as client:
        await store.queue.length("jobs")
        await execute(client, "CONFIG SET maxmemory 1")
        assert await store.ledger("job").begin("epoch") == 1
        assert await store.ledger("job").begin("epoch") == 2
        await store.jobs().put("job", {"id": "job"})
        assert await store.jobs().list() == [{"id": "job"}]
        await store.queue.bound("jobs", 10)


async def test_an_envelope_that_others_have_spoilt_is_a_dead_letter_and_not_lost(
    store: DataStore, client: Redis
) -> None:
    spoilt = [b'{"v":1,"id":{},"attempt":1}\n1', b'{"v":1,"id":"x","attempt":1,"deaths":"a"}\n2']
    await client.rpush(f"{{{store.prefix}queue:jobs}}:returned", *spoilt)
    await store.queue.push("jobs", "good")
    async with store.queue.lease("jobs", 10, timeout=0) as lease:
        await lease.give_back()
    taken = []
    for _ in range(5):
        async with store.queue.lease("jobs", 10, timeout=0) as lease:
            taken += values(lease)
    letters = await store.queue.dead_letters("jobs")
    assert "good" in taken
    assert len(taken) + len(letters) == 3
    await store.queue.discard("jobs", None)


async def test_an_unexpected_error_is_logged_and_the_heart_goes_on(
    server_url: str, store: DataStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    beat, fails = heart.Heart._beat, iter([True])

    def stumble(self: heart.Heart, client: Any) -> None:
        if next(fails, False):
            raise ZeroDivisionError
        beat(self, client)

    monkeypatch.setattr(heart.Heart, "_beat", stumble)
    await store.queue.push("jobs", 1)
    async with (
        DataStore.from_url(server_url, prefix=store.prefix, lease_seconds=0.4) as holder,
        holder.queue.lease("jobs", timeout=0),
        store.queue.lease("jobs", timeout=1.2) as nothing,
    ):
        assert not nothing, "three leases' time"
    (record,) = caplog.records
    assert "heartbeat failed" in record.message
    assert record.exc_info is not None
