"""Values as they are stored: encoded, compressed, encrypted; and back."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Self

from attrs import frozen

from nodeflow.errors import PayloadError
from nodeflow.settings import Settings
from nodeflow.storage.arguments import values_of
from nodeflow.values import decode, encode
from nodeflow.values.frames import Frames, is_framed


class Stored(bytes):
    """A payload as it was found in the server, which is passed on as it is."""


@frozen
class Payloads:
    """What makes stored payloads of values, and values of them.

    A place is the key that holds a payload, whatever lists an item goes through: it is authenticated with what is
    encrypted, so that nobody can move a payload to where it means something else.

    Args:
        frames: what compresses and encrypts.
        most: how many bytes a payload may have.
    """

    frames: Frames
    most: int

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """As the settings say."""
        frames = Frames(settings.encryption_keys, settings.compress_above, settings.max_payload_bytes)
        return cls(frames, settings.max_payload_bytes)

    def pack(self, value: Any, place: str) -> bytes:
        """A value as it is stored.

        Raises:
            PayloadError: it can't be kept, or is too large to be sent.
        """
        if type(value) is Stored:
            return value
        data = encode(value)
        if not self.frames.leaves(len(data)):
            data = self.frames.pack(data, place)
        if len(data) > self.most:
            raise PayloadError("$", f"{len(data):,} bytes: a value may have {self.most:,} (max_payload_bytes)")
        return data

    def pack_as(self, name: str, value: Any, place: str) -> bytes:
        """A value as it is stored; the path of an error begins with the name by which the caller knows it."""
        try:
            return self.pack(value, place)
        except PayloadError as error:
            raise PayloadError(f"{name}{error.path.removeprefix('$')}", error.reason) from error.__cause__

    def pack_each(self, name: str, values: Iterable[Any], place: str) -> list[bytes]:
        """Values as they are stored.

        Args:
            name: what the caller knows them as.
            values: a list of them, or the like.
            place: where they will lie.

        Raises:
            TypeError: they are no list.
            PayloadError: one can't be kept; the path begins with the name and its place, as in `values[3].when`.
        """
        packed: list[bytes] = []
        try:
            for value in values_of(name, values):
                packed.append(self.pack(value, place))  # noqa: PERF401 - how many there are says which failed
        except PayloadError as error:
            path = f"{name}[{len(packed)}]{error.path.removeprefix('$')}"
            raise PayloadError(path, error.reason) from error.__cause__
        return packed

    def unpack(self, data: bytes, place: str) -> Any:
        """The value of a stored payload.

        Raises:
            PayloadError: it can't be read.
        """
        return decode(self.frames.unpack(data, place) if is_framed(data) else data)
