"""Payloads as they are stored: compressed where that pays, encrypted where there is a key, and bare where neither is.

A frame begins with its magic and format version, then the length of a head and the head itself, one line of JSON, as in
`{"zstd":true,"key":"id2"}`; what follows is the body. AES-256-GCM authenticates the head and the place, too.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import orjson
import zstandard
from attrs import field, frozen

from nodeflow.errors import PayloadError

Parts = bytes | bytearray | memoryview
"""Bytes, of whatever kind, that are written without being copied first."""

FRAME_VERSION = 1
_MAGIC = b"\x9dNF"
_HEAD = len(_MAGIC) + 5  # the magic, the version, and the length of the head in four bytes
_NONCE = 12
_GAIN = 0.9
"""What is compressed to more than this of its size stays as it is."""

_LEVEL = 3
_SAMPLE_BYTES = 256 << 10
_PART = 1 << 20
_KNOWN = {"zstd", "key", "blobs", "chunks", "salt"}


def is_framed(data: Parts) -> bool:
    """Whether a stored payload is a frame; no JSON begins so."""
    return data[: len(_MAGIC)] == _MAGIC


@frozen
class Frames:
    """How payloads are framed and read.

    Args:
        keys: AES-256 keys, 32 bytes each, by id; the first one encrypts, all decrypt. Without any nothing is encrypted.
        compress_above: how many bytes a payload has at least to be compressed; None compresses nothing.
        most: how many bytes a payload may have when it is decompressed.

    Raises:
        ImportError: there are keys, but the package `cryptography` isn't installed.
    """

    keys: Mapping[str, bytes] = field(factory=dict, repr=False)
    compress_above: int | None = 4096
    most: int = 64 << 20
    _ciphers: Mapping[str, Any] = field(init=False, repr=False)

    @_ciphers.default
    def _make_ciphers(self) -> Mapping[str, Any]:
        if not self.keys:
            return {}
        try:
            from cryptography.hazmat.primitives.ciphers.aead import AESGCM
        except ImportError:
            raise ImportError("encryption needs the extra: pip install 'nodeflow[crypto]'") from None
        return {name: AESGCM(key) for name, key in self.keys.items()}

    def leaves(self, size: int) -> bool:
        """Whether a payload of so many bytes stays as it is."""
        return not self.keys and (self.compress_above is None or size < self.compress_above)

    def pays(self, data: Parts) -> bool:
        """Whether compressing so many bytes of this kind makes them smaller, as a sample of them says."""
        if self.compress_above is None or len(data) < self.compress_above:
            return False
        sample = data[:_SAMPLE_BYTES]
        return len(zstandard.compress(sample, _LEVEL)) < _GAIN * len(sample)

    def pack(self, data: bytes, place: str, blobs: Sequence[str] = ()) -> bytes:
        """Frame a payload; bare when there is nothing to do.

        Args:
            data: what `encode` gave.
            place: where it will lie, as in `queue:jobs`: a payload that is moved elsewhere can't be decrypted.
            blobs: the ids of the blobs that it refers to, which stay readable.
        """
        if self.leaves(len(data)) and not is_framed(data):
            return data
        head: dict[str, Any] = {"blobs": blobs} if blobs else {}
        if self.pays(data):
            small = zstandard.compress(data, _LEVEL)
            if len(small) < _GAIN * len(data):
                head["zstd"], data = True, small
        if not self.keys:
            return framed(head, data) if "zstd" in head or is_framed(data) else data
        head["key"] = next(iter(self.keys))
        nonce = os.urandom(_NONCE)
        cipher = self._ciphers[head["key"]]
        return framed(head, nonce + cipher.encrypt(nonce, data, _context(head, place)))

    def unpack(self, data: bytes, place: str, most: int | None = None) -> bytes:
        """What `pack` was given.

        Args:
            data: a stored payload.
            place: where it was found.
            most: how many bytes it may have when it is decompressed; None for the limit of all.

        Raises:
            PayloadError: the frame is of a newer version, damaged, of another place, too large when it is decompressed,
                or its key isn't known.
        """
        if not is_framed(data):
            return data
        head, body = opened_head(data, place)
        if "key" in head:
            body = self._decrypted(head, body, place)
        return _decompressed(body, place, self.most if most is None else most) if "zstd" in head else body

    def cipher_of(self, head: Mapping[str, Any], place: str) -> Any:
        """The cipher of one blob alone, so that its chunks may be numbered: its key is made of a key and a salt (HKDF).

        Args:
            head: the blob's, which names the key and the salt.
            place: the blob's id.

        Raises:
            PayloadError: the key isn't known.
        """
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
        from cryptography.hazmat.primitives.hashes import SHA256
        from cryptography.hazmat.primitives.kdf.hkdf import HKDF

        key = self.keys.get(head["key"])
        if key is None:
            raise self._unknown_key(head, place)
        return AESGCM(HKDF(SHA256(), 32, str(head.get("salt")).encode(), place.encode()).derive(key))

    def _unknown_key(self, head: Mapping[str, Any], place: str) -> PayloadError:
        known = ", ".join(self.keys) or "none"
        reason = f"it is encrypted with key {head['key']!r}; the keys here (NODEFLOW_KEYS): {known}"
        return PayloadError("$", f"in {place} {reason}")

    def _decrypted(self, head: dict[str, Any], body: bytes, place: str) -> bytes:
        cipher = self._ciphers.get(head["key"])
        if cipher is None:
            raise self._unknown_key(head, place)
        try:
            decrypted: bytes = cipher.decrypt(body[:_NONCE], body[_NONCE:], _context(head, place))
        except Exception as error:  # InvalidTag, or a ValueError for what is too short
            reason = f"in {place} it was changed, or written elsewhere: key {head['key']!r} doesn't fit"
            raise PayloadError("$", reason) from error
        return decrypted


def _decompressed(data: bytes, place: str, most: int) -> bytes:
    """Count while it streams: what a frame says of its size may be a lie."""
    parts, size = [], 0
    try:
        whole = zstandard.frame_content_size(data)
        with zstandard.ZstdDecompressor(max_window_size=1 << 27).stream_reader(data) as reader:
            while part := reader.read(_PART):
                size += len(part)
                if size > most:
                    raise PayloadError("$", f"in {place} it has more than {most:,} bytes when decompressed")
                parts.append(part)
    except zstandard.ZstdError as error:
        raise PayloadError("$", f"in {place} it can't be decompressed: {error}") from error
    if whole not in (-1, size):  # -1: it doesn't say
        raise PayloadError("$", f"in {place} it was cut off: it has {size:,} bytes when decompressed, not {whole:,}")
    return b"".join(parts)


def framed(head: dict[str, Any], body: bytes) -> bytes:
    """A frame."""
    line = orjson.dumps(head)
    return b"%b%c%b%b%b" % (_MAGIC, FRAME_VERSION, len(line).to_bytes(4, "big"), line, body)


def opened_head(data: bytes, place: str) -> tuple[dict[str, Any], bytes]:
    """The head of a frame, and what comes behind it.

    Args:
        data: at least its magic, version and head.
        place: where it was found.

    Raises:
        PayloadError: it is of a newer version, or its head can't be read.
    """
    if len(data) < _HEAD:
        raise PayloadError("$", f"in {place} lies a frame that was cut off: {data[:60]!r}")
    version = data[len(_MAGIC)]
    if not 1 <= version <= FRAME_VERSION:
        raise PayloadError(
            "$", f"in {place} it is of frame version {version}; this nodeflow reads up to {FRAME_VERSION}"
        )
    end = _HEAD + int.from_bytes(data[_HEAD - 4 : _HEAD], "big")
    try:
        head = orjson.loads(data[_HEAD:end])
    except orjson.JSONDecodeError as error:
        raise PayloadError("$", f"in {place} lies a frame whose head can't be read ({error}): {data[:60]!r}") from error
    is_head = isinstance(head, dict) and head.keys() <= _KNOWN
    if not is_head or not isinstance(head.get("key", ""), str):
        raise PayloadError("$", f"in {place} lies a frame with an unknown head: {data[:60]!r}")
    return head, data[end:]


def _context(head: dict[str, Any], place: str) -> bytes:
    """What is authenticated beside the body."""
    return orjson.dumps([FRAME_VERSION, head, place])
