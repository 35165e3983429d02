"""Values as they are stored: encoded, compressed, encrypted, large ones as blobs with a descriptor here; and back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Self
from weakref import WeakSet

import anyio
from attrs import field, frozen

from nodeflow.errors import BlobStoreError, PayloadError
from nodeflow.settings import Settings
from nodeflow.storage.arguments import values_of
from nodeflow.values import decode
from nodeflow.values.blobs import BlobStore
from nodeflow.values.bundle import MEDIA_TYPE, Bundle, sized
from nodeflow.values.codec import decode_kind, prepare
from nodeflow.values.descriptor import EXTERNAL, Descriptor, new_blob_id
from nodeflow.values.frames import Frames, is_framed

_JSON = "application/json"
_MOST_GAIN = 16
"""How many times smaller a value may become by compression for it to be tried; larger ones become blobs at once."""

_AT_ONCE = 8
"""How many blobs are read at the same time."""


class Stored(bytes):
    """A payload as it was found in the server, which is passed on as it is."""


class InFlight:
    """A blob whose descriptor is on its way to the server.

    Args:
        blob_id: its id.
    """

    def __init__(self, blob_id: str) -> None:
        self.blob_id = blob_id


class _Offloaded(bytes):
    """A stored payload that refers to a new blob, which is in flight for as long as this lives."""

    in_flight: InFlight


@frozen
class Payloads:
    """What makes stored payloads of values, and values of them.

    A place is the key that holds a payload, whatever lists an item goes through: it is authenticated with what is
    encrypted, so that nobody can move a payload to where it means something else. A blob's place is its id.

    Args:
        settings: how large payloads may be here.
        frames: how they are compressed and encrypted.
        blobs: where larger ones go; None for nowhere.
        in_flight: where the blobs are noted that are on their way.
    """

    settings: Settings
    frames: Frames = field(repr=False)
    blobs: BlobStore | None
    in_flight: WeakSet[InFlight] = field(factory=WeakSet, repr=False, eq=False)
    claims: list[Callable[[], Awaitable[object]]] = field(factory=list, repr=False, eq=False)
    """What is to be done before the first blob is written."""
    most: int = field(init=False, repr=False)
    _inline: int = field(init=False, repr=False)
    _bare: int = field(init=False, repr=False)
    """Up to how many bytes a payload stays as `encode` gave it."""

    def __attrs_post_init__(self) -> None:
        settings = self.settings
        object.__setattr__(self, "most", settings.max_payload_bytes)
        inline = settings.max_payload_bytes if self.blobs is None else settings.max_inline_bytes
        object.__setattr__(self, "_inline", min(inline, settings.max_payload_bytes))
        above = settings.max_payload_bytes if settings.compress_above is None else settings.compress_above - 1
        object.__setattr__(self, "_bare", -1 if settings.encryption_keys else min(self._inline, above))

    @classmethod
    def of(cls, settings: Settings, in_flight: WeakSet[InFlight]) -> Self:
        """As the settings say; `in_flight` is where the blobs are noted that are on their way."""
        frames = Frames(settings.encryption_keys, settings.compress_above, settings.max_payload_bytes)
        blobs = None if settings.blobs is None else BlobStore.open(settings.blobs, frames)
        return cls(settings, frames, blobs, in_flight)

    async def pack(self, value: Any, place: str) -> bytes:
        """A value as it is stored.

        Raises:
            PayloadError: it can't be kept, or is too large for this place and there are no blobs.
            BlobStoreError: it is large, and its blob can't be written.
        """
        if type(value) is Stored:
            return value
        data = prepare(value)
        return await self._packed(data, place) if isinstance(data, Bundle) or len(data) > self._bare else data

    async def _packed(self, data: bytes | Bundle, place: str) -> bytes:
        size = data.size if isinstance(data, Bundle) else len(data)
        if size <= _MOST_GAIN * self._inline:
            packed = self.frames.pack(data.to_bytes() if isinstance(data, Bundle) else data, place)
            size = len(packed)
            if size <= self._inline:
                return packed
        if self.blobs is None:
            reason = f"{size:,} bytes: here a value may have {self._inline:,}; larger ones need blobs="
            raise PayloadError("$", f"{reason} (NODEFLOW_BLOBS), or a larger max_payload_bytes")
        return await self._offload(data, place)

    async def pack_as(self, name: str, value: Any, place: str) -> bytes:
        """A value as it is stored; the path of an error begins with the name by which the caller knows it."""
        try:
            return await self.pack(value, place)
        except PayloadError as error:
            raise PayloadError(f"{name}{error.path.removeprefix('$')}", error.reason) from error.__cause__

    async def pack_each(self, name: str, values: Iterable[Any], place: str) -> list[bytes]:
        """Values as they are stored.

        Args:
            name: what the caller knows them as.
            values: a list of them, or the like.
            place: where they will lie.

        Raises:
            TypeError: they are no list.
            PayloadError: one can't be kept; the path begins with the name and its place, as in `values[3].when`.
            BlobStoreError: one is large, and its blob can't be written.
        """
        packed: list[bytes] = []
        try:
            for value in values_of(name, values):  # as `pack`, without a coroutine for each
                if type(value) is Stored:
                    packed.append(value)
                    continue
                data = prepare(value)
                if isinstance(data, Bundle) or len(data) > self._bare:
                    data = await self._packed(data, place)
                packed.append(data)
        except PayloadError as error:
            path = f"{name}[{len(packed)}]{error.path.removeprefix('$')}"
            raise PayloadError(path, error.reason) from error.__cause__
        return packed

    async def unpack(self, data: bytes, place: str) -> Any:
        """The value of a stored payload.

        Raises:
            PayloadError: it can't be read, its blob is missing or damaged.
            BlobStoreError: the place of the blobs can't be read.
        """
        if is_framed(data):
            data = self.frames.unpack(data, place)
        return await self._fetched(data) if data.startswith(EXTERNAL) else decode(data)

    async def unpack_each(self, elements: Sequence[bytes], place: str) -> list[Any]:
        """The values of stored payloads, the blobs among them fetched together; of a bad one the `PayloadError`.

        Raises:
            BlobStoreError: the place of the blobs can't be read.
        """
        found: list[Any] = [None] * len(elements)
        limiter = anyio.CapacityLimiter(_AT_ONCE)

        async def unpack(index: int, data: bytes) -> None:
            try:
                found[index] = await self.unpack(data, place)
            except (PayloadError, BlobStoreError) as error:
                found[index] = error

        async def fetch(index: int, data: bytes) -> None:
            async with limiter:
                await unpack(index, data)

        async with anyio.create_task_group() as tasks:
            for index, data in enumerate(elements):
                if is_framed(data) or data.startswith(EXTERNAL):
                    tasks.start_soon(fetch, index, data)
                else:
                    await unpack(index, data)
        if failure := next((value for value in found if isinstance(value, BlobStoreError)), None):
            raise failure
        return found

    async def _offload(self, data: bytes | Bundle, place: str) -> bytes:
        assert self.blobs is not None
        if self.claims:
            await self.claims[0]()
            self.claims.clear()
        blob_id = new_blob_id()
        descriptor = await _written(self.blobs, blob_id, data)
        packed = descriptor.to_json()
        if self.frames.keys:
            packed = self.frames.pack(packed, place, [blob_id])
        offloaded = _Offloaded(packed)
        offloaded.in_flight = InFlight(blob_id)
        self.in_flight.add(offloaded.in_flight)
        return offloaded

    async def _fetched(self, data: bytes) -> Any:
        descriptor = Descriptor.from_json(data)
        if self.blobs is None:
            reason = f"the value lies in blob {descriptor.storage_id}, but this store has no blobs: give it blobs="
            raise PayloadError("$", f"{reason} (NODEFLOW_BLOBS)")
        if descriptor.kind:
            return decode_kind(descriptor.kind, await self.blobs.map(descriptor))
        is_bundle = descriptor.media_type == MEDIA_TYPE
        return decode(await self.blobs.map(descriptor) if is_bundle else await self.blobs.read(descriptor))


async def _written(blobs: BlobStore, blob_id: str, data: bytes | Bundle) -> Descriptor:
    if not isinstance(data, Bundle):
        return await blobs.write(blob_id, data, media_type=_JSON)
    if not data.kind:
        is_mapped = any(attachment.is_mapped for attachment in data.attachments)
        return await blobs.write(blob_id, data.parts(), media_type=MEDIA_TYPE, is_mapped=is_mapped)
    (alone,) = data.attachments
    return await blobs.write(
        blob_id, sized(alone), media_type=alone.media_type, kind=data.kind, is_mapped=alone.is_mapped
    )
