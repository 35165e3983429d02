"""Streams: all items of a queue until its writers are done; a writer's death is no end, and no item gets lost."""

from __future__ import annotations

import asyncio
import itertools
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from typing import Any

import pytest
from redis.asyncio import Redis

from nodeflow.errors import WriterLostError
from nodeflow.storage import DataStore
from nodeflow.storage.keys import Keys
from tests.storage.looking import balanced, drained, until_passed, values
from tests.storage.waiting import started
from tests.support import until

LEASE = 0.5
"""Seconds after which a writer counts as silent; it is lost after twice as long."""

WRITER = """
import asyncio, sys
from nodeflow.storage import DataStore

async def main(url, prefix):
    async with DataStore.from_url(url, prefix=prefix, lease_seconds=0.5) as store:
        async with store.queue.write_as("jobs", "read/0"):
            await store.queue.push_many("jobs", [0, 1, 2])
            print("ready", flush=True)
            await asyncio.to_thread(sys.stdin.readline)
            await store.queue.push("jobs", 3)
        print("done", flush=True)

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nodeflow.storage.stream._LOOK_SECONDS", 0.03)


@pytest.fixture
async def reader(server_url: str, token: str) -> AsyncIterator[DataStore]:
    """A store whose patience is short."""
    async with DataStore.from_url(server_url, prefix=f"{token}:", lease_seconds=LEASE) as reader:
        yield reader


@asynccontextmanager
async def writer(server_url: str, store: DataStore) -> AsyncIterator[asyncio.subprocess.Process]:
    """A process that has written 0, 1, 2 and writes 3 when it is told to, then is done."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", WRITER, server_url, store.prefix),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        assert await process.stdout.readline() == b"ready\n"
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def streamed(store: DataStore, found: list[Any], max_items: int = 100) -> list[Any]:
    """Read a stream to its end; what was found so far is seen from outside."""
    async for item in store.queue.stream("jobs", max_items):
        found.append(item.value)  # noqa: PERF401 - extend() would show what was found only at the end
    return found


async def until_looked(store: DataStore, stream: asyncio.Task[Any], times: int = 3) -> None:
    """Wait until a stream has looked for items, and for its end, so often again, and didn't end."""
    before = store.stats().item_waits

    async def has_looked() -> bool:
        return stream.done() or store.stats().item_waits > before + times

    await until(has_looked, 10, "the stream has looked again")
    assert not stream.done()


async def until_found(found: list[Any], number: int) -> None:
    async def are_there() -> bool:
        return len(found) >= number

    await until(are_there, 10, f"{number} items were streamed")


async def test_a_stream_gives_what_its_writers_write_and_ends_when_all_are_done(store: DataStore) -> None:
    await store.queue.register_writers("jobs", ["read/0", "read/1"])
    found: list[Any] = []
    async with started(streamed(store, found)) as streaming:
        async with store.queue.write_as("jobs", "read/0"):
            await store.queue.push_many("jobs", range(10))
        await until_found(found, 10)
        await until_looked(store, streaming)  # read/1 hasn't even begun
        async with store.queue.write_as("jobs", "read/1"):
            await store.queue.push_many("jobs", range(10, 20))
        assert await asyncio.wait_for(streaming, 5) == list(range(20))
    await balanced(store, done=20)


@pytest.mark.parametrize("way", ["close", "end_writers", "one of them", "closed before it is read"])
async def test_a_queue_can_be_ended_for_its_writers(store: DataStore, way: str) -> None:
    queue, found = store.queue, list[Any]()
    await queue.register_writers("jobs", ["a", "b"])
    await queue.push("jobs", 1)
    if way == "closed before it is read":
        await queue.close("jobs")
        assert await streamed(store, found) == [1]
        return
    async with started(streamed(store, found)) as streaming:
        await until_found(found, 1)
        if way == "one of them":
            await queue.end_writers("jobs", ["a"])
            await until_looked(store, streaming)
        await (queue.close("jobs") if way == "close" else queue.end_writers("jobs", ["a", "b"]))
        assert await asyncio.wait_for(streaming, 5) == [1]


