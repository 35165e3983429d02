"""A bucket: where blobs lie as bytes by name, whatever kind of place that is."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Protocol

from attrs import frozen

from nodeflow.values.frames import Parts

PART_BYTES = 8 << 20
"""How many bytes are written or read at once; S3's parts have at least 5 MiB."""


@frozen
class Found:
    """A blob that lies in a bucket.

    Args:
        name: its name.
        size: how many bytes it has.
        at: when it was written, by the clock of the place.
    """

    name: str
    size: int
    at: datetime


class Bucket(Protocol):
    """What all kinds of places can do. They raise `FileNotFoundError` for a name that isn't there."""

    place: str
    """Where it is, without secrets; for messages."""

    async def put(self, name: str, parts: AsyncIterable[Parts]) -> None:
        """Write a blob; it is there as a whole, or not at all."""

    def get(self, name: str) -> AsyncGenerator[bytes, None]:
        """Read a blob in parts."""

    async def delete(self, names: Sequence[str]) -> None:
        """Remove blobs, those that aren't there included."""

    def found(self) -> AsyncIterator[Found]:
        """All blobs."""

    async def tidy(self, older_than: float) -> None:
        """Remove what writers that died so many seconds ago have left half-written."""

    def path(self, name: str) -> Path | None:
        """The file that a blob is on this machine; None where it is none."""

    async def url(self, name: str, seconds: float) -> str | None:
        """An address under which anybody can read a blob for so long; None where there is no such thing."""
