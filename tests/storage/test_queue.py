"""Queues: first in, first out, in plain JSON that any client can push and pop."""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest
from redis.asyncio import Redis

from nodeflow.errors import PayloadError, StorageError
from nodeflow.storage import DataStore
from tests.storage.looking import balanced
from tests.storage.waiting import started, until_blocked
from tests.support import until

BAD_TIMEOUTS: list[Any] = [-1, -0.5, math.nan, math.inf, True, "1", b"1", [1]]


async def drained(store: DataStore, name: str) -> list[Any]:
    """Everything that waits, popped."""
    nothing, values = object(), []
    while (value := await store.queue.pop(name, timeout=0, default=nothing)) is not nothing:
        values.append(value)
    return values


@pytest.mark.parametrize("value", [None, 0, "", False, [], {}, 1.5, {"a": [1, None, "ü"]}], ids=repr)
async def test_a_pushed_value_is_popped(store: DataStore, value: Any) -> None:
    await store.queue.push("jobs", value)
    found = await store.queue.pop("jobs", timeout=0, default="nothing")
    assert (type(found), found) == (type(value), value)


async def test_values_are_popped_in_the_order_in_which_they_were_pushed(store: DataStore) -> None:
    await store.queue.push("jobs", 0)
    await store.queue.push_many("jobs", [1, 2, 3])
    await store.queue.push_many("jobs", iter([4, 5]))
    await store.queue.push("jobs", 6)
    assert await drained(store, "jobs") == [0, 1, 2, 3, 4, 5, 6]


async def test_ten_thousand_values_are_pushed_in_order(store: DataStore) -> None:
    await store.queue.push_many("jobs", range(10_000))
    assert await store.queue.length("jobs") == 10_000
    assert await store.queue.peek("jobs", 0, -1) == list(range(10_000))
    assert await store.queue.clear("jobs") == 10_000


async def test_values_of_megabytes_are_pushed_in_order(store: DataStore, client: Redis) -> None:
    values = [letter * 700_000 for letter in "abcde"]
    await store.queue.push_many("jobs", values)
    assert await drained(store, "jobs") == values


async def test_no_values_are_pushed_as_nothing(store: DataStore) -> None:
    await store.queue.push_many("jobs", [])
    await store.queue.push_many("jobs", iter(()))
    assert await store.queue.length("jobs") == 0
    assert await store.queue.names() == []


async def test_a_foreign_client_pushes_json_and_pops_json(store: DataStore, client: Redis) -> None:
    key = f"{store.prefix}queue:jobs"
    await client.lpush(key, '{"id":1}', ' {"id": 2} ')
    assert await drained(store, "jobs") == [{"id": 1}, {"id": 2}]
    await store.queue.push("jobs", {"id": 3, "name": "ü"})
    await store.queue.push_many("jobs", [None, "x"])
    popped: list[Any] = [await client.rpop(key) for _ in range(3)]
    assert list(map(json.loads, popped)) == [{"id": 3, "name": "ü"}, None, "x"]
    assert await client.exists(key) == 0


async def test_a_stored_null_is_told_from_nothing_by_the_default(store: DataStore) -> None:
    await store.queue.push("jobs", None)
    assert await store.queue.pop("jobs", timeout=0, default="nothing") is None
    assert await store.queue.pop("jobs", timeout=0, default="nothing") == "nothing"
    assert await store.queue.pop("jobs", timeout=0) is None


@pytest.mark.parametrize("timeout", [0.05, 0.3, 1.1])
async def test_an_empty_queue_gives_the_default_when_the_time_is_over(store: DataStore, timeout: float) -> None:
    began = time.monotonic()
    assert await store.queue.pop("jobs", timeout=timeout, default="nothing") == "nothing"
    async with store.queue.lease("jobs", timeout=timeout) as lease:
        assert len(lease) == 0
    assert time.monotonic() - began >= 2 * timeout


async def test_a_waiting_pop_is_woken_by_a_push(store: DataStore, client: Redis) -> None:
    for timeout in (None, 30, 30.5):
        async with started(store.queue.pop("jobs", timeout=timeout)) as popping:
            await until_blocked(client, "brpop")
            assert not popping.done()
            await store.queue.push("jobs", 1)
            assert await asyncio.wait_for(popping, 5) == 1


async def test_a_pop_is_counted_as_done_also_when_it_waited(store: DataStore, client: Redis) -> None:
    await store.queue.push("jobs", 1)
    await store.queue.pop("jobs")
    async with started(store.queue.pop("jobs")) as popping:
        await until_blocked(client, "brpop")
        await store.queue.push("jobs", 2)
        await popping

    async def are_counted() -> bool:
        tally = await store.queue.tally("jobs")
        return (tally.pushed, tally.done) == (2, 2)

    await until(are_counted, 5, "both are counted")


