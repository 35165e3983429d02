"""Blobs in a folder, in memory and on a real S3 server: whole or not at all, checked when they are read."""

from __future__ import annotations

import asyncio
import hashlib
import random
import subprocess
import sys
import urllib.request
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from attrs import evolve

from nodeflow.errors import BlobDamagedError, BlobMissingError, BlobStoreError, UsageError
from nodeflow.values import RefValue
from nodeflow.values.blobs import BlobStore
from nodeflow.values.descriptor import Descriptor, new_blob_id
from tests.values.s3 import ENVIRONMENT, s3_server

BINARY = "application/octet-stream"
NOISE = random.Random(1).randbytes(20 << 20)


@pytest.fixture(scope="session")
def s3_url() -> Iterator[str]:
    """The URL of an S3 server with the bucket `nodeflow`."""
    with s3_server("nodeflow") as url:
        yield url


@pytest.fixture(params=["folder", "memory", "s3"])
def blobs(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> BlobStore:
    """A store of blobs of each kind."""
    if request.param == "folder":
        return BlobStore.open(tmp_path / "blobs")
    if request.param == "memory":
        return BlobStore.open("memory://")
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", request.getfixturevalue("s3_url"))
    return BlobStore.open(f"s3://nodeflow/{tmp_path.name}")


async def parts_of(data: bytes, size: int) -> AsyncIterator[bytes]:
    """Bytes in parts of a size."""
    for start in range(0, len(data), size):
        yield data[start : start + size]


@pytest.mark.parametrize("size", [0, 1, 1 << 20, 20 << 20])
async def test_what_was_written_is_read(blobs: BlobStore, size: int) -> None:
    data = NOISE[:size]
    for parts in (data, parts_of(data, 300_000)):
        descriptor = await blobs.write(new_blob_id(), parts, media_type=BINARY)
        assert (descriptor.size_bytes, descriptor.stored_bytes) == (size, size)
        assert descriptor.digest == f"sha256:{hashlib.sha256(data).hexdigest()}"
        assert await blobs.read(descriptor) == data
        assert Descriptor.from_json(descriptor.to_json()) == descriptor
    assert sorted([blob.size async for blob in blobs.list()]) == [size, size]


async def test_a_blob_that_was_cut_changed_or_removed_is_named(blobs: BlobStore) -> None:
    descriptor = await blobs.write(new_blob_id(), b"abcdef", media_type=BINARY)
    for change in ({"stored_bytes": 5}, {"stored_bytes": 7}, {"digest": "sha256:0"}):
        with pytest.raises(BlobDamagedError, match=descriptor.storage_id):
            await blobs.read(evolve(descriptor, **change))
    await blobs.delete([descriptor.storage_id, new_blob_id()])
    with pytest.raises(BlobMissingError, match=f"{descriptor.storage_id} is not in"):
        await blobs.read(descriptor)


async def test_a_writer_that_fails_or_is_cancelled_leaves_nothing(blobs: BlobStore, tmp_path: Path) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield NOISE[: 9 << 20]
        raise ZeroDivisionError

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield NOISE[:100_000]
            await asyncio.sleep(0)

    with pytest.raises((ZeroDivisionError, BlobStoreError)):
        await blobs.write(new_blob_id(), broken(), media_type=BINARY)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await blobs.write(new_blob_id(), endless(), media_type=BINARY)
    assert [blob async for blob in blobs.list()] == []
    assert not list((tmp_path / "blobs" / ".partial").glob("*"))


async def test_a_reader_may_stop_in_the_middle(blobs: BlobStore) -> None:
    descriptor = await blobs.write(new_blob_id(), NOISE, media_type=BINARY)
    stream = blobs.stream(descriptor)
    assert await anext(stream)
    await stream.aclose()
    assert len(await blobs.read(descriptor)) == len(NOISE)


async def test_a_signed_url_can_be_read_by_anybody_where_there_is_such_a_thing(blobs: BlobStore) -> None:
    descriptor = await blobs.write(new_blob_id(), b"for all", media_type=BINARY)
    if not blobs.place.startswith("s3"):
        with pytest.raises(BlobStoreError, match="have no URLs"):
            await blobs.url(descriptor)
        return
    ref = RefValue.of(b"a handle", hint="file")
    with pytest.raises(UsageError, match="has no blob yet: save it first"):
        await blobs.url(ref)
    await ref.save(blobs)
    assert ref.blob_id in await blobs.url(ref)
    url = await blobs.url(descriptor, expires=60)
    assert "Expires=60" in url

    def read() -> bytes:
        with urllib.request.urlopen(url, timeout=10) as reply:
            return bytes(reply.read())

    assert await asyncio.to_thread(read) == b"for all"


@pytest.mark.slow
async def test_a_server_that_is_not_there_is_an_error_that_names_the_blob_and_the_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    blobs = BlobStore.open("s3://nodeflow/x")
    blob_id = new_blob_id()
    with pytest.raises(BlobStoreError, match=f"write blob {blob_id} in s3://nodeflow/x: "):
        await blobs.write(blob_id, b"data", media_type=BINARY)


MEMORY = """
import asyncio, resource, sys
from nodeflow.values.blobs import BlobStore
from nodeflow.values.descriptor import new_blob_id

async def parts(count):
    for number in range(count):
        yield bytes([number % 256]) * (1 << 20)

async def main():
    blobs = BlobStore.open(sys.argv[1])
    small = await blobs.write(new_blob_id(), parts(8), media_type="x")
    async for _ in blobs.stream(small):
        pass
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    descriptor = await blobs.write(new_blob_id(), parts(300), media_type="x")
    size = 0
    async for part in blobs.stream(descriptor):
        size += len(part)
    assert size == 300 << 20
    print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)

asyncio.run(main())
"""


def test_writing_and_reading_needs_little_memory_however_large_a_blob_is(tmp_path: Path) -> None:
    command = [sys.executable, "-c", MEMORY, str(tmp_path / "blobs")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(done.stdout) < 64, "MB beyond those of a small one"
