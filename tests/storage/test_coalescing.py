"""Concurrent pushes go together in few commands, in order, none at the cost of another; a lone one goes out at once."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from nodeflow.errors import PayloadError
from nodeflow.storage import DataStore
from tests.storage.looking import balanced, calls, drained
from tests.storage.servers import Server, valkey


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A server on which nobody else counts, and which writes down what takes longer than 5 ms."""
    with valkey(tmp_path, "--slowlog-log-slower-than", "5000", "--slowlog-max-len", "1000") as server:
        yield server


@pytest.fixture
async def store(server: Server) -> AsyncIterator[DataStore]:
    async with DataStore.from_url(server.url, compress_above=None) as store:
        await store.queue.push("others", 1)  # so that the connection is there, and the server knows the script
        yield store


@pytest.fixture
async def client(server: Server) -> AsyncIterator[Redis]:
    async with Redis.from_url(server.url) as client:
        yield client


async def scripts(client: Redis) -> int:
    """How many scripts the server has run."""
    return await calls(client, "evalsha", "eval")


async def one_call(store: DataStore, values: Sequence[Any]) -> None:
    await store.queue.push_many("jobs", values)


async def many_calls(store: DataStore, values: Sequence[Any]) -> None:
    await asyncio.gather(*(store.queue.push("jobs", value) for value in values))


async def test_a_thousand_concurrent_pushes_are_a_handful_of_commands(store: DataStore, client: Redis) -> None:
    before = await scripts(client)
    await asyncio.gather(*(store.queue.push("jobs", number) for number in range(1_000)))
    assert await scripts(client) - before <= 5
    assert await drained(store) == list(range(1_000))


async def test_a_lone_push_is_one_round_trip(store: DataStore, client: Redis) -> None:
    sent: list[str] = []
    async with client.monitor() as monitor:
        await store.queue.push("jobs", 1)
        await store.cache.exists("the end")
        while "EXISTS" not in sent:
            seen = await monitor.next_command()
            if seen["client_type"] != "lua":
                sent.append(seen["command"].split()[0])
    assert sent == ["EVALSHA", "EXISTS"]


@pytest.mark.parametrize("number", [999, 1_000, 1_001, 3_500])
async def test_a_command_carries_a_thousand_values_at_most(store: DataStore, client: Redis, number: int) -> None:
    for push in (one_call, many_calls):
        before = await scripts(client)
        await push(store, range(number))
        assert await scripts(client) - before == (number + 999) // 1_000
        assert await drained(store) == list(range(number))


async def test_a_command_carries_a_mebibyte_at_most(store: DataStore, client: Redis) -> None:
    values = [str(number) * 400_000 for number in range(9)]
    for push in (one_call, many_calls):
        before = await scripts(client)
        await push(store, values)
        assert await scripts(client) - before == 5
        assert await drained(store) == values


async def test_pushes_to_several_queues_do_not_wait_for_each_other(store: DataStore, client: Redis) -> None:
    before = await scripts(client)
    await asyncio.gather(*(store.queue.push(f"jobs-{number % 10}", number) for number in range(1_000)))
    assert await scripts(client) - before <= 30
    for queue in range(10):
        assert await drained(store, f"jobs-{queue}") == list(range(queue, 1_000, 10))


async def test_the_order_of_each_caller_is_kept(store: DataStore) -> None:
    async def caller(who: int) -> None:
        for number in range(0, 100, 4):
            await store.queue.push("jobs", [who, number])
            await store.queue.push_many("jobs", [[who, number + 1], [who, number + 2]])
            await asyncio.gather(store.queue.push("jobs", [who, number + 3]))

    await asyncio.gather(*(caller(who) for who in range(30)))
    found = await drained(store)
    assert len(found) == 3_000
    for who in range(30):
        assert [number for each, number in found if each == who] == list(range(100))


async def test_a_bad_value_fails_its_own_call_only(store: DataStore) -> None:
    values: list[Any] = [object() if number % 7 == 3 else number for number in range(500)]
    results = await asyncio.gather(*(store.queue.push("jobs", value) for value in values), return_exceptions=True)
    assert [type(result) for result in results] == [
        PayloadError if number % 7 == 3 else type(None) for number in range(500)
    ]
    assert await drained(store) == [number for number in range(500) if number % 7 != 3]


async def test_a_cancelled_push_does_not_disturb_its_neighbours(store: DataStore) -> None:
    dice = random.Random(5)
    for turns in range(40):
        tasks = [asyncio.create_task(store.queue.push("jobs", number)) for number in range(30)]
        for _ in range(turns % 20):
            await asyncio.sleep(0)
        victims = dice.sample(range(30), 10)
        for victim in victims:
            tasks[victim].cancel()
        await asyncio.wait(tasks)
        survivors = [number for number in range(30) if not tasks[number].cancelled()]
        assert set(range(30)) - set(survivors) <= set(victims)
        found = await drained(store)
        assert found == sorted(set(found))
        assert set(survivors) <= set(found)
    await balanced(store, waiting=0)


@pytest.mark.parametrize("turns", range(12))
async def test_a_cancelled_push_of_many_values_leaves_the_first_of_them_or_none(store: DataStore, turns: int) -> None:
    task = asyncio.create_task(store.queue.push_many("jobs", range(2_500)))
    behind = asyncio.create_task(store.queue.push("jobs", "behind"))
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task, behind])
    found = await drained(store)
    assert found.count("behind") == 1
    found.remove("behind")
    assert found == list(range(len(found)))
    assert task.cancelled() or len(found) == 2_500


async def test_no_batch_holds_the_server_for_long(store: DataStore, client: Redis) -> None:
    before = await scripts(client)
    large, small = ["x" * 300_000] * 30, ["y" * 140] * 20_000
    for push in (one_call, many_calls):
        await push(store, [*small, *large])
    number = await scripts(client) - before
    slow = [entry["duration"] for entry in await client.slowlog_get(1_000)]
    assert number >= 60
    # The server measures by the clock on the wall, in which a busy machine takes its processor away from it.
    assert len(slow) <= number // 2, slow
    assert await store.queue.clear("jobs") == 40_060
