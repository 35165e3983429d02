"""A hop counts, pushes and acknowledges in one step or not at all; the ledger knows when a queue is used up."""

from __future__ import annotations

import asyncio

import pytest
from redis.asyncio import Redis

from nodeflow.errors import LeaseLostError, PayloadError, StorageError, UsageError
from nodeflow.storage import DataStore
from nodeflow.values import Encoded
from tests.storage.contents import contents, lasting


async def test_a_hop_pushes_counts_and_acknowledges(store: DataStore, client: Redis) -> None:
    await store.queue.push_many("in", [1, 2])
    async with store.queue.lease("in", 2, timeout=0) as lease:
        await lease.commit(
            pushes={"out": ["a", "b"], "more": [None], "none": []},
            dead={"in": [{"error": "x"}, None]},
            reason="bad values",
            counts={"done": 2, "failed": 1},
            job="job",
        )
        assert not lease.is_open
    assert await store.queue.leased("in") == 0
    assert await store.ledger("job").read() == {"done": 2, "failed": 1}
    assert [await store.queue.pop("out", timeout=0) for _ in range(2)] == ["a", "b"]
    assert await store.queue.pop("more", timeout=0, default="nothing") is None
    letters = await store.queue.dead_letters("in")
    assert [letter.value for letter in letters] == [{"error": "x"}, None]
    assert [letter.error for letter in letters] == ["bad values", "bad values"]
    assert await store.queue.discard("in", None) == 2
    assert await lasting(store, client) == {}


async def test_a_hop_into_its_own_queue_and_of_encoded_values_works(store: DataStore) -> None:
    await store.queue.push("loop", 1)
    async with store.queue.lease("loop", timeout=0) as lease:
        await lease.commit(pushes={"loop": [Encoded(b'{"n":2}'), 3]})
    assert [await store.queue.pop("loop", timeout=0) for _ in range(2)] == [{"n": 2}, 3]


@pytest.mark.parametrize("count", [999, 1_000, 1_001, 2_500])
async def test_a_large_hop_pushes_all_values_in_order(store: DataStore, count: int) -> None:
    await store.queue.commit(pushes={"a": range(count), "b": range(count, 2 * count)})
    assert await store.queue.peek("a", 0, -1) == list(range(count))
    assert await store.queue.peek("b", 0, -1) == list(range(count, 2 * count))
    assert [await store.queue.clear(name) for name in "ab"] == [count, count]


async def test_a_hop_of_nothing_does_nothing(store: DataStore, client: Redis) -> None:
    await store.queue.commit()
    await store.queue.commit(pushes={"out": []}, dead={}, counts={})
    assert await contents(store, client) == {}


@pytest.mark.parametrize("wrong", ["target", "second target", "dead", "dead letters", "job"])
async def test_a_hop_that_meets_a_key_of_another_kind_leaves_everything_as_it_was(
    store: DataStore, client: Redis, wrong: str
) -> None:
    key = {
        "target": f"{store.prefix}queue:out",
        "second target": f"{store.prefix}queue:more",
        "dead": f"{{{store.prefix}queue:in}}:dead",
        "dead letters": f"{{{store.prefix}queue:in}}:dead-letters",
        "job": f"{store.prefix}job:job",
    }[wrong]
    await client.set(key, "another kind")
    await store.ledger("earlier").claim("mark")
    await store.queue.push("in", 1)
    async with store.queue.lease("in", timeout=0) as lease:
        before = await contents(store, client)
        with pytest.raises(StorageError, match=f"^commit to 'in': WRONGTYPE {key} holds a string"):
            await lease.commit(pushes={"out": [1], "more": [2]}, dead={"in": [3]}, counts={"done": 1}, job="job")
        assert lease.is_open
        assert await contents(store, client) == before
        await client.delete(key)
        await lease.commit(pushes={"out": [1]})
    assert await store.queue.pop("out", timeout=0) == 1


async def test_a_hop_whose_value_cannot_be_held_leaves_everything_as_it_was(store: DataStore, client: Redis) -> None:
    await store.queue.push("in", 1)
    async with store.queue.lease("in", timeout=0) as lease:
        before = await contents(store, client)
        with pytest.raises(PayloadError, match=r"^pushes\['out'\]\[1\]\.when: object"):
            await lease.commit(pushes={"out": [1, {"when": object()}]})
        for counts in ({"done": 1.5}, {"done": "1"}, {"done": 2**53 + 1}, {"done": None}):
            with pytest.raises(ValueError, match="the count of 'done' must be a whole number"):
                await lease.commit(pushes={"out": [1]}, counts=counts, job="job")  # type: ignore[arg-type] # the test
        with pytest.raises(ValueError, match="job's id must not be empty"):
            await lease.commit(pushes={"out": [1]}, counts={"done": 1})
        assert await contents(store, client) == before
    assert await lasting(store, client) == {}


