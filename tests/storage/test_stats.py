"""The counts of a store: what this process has done with it, all views together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from nodeflow.errors import PayloadError, QueueFullError
from nodeflow.storage import DataStore
from nodeflow.storage.stats import Stats
from tests.storage.servers import valkey
from tests.storage.waiting import started, until_blocked
from tests.support import until

_TIMES = ("item_wait_seconds", "room_wait_seconds")


async def change(store: DataStore, work: Callable[[], Any]) -> dict[str, int | float]:
    """Which counts a call has changed and by how much; how long it waited is left out."""
    before = store.stats()
    await work()
    after = store.stats()
    fields = [field for field in Stats.__annotations__ if field not in _TIMES]
    return {
        field: getattr(after, field) - getattr(before, field)
        for field in fields
        if getattr(after, field) != getattr(before, field)
    }


async def taken(store: DataStore, max_items: int = 10) -> None:
    async with store.queue.lease("jobs", max_items, timeout=0):
        pass


async def failed(store: DataStore) -> None:
    with pytest.raises(ZeroDivisionError):
        async with store.queue.lease("jobs", 10, timeout=0):
            raise ZeroDivisionError


async def test_pushes_and_their_bytes_are_counted(store: DataStore) -> None:
    queue = store.queue
    assert await change(store, lambda: queue.push("jobs", "abc")) == {"pushes": 1, "bytes_sent": 5}
    assert await change(store, lambda: queue.push_many("jobs", [1, 22, 333])) == {"pushes": 3, "bytes_sent": 6}
    assert await change(store, lambda: queue.push("jobs", "abc", delay=60)) == {"pushes": 1, "bytes_sent": 5}
    assert await change(store, lambda: queue.commit(pushes={"jobs": [1], "a": [2]})) == {"pushes": 2, "bytes_sent": 2}
    assert await change(store, lambda: queue.push_many("jobs", [])) == {}
    for name in ("jobs", "a"):
        await queue.clear(name)


async def test_a_push_that_was_refused_is_not_counted(store: DataStore) -> None:
    await store.queue.bound("jobs", 2)

    async def refused() -> None:
        with pytest.raises(QueueFullError):
            await store.queue.push_many("jobs", list("abcd"), timeout=0)
        with pytest.raises(PayloadError):
            await store.queue.push("jobs", object())

    changed = await change(store, refused)
    assert {field: changed[field] for field in ("pushes", "bytes_sent")} == {"pushes": 2, "bytes_sent": 6}
    await store.queue.clear("jobs")
    await store.queue.bound("jobs", None)


async def test_what_is_taken_at_once_did_not_wait(store: DataStore) -> None:
    await store.queue.push_many("jobs", ["abc", "de", "f"])
    assert await change(store, lambda: store.queue.pop("jobs", timeout=0)) == {"pops": 1, "bytes_received": 5}
    leased = {"leases": 1, "leased": 2, "acks": 2, "bytes_received": 7}
    assert await change(store, lambda: taken(store)) == leased


@pytest.mark.parametrize("way", ["pop", "lease"])
async def test_what_comes_late_was_waited_for(store: DataStore, client: Redis, way: str) -> None:
    async def wait() -> None:
        if way == "pop":
            await store.queue.pop("jobs")
        else:
            async with store.queue.lease("jobs"):
                pass

    async def work() -> None:
        async with started(wait()) as waiting:
            await until_blocked(client, "brpop" if way == "pop" else "blmove")
            await store.queue.push("jobs", 1)
            await waiting

    changed = await change(store, work)
    assert changed["item_waits"] == 1
    assert store.stats().item_wait_seconds > 0
    assert changed["bytes_received"] == 1


async def test_parts_retries_and_dead_letters_of_a_lease_are_counted(store: DataStore) -> None:
    await store.queue.push_many("jobs", range(6))
    async with store.queue.lease("jobs", 6, timeout=0) as lease:
        assert await change(store, lambda: lease.commit(items=lease[:2])) == {"acks": 2}
        assert await change(store, lambda: lease.commit(items=[lease[2]], pushes={"out": [10]})) == {
            "acks": 1,
            "pushes": 1,
            "bytes_sent": 2,
        }
        assert await change(store, lambda: lease.extend()) == {}
        assert await change(store, lambda: lease.retry(lease[3])) == {"given_back": 1}
        assert await change(store, lambda: lease.dead_letter(lease[4], "no")) == {"dead": 1}
        assert await change(store, lambda: lease.give_back()) == {"given_back": 1}
    for name in ("jobs", "out"):
        await store.queue.clear(name)
    await store.queue.discard("jobs", None)


async def test_what_fails_is_given_back_until_it_is_dead(server_url: str, token: str) -> None:
    async with DataStore.from_url(server_url, prefix=f"{token}:", max_deliveries=2) as store:
        await store.queue.push("jobs", 1)
        leased = {"leases": 1, "leased": 1, "bytes_received": 1}
        first = await change(store, lambda: failed(store))
        assert first == {**leased, "given_back": 1}
        second = await change(store, lambda: failed(store))
        assert second.pop("bytes_received") >= 1  # the envelope's bytes may count
        del leased["bytes_received"]
        assert second == {**leased, "dead": 1}
        await store.queue.discard("jobs", None)


@pytest.mark.parametrize("neighbours", [0, 2])
async def test_garbage_is_counted_as_dead_once(store: DataStore, client: Redis, neighbours: int) -> None:
    await client.lpush(f"{store.prefix}queue:jobs", b"{", *[b"1"] * neighbours)
    assert (await change(store, lambda: taken(store)))["dead"] == 1
    await store.queue.discard("jobs", None)


async def test_items_of_the_dead_are_counted_as_recovered(server_url: str, store: DataStore) -> None:
    await store.queue.push_many("jobs", range(3))
    async with DataStore.from_url(server_url, prefix=store.prefix) as other:
        await other.queue.lease("jobs", 3, consumer="count/0").__aenter__()

        async def take_over() -> None:
            async with store.queue.lease("jobs", consumer="count/0", timeout=0) as lease:
                assert len(lease) == 1

        assert (await change(store, take_over))["recovered"] == 3
        await store.queue.clear("jobs")


async def test_waiting_for_room_is_counted(store: DataStore) -> None:
    await store.queue.bound("jobs", 1)
    await store.queue.push("jobs", 1)
    async with started(store.queue.push("jobs", 2)) as pushing:

        async def has_waited() -> bool:
            return store.stats().room_waits > 0

        await until(has_waited, 5, "the push waits for room")
        await store.queue.clear("jobs")
        await pushing
    assert store.stats().room_wait_seconds > 0
    await store.queue.clear("jobs")
    await store.queue.bound("jobs", None)


async def test_calls_that_were_made_again_are_counted(tmp_path: Path) -> None:
    with valkey(tmp_path) as server:
        async with DataStore.from_url(server.url) as store:
            await store.queue.push("jobs", 1)
            assert store.stats().reconnects == 0
            server.kill()
            async with started(store.queue.length("jobs")) as counting:
                await asyncio.to_thread(server.start)
                await counting
            assert store.stats().reconnects > 0


async def test_views_of_a_store_count_together_and_what_was_given_is_a_copy(store: DataStore) -> None:
    view = store.scoped("view:")
    await view.queue.push("jobs", 1)
    before = store.stats()
    assert (before.pushes, view.stats().pushes) == (1, 1)
    await view.queue.pop("jobs", timeout=0)
    assert (before.pops, store.stats().pops) == (0, 1)
