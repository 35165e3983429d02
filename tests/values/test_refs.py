"""References: chosen by kind and size, read and streamed, and restored from descriptors that hold no temporary file."""

from __future__ import annotations

import base64
import gc
import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from nodeflow.errors import BlobMissingError, BlobStoreError, PayloadError, UsageError
from nodeflow.values import File, FileRefValue, JsonRefValue, MemoryRefValue, RefValue, decode, digest, encode
from nodeflow.values.blobs import BlobStore
from nodeflow.values.frames import Frames
from tests.support import eventually

SMALL = {"a": (1, 2)}
MEDIUM = {"a": ["text"] * 30_000}
LARGE = {"a": ["text"] * 300_000}
ARRAY = np.arange(300_000.0)


@pytest.fixture(params=["plain", "encrypted"])
def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> BlobStore:
    """Blobs in a folder, for values above 100 kB."""
    keys = {"k": os.urandom(32)} if request.param == "encrypted" else {}
    return BlobStore.open(tmp_path / "blobs", Frames(keys=keys), max_inline_bytes=100_000)


async def bytes_of(ref: RefValue) -> bytes:
    """All that it streams."""
    return b"".join([bytes(part) async for part in ref.open()])


@pytest.mark.parametrize(
    ("value", "hint", "kind"),
    [
        (SMALL, None, MemoryRefValue),
        (MEDIUM, None, JsonRefValue),
        (LARGE, None, FileRefValue),
        (ARRAY, None, FileRefValue),
        (LARGE, "memory", MemoryRefValue),
        (SMALL, "json", JsonRefValue),
        (SMALL, "file", FileRefValue),
        (b"x" * 30, "file", FileRefValue),
        ([ARRAY, 1], "json", JsonRefValue),
    ],
)
async def test_a_reference_of_any_kind_gives_its_value_its_bytes_and_a_descriptor(
    value: Any, hint: Any, kind: type, blobs: BlobStore
) -> None:
    ref = RefValue.of(value, hint=hint)
    assert type(ref) is kind
    descriptor = await ref.to_descriptor(blobs)
    assert descriptor["type"] == ("external_ref" if ref.size > 100_000 else "inline_ref")
    assert descriptor["size_bytes"] == ref.size == len(await bytes_of(ref))
    assert descriptor["media_type"] == ref.media_type
    assert orjson.loads(orjson.dumps(descriptor)) == descriptor
    for each in (ref, RefValue.from_descriptor(descriptor, blobs)):
        assert digest(await each.read()) == digest(value)
        assert await bytes_of(each) == await bytes_of(ref)
    assert await ref.to_descriptor(blobs) == descriptor, "it has its blob already"
    assert "/tmp" not in str(descriptor)


async def test_the_bytes_of_a_reference_are_those_of_what_it_is(tmp_path: Path) -> None:
    assert await bytes_of(RefValue.of(SMALL)) == encode(SMALL)
    array = RefValue.of(ARRAY)
    (tmp_path / "a.npy").write_bytes(await bytes_of(array))
    assert np.array_equal(np.load(tmp_path / "a.npy"), ARRAY)
    assert array.media_type == "application/x-npy"


async def test_what_can_not_be_sent_stays_in_memory_and_says_so_when_it_must() -> None:
    lock = threading.Lock()
    ref = RefValue.of({"lock": lock})
    assert await ref.read() == {"lock": lock}
    with pytest.raises(PayloadError, match=r"\$\.lock: _thread\.lock belongs to this process"):
        await ref.to_descriptor()
    with pytest.raises(PayloadError, match=r"\$\.lock"):
        RefValue.of({"lock": lock}, hint="json")
    with pytest.raises(UsageError, match="hint must be 'memory', 'json' or 'file', not 'disk'"):
        RefValue.of(1, hint="disk")  # type: ignore[arg-type]


async def test_a_large_one_needs_blobs_to_travel() -> None:
    with pytest.raises(PayloadError, match="2,400,128 bytes: a descriptor of so many needs blobs"):
        await RefValue.of(ARRAY).to_descriptor()
    text = "external_ref"
    blob = {"storage_id": "output_" + "a" * 32, "size_bytes": 1, "stored_bytes": 1, "media_type": "", "digest": ""}
    ref = RefValue.from_descriptor({"type": text, **blob})
    with pytest.raises(BlobStoreError, match="this store has no blobs"):
        await ref.read()


async def test_a_missing_blob_is_named_when_it_is_read(blobs: BlobStore) -> None:
    ref = RefValue.of(ARRAY)
    descriptor = await ref.to_descriptor(blobs)
    await blobs.delete([ref.blob_id])
    for read in (
        RefValue.from_descriptor(descriptor, blobs).read,
        lambda: bytes_of(RefValue.from_descriptor(descriptor, blobs)),
    ):
        with pytest.raises(BlobMissingError, match=ref.blob_id):
            await read()


