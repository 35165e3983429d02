"""Items on which a consumer failed: delivered alone, and dead letters when they fail alone too often."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from nodeflow.errors import LeaseLostError, StorageError, UsageError
from nodeflow.settings import Settings
from nodeflow.storage import DataStore
from tests.storage.leases import attempts, drained, fail_on, give_back, one_by_one, values

MOST = 3


@pytest.fixture
async def store(server_url: str, token: str) -> AsyncIterator[DataStore]:
    """A store on which an item may fail three times alone."""
    async with DataStore.open(Settings(url=server_url, max_deliveries=MOST), prefix=f"{token}:") as store:
        yield store


async def fail_until_dead(store: DataStore, name: str, why: str = "") -> int:
    """Fail on what comes until something is in the dead letters; how often that was."""
    failures = 0
    while not await store.queue.dead_letters(name):
        assert len(await fail_on(store, name, 10, why)) == 1
        failures += 1
    return failures


async def test_a_batch_on_which_its_consumer_failed_comes_back_one_by_one_in_order(store: DataStore) -> None:
    await store.queue.push_many("jobs", range(4))
    failed = await fail_on(store, "jobs", 3, "why")
    found = await one_by_one(store, "jobs", 3)
    assert [item.id for item in found] == [item.id for item in failed]
    assert (values(found), attempts(found)) == ([0, 1, 2], [2, 2, 2])
    assert [item.error for item in found] == ["ZeroDivisionError: why"] * 3
    assert values(await drained(store, "jobs")) == [3]


async def test_what_comes_back_without_blame_goes_with_the_others_up_to_the_next_suspect(store: DataStore) -> None:
    await store.queue.push_many("jobs", range(6))
    await fail_on(store, "jobs", 1)
    async with store.queue.lease("jobs", timeout=0) as suspect:
        await give_back(store, "jobs", 3)
        await suspect.give_back()  # in front of those
    assert values(await one_by_one(store, "jobs", 1)) == [0]
    async with store.queue.lease("jobs", 10, timeout=0) as batch:
        assert values(batch) == [1, 2, 3, 4, 5]
        await fail_on(store, "jobs", 1)
        await batch.give_back()
    assert values(await drained(store, "jobs")) == [1, 2, 3, 4, 5]


async def test_what_a_consumer_held_that_was_ended_on_purpose_comes_back_without_blame(
    store: DataStore, server_url: str
) -> None:
    await store.queue.push_many("jobs", range(3))
    async with DataStore.from_url(server_url, prefix=store.prefix) as ended:

        async def work() -> None:
            async with ended.queue.lease("jobs", 1, timeout=0, consumer="parse/0"):
                await store.queue.release("jobs", "parse/1")
                assert await store.queue.leased("jobs") == 1
                await store.queue.release("jobs", "parse/0")

        with pytest.raises(LeaseLostError):
            await work()
    found = await drained(store, "jobs")
    assert (values(found), [item.error for item in found]) == ([0, 1, 2], [""] * 3)


async def test_a_batch_ends_before_a_suspect(store: DataStore) -> None:
    await store.queue.push_many("jobs", range(4))
    async with store.queue.lease("jobs", 2, timeout=0) as batch:
        await fail_on(store, "jobs", 1)
        await batch.give_back()
    assert values(await drained(store, "jobs")) == [0, 1]
    assert values(await one_by_one(store, "jobs", 1)) == [2]
    assert values(await drained(store, "jobs")) == [3]


async def test_a_suspect_that_comes_back_without_blame_stays_alone_and_is_no_nearer_to_its_death(
    store: DataStore,
) -> None:
    await store.queue.push_many("jobs", list("ab"))
    await fail_on(store, "jobs", 2)
    for _ in range(3 * MOST):
        assert values(await give_back(store, "jobs", 10)) == ["a"]
    assert await store.queue.dead_letters("jobs") == []
    found = await one_by_one(store, "jobs", 2)
    assert (values(found), attempts(found)) == (["a", "b"], [2 + 3 * MOST, 2])


async def test_one_that_fails_alone_too_often_is_a_dead_letter_and_the_others_are_not(store: DataStore) -> None:
    before = datetime.now(UTC) - timedelta(seconds=5)
    await store.queue.push_many("jobs", ["poison", "b", "c"])
    first, *_ = await fail_on(store, "jobs", 3)
    assert await fail_until_dead(store, "jobs", "ü \ud800") == MOST
    (letter,) = await store.queue.dead_letters("jobs")
    assert (letter.id, letter.value, letter.attempt) == (first.id, "poison", 1 + MOST)
    assert letter.error == "ZeroDivisionError: ü \\ud800"
    assert (letter.size, letter.raw) == (len(b'"poison"'), b"")
    assert before < letter.at < datetime.now(UTC) + timedelta(seconds=5)
    assert values(await one_by_one(store, "jobs", 2)) == ["b", "c"]
    tally = await store.queue.tally("jobs")
    assert (tally.pushed, tally.dead, tally.done) == (3, 1, 2)
    assert store.stats().dead == 1
    assert await store.queue.discard("jobs", [first.id]) == 1


async def test_one_that_was_never_in_company_dies_after_as_many_failures(store: DataStore) -> None:
    await store.queue.push("jobs", "poison")
    assert await fail_until_dead(store, "jobs") == MOST
    (letter,) = await store.queue.dead_letters("jobs")
    assert letter.attempt == MOST
    await store.queue.discard("jobs", None)


async def test_an_item_of_a_batch_whose_others_were_dealt_with_did_not_fail_alone(store: DataStore) -> None:
    await store.queue.push_many("jobs", list("ab"))

    async def fail_on_the_second() -> None:
        async with store.queue.lease("jobs", 2, timeout=0) as lease:
            await lease.commit(items=lease[:1])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail_on_the_second()
    assert await fail_until_dead(store, "jobs") == MOST
    assert [letter.value for letter in await store.queue.dead_letters("jobs")] == ["b"]
    await store.queue.discard("jobs", None)


@pytest.mark.parametrize("error", [StorageError("the server"), asyncio.CancelledError(), KeyboardInterrupt()])
async def test_what_is_not_the_items_fault_makes_no_suspects(store: DataStore, error: BaseException) -> None:
    await store.queue.push_many("jobs", list("ab"))

    async def work() -> None:
        async with store.queue.lease("jobs", 2, timeout=0):
            raise error

    for _ in range(2 * MOST):
        with pytest.raises(type(error)):
            await work()
    found = await drained(store, "jobs")
    assert (values(found), attempts(found)) == (["a", "b"], [1 + 2 * MOST] * 2)
    assert [item.error for item in found] == ["", ""]


async def test_giving_back_with_an_error_is_the_suspect_way(store: DataStore) -> None:
    await store.queue.push_many("jobs", list("ab"))
    async with store.queue.lease("jobs", 2, timeout=0) as lease:
        await lease.give_back("no luck")
    found = await one_by_one(store, "jobs", 2)
    assert [(item.value, item.error) for item in found] == [("a", "no luck"), ("b", "no luck")]


async def test_a_dead_letter_that_is_requeued_is_delivered_alone_with_all_attempts_before_it(store: DataStore) -> None:
    await store.queue.push_many("jobs", ["poison", "b"])
    first, _ = await fail_on(store, "jobs", 2)
    await fail_until_dead(store, "jobs", "why")
    assert await store.queue.requeue("jobs", [first.id]) == 1
    assert await store.queue.dead_letters("jobs") == []
    assert await store.queue.peek("jobs") == ["poison", "b"]
    again = await fail_on(store, "jobs", 10)
    assert [(item.id, item.value, item.attempt, item.error) for item in again] == [
        (first.id, "poison", 1, "ZeroDivisionError: why")
    ]
    assert await fail_until_dead(store, "jobs") == MOST - 1
    assert await store.queue.discard("jobs", None) == 1
    assert values(await drained(store, "jobs")) == ["b"]


async def test_letters_are_chosen_by_their_ids_and_a_wrong_one_changes_nothing(store: DataStore) -> None:
    await store.queue.commit(dead={"jobs": range(5)})
    ids = [letter.id for letter in await store.queue.dead_letters("jobs")]
    for settle in (store.queue.requeue, store.queue.discard):
        with pytest.raises(UsageError, match="no dead letter 'nothing'; nothing was changed"):
            await settle("jobs", [ids[0], "nothing"])
        assert await settle("jobs", []) == 0
    assert [letter.id for letter in await store.queue.dead_letters("jobs")] == ids
    assert await store.queue.requeue("jobs", [ids[3], ids[1]]) == 2
    assert await store.queue.discard("jobs", [ids[0]]) == 1
    assert [letter.value for letter in await store.queue.dead_letters("jobs")] == [2, 4]
    assert sorted(values(await one_by_one(store, "jobs", 2))) == [1, 3]
    assert await store.queue.discard("jobs", None) == 2
    assert await store.queue.discard("jobs", None) == await store.queue.requeue("jobs") == 0


async def test_all_of_many_letters_are_requeued_in_order(store: DataStore) -> None:
    await store.queue.push("jobs", "last")
    for first in range(0, 1_200, 400):
        await store.queue.commit(dead={"jobs": [f"{number:04}" for number in range(first, first + 400)]})
    assert await store.queue.requeue("jobs") == 1_200
    expected = [f"{number:04}" for number in range(1_200)]
    assert await store.queue.peek("jobs", 0, -1) == [*expected, "last"]
    assert await store.queue.clear("jobs") == 1_201
