"""The bytes of a blob in chunks: each compressed where that pays and encrypted where there is a key.

What is neither stays as it is, a file that any program reads and that can be mapped into memory. The rest begins as
`frames` has it, with `{"chunks":true}` in its head, and goes on in records: a byte of flags, the length in four bytes,
and the chunk. Each chunk is small, so that none can become a bomb; with a key, its number, the head and the blob's id
are authenticated with it, so that none can be moved, left out or repeated.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from typing import Any

import zstandard

from nodeflow.errors import PayloadError
from nodeflow.values.frames import Frames, Parts, framed, is_framed, opened_head

CHUNK_BYTES = 1 << 20
RATIO = 100
FREE_BYTES = 64 << 20
"""A blob's bytes are at most this and `RATIO` times what is stored: what claims more is a bomb."""

_ZSTD, _LAST = 1, 2
_RECORD = 5
_SEAL_BYTES = 16
_GAIN = 0.9
_LEVEL = 3


def allowed(stored: int) -> int:
    """How many bytes a blob may hold of which so many are stored."""
    return FREE_BYTES + RATIO * stored


class Sealer:
    """What makes the stored bytes of a blob.

    Args:
        frames: the keys, and from which size on it is compressed.
        place: the blob's id.
        is_mapped: whether it is to be mapped into memory, so that it stays as it is unless there is a key.
    """

    def __init__(self, frames: Frames, place: str, *, is_mapped: bool = False) -> None:
        self.size = 0
        """How many bytes it was given."""
        self._frames, self._place, self._is_mapped = frames, place, is_mapped
        self._hash = hashlib.sha256()
        self._stored = self._number = 0
        self._has_begun = False
        self._cipher: Any = None
        self._head: dict[str, Any] | None = None

    @property
    def digest(self) -> str:
        """The digest of the bytes that it was given; empty when they are stored as they are."""
        return "" if self._head is None else f"sha256:{self._hash.hexdigest()}"

    def update(self, part: Parts) -> list[Parts]:
        """The stored bytes of the next ones; the first part must be long enough to be sampled."""
        found = self._begun(part)
        view = memoryview(part)
        if self._head is None:
            self.size += len(view)
            return [view]
        self._hash.update(view)
        return found + [self._record(view[at : at + CHUNK_BYTES], 0) for at in range(0, len(view), CHUNK_BYTES)]

    def finish(self) -> list[Parts]:
        """The last ones."""
        found = self._begun(b"")
        return found if self._head is None else [*found, self._record(memoryview(b""), _LAST)]

    def _begun(self, part: Parts) -> list[Parts]:
        if self._has_begun:
            return []
        self._has_begun = True
        pays = not self._is_mapped and self._frames.pays(part)
        if not self._frames.keys and not pays and not is_framed(part):
            return []
        self._head = {"chunks": True}
        if self._frames.keys:
            self._head |= {"key": next(iter(self._frames.keys)), "salt": os.urandom(16).hex()}
            self._cipher = self._frames.cipher_of(self._head, self._place)
        start = framed(self._head, b"")
        self._stored = len(start)
        return [start]

    def _record(self, chunk: memoryview, flags: int) -> bytes:
        assert self._head is not None
        self.size += len(chunk)
        body: Parts = chunk
        if self._frames.compress_above is not None and len(chunk) >= self._frames.compress_above:
            small = zstandard.compress(chunk, _LEVEL)
            if len(small) < _GAIN * len(chunk) and self.size <= allowed(self._stored + len(small)):
                flags, body = flags | _ZSTD, small
        if self._cipher is not None:
            body = self._cipher.encrypt(_nonce(self._number), body, _context(self._head, self._place, flags))
        self._number += 1
        record = b"".join((bytes((flags,)), len(body).to_bytes(4, "big"), body))
        self._stored += len(record)
        return record


class Opener:
    """What gives the bytes of a blob back.

    Args:
        frames: the keys.
        place: the blob's id.
        is_strict: whether, where there is a key, only what is encrypted is taken; for what has no digest.
    """

    def __init__(self, frames: Frames, place: str, *, is_strict: bool = False) -> None:
        self._frames, self._place = frames, place
        self._must_be_sealed = is_strict and bool(frames.keys)
        self._rest = b""
        self._number = 0
        self._cipher: Any = None
        self._head: dict[str, Any] | None = None
        self._has_begun = self._is_over = False

    def update(self, part: Parts) -> list[Parts]:
        """The bytes of the next stored ones; the first part must hold the whole head.

        Raises:
            PayloadError: they are of a newer version, of another blob, changed, or their key isn't known.
        """
        if not self._has_begun:
            self._has_begun = True
            if is_framed(part):
                self._head, part = opened_head(bytes(part), self._place)
                if self._head.get("chunks") is not True:
                    raise PayloadError("$", f"in {self._place} lies a frame that is no blob's")
                if "key" in self._head:
                    self._cipher = self._frames.cipher_of(self._head, self._place)
        if self._must_be_sealed and self._cipher is None:
            raise PayloadError(
                "$", f"in {self._place} lies what isn't encrypted with key {next(iter(self._frames.keys))!r}"
            )
        return [part] if self._head is None else list(self._opened(bytes(part)))

    def finish(self) -> None:
        """Say that there is nothing more.

        Raises:
            PayloadError: something is missing.
        """
        if (self._head is not None or self._must_be_sealed) and not self._is_over:
            raise PayloadError("$", f"in {self._place} it was cut off after chunk {self._number}")

    def _opened(self, part: bytes) -> Iterator[bytes]:
        data, start = self._rest + part, 0
        while len(data) - start >= _RECORD:
            flags, size = data[start], int.from_bytes(data[start + 1 : start + _RECORD], "big")
            if self._is_over or flags > _ZSTD | _LAST or size > CHUNK_BYTES + _SEAL_BYTES:
                raise PayloadError("$", f"in {self._place} chunk {self._number} is no chunk")
            end = start + _RECORD + size
            if len(data) < end:
                break
            yield self._chunk(data[start + _RECORD : end], flags)
            self._is_over = bool(flags & _LAST)
            self._number += 1
            start = end
        self._rest = data[start:]

    def _chunk(self, body: bytes, flags: int) -> bytes:
        assert self._head is not None
        what = f"in {self._place} chunk {self._number}"
        if self._cipher is not None:
            context = _context(self._head, self._place, flags)
            try:
                body = self._cipher.decrypt(_nonce(self._number), body, context)
            except Exception as error:  # InvalidTag, or a ValueError for what is too short
                reason = f"{what} was changed, or written elsewhere: key {self._head['key']!r} doesn't fit"
                raise PayloadError("$", reason) from error
        if not flags & _ZSTD:
            return body
        try:
            size = zstandard.frame_content_size(body)
            if not 0 <= size <= CHUNK_BYTES:
                raise PayloadError("$", f"{what} claims {size:,} bytes: it may have {CHUNK_BYTES:,}")
            return zstandard.decompress(body)
        except zstandard.ZstdError as error:
            raise PayloadError("$", f"{what} can't be decompressed: {error}") from error


def _nonce(number: int) -> bytes:
    return number.to_bytes(12, "big")  # once for each key, which is a blob's own


def _context(head: dict[str, Any], place: str, flags: int) -> bytes:
    return framed(head, f"{place}\0{flags}".encode())
