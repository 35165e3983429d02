"""What `store.stats()` says of values and blobs: histograms of sizes and times, and what became of blobs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nodeflow.errors import BlobMissingError, BlobStoreError
from nodeflow.storage import DataStore, Ready
from nodeflow.values import RefValue
from nodeflow.values.counts import Histogram
from tests.storage.servers import Server

LARGE = {"text": "x" * 20_000}
OPTIONS: dict[str, Any] = {"max_inline_bytes": 10_000, "compress_above": None}


async def test_sizes_and_times_of_serialising_are_histograms(server_url: str, token: str) -> None:
    async with DataStore.from_url(server_url, prefix=f"{token}:") as store:
        await store.queue.push("jobs", "x" * 98)
        await store.queue.push_many("jobs", ["x" * 998] * 200)
        stats = store.stats()
        assert stats.encode_bytes.count == stats.encode_seconds.count
        assert stats.encode_bytes.buckets[7] == 1, "100 bytes are below 128, and not below 64"
        assert stats.encode_bytes.buckets[10] == 200
        assert stats.encode_bytes.total == 100 + 200 * 1_000
        assert stats.encode_bytes.quantile(0.99) == 1_024
        assert 0 < stats.encode_seconds.mean < 0.1
        async with store.queue.lease("jobs", 201, timeout=0) as lease:
            assert len(lease) == 201
        after = store.stats()
        assert after.decode_bytes.total == stats.encode_bytes.total
        assert after.decode_seconds.count > 0
        assert stats.decode_bytes.count == 0, "what was given is a copy"


async def test_blobs_and_their_failures_are_counted(server: Server, tmp_path: Path) -> None:
    async with DataStore.from_url(server.url, prefix="a:", blobs=str(tmp_path / "blobs"), **OPTIONS) as store:
        await store.queue.push_many("jobs", [LARGE, LARGE, RefValue.of(LARGE)])
        size = 20_011
        stats = store.stats()
        assert (stats.blobs_written, stats.blob_bytes_written) == (3, 3 * size)
        assert await store.queue.pop("jobs") == LARGE
        await store.queue.clear("jobs")
        await store.sweep(older_than=0, is_dry=True)
        await store.sweep(older_than=0)
        stats = store.stats()
        assert (stats.blobs_read, stats.blob_bytes_read) == (1, size)
        assert (stats.blobs_orphaned, stats.blobs_swept, stats.blob_bytes_swept) == (6, 3, 3 * size)
        ref = RefValue.of(LARGE)
        await ref.save(store.blobs)
        await store.blobs.delete([ref.blob_id])
        back = RefValue.from_descriptor(await ref.to_descriptor(), store.blobs)
        with pytest.raises(BlobMissingError):
            await back.read()
        assert store.stats().descriptor_restore_failures == 1
        for path in (tmp_path / "blobs").rglob("*"):
            path.unlink() if path.is_file() else None
        (tmp_path / "blobs" / ".partial").rmdir()
        (tmp_path / "blobs").rmdir()
        (tmp_path / "blobs").write_text("no folder")
        with pytest.raises(BlobStoreError):
            await store.queue.push("jobs", LARGE)
        with pytest.raises(BlobStoreError):
            await RefValue.of(LARGE, hint="json").save(store.blobs)
        assert store.stats().descriptor_write_failures == 2


async def test_a_value_that_was_encoded_before_is_counted_once(server_url: str, token: str) -> None:
    async with DataStore.from_url(server_url, prefix=f"{token}:") as store:
        data = store.encode("x" * 100)
        assert data is not None
        small = store.encode_small({"id": "a", "value": [1]}, [1])
        assert small is not None
        await store.queue.push_many("jobs", Ready([data, small]))
        await store.queue.push_many("jobs", [await store.prepare("jobs", "y")])
        assert store.stats().encode_bytes.count == 3
        assert [await store.queue.pop("jobs") for _ in range(3)] == ["x" * 100, {"id": "a", "value": [1]}, "y"]
        await store.queue.clear("jobs")


async def test_a_blob_that_has_grown_is_counted(server: Server, tmp_path: Path) -> None:
    async with DataStore.from_url(server.url, blobs=str(tmp_path / "blobs")) as store:
        growing = await store.grow("text/plain")
        await growing.write(b"x" * 10)
        await growing.finish()
        assert (store.stats().blobs_written, store.stats().blob_bytes_written) == (1, 10)


def test_a_histogram_counts_by_powers_of_two() -> None:
    found = Histogram()
    assert (found.count, found.mean, found.quantile(0.5)) == (0, 0.0, 0.0)
    found.add_each([0, 1, 2, 3, 4])
    assert found.buckets[:5] == [1, 1, 2, 1, 0]
    assert (found.total, found.mean, found.quantile(0.5), found.quantile(1)) == (10, 2.0, 4.0, 8.0)
    times = Histogram(1e-6)
    times.add(0.0015, 3)
    assert (times.count, times.quantile(0.9)) == (3, 2048e-6)
