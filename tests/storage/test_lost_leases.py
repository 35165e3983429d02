"""A lease whose items went to others, or were removed: whatever it does says so, and does nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from nodeflow.errors import LeaseLostError
from nodeflow.storage import DataStore, Lease
from tests.storage.leases import attempts, one_by_one, values

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
    await store.queue.push_many("jobs", "ab")

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
    await store.queue.push_many("jobs", "ab")

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
