"""Leases of many items, which the server moves as a whole: as those of few, in all that can be seen of them."""

from __future__ import annotations

import pytest
from redis.asyncio import Redis

from nodeflow.errors import LeaseLostError
from nodeflow.storage import DataStore
from nodeflow.storage.hops import Hops
from nodeflow.storage.keys import Keys
from tests.faults.balance import balanced
from tests.storage.contents import lasting
from tests.storage.leases import drained, fail_on, give_back, values
from tests.storage.limits import limit_taking

MANY = 200
"""From how many on they are moved so."""


def key(store: DataStore, name: str = "jobs") -> str:
    """The main list of a queue."""
    return Keys(store.prefix).all_of(name)[0]


@pytest.mark.parametrize("most", [MANY - 1, MANY, MANY + 1, 500])
@pytest.mark.parametrize("waiting", [MANY - 1, MANY, MANY + 1, 500, 4_000])
async def test_the_oldest_come_in_order_and_the_others_wait(
    store: DataStore, client: Redis, waiting: int, most: int
) -> None:
    await store.queue.push_many("jobs", range(waiting))
    found: list[int] = []
    while len(found) < waiting:
        async with store.queue.lease("jobs", most, timeout=0) as lease:
            assert values(lease) == list(range(len(found), min(len(found) + most, waiting)))
            found += values(lease)
            tally = await balanced(store, "jobs", waiting)
            assert (tally.waiting, tally.leased) == (waiting - len(found), len(lease))
    assert await lasting(store, client) == {}


async def test_what_is_pushed_meanwhile_comes_behind_them(store: DataStore) -> None:
    await store.queue.push_many("jobs", range(MANY))
    async with store.queue.lease("jobs", 500, timeout=0) as lease:
        await store.queue.push("jobs", "more")
        await lease.commit(items=lease[1:])
    assert values(lease) == list(range(MANY))
    assert values(await drained(store, "jobs")) == ["more"]


async def test_one_that_is_not_acknowledged_comes_back_alone(store: DataStore) -> None:
    await store.queue.push_many("jobs", range(MANY))
    async with store.queue.lease("jobs", 500, timeout=0) as lease:
        await lease.commit(items=[*lease[:70], *lease[71:]])
        await lease.give_back()
    assert [(item.value, item.attempt) for item in await drained(store, "jobs")] == [(70, 2)]


async def test_those_of_a_failed_lease_come_back_suspect_and_before_the_others(store: DataStore) -> None:
    await store.queue.push_many("jobs", range(2 * MANY))
    await fail_on(store, "jobs", MANY)
    assert values(await give_back(store, "jobs", 500)) == [0]
    await store.queue.clear("jobs")


@pytest.mark.parametrize("large", ["oldest", "newest", "all"])
@pytest.mark.parametrize("most", [300, 400])
async def test_a_lease_of_large_items_is_as_large_as_one_of_few(
    store: DataStore, client: Redis, large: str, most: int
) -> None:
    sizes = {"oldest": [40_000] * 200 + [1] * 200, "newest": [1] * 200 + [40_000] * 200, "all": [40_000] * 400}[large]
    await client.lpush(key(store), *[b'"%b"' % (b"x" * size) for size in sizes])  # as others push, uncompressed
    found: list[str] = []
    while len(found) < 400:
        async with store.queue.lease("jobs", most, timeout=0) as lease:
            assert sum(map(len, values(lease))) < 4_300_000
            found += values(lease)
    assert list(map(len, found)) == sizes


async def test_one_that_is_too_large_for_any_client_is_a_dead_letter(
    store: DataStore, client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit_taking(store, monkeypatch, 100_000)
    await client.lpush(key(store), *[b"%d" % n for n in range(MANY)], b"1" * 100_001, b"0")
    assert values(await drained(store, "jobs")) == [*range(MANY), 0]
    assert store.connection.stats.bytes_received < 100_000, "it isn't sent"
    assert await store.queue.discard("jobs", None) == 1


async def test_one_that_is_too_large_is_a_dead_letter_where_the_server_compresses_lists(
    store: DataStore, client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit_taking(store, monkeypatch, 100_000)
    await client.config_set("list-compress-depth", 1)
    try:
        await client.lpush(key(store), *range(MANY), b"1" * 200_000, *range(MANY))
        assert values(await drained(store, "jobs")) == [*range(MANY), *range(MANY)]
    finally:
        await client.config_set("list-compress-depth", 0)
    (letter,) = await store.queue.dead_letters("jobs")
    assert letter.error == "200000 bytes, more than the 100000 that an item may have"
    assert await store.queue.discard("jobs", None) == 1


async def test_a_lease_that_is_taken_over_before_it_is_read_is_lost(
    store: DataStore, server_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.queue.push_many("jobs", range(MANY))
    read = Hops._fetched

    async def read_late(hops: Hops, name: str, lease_id: str, number: int) -> list[bytes]:
        async with DataStore.from_url(server_url, prefix=store.prefix) as other:
            await give_back(other, "jobs", 1, consumer="slot")
        return await read(hops, name, lease_id, number)

    with monkeypatch.context() as patched:
        patched.setattr(Hops, "_fetched", read_late)
        with pytest.raises(LeaseLostError):
            async with store.queue.lease("jobs", 500, timeout=0, consumer="slot"):
                raise AssertionError("the lease is lost")
    assert [item.value for _ in range(MANY) for item in await drained(store, "jobs")] == list(range(MANY))