async def test_a_lease_is_committed_once(store: DataStore) -> None:
    await store.queue.push("in", 1)
    async with store.queue.lease("in", timeout=0) as lease:
        await lease.commit(pushes={"out": [1]})
        with pytest.raises(UsageError, match="nothing left to commit"):
            await lease.commit(pushes={"out": [1]})
    assert await store.queue.clear("out") == 1


async def test_a_hop_of_a_lease_that_is_not_open_any_more_pushes_nothing(store: DataStore, client: Redis) -> None:
    await store.queue.push("in", 1)
    async with store.queue.lease("in", timeout=0) as lease:
        await store.queue.clear_leases("in")
        with pytest.raises(LeaseLostError, match=r"the lease from 'in' is lost: the lease .* is not open"):
            await lease.commit(pushes={"out": [1]}, counts={"done": 1}, job="job")
        await lease.give_back()
    assert await store.ledger("job").read() == {}
    assert await lasting(store, client) == {}


async def test_concurrent_hops_add_up(store: DataStore) -> None:
    async with asyncio.TaskGroup() as tasks:
        for value in range(100):
            tasks.create_task(store.queue.commit(pushes={"out": [value]}, counts={"done": 2}, job="job"))
    assert await store.ledger("job").read() == {"done": 200}
    assert await store.queue.clear("out") == 100


async def test_the_dead_letters_are_read_oldest_first(store: DataStore) -> None:
    assert await store.queue.dead_letters("in") == []
    for letters in ([0, 1], [2], [3, 4]):
        await store.queue.commit(dead={"in": letters})
    ranges = [(0, -1), (1, 2), (3, -1), (4, 99), (5, 9), (3, 2)]
    found = [await store.queue.dead_letters("in", *each) for each in ranges]
    assert [[letter.value for letter in letters] for letters in found] == [
        [0, 1, 2, 3, 4],
        [1, 2],
        [3, 4],
        [4],
        [],
        [],
    ]
    assert len({letter.id for letter in found[0]}) == 5
    assert await store.queue.length("in") == 0
    assert [await store.queue.discard("in", None) for _ in range(2)] == [5, 0]


@pytest.mark.parametrize("count", [12, 1_001])
async def test_the_dead_letters_of_one_hop_keep_their_order(store: DataStore, count: int) -> None:
    await store.queue.commit(dead={"in": range(count)})
    assert [letter.value for letter in await store.queue.dead_letters("in")] == list(range(count))
    assert await store.queue.requeue("in") == count
    assert await store.queue.peek("in", 0, -1) == list(range(count))
    assert await store.queue.clear("in") == count


async def test_a_mark_is_claimed_by_one_only(store: DataStore, client: Redis) -> None:
    ledger = store.ledger("job")
    assert sorted(await asyncio.gather(*(ledger.claim("finish") for _ in range(20)))) == [False] * 19 + [True]
    assert await ledger.claim("other")
    assert await ledger.read() == {"finish": 1, "other": 1}
    assert await store.ledger("another").read() == {}


@pytest.mark.parametrize("how", ["claim", "count"])
async def test_a_ledger_does_not_stay_for_ever(store: DataStore, client: Redis, how: str) -> None:
    if how == "claim":
        await store.ledger("job").claim("mark")
    else:
        await store.queue.commit(counts={"done": 1}, job="job")
    days = await client.ttl(f"{store.prefix}job:job") / (24 * 3600)
    assert 6.9 < days <= 7


async def test_a_ledger_is_removed(store: DataStore, client: Redis) -> None:
    await store.ledger("job").claim("mark")
    assert f"{store.prefix}job:job".encode() in await contents(store, client)
    await store.ledger("job").remove()
    assert await store.ledger("job").read() == {}
    assert f"{store.prefix}job:job".encode() not in await contents(store, client)
    assert await lasting(store, client) == {}


async def test_a_queue_is_used_up_when_it_is_closed_and_nothing_waits_or_is_leased(store: DataStore) -> None:
    ledger, queue = store.ledger("job"), store.queue

    async def is_used_up() -> bool:
        return await ledger.used_up("in", "closed")

    assert not await is_used_up()
    await queue.push("in", 1)
    await queue.commit(counts={"closed": 1}, job="job")
    assert not await is_used_up(), "an item waits"
    async with queue.lease("in", timeout=0) as lease:
        assert not await is_used_up(), "an item is leased"
        await lease.give_back()
    assert not await is_used_up(), "an item came back"
    async with queue.lease("in", timeout=0):
        assert not await is_used_up(), "an item is leased once more"
    assert await is_used_up()
    assert not await ledger.used_up("in", "another mark")
    assert not await store.ledger("another").used_up("in", "closed")
