"""Blobs that grow: read from their start while they are written, whole at their end, gone when their writer failed."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from nodeflow.errors import BlobDamagedError, BlobMissingError, BlobStoreError, PayloadError
from nodeflow.values import encode
from nodeflow.values.blobs import BlobStore, Growing
from nodeflow.values.blobs import growing as module
from nodeflow.values.frames import Frames
from nodeflow.values.offload import restore
from tests.support import until

LINES = [encode({"n": number, "text": "x" * 1_000}) + b"\n" for number in range(3_000)]


@pytest.fixture(params=["plain", "encrypted", "memory"])
def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> BlobStore:
    """Blobs in a folder, with and without a key, and in memory."""
    keys = {"k": os.urandom(32)} if request.param == "encrypted" else {}
    return BlobStore.open("memory://" if request.param == "memory" else tmp_path / "blobs", Frames(keys=keys))


async def grown(blobs: BlobStore, lines: list[bytes]) -> tuple[Growing, Any]:
    """A blob that has grown, and its descriptor."""
    growing = blobs.grow("application/jsonl", "stream")
    for line in lines:
        await growing.write(line)
    return growing, await growing.finish()


async def whole(parts: AsyncIterator[Any]) -> bytes:
    """All of it."""
    return b"".join([bytes(part) async for part in parts])


@pytest.mark.parametrize("count", [0, 1, 3_000])
async def test_what_has_grown_is_one_blob(blobs: BlobStore, count: int) -> None:
    growing, descriptor = await grown(blobs, LINES[:count])
    assert growing.id.startswith("streaming_")
    assert (descriptor.storage_id, descriptor.size_bytes) == (growing.id, sum(map(len, LINES[:count])))
    content = b"".join(LINES[:count])
    assert await blobs.read(descriptor) == content
    assert await whole(blobs.follow(growing.id)) == content
    assert await whole(blobs.content(growing.id)) == content
    assert [value["n"] for value in await restore(blobs, descriptor)] == list(range(count))
    (listed,) = [blob async for blob in blobs.list()]
    assert listed.id == growing.id
    await blobs.delete([growing.id])
    assert [blob async for blob in blobs.list()] == []
    with pytest.raises(BlobMissingError, match=growing.id):
        await blobs.read(descriptor)


async def test_it_is_read_from_its_start_while_it_is_written(blobs: BlobStore) -> None:
    growing = blobs.grow("application/jsonl")
    read = bytearray()

    async def has_read() -> bool:
        return len(read) > 1_000_000

    async def follow() -> None:
        async for part in blobs.follow(growing.id):
            read.extend(part)

    async with asyncio.TaskGroup() as tasks:
        following = tasks.create_task(follow())
        for line in LINES:
            await growing.write(line)
            if line is LINES[1_500]:
                await growing.flush()
                await until(has_read, 5, "the follower reads what is there")
                assert not following.done()
        await growing.finish()
    assert read == b"".join(LINES)


async def test_who_follows_one_whose_writer_failed_or_died_is_told(blobs: BlobStore) -> None:
    growing = blobs.grow("application/jsonl")
    await growing.write(LINES[0])
    await growing.flush()
    with pytest.raises(BlobStoreError, match=r"has not grown for 0\.2 s, and has no end"):
        await whole(blobs.follow(growing.id, patience=0.2))
    following = blobs.follow(growing.id)
    assert bytes(await anext(following)) == LINES[0]
    await growing.abort()
    with pytest.raises(BlobMissingError, match=growing.id):
        await anext(following)
    assert [blob async for blob in blobs.list()] == []


async def test_a_part_that_was_changed_or_is_missing_is_damage(tmp_path: Path) -> None:
    blobs = BlobStore.open(tmp_path, Frames(compress_above=None))
    growing, descriptor = await grown(blobs, LINES)
    part = tmp_path / f"{growing.id}.000001"
    data = part.read_bytes()
    part.write_bytes(data[:-1] + b"?")
    with pytest.raises(BlobDamagedError, match=growing.id):
        await blobs.read(descriptor)
    part.unlink()
    with pytest.raises(BlobMissingError, match=growing.id):
        await blobs.read(descriptor)


async def test_what_was_not_encrypted_is_not_followed_where_there_is_a_key(tmp_path: Path) -> None:
    blobs = BlobStore.open(tmp_path, Frames(keys={"k": os.urandom(32)}))
    growing = blobs.grow("application/jsonl")
    await growing.write(LINES[0])
    await growing.flush()
    part = tmp_path / f"{growing.id}.000000"
    for forged in (b"FORGED\n", b""):
        part.write_bytes(forged)
        with pytest.raises(PayloadError, match=growing.id):
            await whole(blobs.follow(growing.id))
    for end in (b'{"parts": 1}', b"{}", b"["):
        (tmp_path / growing.id).write_bytes(end)
        with pytest.raises(BlobDamagedError, match="its end isn't what was written"):
            await whole(blobs.follow(growing.id))


async def test_what_is_aborted_leaves_nothing_also_behind_its_end(blobs: BlobStore) -> None:
    growing, _ = await grown(blobs, LINES)
    await growing.abort()
    assert [blob async for blob in blobs.list()] == []


async def test_a_blob_of_which_there_is_nothing_is_missing(blobs: BlobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_START_SECONDS", 0.1)
    with pytest.raises(BlobMissingError, match="streaming_0"):
        await whole(blobs.follow("streaming_" + "0" * 32))


async def test_what_was_written_before_there_was_a_key_is_read(tmp_path: Path) -> None:
    _, descriptor = await grown(BlobStore.open(tmp_path / "blobs", Frames()), LINES[:10])
    later = BlobStore.open(tmp_path / "blobs", Frames(keys={"k": os.urandom(32)}))
    assert await later.read(descriptor) == b"".join(LINES[:10])


async def test_a_blob_that_lacks_a_part_gets_neither_more_of_them_nor_an_end(
    blobs: BlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    growing = blobs.grow("application/jsonl", "stream")

    async def refuse(*arguments: object) -> None:
        raise OSError("no room")

    with monkeypatch.context() as patch:
        patch.setattr(type(growing._bucket), "put", refuse)
        await growing.write(LINES[0])
        with pytest.raises(BlobStoreError, match="no room"):
            await growing.flush()
    for again in (growing.flush, growing.finish):
        with pytest.raises(BlobStoreError, match="lacks a part"):
            await again()
