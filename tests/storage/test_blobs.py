"""Large values go to blobs, and only a descriptor travels; a store without blobs keeps them inline."""

from __future__ import annotations

import asyncio
import json
import os
import random
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import pytest
from redis.asyncio import Redis

from nodeflow.errors import BlobDamagedError, BlobMissingError, BlobStoreError, PayloadError, UsageError
from nodeflow.storage import DataStore
from nodeflow.values.blobs import Blob
from tests.storage.looking import balanced
from tests.storage.test_encryption import KEY

LARGE = {"text": random.Random(1).randbytes(20_000).hex(), "n": 1}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the blobs go."""
    return tmp_path / "blobs"


@pytest.fixture(params=["plain", "encrypted"])
async def blobs(request: pytest.FixtureRequest, server_url: str, token: str, folder: Path) -> AsyncIterator[DataStore]:
    """A store whose values go to blobs above 10 kB."""
    options: Any = {"blobs": str(folder), "max_inline_bytes": 10_000}
    if request.param == "encrypted":
        options["keys"] = f"k1:{KEY}"
    async with DataStore.from_url(server_url, prefix=f"{token}:", **options) as store:
        yield store


def open_files() -> int:
    """How many files this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


async def ids(store: DataStore) -> list[str]:
    """The ids of all blobs."""
    return sorted([blob.id async for blob in store.blobs.list()])


async def test_a_large_value_travels_as_a_descriptor_whatever_way_it_takes(blobs: DataStore, client: Redis) -> None:
    queue = blobs.queue
    await queue.push_many("jobs", [LARGE, "small", LARGE])
    size: Any = await client.memory_usage(f"{blobs.prefix}queue:jobs")
    assert size < 5_000
    assert len(await ids(blobs)) == 2
    assert await queue.peek("jobs") == [LARGE, "small", LARGE]
    async with queue.lease("jobs", 3, timeout=0) as lease:
        assert [item.value for item in lease] == [LARGE, "small", LARGE]
        await lease.retry(lease[0])
        await lease.dead_letter(lease[2], "bad")
        await queue.commit(pushes={"out": [LARGE]}, states={"state": LARGE})
    assert [letter.value for letter in await queue.dead_letters("jobs")] == [LARGE]
    await queue.requeue("jobs")
    assert [await queue.pop("jobs") for _ in range(2)] == [LARGE, LARGE]
    assert await queue.pop("out") == LARGE
    assert await blobs.cache.get("state") == LARGE
    await blobs.cache.delete("state")


async def test_the_descriptor_says_what_it_stands_for(server_url: str, token: str, folder: Path, client: Redis) -> None:
    async with DataStore.from_url(server_url, prefix=f"{token}:", blobs=str(folder), max_inline_bytes=10_000) as store:
        await store.queue.push("jobs", LARGE)
        found = json.loads(str((await client.rpop(f"{token}:queue:jobs") or b"").decode()))  # type: ignore[union-attr]
        (blob_id,) = await ids(store)
    stored = (folder / blob_id).stat().st_size
    assert found.keys() == {"type", "storage_id", "size_bytes", "stored_bytes", "media_type", "digest"}
    assert (found["type"], found["storage_id"]) == ("external_ref", blob_id)
    assert (found["size_bytes"], found["stored_bytes"]) == (len(json.dumps(LARGE, separators=(",", ":"))), stored)
    assert found["media_type"] == "application/json"


async def test_a_folder_of_blobs_is_its_owners_alone(blobs: DataStore, folder: Path) -> None:
    await blobs.queue.push("jobs", LARGE)
    (blob_id,) = await ids(blobs)
    modes = [path.stat().st_mode & 0o777 for path in (folder, folder / ".partial", folder / blob_id)]
    assert modes == [0o700, 0o700, 0o600]
    assert list((folder / ".partial").iterdir()) == []
    await blobs.queue.clear("jobs")


async def test_nothing_of_an_encrypted_blob_is_readable(server_url: str, token: str, folder: Path) -> None:
    async with DataStore.from_url(
        server_url, prefix=f"{token}:", blobs=str(folder), max_inline_bytes=100, keys=f"k1:{KEY}"
    ) as store:
        await store.cache.set("key", "the canary sings " * 100, ttl=60)
        (blob_id,) = await ids(store)
        assert b"canary" not in (folder / blob_id).read_bytes()
        assert await store.cache.get("key") == "the canary sings " * 100


