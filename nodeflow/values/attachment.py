"""Attachments: bytes of a value that stand beside its JSON, such as an array's."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable, Iterable
from typing import Any

from attrs import frozen

from nodeflow.values.frames import Parts

NPY = "application/x-npy"
JSON = "application/json"
ARROW = "application/vnd.apache.arrow.file"
BINARY = "application/octet-stream"


@frozen
class Attachment:
    """Bytes that are written as they are, without being copied first.

    Args:
        media_type: what they are.
        size: how many.
        parts: gives them, in parts of any size, from the beginning at each call.
        is_mapped: whether the value can lie upon a file that is mapped into memory.
        kind: the name of the type that they are a value of; empty for a payload.
        name: the name of the file that they are; else empty.
        blobs: the ids of the blobs to which they refer.
        is_checked: whether what reads them trusts them, so that they must be known to be unchanged.
    """

    media_type: str
    size: int
    parts: Callable[[], Iterable[Parts]]
    is_mapped: bool = True
    kind: str = ""
    name: str = ""
    blobs: tuple[str, ...] = ()
    is_checked: bool = False

    def to_bytes(self) -> bytes:
        """All of them at once."""
        return b"".join(self.parts())

    def facts(self) -> dict[str, Any]:
        """What stands beside them in a value's JSON."""
        of_file = {"name": self.name, "media_type": self.media_type} if self.name else {}
        return {**of_file, "crc32": self._crc32()} if self.is_checked else of_file

    def _crc32(self) -> int:
        found = 0
        for part in self.parts():
            found = zlib.crc32(part, found)
        return found

    def digest(self) -> str:
        """`sha256:` and the digest of the bytes, in hexadecimal."""
        found = hashlib.sha256()
        for part in self.parts():
            found.update(part)
        return f"sha256:{found.hexdigest()}"
