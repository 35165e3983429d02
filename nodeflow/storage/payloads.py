"""Values as they are stored: encoded, compressed, encrypted, large ones as blobs with a descriptor here; and back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from time import perf_counter
from typing import Any, Self

import anyio
from attrs import evolve, field, frozen

from nodeflow.errors import BlobStoreError, PayloadError
from nodeflow.settings import Settings
from nodeflow.storage.arguments import values_of
from nodeflow.storage.groups import ungrouped
from nodeflow.storage.keeping import InFlight, Keeper
from nodeflow.values import Encoded, decode, decode_each
from nodeflow.values.attachment import Attachment
from nodeflow.values.blobs import BlobStore
from nodeflow.values.bundle import Bundle
from nodeflow.values.codec import encode_small, prepare
from nodeflow.values.counts import ValueCounts
from nodeflow.values.descriptor import EXTERNAL, Descriptor
from nodeflow.values.frames import Frames, is_framed
from nodeflow.values.offload import offload, restore
from nodeflow.values.refs import FileRefValue, RefValue

_MOST_GAIN = 16
"""How many times smaller a value may become by compression for it to be tried; larger ones become blobs at once."""

_AT_ONCE = 8
"""How many blobs are read or written at the same time."""


_REMEDY = "give it blobs= (NODEFLOW_BLOBS)"


class Stored(bytes):
    """A payload as it was found in the server, which is passed on as it is."""


class Ready(list[bytes]):
    """Payloads as they are stored, which are passed on as they are."""


class _Referring(bytes):
    """A stored payload that refers to blobs, which are in this process's hands for as long as this lives."""

    in_flight: InFlight


def _any(ref: RefValue, alone: Attachment | None) -> bool:
    return True


async def _keep_nothing(blobs: Iterable[str]) -> None:
    """For payloads without a server."""