async def test_a_pop_without_a_timeout_goes_on_waiting_for_longer_than_one_command_blocks(
    store: DataStore, client: Redis
) -> None:
    async with started(store.queue.pop("jobs")) as popping:
        # Longer than a command blocks: another pop with such a time-out is the clock.
        assert await store.queue.pop("clock", timeout=1.2) is None
        assert not popping.done()
        await store.queue.push("jobs", 1)
        assert await asyncio.wait_for(popping, 5) == 1


async def test_a_pop_whose_time_is_over_does_not_take_what_comes_later_and_change_the_order(
    store: DataStore, client: Redis
) -> None:
    for _ in range(10):
        assert await store.queue.pop("jobs", timeout=0.05) is None
        await client.lpush(f"{store.prefix}queue:jobs", *range(3))
        assert [await store.queue.pop("jobs", timeout=5) for _ in range(3)] == [0, 1, 2]


@pytest.mark.parametrize("timeout", BAD_TIMEOUTS, ids=repr)
async def test_a_bad_timeout_is_refused(store: DataStore, timeout: Any) -> None:
    with pytest.raises(ValueError, match="timeout must be seconds"):
        await store.queue.pop("jobs", timeout=timeout)
    with pytest.raises(ValueError, match="timeout must be seconds"):
        async with store.queue.lease("jobs", timeout=timeout):
            pass


ONE_FOR_MANY: dict[str, Callable[[DataStore, Any], Awaitable[Any]]] = {
    "push_many": lambda store, value: store.queue.push_many("jobs", value),
    "pushes": lambda store, value: store.queue.commit(pushes={"jobs": value}, states={"key": 1}),
    "dead": lambda store, value: store.queue.commit(dead={"jobs": value}),
}


@pytest.mark.parametrize("value", ["abc", b"abc", {"order": 1}, 5, None])
@pytest.mark.parametrize("call", ONE_FOR_MANY)
async def test_one_value_where_many_are_to_be_given_is_refused(store: DataStore, call: str, value: Any) -> None:
    with pytest.raises(TypeError, match=f"must be a list of values, not {type(value).__name__}"):
        await ONE_FOR_MANY[call](store, value)
    assert not await store.cache.exists("key")
    await balanced(store, pushed=0)


async def test_a_value_that_json_cannot_hold_is_refused_with_its_path_before_anything_is_sent(
    store: DataStore,
) -> None:
    when = object()
    with pytest.raises(PayloadError, match=r"^\$\.rows\[3\]\.when: object"):
        await store.queue.push("jobs", {"rows": [0, 1, 2, {"when": when}]})
    with pytest.raises(PayloadError, match=r"^values\[2000\]\.when: object"):
        await store.queue.push_many("jobs", [*range(2_000), {"when": when}])
    with pytest.raises(TypeError, match="must be a list of values, not int"):
        await store.queue.push_many("jobs", 5)  # type: ignore[arg-type] # that is the test
    assert await store.queue.length("jobs") == 0


async def test_what_is_not_json_raises_when_it_is_popped_and_what_follows_is_popped_after_it(
    store: DataStore, client: Redis
) -> None:
    await client.lpush(f"{store.prefix}queue:jobs", "not json", "2")
    with pytest.raises(PayloadError, match="not json"):
        await store.queue.peek("jobs")
    with pytest.raises(PayloadError, match="not json"):
        await store.queue.pop("jobs", timeout=0)
    assert await store.queue.pop("jobs", timeout=0) == 2
    assert [letter.raw for letter in await store.queue.dead_letters("jobs")] == [b"not json"]
    assert await store.queue.discard("jobs", None) == 1


async def test_length_counts_what_waits(store: DataStore) -> None:
    lengths = [await store.queue.length("jobs")]
    await store.queue.push_many("jobs", list("abc"))
    lengths.append(await store.queue.length("jobs"))
    await store.queue.pop("jobs", timeout=0)
    lengths.append(await store.queue.length("jobs"))
    assert lengths == [0, 3, 2]
    await store.queue.clear("jobs")


@pytest.mark.parametrize(
    ("start", "stop", "places"),
    [
        (0, 9, range(10)),
        (0, 0, [0]),
        (3, 5, [3, 4, 5]),
        (10, 99, [10, 11]),
        (12, 99, []),
        (5, 3, []),
        (2, -1, range(2, 12)),
    ],
)
async def test_peek_looks_at_what_is_popped_next_and_takes_nothing(
    store: DataStore, start: int, stop: int, places: list[int]
) -> None:
    assert await store.queue.peek("jobs", start, stop) == []
    await store.queue.push_many("jobs", range(12))
    assert await store.queue.peek("jobs", start, stop) == list(places)
    assert await store.queue.peek("jobs") == list(range(10))
    assert await store.queue.clear("jobs") == 12


@pytest.mark.parametrize(("start", "stop"), [(-1, 9), (0, -2), (0.5, 9), (0, "9"), (True, 9), (None, 9)])
async def test_a_bad_range_is_refused(store: DataStore, start: Any, stop: Any) -> None:
    for look in (store.queue.peek, store.queue.dead_letters):
        with pytest.raises(ValueError, match=r"^(start|stop) must be a whole number"):
            await look("jobs", start, stop)


