"""Arrays, tables and large bytes as blobs: plain files of their kind, read back without a copy."""

from __future__ import annotations

import mmap
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from redis.asyncio import Redis

from nodeflow.errors import BlobDamagedError
from nodeflow.storage import DataStore
from tests.memory import beside
from tests.storage.test_encryption import KEY

ARRAY = np.arange(50_000.0).reshape(100, 500)
NOISE = np.random.default_rng(1).random(5_000)


@pytest.fixture(params=["folder", "encrypted", "memory"])
async def blobs(
    request: pytest.FixtureRequest, server_url: str, token: str, tmp_path: Path
) -> AsyncIterator[DataStore]:
    """A store whose values go to blobs above 10 kB."""
    url = "memory://" if request.param == "memory" else str(tmp_path / "blobs")
    keys = f"k1:{KEY}" if request.param == "encrypted" else None
    async with DataStore.from_url(
        server_url, prefix=f"{token}:", blobs=url, max_inline_bytes=10_000, keys=keys
    ) as store:
        yield store


@pytest.fixture
async def plain(server_url: str, token: str, tmp_path: Path) -> AsyncIterator[DataStore]:
    """A store with blobs in the folder `blobs`, and without keys."""
    async with DataStore.from_url(
        server_url, prefix=f"{token}:", blobs=str(tmp_path / "blobs"), max_inline_bytes=10_000
    ) as store:
        yield store


def is_mapped(array: Any) -> bool:
    """Whether an array lies upon a file that is mapped into memory."""
    while isinstance(array, np.ndarray):
        array = array.base
    return isinstance(array, mmap.mmap)


async def test_arrays_and_tables_of_any_size_come_back_from_wherever_they_lie(blobs: DataStore) -> None:
    queue = blobs.queue
    frame = pd.DataFrame({"b": np.arange(5_000.0), "a": ["x"] * 5_000})
    values = [ARRAY, {"deep": [ARRAY.T, 1, {"more": ARRAY[::7, ::3]}]}, ARRAY[:2], b"\x9d" * 50_000, frame]
    await queue.push_many("jobs", values)
    back: list[Any] = [await queue.pop("jobs") for _ in values]
    assert np.array_equal(back[0], ARRAY)
    assert np.array_equal(back[1]["deep"][0], ARRAY.T)
    assert np.array_equal(back[1]["deep"][2]["more"], ARRAY[::7, ::3])
    assert np.array_equal(back[2], ARRAY[:2])
    assert back[3] == values[3]
    pd.testing.assert_frame_equal(back[4], frame)
    for array in (back[0], back[1]["deep"][0], back[2]):
        assert type(array) is np.ndarray
        array[0, 0] = -1


async def test_an_array_alone_is_an_npy_file_and_its_descriptor_says_so(
    plain: DataStore, client: Redis, tmp_path: Path
) -> None:
    await plain.cache.set("array", ARRAY, ttl=60)
    found = orjson.loads(await client.get(f"{plain.prefix}cache:array") or b"")
    assert (found["type"], found["media_type"], found["kind"]) == ("external_ref", "application/x-npy", "numpy.ndarray")
    assert found["size_bytes"] == found["stored_bytes"] == ARRAY.nbytes + 128
    assert np.array_equal(np.load(tmp_path / "blobs" / found["storage_id"]), ARRAY)
    await plain.cache.set("table", pl.DataFrame({"a": NOISE, "b": ["text"] * 5_000}), ttl=60)
    found = orjson.loads(await client.get(f"{plain.prefix}cache:table") or b"")
    assert found["media_type"] == "application/vnd.apache.arrow.file"
    assert pa.ipc.open_file(tmp_path / "blobs" / found["storage_id"]).read_all().column_names == ["a", "b"]


async def test_in_a_folder_arrays_lie_upon_the_file_and_what_is_written_stays_here(plain: DataStore) -> None:
    for value in (ARRAY, ARRAY.T):
        await plain.cache.set("array", value, ttl=60)
        array = await plain.cache.get("array")
        assert is_mapped(array)
        assert array.flags.c_contiguous == value.flags.c_contiguous
        array[3, 4] = -1
        assert np.array_equal(await plain.cache.get("array"), value)
    await plain.cache.set("nested", [ARRAY, b"x" * 30_000], ttl=60)
    array, _ = await plain.cache.get("nested")
    assert is_mapped(array)
    assert array.flags.aligned
    table = pa.table({"a": NOISE.repeat(50)})
    await plain.cache.set("table", table, ttl=60)
    before = pa.total_allocated_bytes()
    back = await plain.cache.get("table")
    assert back.equals(table)
    assert pa.total_allocated_bytes() - before < 10_000, "its columns lie upon the file"
    await plain.cache.set("frame", table.to_pandas(), ttl=60)
    frame = await plain.cache.get("frame")
    assert is_mapped(frame["a"].to_numpy())
    frame.loc[0, "a"] = -1.0


async def test_a_damaged_array_is_never_given(plain: DataStore, tmp_path: Path) -> None:
    await plain.cache.set("array", ARRAY, ttl=60)
    (path,) = [path for path in (tmp_path / "blobs").iterdir() if path.name.startswith("output_")]
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)
    with pytest.raises(BlobDamagedError, match=path.name):
        await plain.cache.get("array")
    path.write_bytes(data[:-8])
    with pytest.raises(BlobDamagedError, match="not the 400,128 bytes"):
        await plain.cache.get("array")


@pytest.mark.slow
@pytest.mark.parametrize("keys", ["", f"k1:{KEY}"], ids=["plain", "encrypted"])
@pytest.mark.parametrize(
    ("small", "large"),
    [
        ("np.zeros(1 << 20)", "np.frombuffer(np.random.default_rng(1).bytes(2_000_000_000), 'u1')"),
        ("b'x' * 4_000_000", "np.random.default_rng(1).bytes(2_000_000_000)"),
    ],
    ids=["array", "bytes"],
)
def test_two_gigabytes_need_less_than_64_mb_beside_them(
    small: str, large: str, keys: str, server_url: str, token: str, tmp_path: Path
) -> None:
    needed = beside(small, large, url=server_url, prefix=f"{token}:", folder=tmp_path / "blobs", keys=keys)
    assert max(needed) < 64_000
