"""A sweep removes the blobs that nothing refers to, and never one that something does, whatever moves meanwhile."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from nodeflow.errors import UsageError
from nodeflow.storage import Changes, DataStore, keeping
from nodeflow.values.descriptor import new_blob_id
from tests.storage.servers import Server
from tests.storage.test_encryption import KEY
from tests.storage.waiting import started
from tests.support import until

LARGE = random.Random(1).randbytes(2_000).hex()
OPTIONS: dict[str, Any] = {"max_inline_bytes": 1_000, "compress_above": None}


@pytest.fixture(params=["plain", "encrypted"])
async def store(request: pytest.FixtureRequest, server: Server, tmp_path: Path) -> AsyncIterator[DataStore]:
    """A store with blobs on a server of its own: a sweep looks at all of a database."""
    keys = f"k1:{KEY}" if request.param == "encrypted" else None
    async with DataStore.from_url(
        server.url, prefix="app:", blobs=str(tmp_path / "blobs"), keys=keys, **OPTIONS
    ) as store:
        yield store


async def count(store: DataStore) -> int:
    """How many blobs there are."""
    return len([blob async for blob in store.blobs.list()])


async def orphan(store: DataStore) -> str:
    """Write a blob to which nothing refers."""
    return (await store.blobs.write(new_blob_id(), b"orphan", media_type="text/plain")).storage_id


async def test_what_nothing_refers_to_is_removed_and_all_else_kept_wherever_it_lies(store: DataStore) -> None:
    queue = store.queue
    graph = store.scoped("{graph}:")
    await queue.push_many("jobs", [LARGE] * 6)
    await queue.push("later", LARGE, delay=600)
    await graph.queue.push("channel", LARGE)
    await queue.push_many("long", [LARGE] * 450)
    await graph.cache.set("key", LARGE)
    await queue.commit(states={"state": LARGE}, dead={"letters": [LARGE]})
    lost = await orphan(store)
    async with queue.lease("jobs", 2, timeout=0) as leased, queue.lease("jobs", 2, timeout=0) as other:
        await leased.retry(leased[0])
        await leased.dead_letter(leased[1], "x" * 5_000 + ' " \\ ä \n')
        await other.retry(other[0], delay=600, error="later " * 1_000)
        looked = await store.sweep(older_than=0, is_dry=True)
        assert ([blob.id for blob in looked.removed], looked.kept, looked.young) == ([lost], 461, 0)
        assert await count(store) == 462
        swept = await store.sweep(older_than=0)
        assert swept == looked
    assert await count(store) == 461
    assert (await store.sweep(older_than=0)).removed != [], "one was acknowledged"
    await queue.clear("long")
    assert len((await store.sweep(older_than=0)).removed) == 450
    assert await queue.peek("jobs", 0, -1) == [LARGE] * 3
    assert await graph.queue.pop("channel") == await graph.cache.get("key") == LARGE


async def test_what_is_young_is_left_alone(store: DataStore) -> None:
    await orphan(store)
    swept = await store.sweep()
    assert (swept.removed, swept.young) == ([], 1)


@pytest.mark.slow
async def test_a_blob_whose_item_never_rests_is_never_swept(store: DataStore) -> None:
    """Items go from the queue into leases, back, to the dead letters and back, while sweeps look for them."""
    await store.queue.push_many("jobs", [LARGE] * 3)
    is_over = False

    async def move(how: int) -> None:
        while not is_over:
            async with store.queue.lease("jobs", timeout=0) as lease:
                if lease and how == 0:
                    await lease.retry(lease[0], delay=0.001)
                elif lease and how == 1:
                    await lease.dead_letter(lease[0], "bad")
                    await store.queue.requeue("jobs")
                elif lease:
                    await lease.give_back()

    async with asyncio.TaskGroup() as tasks:
        for how in range(3):
            tasks.create_task(move(how))
        for _ in range(150):
            assert (await store.sweep(older_than=0)).removed == []
        is_over = True
    async with store.queue.lease("jobs", 3, timeout=0) as lease:
        assert len(lease) >= 1
    await store.queue.clear("jobs")


async def test_what_a_job_keeps_is_in_use(store: DataStore) -> None:
    fields = {
        name: await store.prepare_field("job", name, [LARGE, name]) for name in ("join:j", "state:n:0", "progress")
    }
    lost = await orphan(store)
    await store.queue.commit(changes=Changes(job="job", fields={name: {"f": data} for name, data in fields.items()}))
    assert [blob.id for blob in (await store.sweep(older_than=0)).removed] == [lost]
    assert [await store.ledger("job").fields(name, ["f"]) for name in fields] == [[[LARGE, name]] for name in fields]
    await store.ledger("job").remove(list(fields))
    assert len((await store.sweep(older_than=0)).removed) == 3


async def test_sweeps_at_the_same_time_remove_each_blob_once_and_nothing_else(store: DataStore) -> None:
    await store.queue.push_many("jobs", [LARGE] * 20)
    lost = {await orphan(store) for _ in range(20)}
    found = await asyncio.gather(*(store.sweep(older_than=0) for _ in range(4)))
    assert set().union(*({blob.id for blob in swept.removed} for swept in found)) == lost
    assert await count(store) == 20
    assert [await store.queue.pop("jobs") for _ in range(20)] == [LARGE] * 20


async def test_a_push_that_waits_for_room_keeps_its_blob_young(
    store: DataStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeping, "_SAY_SECONDS", 0.0)
    monkeypatch.setattr(keeping, "_LOOK_SECONDS", 0.0)
    await store.queue.bound("jobs", 1)
    await store.queue.push("jobs", "full")
    async with started(store.queue.push("jobs", LARGE)) as pushing:
        client = await store.connection.ensure_connection()

        async def is_said() -> bool:
            return bool(await client.exists(keeping.KEY))

        await until(is_said, 10, "it is said that the blob is on its way")
        assert (await store.sweep(older_than=0)).removed == []
        assert await store.queue.pop("jobs") == "full"
        await pushing
    assert await store.queue.pop("jobs") == LARGE


KILLED = """
import asyncio, sys
from nodeflow.storage import DataStore