async def test_a_missing_or_damaged_blob_is_named_and_its_item_a_dead_letter(blobs: DataStore, folder: Path) -> None:
    await blobs.queue.push_many("jobs", [LARGE, "good", LARGE])
    first, second = await ids(blobs)
    (folder / first).unlink()
    data = bytearray((folder / second).read_bytes())
    data[len(data) // 2] ^= 1
    (folder / second).write_bytes(data)
    async with blobs.queue.lease("jobs", 3, timeout=0) as lease:
        assert [item.value for item in lease] == ["good"]
    assert {letter.error for letter in await blobs.queue.dead_letters("jobs")} == {
        f"blob {second} is damaged: its bytes are not those that were written",
        f"blob {first} is not in {folder}",
    }
    await balanced(blobs, done=1, dead=2)
    await blobs.queue.discard("jobs", None)


async def test_a_cached_value_whose_blob_is_gone_says_so(blobs: DataStore, folder: Path) -> None:
    await blobs.cache.set("key", LARGE, ttl=60)
    (blob_id,) = await ids(blobs)
    path = folder / blob_id
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    with pytest.raises(BlobDamagedError, match=f"{blob_id} is damaged: it has not the .* bytes") as damaged:
        await blobs.cache.get("key")
    assert damaged.value.blob == blob_id
    path.unlink()
    with pytest.raises(BlobMissingError, match=f"blob {blob_id} is not in {folder}"):
        await blobs.cache.get("key")
    path.symlink_to("/etc/passwd")
    with pytest.raises(BlobStoreError, match=blob_id):
        await blobs.cache.get("key")


async def test_a_popped_item_whose_blob_is_missing_can_be_requeued(blobs: DataStore, folder: Path) -> None:
    await blobs.queue.push("jobs", LARGE)
    (blob_id,) = await ids(blobs)
    (folder / blob_id).rename(folder / "kept")
    with pytest.raises(BlobMissingError, match=blob_id):
        await blobs.queue.pop("jobs")
    (folder / "kept").rename(folder / blob_id)
    assert await blobs.queue.requeue("jobs") == 1
    assert await blobs.queue.pop("jobs") == LARGE


async def test_a_place_that_cannot_be_written_is_an_error_and_nothing_is_sent(blobs: DataStore, folder: Path) -> None:
    await anyio.Path(folder).touch()
    with pytest.raises(BlobStoreError, match=f" in {folder}: .*Not a directory"):
        await blobs.queue.push("jobs", LARGE)
    await balanced(blobs, pushed=0)


async def test_a_lease_goes_back_when_the_place_of_the_blobs_fails(blobs: DataStore, folder: Path) -> None:
    await blobs.queue.push_many("jobs", [LARGE, 2])
    (blob_id,) = await ids(blobs)
    (folder / blob_id).rename(folder / "kept")
    (folder / blob_id).symlink_to(folder / "kept")
    with pytest.raises(BlobStoreError, match=blob_id):
        async with blobs.queue.lease("jobs", 2, timeout=0):
            pass
    await balanced(blobs, waiting=2, leased=0, dead=0)
    (folder / "kept").rename(folder / blob_id)
    async with blobs.queue.lease("jobs", 2, timeout=0) as lease:
        assert [(item.value, item.error) for item in lease] == [(LARGE, ""), (2, "")]


async def test_without_blobs_values_stay_inline_and_the_error_says_what_to_set(
    store: DataStore, server_url: str, folder: Path
) -> None:
    await store.queue.push("jobs", LARGE)
    assert await store.queue.pop("jobs") == LARGE
    with pytest.raises(UsageError, match="NODEFLOW_BLOBS"):
        store.blobs  # noqa: B018
    async with DataStore.from_url(server_url, prefix=store.prefix, max_payload_bytes=10_000) as small:
        with pytest.raises(PayloadError, match=r"here a value may have 10,000; .*NODEFLOW_BLOBS.*max_payload_bytes"):
            await small.queue.push("jobs", LARGE)
    async with DataStore.from_url(server_url, prefix=store.prefix, blobs=str(folder), max_inline_bytes=100) as large:
        await large.cache.set("key", LARGE, ttl=60)
    with pytest.raises(PayloadError, match=r"the value lies in blob output_\w+, but this store has no blobs"):
        await store.cache.get("key")


@pytest.mark.parametrize(
    "change",
    [
        {"storage_id": "../../etc/passwd"},
        {"storage_id": "/etc/passwd"},
        {"storage_id": "output_" + "0" * 31 + "\0"},
        {"storage_id": None},
        {"size_bytes": -1},
        {"size_bytes": 1 << 40},
        {"stored_bytes": True},
        {"digest": None},
        {"media_type": 1},
    ],
    ids=str,
)
async def test_a_forged_descriptor_is_refused(
    server_url: str, token: str, folder: Path, client: Redis, change: dict[str, Any]
) -> None:
    descriptor = {
        "type": "external_ref",
        "storage_id": "output_" + "0" * 32,
        "size_bytes": 10,
        "stored_bytes": 10,
        "media_type": "application/json",
        "digest": "sha256:0",
    }
    async with DataStore.from_url(server_url, prefix=f"{token}:", blobs=str(folder)) as store:
        await client.lpush(f"{token}:queue:jobs", json.dumps(descriptor | change, separators=(",", ":")))
        with pytest.raises(PayloadError):
            await store.queue.pop("jobs")
        await store.queue.discard("jobs", None)


async def test_blobs_are_listed_and_removed_by_id_only(blobs: DataStore, folder: Path) -> None:
    await blobs.cache.set("key", LARGE, ttl=60)
    (folder / "notes.txt").write_text("no blob")
    (found,) = [blob async for blob in blobs.blobs.list()]
    assert isinstance(found, Blob)
    assert found.size == (folder / found.id).stat().st_size
    with pytest.raises(UsageError, match="is no id of a blob"):
        await blobs.blobs.delete(["../notes.txt"])
    for _ in range(2):
        await blobs.blobs.delete([found.id])
    assert await ids(blobs) == []
    assert (folder / "notes.txt").exists()


@pytest.mark.parametrize("url", ["ftp://host/x", "http://host", "s3://"])
def test_a_place_of_another_kind_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="blobs can't lie at"):
        DataStore.from_url("redis://server", blobs=url)


