"""Stored payloads: compressed where that pays, encrypted where there is a key, and refused when they were changed."""

from __future__ import annotations

import os
import random

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from nodeflow.errors import PayloadError
from nodeflow.values.frames import FRAME_VERSION, Frames, is_framed
from nodeflow.values.frames import framed as frame_of

KEYS = {"new": os.urandom(32), "old": os.urandom(32)}
NOISE = random.Random(1).randbytes(10_000)
PLAIN = Frames()
SECRET = Frames(keys=KEYS)


@given(st.binary(max_size=9_000), st.booleans(), st.sampled_from([None, 0, 100]), st.text())
def test_what_was_packed_is_unpacked(data: bytes, is_secret: bool, compress_above: int | None, place: str) -> None:
    frames = Frames(keys=KEYS if is_secret else {}, compress_above=compress_above)
    packed = frames.pack(data, place)
    assert is_framed(packed) or packed == data
    assert frames.unpack(packed, place) == data


@pytest.mark.parametrize(
    ("data", "is_smaller"),
    [(b"x" * 4_095, False), (b"x" * 4_096, True), (NOISE, False)],
    ids=["small", "large", "noise"],
)
def test_it_is_compressed_where_that_pays(data: bytes, is_smaller: bool) -> None:
    packed = PLAIN.pack(data, "queue:jobs")
    assert (len(packed) < len(data) / 10) if is_smaller else packed == data


def test_with_a_key_nothing_can_be_read_without_it() -> None:
    text = b"the quick brown fox " * 5
    for data in (text, text * 1_000):
        packed = SECRET.pack(data, "queue:jobs")
        assert b"quick" not in packed
        assert SECRET.pack(data, "queue:jobs") != packed, "a nonce is used once"
        with pytest.raises(
            PayloadError, match=r"queue:jobs it is encrypted with key 'new'; the keys here \(NODEFLOW_KEYS\): none"
        ):
            PLAIN.unpack(packed, "queue:jobs")
        with pytest.raises(PayloadError, match=r"the keys here \(NODEFLOW_KEYS\): old"):
            Frames(keys={"old": KEYS["old"]}).unpack(packed, "queue:jobs")


def test_keys_rotate() -> None:
    before = Frames(keys={"old": KEYS["old"]}).pack(b"data", "a")
    assert SECRET.unpack(before, "a") == b"data"
    assert b'"key":"new"' in SECRET.pack(b"data", "a")
    assert SECRET.unpack(b"written before there was a key", "a") == b"written before there was a key"


@pytest.mark.parametrize("place", ["", "queue:other", "queue:job", "queue:jobs "])
def test_what_was_written_elsewhere_is_refused(place: str) -> None:
    packed = SECRET.pack(b"data", "queue:jobs")
    with pytest.raises(PayloadError, match="was changed, or written elsewhere: key 'new' doesn't fit"):
        SECRET.unpack(packed, place)


def test_another_key_of_the_same_name_is_refused() -> None:
    packed = SECRET.pack(b"data", "a")
    with pytest.raises(PayloadError, match="key 'new' doesn't fit"):
        Frames(keys={"new": os.urandom(32)}).unpack(packed, "a")


@given(st.data(), st.booleans())
def test_a_frame_that_was_changed_is_refused_or_gives_what_it_was(data: st.DataObject, is_secret: bool) -> None:
    frames = SECRET if is_secret else PLAIN
    payload = b"abc" * 3_000
    packed = bytearray(frames.pack(payload, "a"))
    place = data.draw(st.integers(0, len(packed) - 1))
    packed[place] ^= data.draw(st.integers(1, 255))
    if not is_framed(bytes(packed)):
        return
    try:
        found = frames.unpack(bytes(packed), "a")
    except PayloadError:
        return
    assert not is_secret, "every byte is authenticated"
    assert isinstance(found, bytes)


@given(st.binary(max_size=200))
def test_garbage_behind_the_magic_is_refused(data: bytes) -> None:
    with pytest.raises(PayloadError):
        SECRET.unpack(b"\x9dNF" + bytes([FRAME_VERSION]) + b"\x00\x00\xff\xff" + data, "a")


def test_a_newer_version_is_refused_by_name() -> None:
    packed = bytearray(PLAIN.pack(b"x" * 5_000, "a"))
    packed[3] = FRAME_VERSION + 1
    with pytest.raises(PayloadError, match=f"frame version {FRAME_VERSION + 1}; this nodeflow reads up to"):
        PLAIN.unpack(bytes(packed), "a")


@pytest.mark.parametrize("says_its_size", [True, False])
def test_a_bomb_is_stopped_whatever_it_says_of_its_size(says_its_size: bool) -> None:
    bomb = zstandard.ZstdCompressor(write_content_size=says_its_size).compress(bytes(50 << 20))
    framed = frame_of({"zstd": True}, bomb)
    assert len(framed) < 10_000
    with pytest.raises(PayloadError, match="more than 1,000,000 bytes when decompressed"):
        Frames(most=1_000_000).unpack(framed, "a")
    assert len(Frames().unpack(framed, "a")) == 50 << 20


def test_what_was_cut_off_is_refused() -> None:
    packed = PLAIN.pack(b"0" * 100_000, "a")
    for length in range(4, len(packed)):
        with pytest.raises(PayloadError):
            PLAIN.unpack(packed[:length], "a")
