"""Large JSON in lines: the same value, whatever parts it comes in, and never all of its bytes at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodeflow.errors import BlobDamagedError, PayloadError
from nodeflow.storage import DataStore
from nodeflow.values import lines
from nodeflow.values.lines import LineReader, is_lines, lines_of
from tests.memory import beside

PARTS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
)
JSON = st.recursive(PARTS, lambda parts: st.lists(parts) | st.dictionaries(st.text(), parts), max_leaves=40)


@pytest.fixture(scope="module")
def short_runs() -> Iterator[None]:
    """Lines are broken after a few bytes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lines, "_RUN_BYTES", 30)
        yield


@pytest.mark.usefixtures("short_runs")
@given(st.lists(JSON) | st.dictionaries(st.text(), JSON), st.integers(1, 50))
def test_what_was_written_in_lines_is_json_and_is_read(value: Any, size: int) -> None:
    data = b"".join(lines_of(value))
    assert is_lines(data)
    assert orjson.loads(data) == value
    reader = LineReader()
    for start in range(0, len(data), size):
        reader.feed(data[start : start + size])
    assert reader.value() == value
    assert orjson.dumps(reader.value()) == orjson.dumps(value), "in the same order"


@pytest.mark.usefixtures("short_runs")
@given(st.lists(JSON, min_size=2), st.integers(0, 10_000), st.binary(max_size=3))
def test_damaged_lines_give_a_value_or_a_payload_error(value: Any, at: int, change: bytes) -> None:
    data = bytearray(b"".join(lines_of(value)))
    data[at % len(data) : at % len(data) + 2] = change
    reader = LineReader()
    reader.feed(bytes(data))
    with suppress(PayloadError):
        reader.value()


@pytest.mark.parametrize(
    "data", [b"", b"[\n", b"[\n1,2\n", b"[\n1\n}\n", b"[\n]\n3\n", b"[\n1\n]", b"]\n", b"{\n1:[\n]\n}\n"]
)
def test_what_was_cut_off_or_is_none_is_refused(data: bytes) -> None:
    reader = LineReader()
    reader.feed(data)
    with pytest.raises(PayloadError, match="JSON in lines"):
        reader.value()


LARGE = {
    "$nodeflow": [[number / 7] * 50 for number in range(22_000)],
    "b": {"text": "ä" * 100, "n": list(range(50_000))},
}


@pytest.mark.slow
async def test_large_json_goes_through_a_blob_in_lines(server_url: str, token: str, tmp_path: Path) -> None:
    options: Any = {"blobs": str(tmp_path / "blobs"), "compress_above": None}
    async with DataStore.from_url(server_url, prefix=f"{token}:", **options) as store:
        await store.cache.set("large", LARGE, ttl=60)
        (path,) = (tmp_path / "blobs").glob("output_*")
        assert is_lines(path.read_bytes())
        assert orjson.loads(path.read_bytes()) == LARGE
        assert await store.cache.get("large") == LARGE
        data = bytearray(path.read_bytes())
        data[5_000_000] = ord("\n")
        path.write_bytes(data)
        with pytest.raises(BlobDamagedError, match=path.name):
            await store.cache.get("large")


@pytest.mark.slow
@pytest.mark.parametrize("more", [[2**70], [(1, 2)], [{5: 1}]], ids=repr)
async def test_large_values_that_json_does_not_hold_come_back_all_the_same(
    server_url: str, token: str, tmp_path: Path, more: list[Any]
) -> None:
    async with DataStore.from_url(server_url, prefix=f"{token}:", blobs=str(tmp_path / "blobs")) as store:
        value = ["x" * 100] * 300_000 + more
        await store.queue.push("jobs", value)
        assert await store.queue.pop("jobs") == value
        with pytest.raises(PayloadError, match=r"\$\[300000\]: str with a lone surrogate"):
            await store.queue.push("jobs", ["x" * 100] * 300_000 + ["\ud800"])


@pytest.mark.slow
def test_large_json_needs_less_than_64_mb_beside_it(server_url: str, token: str, tmp_path: Path) -> None:
    large = '[{"id": n, "title": f"title {n}", "text": f"{n} " * 300, "tags": ["a", "b"]} for n in range(150_000)]'
    small = "[[1.5] * 100] * 20_000"
    assert max(beside(small, large, url=server_url, prefix=f"{token}:", folder=tmp_path / "blobs")) < 64_000
