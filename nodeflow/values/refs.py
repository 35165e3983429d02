"""References: handles of values that need not lie in memory, and the descriptors that they travel as."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from functools import partial
from typing import Any, Literal

from anyio.to_thread import run_sync
from attrs import evolve

from nodeflow.errors import BlobStoreError, PayloadError, UsageError
from nodeflow.values.attachment import JSON, Attachment
from nodeflow.values.blobs import BlobStore
from nodeflow.values.blobs.parts import mapped
from nodeflow.values.bundle import MEDIA_TYPE, Bundle, as_attachment, is_bundle
from nodeflow.values.codec import decode, decode_kind, prepare
from nodeflow.values.descriptor import INLINE, Descriptor, Inline, new_blob_id
from nodeflow.values.files import File
from nodeflow.values.frames import Parts
from nodeflow.values.kinds import Kind
from nodeflow.values.offload import counting_failures, restore
from nodeflow.values.registry import TYPES

Hint = Literal["memory", "json", "file"]

SMALL_BYTES = 64 << 10
"""Up to which size a value stays in memory as it is, unless a hint says something else."""

_REMEDY = "give it blobs= (NODEFLOW_BLOBS)"


class RefValue(ABC):
    """A handle of a value: it can be passed on, stored and asked for its size without the value being read.

    A node that annotates a port as `RefValue` gets the handle of what comes there; passing it on shares its blob.
    """

    def __init__(self) -> None:
        self.descriptor: Descriptor | None = None
        """What is known of its blob; None while it has none."""
        self.blobs: BlobStore | None = None
        """Where its blob lies, and those that it refers to."""

    @staticmethod
    def of(value: Any, *, hint: Hint | None = None, media_type: str = "") -> RefValue:
        """A handle of a value.

        Args:
            value: any value; a `File` becomes a handle of its bytes.
            hint: "memory" keeps it as it is, "json" as its payload's bytes, "file" in a temporary file. None chooses:
                up to `SMALL_BYTES`, and what can't be sent, stays in memory; more becomes bytes; files, and what has
                over 1 MiB, a file.
            media_type: what the bytes of a file are, where its name doesn't tell.

        Raises:
            PayloadError: by the hint it must be sent, and can't be.
            UsageError: there is no such hint.
        """
        if isinstance(value, RefValue):
            return value
        if hint not in (None, "memory", "json", "file"):
            raise UsageError(f"hint must be 'memory', 'json' or 'file', not {hint!r}")
        if isinstance(value, File) and hint in (None, "file"):
            attachment = as_attachment(prepare(value))
            return FileRefValue(
                evolve(attachment, media_type=media_type or attachment.media_type), read=partial(_itself, value)
            )
        try:
            data = None if hint == "memory" else prepare(value)
        except PayloadError:
            if hint is not None:
                raise
            data = None
        size = 0 if data is None else data.size if isinstance(data, Bundle) else len(data)
        if data is None or (hint is None and size <= SMALL_BYTES):
            return MemoryRefValue(value)
        if hint == "json" or (hint is None and size <= 1 << 20):
            return JsonRefValue.of_prepared(data)
        return FileRefValue.spooled(data)

    @staticmethod
    def from_descriptor(data: Any, blobs: BlobStore | None = None) -> RefValue:
        """The handle of what `to_descriptor` gave; nothing is read.

        Args:
            data: the descriptor.
            blobs: where its blob lies; None will do for one that holds its value.

        Raises:
            PayloadError: it is no descriptor.
        """
        if isinstance(data, Mapping) and data.get("type") == INLINE:
            return _of_inline(Inline.from_data(data), blobs)
        return FileRefValue(None, descriptor=Descriptor.from_data(data), blobs=blobs)

    @abstractmethod
    async def read(self) -> Any:
        """The value.

        Raises:
            BlobMissingError: its blob isn't there.
            BlobDamagedError: its blob's bytes aren't the ones that were written.
            PayloadError: it can't be read.
            BlobStoreError: the place of the blobs can't be read, or isn't known.
        """

    @abstractmethod
    def attachment(self) -> Attachment:
        """Its bytes; only of one that lies in this process.

        Raises:
            PayloadError: it can't be sent.
        """

    async def open(self) -> AsyncGenerator[Parts, None]:
        """The value's bytes in parts: those of its payload, or of the array, table or file that it is.

        Raises:
            PayloadError: it can't be sent.
            BlobStoreError: as `read`.
        """
        parts = iter(self.attachment().parts())
        while (part := await run_sync(next, parts, None)) is not None:
            yield part

    @property
    def size(self) -> int:
        """How many bytes it has when it is sent.

        Raises:
            PayloadError: it can't be sent.
        """
        return self.attachment().size

    @property
    def media_type(self) -> str:
        """What these bytes are."""
        return self.attachment().media_type

    @property
    def blob_id(self) -> str:
        """The id of its blob; empty while it has none."""
        return "" if self.descriptor is None else self.descriptor.storage_id

    def holds_elsewhere(self, blobs: BlobStore) -> bool:
        """Whether it holds references to blobs that lie in another place."""
        if not self.every_blob() or self.is_in(blobs):
            return False
        return self.blobs is not None and self.blobs.place != blobs.place and self.every_blob() != (self.blob_id,)

    def is_in(self, blobs: BlobStore) -> bool:
        """Whether it has a blob there."""
        return self.descriptor is not None and (self.blobs is None or self.blobs.place == blobs.place)

    async def save(self, blobs: BlobStore) -> None:
        """Write it to a blob, unless it has one there.

        Raises:
            PayloadError: it can't be sent.
            BlobStoreError: the blob can't be written, or the one that it has elsewhere can't be read.
        """
        if self.is_in(blobs):
            return
        with counting_failures(blobs, "descriptor_write_failures"):
            descriptor = await self._written(blobs)
        self.descriptor, self.blobs = descriptor, blobs
        blobs.live.add(self)

    async def _written(self, blobs: BlobStore) -> Descriptor:
        if self.descriptor is None:
            return await blobs.write(new_blob_id(), self.attachment())
        async with aclosing(self.open()) as parts:
            copied = await blobs.write(new_blob_id(), parts, media_type=self.descriptor.media_type)
        return evolve(copied, kind=self.descriptor.kind, name=self.descriptor.name, blobs=self.descriptor.blobs)

    async def to_descriptor(self, blobs: BlobStore | None = None) -> dict[str, Any]:
        """What it travels as: a dict that JSON holds, with the value in it up to `max_inline_bytes`, else its blob.

        Args:
            blobs: where a new blob is written, if it needs one.

        Raises:
            PayloadError: it can't be sent, or is too large and there are no blobs.
            BlobStoreError: the blob can't be written.
        """
        if self.descriptor is None:
            alone = self.attachment()
            if alone.size <= (1 << 20 if blobs is None else blobs.max_inline_bytes):
                return Inline.of(alone).to_data()
            if blobs is None:
                raise PayloadError("$", f"{alone.size:,} bytes: a descriptor of so many needs blobs")
            await self.save(blobs)
        return self.descriptor_now()

    def descriptor_now(self) -> dict[str, Any]:
        """As `to_descriptor`, with the value in it, whatever its size, where it has no blob.

        Raises:
            PayloadError: it can't be sent.
        """
        if self.descriptor is not None:
            return self.descriptor.to_data()
        return Inline.of(self.attachment()).to_data()

    def every_blob(self) -> tuple[str, ...]:
        """The ids of all blobs that its descriptor refers to."""
        return self.attachment().blobs if self.descriptor is None else self.descriptor.every_blob()

    def digest(self) -> str:
        """Equal for equal bytes, wherever these lie."""
        if self.descriptor is not None:
            return self.descriptor.content_digest or self.descriptor.digest
        return self.attachment().digest()


class MemoryRefValue(RefValue):
    """A value in this process's memory, as it is.

    Args:
        value: the value.
    """

    def __init__(self, value: Any) -> None:
        super().__init__()
        self._value = value

    def __repr__(self) -> str:
        return f"MemoryRefValue({type(self._value).__name__})"

    async def read(self) -> Any:
        """The value itself."""
        return self._value

    def attachment(self) -> Attachment:
        """Its bytes."""
        return as_attachment(prepare(self._value))

    def holds_elsewhere(self, blobs: BlobStore) -> bool:
        """Whether it holds references to blobs that lie in another place."""
        data = prepare(self._value)
        within = data.refs if isinstance(data, Bundle) else ()
        return any(ref.holds_elsewhere(blobs) or (ref.descriptor and not ref.is_in(blobs)) for ref in within)


class JsonRefValue(RefValue):
    """A value as the bytes of its payload.

    Args:
        data: what `encode` gave.
        blobs: where the blobs lie that it refers to.
        within: the ids of these.
    """

    def __init__(self, data: bytes, blobs: BlobStore | None = None, within: Sequence[str] = ()) -> None:
        super().__init__()
        self._data, self._within, self.blobs = data, tuple(within), blobs
        if blobs is not None and within:
            blobs.live.add(self)

    @classmethod
    def of_prepared(cls, data: bytes | Bundle) -> JsonRefValue:
        """A handle of a value that was encoded."""
        return cls(data) if isinstance(data, bytes) else cls(data.to_bytes(), _blobs_of(data), data.blobs)

    def __repr__(self) -> str:
        return f"JsonRefValue({len(self._data):,} bytes)"

    async def read(self) -> Any:
        """The value, made anew at each call."""
        return decode(self._data, self.blobs)

    def attachment(self) -> Attachment:
        """Its bytes."""
        media_type = MEDIA_TYPE if is_bundle(self._data) else JSON
        return Attachment(media_type, len(self._data), lambda: [self._data], False, blobs=self._within)


class FileRefValue(RefValue):
    """A value whose bytes lie in a file or in a blob.

    Args:
        attachment: its bytes, where they lie in this process; else None.
        read: gives the value of these.
        descriptor: what is known of its blob.
        blobs: where the blob lies, and those that it refers to.
    """

    def __init__(
        self,
        attachment: Attachment | None,
        *,
        read: Callable[[], Any] | None = None,
        descriptor: Descriptor | None = None,
        blobs: BlobStore | None = None,
    ) -> None:
        super().__init__()
        self._attachment, self._read = attachment, read
        self.blobs, self.descriptor = blobs, descriptor
        if blobs is not None:
            blobs.live.add(self)

    def __repr__(self) -> str:
        return f"FileRefValue({self.size:,} bytes of {self.media_type}{f' in {self.blob_id}' if self.blob_id else ''})"

    @classmethod
    def spooled(cls, data: bytes | Bundle) -> FileRefValue:
        """A handle of a value that was encoded, in a temporary file, which goes with the handle.

        Raises:
            OSError: it can't be written.
        """
        alone = as_attachment(data)
        file = File.to_be_filled("value")
        with file.path.open("wb") as opened:
            for part in alone.parts():
                opened.write(part)
        blobs = None if isinstance(data, bytes) else _blobs_of(data)
        spooled = evolve(alone, parts=file.parts)
        return cls(spooled, read=partial(_read_spooled, file, spooled, blobs), blobs=blobs)

    @property
    def size(self) -> int:
        """How many bytes it has."""
        return self.attachment().size if self.descriptor is None else self.descriptor.size_bytes

    @property
    def media_type(self) -> str:
        """What these bytes are."""
        return self.attachment().media_type if self.descriptor is None else self.descriptor.media_type

    async def read(self) -> Any:
        """The value, made anew at each call."""
        if self._read is not None:
            return await run_sync(self._read)
        assert self.descriptor is not None
        return await restore(self._place(), self.descriptor)

    async def open(self) -> AsyncGenerator[Parts, None]:
        """The value's bytes in parts. Of a blob it is known only with the last one that it is whole."""
        if self._attachment is None and self.descriptor is not None:
            found = self._place().stream(self.descriptor)
        else:
            found = super().open()
        async with aclosing(found) as parts:
            async for part in parts:
                yield part

    def attachment(self) -> Attachment:
        """Its bytes."""
        if self._attachment is None:
            raise BlobStoreError(f"the bytes of {self!r} don't lie in this process: read() or open() it")
        return self._attachment

    def _place(self) -> BlobStore:
        if self.blobs is None:
            raise BlobStoreError(f"the value lies in blob {self.blob_id}, but this store has no blobs: {_REMEDY}")
        return self.blobs


def _itself(value: Any) -> Any:
    return value


def _blobs_of(data: Bundle) -> BlobStore | None:
    """Where the blobs lie to which a value refers."""
    return next((ref.blobs for ref in data.refs if ref.blobs is not None), None)


def _read_spooled(file: File, alone: Attachment, blobs: BlobStore | None) -> Any:
    data = mapped(file.path)
    return decode_kind(alone.kind, data) if alone.kind else decode(data, blobs)


def _of_inline(found: Inline, blobs: BlobStore | None) -> RefValue:
    content = found.content
    if not found.kind:
        return JsonRefValue(content, blobs, found.blobs)
    attachment = Attachment(
        found.media_type,
        len(content),
        lambda: [content],
        kind=found.kind,
        name=found.name,
        is_checked=found.crc32 >= 0,
    )
    read = partial(decode_kind, found.kind, memoryview(content), crc32=found.crc32, **found.of_file)
    return FileRefValue(attachment, read=read)


def _write_ref(ref: RefValue) -> dict[str, Any]:
    return ref.descriptor_now()


for _kind in (MemoryRefValue, JsonRefValue, FileRefValue):
    TYPES.add(_kind, Kind("ref", _write_ref, RefValue.from_descriptor))
