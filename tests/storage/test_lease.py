"""Leases: acknowledged on a clean exit, given back in order on an error, and never left open."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest
from redis.asyncio import Redis

from nodeflow.errors import LeaseLostError, UsageError
from nodeflow.storage import DataStore, Item, Lease
from nodeflow.storage.keys import Keys
from tests.storage.contents import lasting
from tests.storage.leases import attempts, drained, fail_on, give_back, one_by_one, values
from tests.storage.waiting import started, until_blocked
from tests.support import until


async def test_a_clean_exit_acknowledges(store: DataStore, client: Redis) -> None:
    await store.queue.push_many("jobs", ["a", "b", "c"])
    async with store.queue.lease("jobs", 2, timeout=0) as lease:
        assert values(lease) == ["a", "b"]
        assert attempts(lease) == [1, 1]
        assert await store.queue.length("jobs") == 1
        assert await store.queue.leased("jobs") == 2
    assert await store.queue.leased("jobs") == 0
    assert values(await drained(store, "jobs")) == ["c"]
    assert await lasting(store, client) == {}


async def test_a_lease_is_a_sequence_of_items(store: DataStore) -> None:
    await store.queue.push_many("jobs", list("abc"))
    async with store.queue.lease("jobs", 10, timeout=0) as lease:
        assert isinstance(lease, Lease)
        assert lease[0] == Item(lease[0].id, "a", 1)
        assert [values(lease[1:]), lease[-1].value, len(lease), lease[0] in lease] == [["b", "c"], "c", 3, True]
        assert len({item.id for item in lease}) == 3


async def test_it_takes_what_waits_and_does_not_wait_for_more(store: DataStore) -> None:
    await store.queue.push_many("jobs", range(3))
    async with store.queue.lease("jobs", 500) as lease:
        assert values(lease) == [0, 1, 2]


@pytest.mark.parametrize("count", [999, 1_000, 1_001, 10_000])
async def test_a_large_lease_comes_and_goes_back_in_order(store: DataStore, count: int) -> None:
    await store.queue.push_many("jobs", range(count))
    first = await give_back(store, "jobs", count)
    assert values(first) == list(range(count))
    second = await give_back(store, "jobs", count)
    assert second == [Item(item.id, item.value, 2) for item in first]
    assert await drained(store, "jobs") == [Item(item.id, item.value, 3) for item in first]


@pytest.mark.parametrize("max_items", [0, -1, 10_001, 1.5, "1", True, None])
async def test_a_bad_number_of_items_is_refused(store: DataStore, max_items: Any) -> None:
    with pytest.raises(ValueError, match="max_items must be a whole number, from 1 to 10000"):
        async with store.queue.lease("jobs", max_items, timeout=0):
            pass


async def test_nothing_in_time_is_an_empty_lease_that_cannot_be_committed(store: DataStore, client: Redis) -> None:
    for timeout in (0, 0.05):
        async with store.queue.lease("jobs", timeout=timeout) as lease:
            assert (len(lease), list(lease)) == (0, [])
            with pytest.raises(UsageError, match="nothing left to commit"):
                await lease.commit()
        with pytest.raises(ZeroDivisionError):
            async with store.queue.lease("jobs", timeout=timeout):
                raise ZeroDivisionError
    assert await lasting(store, client) == {}


async def test_what_came_back_is_taken_first_with_its_id_and_a_higher_attempt(store: DataStore) -> None:
    await store.queue.push_many("jobs", range(4))
    first = await give_back(store, "jobs", 3)
    await store.queue.push("jobs", 4)
    mixed = await give_back(store, "jobs", 4)
    assert mixed[:3] == [Item(item.id, item.value, 2) for item in first]
    assert (mixed[3].value, mixed[3].attempt) == (3, 1)
    one = await give_back(store, "jobs", 1)
    assert one == [Item(first[0].id, 0, 3)]
    found = await drained(store, "jobs")
    assert [item.id for item in found[:4]] == [item.id for item in mixed]
    assert (values(found), attempts(found)) == ([0, 1, 2, 3, 4], [4, 3, 3, 2, 1])


async def test_ids_stay_the_same_over_many_returns(store: DataStore) -> None:
    await store.queue.push_many("jobs", list("ab"))
    ids = [[item.id for item in await give_back(store, "jobs", 2)] for _ in range(12)]
    assert ids == [ids[0]] * 12
    assert attempts(await drained(store, "jobs")) == [13, 13]


@pytest.mark.parametrize("come_back", [give_back, fail_on])
async def test_pop_peek_length_and_clear_see_what_came_back_first(
    store: DataStore, come_back: Callable[[DataStore, str, int], Awaitable[list[Item]]]
) -> None:
    await store.queue.push_many("jobs", range(5))
    await come_back(store, "jobs", 3)
    queue = store.queue
    ranges = [(0, 9), (0, 1), (1, 3), (2, 2), (3, 4), (4, -1), (5, 9), (0, -1)]
    assert [await queue.peek("jobs", *each) for each in ranges] == [
        [0, 1, 2, 3, 4],
        [0, 1],
        [1, 2, 3],
        [2],
        [3, 4],
        [4],
        [],
        [0, 1, 2, 3, 4],
    ]
    assert await queue.length("jobs") == 5
    assert [await queue.pop("jobs", timeout=timeout) for timeout in (0, 5, 0, 5)] == [0, 1, 2, 3]
    await come_back(store, "jobs", 1)
    await queue.push("jobs", 5)
    assert await queue.clear("jobs") == 2
    assert await queue.length("jobs") == 0


async def test_nested_leases_hold_items_of_their_own_and_give_them_back_in_order(store: DataStore) -> None:
    await store.queue.push_many("jobs", range(4))

    async def work() -> None:
        async with store.queue.lease("jobs", 2, timeout=0) as outer:
            assert values(outer) == [0, 1]
            assert values(await give_back(store, "jobs", 2)) == [2, 3]
            assert await store.queue.leased("jobs") == 2
            async with store.queue.lease("jobs", 2, timeout=0) as inner:
                assert values(inner) == [2, 3]
                assert await store.queue.leased("jobs") == 4
                raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await work()
    found = await one_by_one(store, "jobs", 4)
    assert (values(found), attempts(found)) == ([0, 1, 2, 3], [2, 2, 3, 3])


async def test_leases_of_many_tasks_share_the_items(store: DataStore) -> None:
    await store.queue.push_many("jobs", range(400))
    seen: list[int] = []

    async def consume() -> None:
        while True:
            async with store.queue.lease("jobs", 3, timeout=0) as lease:
                seen.extend(values(lease))
                if not lease:
                    return

    async with asyncio.TaskGroup() as tasks:
        for _ in range(20):
            tasks.create_task(consume())
    assert sorted(seen) == list(range(400))
    assert await store.queue.leased("jobs") == 0


async def test_the_body_may_end_the_lease_itself(store: DataStore) -> None:
    await store.queue.push_many("jobs", list("ab"))
    async with store.queue.lease("jobs", timeout=0) as lease:
        await lease.give_back()
        await lease.give_back()
        with pytest.raises(UsageError, match="nothing left to commit"):
            await lease.commit()

    async def commit_and_fail() -> None:
        async with store.queue.lease("jobs", timeout=0) as lease:
            await lease.commit()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await commit_and_fail()
    assert values(await drained(store, "jobs")) == ["b"]


async def test_a_lease_that_was_removed_meanwhile_is_an_error_on_exit(store: DataStore) -> None:
    await store.queue.push("jobs", 1)
    with pytest.raises(LeaseLostError, match="is not open"):
        async with store.queue.lease("jobs", timeout=0):
            await store.queue.clear_leases("jobs")
    assert await store.queue.leased("jobs") == 0
    assert await store.queue.length("jobs") == 0


async def test_a_waiting_lease_is_woken_by_a_push(store: DataStore, client: Redis) -> None:
    async def values_of_one() -> list[Any]:
        async with store.queue.lease("jobs", 10) as lease:
            return values(lease)

    async with started(values_of_one()) as leasing:
        await until_blocked(client, "blmove")
        await store.queue.push_many("jobs", [1, 2])
        assert await asyncio.wait_for(leasing, 5) == [1, 2]


async def test_a_waiting_lease_gets_what_another_gives_back(store: DataStore, client: Redis) -> None:
    await store.queue.push("jobs", 1)

    async def attempts_of_one() -> list[int]:
        async with store.queue.lease("jobs") as lease:
            return attempts(lease)

    async with store.queue.lease("jobs", timeout=0) as held, started(attempts_of_one()) as leasing:
        await until_blocked(client, "blmove")
        await held.give_back()
        assert await asyncio.wait_for(leasing, 10) == [2]


@pytest.mark.parametrize("way", ["task", "scope", "timeout"])
async def test_a_cancelled_wait_leases_nothing(store: DataStore, client: Redis, way: str) -> None:
    async def wait() -> None:
        async with store.queue.lease("jobs"):
            pytest.fail("there is nothing to lease")

    if way == "task":
        async with started(wait()):
            await until_blocked(client, "blmove")
    elif way == "scope":
        with anyio.move_on_after(0.1) as scope:
            await wait()
        assert scope.cancelled_caught
    else:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await wait()
    await store.queue.push("jobs", 1)
    assert await store.queue.leased("jobs") == 0
    found = await drained(store, "jobs")
    assert (values(found), attempts(found)) == ([1], [1])


@pytest.mark.parametrize("way", ["task", "scope", "timeout"])
async def test_a_cancelled_body_gives_its_items_back(store: DataStore, way: str) -> None:
    await store.queue.push_many("jobs", range(3))
    entered = asyncio.Event()

    async def work() -> None:
        async with store.queue.lease("jobs", 2):
            entered.set()
            await asyncio.Event().wait()

    if way == "task":
        async with started(work()):
            await entered.wait()
    elif way == "scope":
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(work)
            await entered.wait()
            tasks.cancel_scope.cancel()
    else:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await work()
    assert await store.queue.leased("jobs") == 0
    found = await drained(store, "jobs")
    assert (values(found), attempts(found)) == ([0, 1, 2], [2, 2, 1])


async def test_a_lease_that_is_cancelled_while_it_is_taken_or_ended_is_never_half_done(store: DataStore) -> None:
    """Each turn of the event loop is a point at which a lease may be cancelled; all of them are tried."""
    await store.queue.push("others", 1)  # so that the connection is there

    async def work() -> None:
        async with store.queue.lease("jobs", 2):
            await asyncio.sleep(0)

    ends: dict[tuple[bool, int], int] = {}
    turns = 0
    while ends.get((False, 0), 0) < 10:
        turns += 1
        await store.queue.push_many("jobs", list("ab"))
        task = asyncio.create_task(work())
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        assert await store.queue.leased("jobs") == 0
        waiting = await store.queue.clear("jobs")
        ends[task.cancelled(), waiting] = ends.get((task.cancelled(), waiting), 0) + 1
    assert ends.keys() <= {(True, 2), (True, 0), (False, 0)}
    assert ends[True, 2] > 3
    await store.queue.clear("others")


async def test_a_waiting_lease_that_is_cancelled_as_an_item_comes_is_never_half_done(
    store: DataStore, client: Redis
) -> None:
    """The item comes while the lease waits in the server, and then all turns of the event loop are tried."""
    await drained(store, "jobs")  # so that the next one waits at once

    async def work() -> None:
        async with store.queue.lease("jobs", 2, timeout=0.1):
            await asyncio.sleep(0)

    ends: dict[tuple[bool, int], int] = {}
    turns = 0
    while ends.get((False, 0), 0) < 10:
        turns += 1
        task = asyncio.create_task(work())
        await asyncio.sleep(0)
        await client.lpush(f"{store.prefix}queue:jobs", '"a"', '"b"')
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        waiting = await store.queue.clear("jobs")
        assert await store.queue.leased("jobs") == 0
        ends[task.cancelled(), waiting] = ends.get((task.cancelled(), waiting), 0) + 1
    assert ends.keys() <= {(True, 2), (True, 0), (False, 0)}
    assert (True, 2) in ends


async def test_a_take_that_arrives_after_it_was_undone_takes_nothing(store: DataStore) -> None:
    await store.queue.push_many("jobs", [1, 2])
    connection, keys = store.connection, Keys(store.prefix)
    session = await connection.session()
    take = [10, 1_000_000, 1_000_000, "me", session.id, 0, 7, 30_000, 3]
    both = [*keys.all_of("jobs"), keys.sent(keys.queue("jobs"), session.id)]
    with session.lane() as lane:
        undo = ["me", session.id, 7, *lane]
        assert await connection.run_script("untake", both, undo, "undo") == [0, 0]
        late = await connection.run_script("take", both, [*take, *lane], "take")
        assert late[-1] == []
    with session.lane() as lane:
        undo = ["me", session.id, 7, *lane]
        taken = await connection.run_script("take", both, [*take, *lane], "take")
        assert taken[-1] == [b"1", b"2"]
        assert await connection.run_script("untake", both, undo, "undo") == [2, 0]
    assert await store.queue.leased("jobs") == 0
    assert values(await drained(store, "jobs")) == [1, 2]


async def test_the_users_error_stays_when_its_scope_is_cancelled_too(store: DataStore) -> None:
    await store.queue.push("jobs", 1)

    async def fail() -> None:
        with anyio.CancelScope() as scope:
            async with store.queue.lease("jobs", timeout=0):
                scope.cancel()
                raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert attempts(await drained(store, "jobs")) == [2]


@pytest.mark.parametrize("element", ['{"a":\n1}', '"\\n"', "[1,\n 2]\n", ' {"a": 1} ', "\n\t1"])
async def test_what_was_pushed_is_the_same_after_it_came_back(store: DataStore, client: Redis, element: str) -> None:
    await client.lpush(f"{store.prefix}queue:jobs", element)
    leased = [*await give_back(store, "jobs", 1), *await fail_on(store, "jobs", 1), *await drained(store, "jobs")]
    assert values(leased) == [json.loads(element)] * 3
    assert attempts(leased) == [1, 2, 3]


async def test_an_abandoned_lease_is_given_back(store: DataStore) -> None:
    await store.queue.push("jobs", 1)
    manager = store.queue.lease("jobs", timeout=0)
    assert values(await manager.__aenter__()) == [1]
    del manager  # as a generator that nobody goes on with

    async def is_back() -> bool:
        return await store.queue.length("jobs") == 1

    await until(is_back, 5, "the item waits again")
    assert attempts(await drained(store, "jobs")) == [2]