@frozen
class Payloads:
    """What makes stored payloads of values, and values of them.

    A place is the key that holds a payload, whatever lists an item goes through: it is authenticated with what is
    encrypted, so that nobody can move a payload to where it means something else. A blob's place is its id.

    Args:
        settings: how large payloads may be here.
        frames: how they are compressed and encrypted.
        blobs: where larger ones go; None for nowhere.
        keeper: where the blobs are noted that this process has in its hands.
    """

    settings: Settings
    frames: Frames = field(repr=False)
    blobs: BlobStore | None
    keeper: Keeper = field(factory=Keeper, repr=False, eq=False)
    keep: Callable[[Iterable[str]], Awaitable[object]] = field(default=_keep_nothing, repr=False, eq=False)
    """Says to the server that blobs are in use."""
    counts: ValueCounts = field(factory=ValueCounts, repr=False, eq=False)
    claims: list[Callable[[], Awaitable[object]]] = field(factory=list, repr=False, eq=False)
    """What is to be done before the first blob is written."""
    most: int = field(init=False, repr=False)
    _uploads: anyio.CapacityLimiter = field(factory=partial(anyio.CapacityLimiter, _AT_ONCE), repr=False, eq=False)
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
    def of(
        cls,
        settings: Settings,
        keeper: Keeper,
        keep: Callable[[Iterable[str]], Awaitable[object]],
        counts: ValueCounts,
    ) -> Self:
        """As the settings say; `keep` says to the server that blobs are in use."""
        frames = Frames(settings.encryption_keys, settings.compress_above, settings.max_payload_bytes)
        blobs = None
        if settings.blobs is not None:
            blobs = BlobStore.open(settings.blobs, frames, settings.max_inline_bytes, keeper, counts)
        return cls(settings, frames, blobs, keeper, keep, counts)

    async def pack(self, value: Any, place: str) -> bytes:
        """A value as it is stored.

        Raises:
            PayloadError: it can't be kept, or is too large for this place and there are no blobs.
            BlobStoreError: it is large, and its blob can't be written.
        """
        if type(value) is Stored or type(value) is _Referring:
            return value
        began = perf_counter()
        data = prepare(value, self._needs_blob, in_lines=self.blobs is not None)
        if type(value) is not Encoded:
            self.counts.encoded([_size(data)], perf_counter() - began)
        if isinstance(data, Bundle) or len(data) > self._bare:
            return await self._packed(value, data, place)
        return data

    def encode_bare(self, value: Any) -> bytes | None:
        """A value as it is stored at any place; `Encoded` or None when more than that is to be done with it."""
        began = perf_counter()
        data = prepare(value, _any, in_lines=self.blobs is not None)
        size = _size(data)
        self.counts.encoded_one(size, perf_counter() - began)
        if isinstance(data, Bundle) or size > self._inline:
            return None
        return data if size <= self._bare else Encoded(data)

    def encode_small(self, content: dict[str, Any], value: Any) -> bytes | None:
        """As `encode_bare`, of what holds a value and beside it only texts; None when it isn't small and plain."""
        counts = self.counts
        began = perf_counter() if counts.is_settled else None
        data = encode_small(content, value)
        if data is None or len(data) > self._bare:
            return None
        if began is None:
            counts.encoded_more(len(data))
        else:  # one for many: to look at the clock twice takes as long as to encode
            counts.encoded_one(len(data), perf_counter() - began)
        return data

    async def pack_ready(self, value: Any, place: str) -> bytes:
        """A value as `pack` stores it, and as it may be given to `pack` again for the same place."""
        packed = await self.pack(value, place)
        return packed if type(packed) is _Referring else Stored(packed)

    async def offload(self, value: Any) -> RefValue | None:
        """The handle of a value that is too large to be kept where it is, in a new blob; None for a smaller one.

        Raises:
            PayloadError: it can't be kept.
            BlobStoreError: its blob can't be written.
        """
        data = prepare(value, self._needs_blob, in_lines=self.blobs is not None)
        if self.blobs is None or (not isinstance(data, Bundle) and len(data) <= self._inline):
            return None
        data = await self._saved(value, data)
        if _size(data) <= self._inline:
            return None
        ref = FileRefValue(None, descriptor=await self._written(data), blobs=self.blobs)
        await self._hold()
        return ref

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
        if type(values) is Ready:
            return values
        packed: list[bytes] = []
        sizes: list[int] = []  # of those that are encoded here
        began, paused = perf_counter(), 0.0
        try:
            for value in values_of(name, values):  # as `pack`, without a coroutine for each
                if type(value) is Stored or type(value) is _Referring:
                    packed.append(value)
                    continue
                data = prepare(value, self._needs_blob, in_lines=self.blobs is not None)
                if type(value) is not Encoded:
                    sizes.append(_size(data))
                if isinstance(data, Bundle) or len(data) > self._bare:
                    since = perf_counter()
                    data = await self._packed(value, data, place)
                    paused += perf_counter() - since
                packed.append(data)
        except PayloadError as error:
            path = f"{name}[{len(packed)}]{error.path.removeprefix('$')}"
            raise PayloadError(path, error.reason) from error.__cause__
        self.counts.encoded(sizes, perf_counter() - began - paused)
        return packed

    async def unpack(self, data: bytes, place: str) -> Any:
        """The value of a stored payload.

        Raises:
            PayloadError: it can't be read, its blob is missing or damaged.
            BlobStoreError: the place of the blobs can't be read.
        """
        if is_framed(data):
            data = self.frames.unpack(data, place)
        if data.startswith(EXTERNAL):
            return await self._fetched(data)
        began = perf_counter()
        value = decode(data, self.blobs)
        self.counts.decoded([len(data)], perf_counter() - began)
        await self._hold()
        return value

    async def decode_each(self, elements: Sequence[bytes]) -> list[Any]:
        """The values of bare payloads, decoded together.

        Raises:
            PayloadError: one of them isn't bare, or can't be decoded.
        """
        began = perf_counter()
        values = decode_each(elements, self.blobs)
        self.counts.decoded(list(map(len, elements)), perf_counter() - began)
        await self._hold()
        return values

    async def _hold(self) -> None:
        """Say of what this process has newly in its hands that it is in use, before what referred to it may go."""
        if self.keeper.has_new:
            await self.keep(())

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

        with ungrouped():
            async with anyio.create_task_group() as tasks:
                for index, data in enumerate(elements):
                    if is_framed(data) or data.startswith(EXTERNAL):
                        tasks.start_soon(fetch, index, data)
                    else:
                        await unpack(index, data)
        if failure := next((value for value in found if isinstance(value, BlobStoreError)), None):
            raise failure
        return found

    async def _packed(self, value: Any, data: bytes | Bundle, place: str) -> bytes:
        data = await self._saved(value, data)
        blobs = data.blobs if isinstance(data, Bundle) else ()
        size = _size(data)
        if size <= _MOST_GAIN * self._inline:
            packed = self.frames.pack(data.to_bytes() if isinstance(data, Bundle) else data, place, blobs)
            size = len(packed)
            if size <= self._inline:
                return self._in_hand(packed, blobs)
        if self.blobs is None:
            reason = f"{size:,} bytes: here a value may have {self._inline:,}; larger ones need blobs="
            raise PayloadError("$", f"{reason} (NODEFLOW_BLOBS), or a larger max_payload_bytes")
        descriptor = evolve(await self._written(data), content_digest="")  # which only references need
        packed = descriptor.to_json()
        if self.frames.keys:
            packed = self.frames.pack(packed, place, descriptor.every_blob())
        return self._in_hand(packed, descriptor.every_blob())

    def _needs_blob(self, ref: RefValue, alone: Attachment | None) -> bool:
        """Whether a reference must have a blob of its own before it can be stored.

        Raises:
            PayloadError: it holds references to blobs that nobody here could read.
        """
        if self.blobs is None:
            if alone is None:
                raise PayloadError("$", f"{ref!r} lies in a blob, but this store has no blobs: {_REMEDY}")
            return False
        if (alone is None or alone.blobs) and ref.holds_elsewhere(self.blobs):
            raise PayloadError("$", f"{ref!r} holds references to blobs of another place: send the value that it has")
        return not ref.is_in(self.blobs) if alone is None else alone.size > self.settings.max_inline_bytes

    async def _saved(self, value: Any, data: bytes | Bundle) -> bytes | Bundle:
        """The value encoded when its references have blobs, of which it was said that they are in use."""
        if not isinstance(data, Bundle):
            return data
        if data.unsaved:
            assert self.blobs is not None
            await self.claim()
            with ungrouped():
                async with anyio.create_task_group() as tasks:
                    for ref in dict.fromkeys(data.unsaved):
                        tasks.start_soon(self._save, ref)
            data = prepare(value, in_lines=True)
        if isinstance(data, Bundle) and data.blobs:
            await self.keep(data.blobs)
        return data

    async def _save(self, ref: RefValue) -> None:
        assert self.blobs is not None
        async with self._uploads:
            await ref.save(self.blobs)
        self.keeper.said(ref.every_blob())
        await self._hold()

    async def _written(self, data: bytes | Bundle) -> Descriptor:
        assert self.blobs is not None
        await self.claim()
        descriptor = await offload(self.blobs, data)
        self.keeper.said([descriptor.storage_id])
        return descriptor

    async def claim(self) -> None:
        """Make sure, once, that the place of the blobs is this database's."""
        if self.claims:
            await self.claims[0]()
            self.claims.clear()

    def _in_hand(self, packed: bytes, blobs: Iterable[str]) -> bytes:
        if not blobs:
            return packed
        referring = _Referring(packed)
        referring.in_flight = InFlight(blobs)
        self.keeper.add(referring.in_flight)
        return referring

    async def _fetched(self, data: bytes) -> Any:
        descriptor = Descriptor.from_json(data)
        if self.blobs is None:
            reason = f"the value lies in blob {descriptor.storage_id}, but this store has no blobs"
            raise PayloadError("$", f"{reason}: {_REMEDY}")
        began = perf_counter()
        value = await restore(self.blobs, descriptor)
        self.counts.decoded([descriptor.size_bytes], perf_counter() - began)
        await self._hold()
        return value


def _size(data: bytes | Bundle) -> int:
    return data.size if isinstance(data, Bundle) else len(data)
