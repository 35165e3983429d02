"""Leases that are read by and by: of many items only some are in memory at a time."""

from __future__ import annotations

import pytest
from redis.asyncio import Redis

from nodeflow.errors import UsageError
from nodeflow.storage import DataStore
from nodeflow.storage.keys import Keys
from tests.faults.balance import balanced
from tests.storage.contents import lasting
from tests.storage.leases import give_back, values


async def test_some_are_read_and_all_are_acknowledged(store: DataStore, client: Redis) -> None:
    await store.queue.push_many("jobs", range(500))
    async with store.queue.lease("jobs", 400, timeout=0, is_read=False) as lease:
        assert (len(lease), lease.is_open, lease.is_fresh, lease.left) == (400, True, True, 400)
        assert await lease.read(0, 3) == [0, 1, 2]
        assert await lease.read(398, 500) == [398, 399]
        await lease.commit(pushes={"out": [1]})
        assert not lease.is_open
    assert (await balanced(store, "jobs", 500)).done == 400
    await store.queue.clear("jobs")
    await store.queue.clear("out")
    assert await lasting(store, client) == {}


async def test_its_items_are_there_when_it_was_opened(store: DataStore) -> None:
    await store.queue.push_many("jobs", ["a", "b", "c"])
    async with store.queue.lease("jobs", 3, timeout=0, is_read=False) as lease:
        with pytest.raises(UsageError, match=r"await lease\.open\(\)"):
            list(lease)
        await lease.open()
        await lease.open()
        assert values(lease) == list(await lease.read(0, 3) or ()) == ["a", "b", "c"]
        await lease.commit(items=lease[:1])
        assert [item.value for item in lease.held] == ["b", "c"]


async def test_what_was_delivered_before_has_to_be_opened(store: DataStore) -> None:
    await store.queue.push_many("jobs", range(3))
    await give_back(store, "jobs", 1)
    async with store.queue.lease("jobs", 3, timeout=0, is_read=False) as lease:
        assert await lease.read(0, 3) is None
        assert not lease.is_fresh
        await lease.open()
        assert [(item.value, item.attempt) for item in lease] == [(0, 2), (1, 1), (2, 1)]
        assert await lease.read(0, 3) is None


@pytest.mark.parametrize("number", [3, 300])
async def test_one_that_cannot_be_read_is_a_dead_letter_once_it_was_opened(
    store: DataStore, client: Redis, number: int
) -> None:
    main = Keys(store.prefix).all_of("jobs")[0]
    await client.lpush(main, *[b"%d" % n for n in range(number)], b"{", b"7")
    async with store.queue.lease("jobs", 500, timeout=0, is_read=False) as lease:
        assert await lease.read(0, number) == list(range(number))
        assert await lease.read(number - 1, number + 2) is None
        assert await lease.read(number + 1, number + 2) == [7]
        await lease.open()
        assert values(lease) == [*range(number), 7]
    (letter,) = await store.queue.dead_letters("jobs")
    assert letter.raw == b"{"
    tally = await store.queue.tally("jobs")
    assert (tally.leased, tally.done, tally.dead) == (0, number + 1, 1)
    await store.queue.discard("jobs", None)


@pytest.mark.parametrize("is_back", [False, True], ids=["new", "given back before"])
async def test_it_is_not_open_again_when_it_is_read_after_all_was_done(store: DataStore, *, is_back: bool) -> None:
    await store.queue.push_many("jobs", range(3))
    if is_back:
        await give_back(store, "jobs", 3)
    async with store.queue.lease("jobs", 3, timeout=0, is_read=False) as lease:
        await lease.commit()
        await lease.open()
        assert (values(lease), lease.is_open) == ([0, 1, 2], False)


async def test_a_lease_of_garbage_alone_is_empty_once_it_was_opened(store: DataStore, client: Redis) -> None:
    await client.lpush(Keys(store.prefix).all_of("jobs")[0], b"{", b"[")
    async with store.queue.lease("jobs", 2, timeout=0, is_read=False) as lease:
        assert len(lease) == 2
        await lease.open()
        assert (len(lease), lease.is_open) == (0, False)
    assert await store.queue.discard("jobs", None) == 2
    assert await store.queue.leased("jobs") == 0


async def test_what_raises_before_it_was_opened_gives_all_back(store: DataStore) -> None:
    await store.queue.push_many("jobs", range(3))
    with pytest.raises(ZeroDivisionError):
        async with store.queue.lease("jobs", 3, timeout=0, is_read=False):
            raise ZeroDivisionError
    assert (await balanced(store, "jobs", 3)).waiting == 3
    await store.queue.clear("jobs")