@pytest.mark.parametrize(
    "data",
    [
        None,
        {},
        {"type": "file", "path": "/etc/passwd"},
        {"type": "external_ref", "storage_id": "../../etc/passwd"},
        {"type": "inline_ref", "json": 3},
        {"type": "inline_ref", "base64": "?"},
        {"type": "inline_ref", "kind": "file", "name": "../x", "base64": "", "blobs": 7},
    ],
)
def test_what_is_no_descriptor_is_refused(data: Any) -> None:
    with pytest.raises(PayloadError):
        RefValue.from_descriptor(data)


async def test_references_within_values_travel_with_them(blobs: BlobStore) -> None:
    inner = RefValue.of(ARRAY)
    await inner.save(blobs)
    value = {"refs": [RefValue.of(SMALL), inner], "more": (RefValue.of({"deep": inner}, hint="json"),)}
    back = decode(encode(value), blobs)
    assert await back["refs"][0].read() == SMALL
    assert back["refs"][1].blob_id == inner.blob_id
    assert back["refs"][1].size == ARRAY.nbytes + 128
    deep = (await back["more"][0].read())["deep"]
    assert np.array_equal(await deep.read(), ARRAY)
    assert back["more"][0].every_blob() == (inner.blob_id,)
    assert digest(value) == digest(value)
    assert encode(value).index(inner.blob_id.encode()) < 100, "where a sweep looks for it"


async def test_a_file_arrives_with_its_name_and_its_bytes(tmp_path: Path, blobs: BlobStore) -> None:
    for size in (0, 10, 300_000):
        path = tmp_path / "photo.jpg"
        path.write_bytes(os.urandom(size))
        file = File(path)
        assert (file.name, file.media_type, file.size, os.fspath(file)) == ("photo.jpg", "image/jpeg", size, str(path))
        ref = RefValue.of(file)
        descriptor = await ref.to_descriptor(blobs)
        for back in (
            await ref.read(),
            await RefValue.from_descriptor(descriptor, blobs).read(),
            decode(encode([file]))[0],
            decode(encode(file)),
        ):
            assert (back.name, back.media_type, back.size) == ("photo.jpg", "image/jpeg", size)
            assert back.read_bytes() == back.path.read_bytes() == path.read_bytes()
            assert back.path.name == "photo.jpg"
        assert back.path != path
        assert back.path.parent.stat().st_mode & 0o777 == 0o700


def test_a_file_that_was_received_goes_with_its_object(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("text")
    back = decode(encode(File(tmp_path / "a.txt")))
    folder = back.path.parent
    assert back.read_text() == "text"
    del back
    gc.collect()
    assert not folder.exists()


@pytest.mark.parametrize("name", ["../x", "a/b", "", "..", ".", "a\0b", "x" * 300, "/etc/passwd"])
def test_a_file_never_gets_a_name_that_leads_elsewhere(name: str) -> None:
    payload = {"$nodeflow": 1, "value": {"$type": "file", "base64": base64.b64encode(b"x").decode(), "name": name}}
    with pytest.raises(PayloadError, match="no name of a file"):
        decode(orjson.dumps(payload))


def test_a_file_that_is_not_there_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="there is no file"):
        File(tmp_path / "nothing")
    with pytest.raises(TypeError, match="needs a path, not int"):
        File(3)  # type: ignore[arg-type]
    (tmp_path / "a").write_text("x")
    file = File(tmp_path / "a")
    (tmp_path / "a").unlink()
    with pytest.raises(PayloadError, match="any more"):
        encode([file])


async def test_a_temporary_file_goes_with_its_handle() -> None:
    ref: Any = RefValue.of(LARGE)
    path = ref._attachment.parts.__self__.path
    assert path.exists()
    value = await ref.read()
    del ref

    def is_gone() -> bool:
        gc.collect()
        return not path.exists()

    eventually(is_gone, within=5, what="the thread that read it has let go of it")
    assert value == LARGE


@pytest.mark.parametrize("size", [10, 300_000])
async def test_the_media_type_of_a_file_travels_however_it_does(tmp_path: Path, blobs: BlobStore, size: int) -> None:
    (tmp_path / "x.bin").write_bytes(os.urandom(size))
    file = File(tmp_path / "x.bin", media_type="image/x-mine")
    ref = RefValue.from_descriptor(await RefValue.of(file).to_descriptor(blobs), blobs)
    for back in (decode(encode(file)), decode(encode([file]))[0], await ref.read()):
        assert back.media_type == "image/x-mine"
