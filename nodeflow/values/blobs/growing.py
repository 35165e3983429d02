"""Blobs that grow: objects in a row that are there as soon as they are written, and at last one that says it is all."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing

import anyio
import orjson

from nodeflow.errors import BlobDamagedError, BlobMissingError, BlobStoreError, PayloadError
from nodeflow.values.blobs.bucket import Bucket
from nodeflow.values.blobs.parts import Digest, opened, sealed
from nodeflow.values.chunks import Opener, Sealer
from nodeflow.values.counts import ValueCounts
from nodeflow.values.descriptor import Descriptor, new_blob_id
from nodeflow.values.frames import Frames, Parts

_PART_BYTES = 1 << 20
_PART_SECONDS = 0.5
"""How long what was written may wait for more before others can read it."""

_LOOK_SECONDS = 0.1
_START_SECONDS = 10.0
"""How long a blob of which there is nothing at all may take to begin."""


def is_growing(blob_id: str) -> bool:
    """Whether a blob's id is that of one which grows, or has grown."""
    return blob_id.startswith("streaming_")


def part_of(name: str) -> str:
    """The blob that an object is a part of, or is; for anything else, its name."""
    return name.partition(".")[0]


class Growing:
    """A blob that is being written: what it gets can be read while it grows.

    Args:
        bucket: where it lies.
        frames: how it is compressed and encrypted.
        media_type: what its bytes are.
        kind: the name of the type that they are a value of.
        counts: what counts what is done.
    """

    def __init__(self, bucket: Bucket, frames: Frames, media_type: str, kind: str, counts: ValueCounts) -> None:
        self.id = new_blob_id("streaming")
        self._bucket, self._frames, self._media_type, self._kind = bucket, frames, media_type, kind
        self._digest, self._buffer = Digest(), bytearray()
        self._count = self._size = 0
        self._is_broken = False
        self._counts, self._lock = counts, anyio.Lock()
        self._since = time.monotonic()

    def every_blob(self) -> tuple[str, ...]:
        """Its id, so that no sweep takes it while it grows."""
        return (self.id,)

    async def write(self, data: bytes) -> None:
        """Add bytes; they can be read by others soon.

        Raises:
            BlobStoreError: they can't be written.
        """
        self._buffer += data
        if len(self._buffer) >= _PART_BYTES or time.monotonic() - self._since >= _PART_SECONDS:
            await self.flush()

    async def flush(self) -> None:
        """Let others read what was written.

        Raises:
            BlobStoreError: it can't be written.
        """
        async with self._lock:
            if self._is_broken:
                raise BlobStoreError(f"blob {self.id} lacks a part that could not be written: begin another one")
            part, self._buffer, self._since = self._buffer, bytearray(), time.monotonic()
            if part:
                name = name_of(self.id, self._count)
                self._is_broken = True
                await self._put(name, self._digest.through(sealed(Sealer(self._frames, name), part)))
                self._is_broken = False
                self._count += 1
                self._size += len(part)

    async def finish(self, blobs: Iterable[str] = ()) -> Descriptor:
        """Say that it is all.

        Args:
            blobs: the ids of the blobs to which the bytes refer.

        Raises:
            BlobStoreError: it can't be written.
        """
        await self.flush()
        await self._put(self.id, sealed(Sealer(self._frames, self.id), orjson.dumps({"parts": self._count})))
        self._counts.blobs_written += 1
        self._counts.blob_bytes_written += self._digest.size
        return Descriptor(
            storage_id=self.id,
            size_bytes=self._size,
            stored_bytes=self._digest.size,
            media_type=self._media_type,
            digest=self._digest.text,
            kind=self._kind,
            blobs=tuple(blobs),
        )

    async def abort(self) -> None:
        """Remove it.

        Raises:
            BlobStoreError: it can't be removed.
        """
        try:
            await self._bucket.delete([self.id, *(name_of(self.id, number) for number in range(self._count + 1))])
        except OSError as error:
            raise BlobStoreError(f"remove blob {self.id} in {self._bucket.place}: {error}") from error

    async def _put(self, name: str, parts: AsyncGenerator[Parts, None]) -> None:
        try:
            await self._bucket.put(name, parts)
        except OSError as error:
            raise BlobStoreError(f"write blob {name} in {self._bucket.place}: {error}") from error


async def followed(bucket: Bucket, frames: Frames, blob_id: str, patience: float) -> AsyncGenerator[Parts, None]:
    """The bytes of a blob that grows, from its start to its end, as they come.

    Args:
        bucket: where it lies.
        frames: how it is compressed and encrypted.
        blob_id: its id.
        patience: for how many seconds nothing new may come.

    Raises:
        FileNotFoundError, OSError: it can't be read.
        BlobMissingError: it was removed meanwhile.
        BlobStoreError: nothing came for so long.
    """
    number = 0
    since = time.monotonic()
    while True:
        end = await end_of(bucket, frames, blob_id, is_strict=True)
        name = name_of(blob_id, number)
        try:
            async with aclosing(opened(Opener(frames, name, is_strict=True), bucket.get(name))) as parts:
                async for part in parts:
                    yield part
        except FileNotFoundError:
            if end is not None and number >= end:
                return
            waited = time.monotonic() - since
            if (number or waited > _START_SECONDS) and not await _is_there(bucket, blob_id):
                raise BlobMissingError(blob_id, bucket.place) from None
            if waited > patience:
                raise BlobStoreError(f"blob {blob_id} has not grown for {patience:g} s, and has no end") from None
            await anyio.sleep(_LOOK_SECONDS)
            continue
        number, since = number + 1, time.monotonic()


async def _is_there(bucket: Bucket, blob_id: str) -> bool:
    return any([part_of(each.name) == blob_id async for each in bucket.found()])


async def end_of(bucket: Bucket, frames: Frames, blob_id: str, *, is_strict: bool = False) -> int | None:
    """How many parts a blob has; None while it grows.

    Args:
        bucket: where it lies.
        frames: how it is encrypted.
        blob_id: its id.
        is_strict: whether, where there is a key, only what is encrypted is taken; for who doesn't check a digest.

    Raises:
        OSError: it can't be read.
        BlobDamagedError: what it says isn't what was written.
    """
    try:
        opening = opened(Opener(frames, blob_id, is_strict=is_strict), bucket.get(blob_id))
        return int(orjson.loads(b"".join([bytes(part) async for part in opening]))["parts"])
    except FileNotFoundError:
        return None
    except (PayloadError, LookupError, TypeError, ValueError) as error:
        raise BlobDamagedError(blob_id, f"its end isn't what was written ({error})") from error


def name_of(blob_id: str, number: int) -> str:
    """The name of one of its parts."""
    return f"{blob_id}.{number:06d}"