async def test_an_empty_queue_that_is_closed_ends_at_once(store: DataStore) -> None:
    await store.queue.close("jobs")
    assert await streamed(store, []) == []


async def test_a_queue_without_registered_writers_has_no_end(store: DataStore) -> None:
    found: list[Any] = []
    async with started(streamed(store, found)) as streaming:
        await store.queue.push("jobs", 1)
        await until_found(found, 1)
        await until_looked(store, streaming)
    await drained(store)


@pytest.mark.parametrize("rest", ["leased", "delayed", "retried later"])
async def test_a_stream_does_not_end_while_something_may_still_come(
    store: DataStore, server_url: str, rest: str
) -> None:
    found: list[Any] = []
    await store.queue.push("jobs", "late", delay=60 if rest == "delayed" else 0)
    await store.queue.close("jobs")
    async with AsyncExitStack() as stack:
        other = await stack.enter_async_context(DataStore.from_url(server_url, prefix=store.prefix))
        held = None
        if rest != "delayed":
            held = await stack.enter_async_context(other.queue.lease("jobs", timeout=0))
            if rest == "retried later":
                await held.retry(held[0], delay=1)
        streaming = await stack.enter_async_context(started(streamed(store, found)))
        await until_looked(store, streaming)
        if rest == "leased" and held is not None:
            await held.give_back()
        elif rest == "delayed":
            await store.queue.clear("jobs")
        expected = [] if rest == "delayed" else ["late"]
        assert await asyncio.wait_for(streaming, 10) == expected
    await balanced(store, done=len(expected), discarded=1 - len(expected))


@pytest.mark.parametrize("at", [0, 4, 9, 14])
@pytest.mark.parametrize("way", ["break", "break without aclosing", "error", "cancelled"])
async def test_leaving_a_stream_gives_back_the_item_at_hand_and_those_behind_it(
    store: DataStore, way: str, at: int
) -> None:
    await store.queue.push_many("jobs", range(15))
    task = asyncio.ensure_future(leave(store, way, at))
    (outcome,) = await asyncio.gather(task, return_exceptions=True)
    assert type(outcome) is {"error": LookupError, "cancelled": asyncio.CancelledError}.get(way, type(None))

    async def are_back() -> bool:
        return await store.queue.length("jobs") == 15 - at and await store.queue.leased("jobs") == 0

    await until(are_back, 2, f"{15 - at} items wait again, {at} were handled")
    assert await drained(store) == list(range(at, 15))
    await balanced(store, done=15)


async def leave(store: DataStore, way: str, at: int) -> None:
    """Stream up to an item and leave."""
    async with AsyncExitStack() as stack:
        stream = store.queue.stream("jobs", 10)
        if "without" not in way:
            await stack.enter_async_context(aclosing(stream))
        async for item in stream:
            if item.value == at and way == "error":
                raise LookupError
            if item.value == at and way == "cancelled":
                asyncio.current_task().cancel()  # type: ignore[union-attr] # this is one
                await asyncio.sleep(0)
            if item.value == at:
                break


