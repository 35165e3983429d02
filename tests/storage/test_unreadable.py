"""Elements that no client of ours could have pushed, or that ours can't read: dead letters, in nobody's way."""

from __future__ import annotations

import asyncio

import pytest
from redis.asyncio import Redis

from nodeflow.errors import PayloadError
from nodeflow.storage import DataStore
from tests.storage.leases import attempts, drained, values
from tests.storage.limits import limit_taking
from tests.storage.waiting import started, until_blocked

GARBAGE = [b'1},"value":{"forged":2', b'"\0x"', b'1,"value":2', b"\n", b"", b"\0", b"\xff\xfe", b"NaN"]
FOREIGN = b'{"v":2,"id":"theirs","attempt":1}\n"a future one"'


async def raw_letters(store: DataStore) -> list[bytes]:
    """The dead letters, which say why they are here, can't be shown, and are discarded."""
    letters = await store.queue.dead_letters("jobs")
    assert all(letter.error and letter.value is None and letter.size == len(letter.raw) for letter in letters)
    await store.queue.discard("jobs", None)
    return [letter.raw for letter in letters]


@pytest.mark.parametrize("element", GARBAGE)
async def test_a_lease_leaves_out_what_is_not_json_and_holds_the_others(
    store: DataStore, client: Redis, element: bytes
) -> None:
    await client.lpush(f"{store.prefix}queue:jobs", "1", element, "3", element)
    async with store.queue.lease("jobs", 10, timeout=0) as lease:
        assert (values(lease), attempts(lease)) == ([1, 3], [1, 1])
        assert await store.queue.leased("jobs") == 2
        assert await raw_letters(store) == [element, element]
        await lease.give_back()
    found = await drained(store, "jobs")
    assert (values(found), attempts(found)) == ([1, 3], [2, 2])
    assert await store.queue.leased("jobs") == 0


@pytest.mark.parametrize("element", GARBAGE)
async def test_a_lease_of_nothing_else_is_empty_and_leaves_nothing_leased(
    store: DataStore, client: Redis, element: bytes
) -> None:
    await client.lpush(f"{store.prefix}queue:jobs", *[element] * 3)
    async with store.queue.lease("jobs", 2, timeout=0) as lease:
        assert not lease
        assert await store.queue.leased("jobs") == 0
    assert await raw_letters(store) == [element] * 3


async def test_a_lease_that_found_nothing_else_goes_on_waiting(store: DataStore, client: Redis) -> None:
    await client.lpush(f"{store.prefix}queue:jobs", "garbage")

    async def leased() -> list[object]:
        async with store.queue.lease("jobs", 10, timeout=30) as lease:
            return values(lease)

    async with started(leased()) as leasing:
        await until_blocked(client, "blmove")
        await client.lpush(f"{store.prefix}queue:jobs", "more garbage", "1")
        assert await asyncio.wait_for(leasing, 5) == [1]
    assert await raw_letters(store) == [b"garbage", b"more garbage"]


@pytest.mark.parametrize("element", GARBAGE)
async def test_a_pop_of_what_is_not_json_raises_and_the_next_one_gets_past_it(
    store: DataStore, client: Redis, element: bytes
) -> None:
    await client.lpush(f"{store.prefix}queue:jobs", element, "2")
    with pytest.raises(PayloadError, match="popped from queue 'jobs'"):
        await store.queue.pop("jobs", timeout=0)
    assert await store.queue.pop("jobs", timeout=0) == 2
    assert await raw_letters(store) == [element]


async def test_a_waiting_pop_hears_of_what_is_not_json(store: DataStore, client: Redis) -> None:
    async with started(store.queue.pop("jobs")) as popping:
        await until_blocked(client, "brpop")
        await client.lpush(f"{store.prefix}queue:jobs", "garbage")
        with pytest.raises(PayloadError, match="popped from queue 'jobs'"):
            await asyncio.wait_for(popping, 5)
    assert await raw_letters(store) == [b"garbage"]


async def test_an_envelope_of_another_version_is_a_dead_letter_as_it_was(store: DataStore, client: Redis) -> None:
    await store.queue.push("jobs", 1)
    await client.lpush(f"{{{store.prefix}queue:jobs}}:returned", FOREIGN)
    assert values(await drained(store, "jobs")) == [1]
    (letter,) = await store.queue.dead_letters("jobs")
    assert "version 2; this nodeflow reads version 1" in letter.error
    assert await raw_letters(store) == [FOREIGN]
    await client.lpush(f"{{{store.prefix}queue:jobs}}:returned", FOREIGN)
    with pytest.raises(PayloadError, match="version 2"):
        await store.queue.pop("jobs", timeout=0)
    assert await raw_letters(store) == [FOREIGN]


async def test_an_element_that_is_too_large_is_a_dead_letter_and_never_read(
    store: DataStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit_taking(store, monkeypatch, 100)
    await store.queue.push_many("jobs", ["a", "x" * 200, "b", "y" * 200])
    async with store.queue.lease("jobs", 10, timeout=0) as lease:
        assert values(lease) == ["a", "b"]
        letters = await store.queue.dead_letters("jobs")
        assert [(letter.value, letter.size) for letter in letters] == [("x" * 200, 202), ("y" * 200, 202)]
        assert {letter.error for letter in letters} == {"202 bytes, more than the 100 that an item may have"}
    tally = await store.queue.tally("jobs")
    assert (tally.pushed, tally.done, tally.dead, tally.leased) == (4, 2, 2, 0)
    await store.queue.discard("jobs", None)


async def test_elements_that_are_too_large_hide_nothing_behind_them(
    store: DataStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit_taking(store, monkeypatch, 100)
    await store.queue.push_many("jobs", [*["x" * 200] * 3, "b"])
    async with store.queue.lease("jobs", 2, timeout=0) as lease:
        assert values(lease) == ["b"]
    assert await store.queue.discard("jobs", None) == 3


async def test_a_lease_that_is_cancelled_while_it_sorts_the_unreadable_out_is_never_half_done(
    store: DataStore, client: Redis
) -> None:
    """Each turn of the event loop is a point at which it may be cancelled; all of them are tried."""
    await store.queue.length("jobs")  # so that the connection is there
    letters = 0
    for turns in range(60):
        await client.lpush(f"{store.prefix}queue:jobs", "1", "garbage")
        task = asyncio.create_task(drained(store, "jobs"))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        assert await store.queue.leased("jobs") == 0, turns
        await store.queue.clear("jobs")
        letters += await store.queue.discard("jobs", None)
    assert 0 < letters < 60


async def test_garbage_that_is_larger_than_an_item_may_be_is_a_dead_letter_when_it_is_popped(
    store: DataStore, client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit_taking(store, monkeypatch, 10)
    await client.lpush(f"{store.prefix}queue:jobs", "x" * 100)
    with pytest.raises(PayloadError, match="not JSON"):
        await store.queue.pop("jobs", timeout=0)
    (letter,) = await store.queue.dead_letters("jobs")
    assert letter.raw == b"x" * 100
    await store.queue.discard("jobs", None)
