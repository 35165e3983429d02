"""The stored bytes of blobs: plain files where nothing is to be done, else chunks that can't be changed unseen."""

from __future__ import annotations

import os
import random
from contextlib import suppress

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from nodeflow.errors import PayloadError
from nodeflow.values.blobs import BlobStore
from nodeflow.values.chunks import CHUNK_BYTES, FREE_BYTES, Opener, Sealer, allowed
from nodeflow.values.descriptor import new_blob_id
from nodeflow.values.frames import Frames, framed, is_framed

KEYS = {"new": os.urandom(32), "old": os.urandom(32)}
PLAIN, SECRET, BARE = Frames(), Frames(keys=KEYS), Frames(compress_above=None)
NOISE = random.Random(1).randbytes(3 << 20)
TEXT = b"the quick brown fox " * 200_000


def sealed(frames: Frames, parts: list[bytes], *, is_mapped: bool = False) -> list[bytes]:
    """What is stored of the parts of a blob, record by record."""
    sealer = Sealer(frames, "output_1", is_mapped=is_mapped)
    found = [bytes(record) for part in parts for record in sealer.update(part)]
    return found + [bytes(record) for record in sealer.finish()]


def opened(frames: Frames, stored: list[bytes], place: str = "output_1") -> bytes:
    """What they hold."""
    opener = Opener(frames, place)
    found = b"".join(bytes(part) for each in stored for part in opener.update(each))
    opener.finish()
    return found


@given(
    st.lists(st.binary(min_size=1, max_size=9_000), max_size=4),
    st.sampled_from([PLAIN, SECRET, BARE, Frames(keys=KEYS, compress_above=10)]),
    st.booleans(),
    st.integers(200, 20_000),
)
def test_what_was_sealed_is_opened_in_whatever_parts_it_comes(
    parts: list[bytes], frames: Frames, is_mapped: bool, size: int
) -> None:
    stored = b"".join(sealed(frames, parts, is_mapped=is_mapped))
    assert opened(frames, [stored[at : at + size] for at in range(0, len(stored), size)]) == b"".join(parts)


def test_it_is_a_plain_file_where_neither_compression_nor_a_key_changes_it() -> None:
    assert sealed(PLAIN, [NOISE]) == [NOISE]
    assert sealed(PLAIN, [TEXT], is_mapped=True) == [TEXT]
    assert len(b"".join(sealed(PLAIN, [TEXT]))) < len(TEXT) / 50
    looks_sealed = framed({}, b"a user's bytes that begin like ours")
    assert is_framed(b"".join(sealed(BARE, [looks_sealed])))
    assert opened(BARE, sealed(BARE, [looks_sealed])) == looks_sealed


def test_with_a_key_no_chunk_can_be_changed_moved_left_out_or_repeated() -> None:
    head, *chunks, last = sealed(SECRET, [NOISE])
    assert NOISE[:40] not in b"".join(chunks)
    assert opened(SECRET, [head, *chunks, last]) == NOISE
    changed = bytearray(chunks[0])
    changed[500] ^= 1
    for stored in (
        [head, bytes(changed), *chunks[1:], last],
        [head, chunks[1], chunks[0], *chunks[2:], last],
        [head, *chunks[1:], last],
        [head, chunks[0], *chunks, last],
        [head, *chunks],
        [head, chunks[0], last],
        [sealed(SECRET, [NOISE])[0], *chunks, last],
    ):
        with pytest.raises(PayloadError, match="output_1"):
            opened(SECRET, stored)
    with pytest.raises(PayloadError, match=r"output_2 .*key 'new' doesn't fit"):
        opened(SECRET, [head, *chunks, last], "output_2")
    with pytest.raises(PayloadError, match=r"encrypted with key 'new'; the keys here \(NODEFLOW_KEYS\): none"):
        opened(PLAIN, [head, *chunks, last])


def test_a_chunk_that_would_become_a_bomb_is_refused() -> None:
    bomb = zstandard.compress(bytes(50 << 20))
    record = bytes((1,)) + len(bomb).to_bytes(4, "big") + bomb
    with pytest.raises(PayloadError, match="chunk 0 claims 52,428,800 bytes: it may have 1,048,576"):
        opened(PLAIN, [framed({"chunks": True}, b""), record])
    lie = zstandard.ZstdCompressor(write_content_size=False).compress(bytes(50 << 20))
    record = bytes((1,)) + len(lie).to_bytes(4, "big") + lie
    with pytest.raises(PayloadError, match="chunk 0"):
        opened(PLAIN, [framed({"chunks": True}, b""), record])


async def test_what_compresses_too_well_is_kept_below_what_readers_take_for_a_bomb() -> None:
    blobs, zeros = BlobStore.open("memory://", PLAIN), bytes(CHUNK_BYTES)
    descriptor = await blobs.write(new_blob_id(), [zeros] * 200, media_type="application/octet-stream")
    assert descriptor.stored_bytes < 3 * CHUNK_BYTES
    assert FREE_BYTES < descriptor.size_bytes <= allowed(descriptor.stored_bytes)
    assert await blobs.read(descriptor) == zeros * 200


@given(st.binary(max_size=300), st.integers(0, 400), st.integers(1, 255))
def test_whatever_is_changed_gives_bytes_or_a_payload_error(data: bytes, at: int, by: int) -> None:
    for frames in (SECRET, Frames(compress_above=10)):
        stored = bytearray(b"".join(sealed(frames, [data + b"x" * 50])))
        stored[at % len(stored)] ^= by
        with suppress(PayloadError):
            opened(frames, [bytes(stored)])