async def test_items_are_acknowledged_in_parts_while_a_lease_is_streamed(
    store: DataStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nodeflow.storage.stream._ACK_SECONDS", 0)
    await store.queue.push_many("jobs", range(50))
    await store.queue.close("jobs")
    async for item in store.queue.stream("jobs", 50):
        await balanced(store, done=item.value, leased=50 - item.value)
    await balanced(store, done=50)


async def test_each_item_of_a_big_stream_comes_once_to_one_of_its_readers(store: DataStore, server_url: str) -> None:
    await store.queue.register_writers("jobs", ["w/0", "w/1"])
    found: list[list[Any]] = [[], [], []]

    async def write(who: int) -> None:
        async with store.queue.write_as("jobs", f"w/{who}"):
            for first in range(0, 5_000, 500):
                await store.queue.push_many("jobs", [[who, number] for number in range(first, first + 500)])

    async with DataStore.from_url(server_url, prefix=store.prefix) as other, asyncio.TaskGroup() as tasks:
        readers = [(store, 100), (other, 37), (other, 1_000)]
        for each, (reading, max_items) in zip(found, readers, strict=True):
            tasks.create_task(streamed(reading, each, max_items))
        for who in range(2):
            tasks.create_task(write(who))
    assert sorted(itertools.chain(*found)) == [[who, number] for who in range(2) for number in range(5_000)]
    await balanced(store, done=10_000, leased=0)


async def test_a_killed_writer_is_lost_and_the_stream_says_who(
    server_url: str, store: DataStore, reader: DataStore
) -> None:
    await store.queue.register_writers("jobs", ["read/0"])
    found: list[Any] = []
    async with writer(server_url, store) as process:
        process.kill()
        with pytest.raises(WriterLostError, match="'jobs' has lost its writer read/0") as caught:
            await asyncio.wait_for(streamed(reader, found), 8 * LEASE)
    assert (caught.value.queue, caught.value.writers) == ("jobs", ("read/0",))
    assert found == [0, 1, 2]
    await balanced(store, done=3, leased=0)
    assert str(caught.value).rpartition("queue.")[2].partition("(")[0] in dir(store.queue)


async def test_a_successor_in_time_goes_on_and_the_stream_ends_with_it(
    server_url: str, store: DataStore, reader: DataStore, client: Redis
) -> None:
    await store.queue.register_writers("jobs", ["read/0"])
    found: list[Any] = []
    async with started(streamed(reader, found)) as streaming, writer(server_url, store) as process:
        process.kill()
        await until_silent(store, client)
        async with reader.queue.write_as("jobs", "read/0"):
            await until_passed(client, 2.5 * LEASE)  # longer than its predecessor was given
            await reader.queue.push("jobs", 3)
        assert await asyncio.wait_for(streaming, 10) == [0, 1, 2, 3]


async def until_silent(store: DataStore, client: Redis) -> None:
    """Wait until the writer's sign of life has run out."""
    key = f"{Keys(store.prefix).writers('jobs')[1]}:read/0"

    async def is_silent() -> bool:
        return not await client.exists(key)

    await until(is_silent, 10, "the writer gives no sign of life")


async def test_a_writer_that_is_left_by_an_error_is_lost_unless_it_begins_again(reader: DataStore) -> None:
    async def fail() -> None:
        async with reader.queue.write_as("jobs", "read/0"):
            await reader.queue.push("jobs", 1)
            raise LookupError

    with pytest.raises(LookupError):
        await fail()
    with pytest.raises(WriterLostError):
        await asyncio.wait_for(streamed(reader, []), 8 * LEASE)
    async with reader.queue.write_as("jobs", "read/0"):
        await reader.queue.push("jobs", 2)
    assert await streamed(reader, []) == [2]


async def test_a_registered_writer_that_never_begins_is_lost(reader: DataStore) -> None:
    await reader.queue.register_writers("jobs", ["read/0", "read/1", "read/2"])
    async with reader.queue.write_as("jobs", "read/1"):
        with pytest.raises(WriterLostError) as caught:
            await asyncio.wait_for(streamed(reader, []), 8 * LEASE)
    assert caught.value.writers == ("read/0", "read/2")


async def test_a_living_writer_may_be_silent_for_long(
    server_url: str, store: DataStore, reader: DataStore, client: Redis
) -> None:
    found: list[Any] = []
    async with writer(server_url, store) as process, started(streamed(reader, found)) as streaming:
        await until_passed(client, 2.5 * LEASE)
        assert not streaming.done()
        assert not streaming.done()
        assert process.stdin is not None
        process.stdin.write(b"\n")
        assert await asyncio.wait_for(streaming, 10) == [0, 1, 2, 3]


async def test_a_writer_that_was_frozen_and_goes_on_in_time_is_not_lost(
    server_url: str, store: DataStore, reader: DataStore, client: Redis
) -> None:
    found: list[Any] = []
    async with started(streamed(reader, found)) as streaming, writer(server_url, store) as process:
        process.send_signal(signal.SIGSTOP)
        await until_silent(store, client)
        process.send_signal(signal.SIGCONT)
        assert process.stdin is not None
        process.stdin.write(b"\n")
        assert process.stdout is not None
        assert await asyncio.wait_for(process.stdout.readline(), 10) == b"done\n"
        assert await asyncio.wait_for(streaming, 10) == [0, 1, 2, 3]


async def test_who_writes_twice_under_one_name_is_done_when_the_last_one_is(store: DataStore) -> None:
    found: list[Any] = []
    async with store.queue.write_as("jobs", "read/0"), started(streamed(store, found)) as streaming:
        async with store.queue.write_as("jobs", "read/0"):
            await until_looked(store, streaming)
            await store.queue.push("jobs", 1)
        assert await asyncio.wait_for(streaming, 10) == [1]


async def test_who_lost_the_name_to_another_block_of_the_same_process_ends_nothing(store: DataStore) -> None:
    found: list[Any] = []
    async with AsyncExitStack() as stack:
        async with store.queue.write_as("jobs", "read/0"):
            await stack.enter_async_context(store.queue.write_as("jobs", "read/0"))
        streaming = await stack.enter_async_context(started(streamed(store, found)))
        await until_looked(store, streaming)


@pytest.mark.parametrize("ends", ["write_as", "end_writers"])
async def test_a_writer_whose_slot_was_taken_over_cannot_end_the_queue(
    server_url: str, store: DataStore, ends: str
) -> None:
    found: list[Any] = []
    async with DataStore.from_url(server_url, prefix=store.prefix) as successor, AsyncExitStack() as stack:
        async with store.queue.write_as("jobs", "read/0"):
            await stack.enter_async_context(successor.queue.write_as("jobs", "read/0"))
        streaming = await stack.enter_async_context(started(streamed(store, found)))
        await until_looked(store, streaming)
        await successor.queue.push("jobs", "last")
        await (stack.aclose() if ends == "write_as" else successor.queue.end_writers("jobs", ["read/0"]))
        if ends == "end_writers":
            assert await asyncio.wait_for(streaming, 10) == ["last"]
    await drained(store)


async def test_a_queue_is_written_and_read_by_the_same_names_again(store: DataStore) -> None:
    for turn in range(3):
        await store.queue.register_writers("jobs", ["read/0"])
        found: list[Any] = []
        async with started(streamed(store, found)) as streaming:
            await until_looked(store, streaming)
            async with store.queue.write_as("jobs", "read/0"):
                await store.queue.push("jobs", turn)
            assert await asyncio.wait_for(streaming, 5) == [turn]


@pytest.mark.parametrize("name", ["", "a b", "a*", "x" * 201, 5, None], ids=repr)
async def test_a_bad_name_of_a_writer_is_refused(store: DataStore, name: Any) -> None:
    calls: list[Callable[[], Any]] = [
        lambda: store.queue.register_writers("jobs", [name]),
        lambda: store.queue.end_writers("jobs", [name]),
        lambda: store.queue.write_as("jobs", name).__aenter__(),
        lambda: store.queue.lease("jobs", consumer="a b" if name is None else name).__aenter__(),
    ]
    for call in calls:
        with pytest.raises(ValueError, match="a consumer's or writer's name is 1 to 200"):
            await call()


async def test_a_stream_may_have_a_slot_whose_successor_takes_its_items_over(store: DataStore, server_url: str) -> None:
    await store.queue.push_many("jobs", range(5))
    await store.queue.close("jobs")
    async with (
        DataStore.from_url(server_url, prefix=store.prefix) as other,
        aclosing(store.queue.stream("jobs", 5, consumer="count/0")) as stream,
    ):
        assert (await anext(stream)).value == 0
        async with other.queue.lease("jobs", 5, consumer="count/0", timeout=0) as taken:
            assert values(taken) == [0]  # suspect, so alone
        assert await drained(other) == [1, 2, 3, 4]
    await balanced(store, done=5)