@pytest.mark.parametrize("work", ["read", "write", "open"])
async def test_a_file_is_not_closed_while_a_thread_is_at_it_however_its_task_is_cancelled(
    blobs: DataStore, folder: Path, monkeypatch: pytest.MonkeyPatch, work: str
) -> None:
    """Else its number could be another file's by then, to which the thread would write."""
    await blobs.cache.set("key", LARGE, ttl=60)
    at_work, goes_on, call = threading.Event(), threading.Event(), getattr(os, work)

    def slow(*arguments: Any) -> Any:
        at_work.set()
        goes_on.wait(10)
        return call(*arguments)

    before = open_files()
    monkeypatch.setattr("nodeflow.values.blobs.folder.os", SimpleNamespace(**{**vars(os), work: slow}))
    task = asyncio.create_task(blobs.cache.get("key") if work == "read" else blobs.cache.set("other", LARGE, ttl=60))
    await asyncio.to_thread(at_work.wait, 10)
    for _ in range(3):
        task.cancel()
        await asyncio.sleep(0)
    assert not task.done(), "the thread is still at work"
    goes_on.set()
    await asyncio.wait([task])
    assert task.cancelled()
    monkeypatch.undo()
    assert open_files() == before
    assert not list((folder / ".partial").iterdir())


async def test_a_pop_that_is_cancelled_while_its_blob_is_fetched_loses_nothing(
    blobs: DataStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await blobs.queue.push_many("jobs", [LARGE, 2])
    begun = asyncio.Event()

    async def hang(*_: Any) -> AsyncIterator[bytes]:
        begun.set()
        await asyncio.Event().wait()
        yield b""

    with monkeypatch.context() as patched:
        patched.setattr(blobs.blobs, "stream", hang)
        task = asyncio.create_task(blobs.queue.pop("jobs"))
        await begun.wait()
        task.cancel()
        await asyncio.wait([task])
    await balanced(blobs, waiting=2, done=0)
    assert [await blobs.queue.pop("jobs") for _ in range(2)] == [LARGE, 2]


def test_secrets_in_the_url_of_the_blobs_are_not_shown() -> None:
    store = DataStore.from_url("redis://server", blobs="s3://AKIA:SECRET@bucket/prefix")
    assert "SECRET" not in repr(store.blobs) + repr(store.settings) + repr(store)
    assert store.settings.blobs == "s3://AKIA:SECRET@bucket/prefix"
    with pytest.raises(ValueError, match="blobs can't lie at az://") as caught:
        DataStore.from_url("redis://server", blobs="az://container?sig=SECRET")
    assert "SECRET" not in str(caught.value)