async def test_clear_empties_one_queue_and_says_how_much_that_was(store: DataStore) -> None:
    await store.queue.push_many("jobs", [1, 2])
    await store.queue.push("others", 3)
    assert await store.queue.clear("jobs") == 2
    assert await store.queue.clear("jobs") == 0
    assert await drained(store, "others") == [3]


@pytest.mark.parametrize("call", ["push", "push_many", "pop", "pop, waiting", "length", "peek", "clear", "lease"])
async def test_a_key_of_another_kind_is_refused_by_name_and_left_as_it_is(
    store: DataStore, client: Redis, call: str
) -> None:
    key = f"{store.prefix}queue:jobs"
    await client.set(key, "no list", ex=60)
    queue = store.queue
    calls: dict[str, Any] = {
        "push": lambda: queue.push("jobs", 1),
        "push_many": lambda: queue.push_many("jobs", [1, 2]),
        "pop": lambda: queue.pop("jobs", timeout=0),
        "pop, waiting": lambda: queue.pop("jobs", timeout=5),
        "length": lambda: queue.length("jobs"),
        "peek": lambda: queue.peek("jobs"),
        "clear": lambda: queue.clear("jobs"),
        "lease": lambda: queue.lease("jobs", timeout=5).__aenter__(),
    }
    with pytest.raises(StorageError, match=r"'jobs'.*WRONGTYPE"):
        await calls[call]()
    assert await client.get(key) == b"no list"
    await client.delete(key)


@pytest.mark.parametrize("way", ["task", "scope", "timeout"])
async def test_a_cancelled_pop_takes_nothing_and_leaves_no_reply_behind(
    store: DataStore, client: Redis, way: str
) -> None:
    if way == "task":
        async with started(store.queue.pop("jobs")):
            await until_blocked(client, "brpop")
    elif way == "scope":
        with anyio.move_on_after(0.1) as scope:
            await store.queue.pop("jobs")
        assert scope.cancelled_caught
    else:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await store.queue.pop("jobs")
    await until_blocked(client, "brpop", 0)
    await store.queue.push_many("jobs", range(50))
    popped = await asyncio.gather(*(store.queue.pop("jobs", timeout=5) for _ in range(50)))
    assert sorted(popped) == list(range(50))


@pytest.mark.parametrize(("queues", "blocked"), [(1, 1), (3, 3), (20, 5)])
async def test_many_waiting_pops_keep_no_other_call_waiting(
    store: DataStore, client: Redis, queues: int, blocked: int
) -> None:
    async with anyio.create_task_group() as tasks:
        for number in range(20):
            tasks.start_soon(store.queue.pop, f"jobs-{number % queues}")
        await until_blocked(client, "brpop", blocked)
        with anyio.fail_after(10):
            for _ in range(20):
                assert await store.cache.get("key", default="there") == "there"
        with anyio.fail_after(10):
            assert await store.queue.pop("others", timeout=0.2) is None
        tasks.cancel_scope.cancel()


async def test_many_waiting_pops_share_what_comes(store: DataStore) -> None:
    async with asyncio.TaskGroup() as tasks:
        popping = [tasks.create_task(store.queue.pop("jobs")) for _ in range(20)]
        await store.queue.push_many("jobs", range(20))
    assert sorted(task.result() for task in popping) == list(range(20))


async def test_pops_and_leases_that_wait_without_a_connection_of_their_own_get_what_comes(
    store: DataStore, client: Redis
) -> None:
    async def leased(name: str) -> list[Any]:
        async with store.queue.lease(name) as lease:
            return [item.value for item in lease]

    async with asyncio.TaskGroup() as tasks:
        names = [f"jobs-{number}" for number in range(12)]
        popping = [tasks.create_task(store.queue.pop(name)) for name in names]
        await until_blocked(client, "brpop", 5)
        leasing = [tasks.create_task(leased(f"leased-{name}")) for name in names]
        for name in names:
            await store.queue.push(name, name)
            await store.queue.push(f"leased-{name}", name)
    assert [task.result() for task in popping] == names
    assert [task.result() for task in leasing] == [[name] for name in names]


async def test_a_pop_keeps_its_timeout_while_all_blocking_connections_are_taken(
    store: DataStore, client: Redis
) -> None:
    async with anyio.create_task_group() as tasks:
        for number in range(60):
            tasks.start_soon(store.queue.pop, f"jobs-{number % 12}")
        await until_blocked(client, "brpop", 5)
        with anyio.fail_after(5):  # one after the other, each for a second, those before it take longer
            assert await store.queue.pop("others", timeout=0.2, default="nothing") == "nothing"
            async with store.queue.lease("others", timeout=0.2) as lease:
                assert not lease
        tasks.cancel_scope.cancel()