async def main():
    async with DataStore.from_url(sys.argv[1], prefix="app:", blobs=sys.argv[2], max_inline_bytes=1_000) as store:
        push = store.queue._push
        async def stop(*arguments):
            print("uploaded", flush=True)
            sys.stdin.readline()
        store.queue._push = stop
        await store.queue.push("jobs", sys.argv[3])

asyncio.run(main())
"""


async def test_the_blob_of_a_producer_that_is_killed_between_upload_and_push_is_swept(
    server: Server, tmp_path: Path
) -> None:
    folder = tmp_path / "blobs"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", KILLED, server.url, str(folder), LARGE, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"uploaded\n"
    process.kill()
    await process.wait()
    (folder / ".partial" / "output_of_another").touch()
    async with DataStore.from_url(server.url, prefix="app:", blobs=str(folder)) as store:
        assert await count(store) == 1
        assert (await store.sweep()).young == 1
        assert len((await store.sweep(older_than=0)).removed) == 1
        assert list((folder / ".partial").iterdir()) == []


async def test_the_blobs_of_another_database_are_not_swept(store: DataStore, tmp_path: Path, server: Server) -> None:
    await store.cache.set("key", LARGE)
    async with DataStore.from_url(f"{server.url}?db=1", blobs=str(tmp_path / "blobs"), **OPTIONS) as other:
        with pytest.raises(UsageError, match="belong to another database"):
            await other.sweep(older_than=0)
        with pytest.raises(UsageError, match="belong to another database"):
            await other.cache.set("key", LARGE)
    assert await count(store) == 1


PREFIXES = ["a:dead:", "a:returned:", "x{g}:dead:", "{queue:a}:", "{my-queue:1}:", "queue:", "a{b:", "ü:", "a\nb:", ""]


@pytest.mark.parametrize("prefix", PREFIXES)
async def test_prefixes_may_look_like_anything(store: DataStore, prefix: str) -> None:
    queue = DataStore.scoped(store, prefix).queue
    await queue.push_many("jobs", [LARGE] * 3)
    await queue.push("jobs", LARGE, delay=600)
    async with queue.lease("jobs", 3, timeout=0) as lease:
        await lease.retry(lease[0])
        await lease.dead_letter(lease[1], "bad")
        assert (await store.sweep(older_than=0)).removed == []
    await store.sweep(older_than=0)
    assert await count(store) == 3


async def test_foreign_keys_are_no_hindrance(store: DataStore, server: Server) -> None:
    async with Redis.from_url(server.url) as client:
        await client.set(b"\xffqueue:x", "1")
        await client.lpush(b"\xffqueue:y", "1")
        await client.sadd("{queue:foreign}:leases", "1")
        await client.hset("queue:z", "1", "2")
    await store.scoped("{g}:").cache.set("queue:x:returned", 1)
    lost = await orphan(store)
    assert [blob.id for blob in (await store.sweep(older_than=0)).removed] == [lost]
