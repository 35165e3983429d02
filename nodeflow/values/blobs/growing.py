"""Blobs that grow: objects in a row that are there as soon as they are written, and at last one that says it is all."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing

import anyio
import orjson

from nodeflow.errors import BlobMissingError, BlobStoreError
from nodeflow.values.blobs.bucket import Bucket
from nodeflow.values.blobs.parts import Digest, opened, sealed
from nodeflow.values.chunks import Opener, Sealer
from nodeflow.values.descriptor import Descriptor, new_blob_id
from nodeflow.values.frames import Frames, Parts

_PART_BYTES = 1 << 20
_PART_SECONDS = 0.5
"""How long what was written may wait for more before others can read it."""

_LOOK_SECONDS = 0.1


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
    """

    def __init__(self, bucket: Bucket, frames: Frames, media_type: str, kind: str) -> None:
        self.id = new_blob_id("streaming")
        self._bucket, self._frames, self._media_type, self._kind = bucket, frames, media_type, kind
        self._digest, self._buffer = Digest(), bytearray()
        self._count = self._size = 0
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
        part, self._buffer, self._since = self._buffer, bytearray(), time.monotonic()
        if part:
            name = name_of(self.id, self._count)
            await self._put(name, self._digest.through(sealed(Sealer(self._frames, name), part)))
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
            await self._bucket.delete([name_of(self.id, number) for number in range(self._count)])
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
    number, deadline = 0, time.monotonic() + patience
    while True:
        end = await end_of(bucket, frames, blob_id)
        try:
            async with aclosing(
                opened(Opener(frames, name_of(blob_id, number)), bucket.get(name_of(blob_id, number)))
            ) as parts:
                async for part in parts:
                    yield part
        except FileNotFoundError:
            if end is not None and number >= end:
                return
            if number and not [each async for each in bucket.found() if part_of(each.name) == blob_id]:
                raise BlobMissingError(blob_id, bucket.place) from None
            if time.monotonic() > deadline:
                raise BlobStoreError(f"blob {blob_id} has not grown for {patience:g} s, and has no end") from None
            await anyio.sleep(_LOOK_SECONDS)
            continue
        number, deadline = number + 1, time.monotonic() + patience


async def end_of(bucket: Bucket, frames: Frames, blob_id: str) -> int | None:
    """How many parts a blob has; None while it grows.

    Raises:
        OSError: it can't be read.
    """
    try:
        opening = opened(Opener(frames, blob_id), bucket.get(blob_id))
        return int(orjson.loads(b"".join([bytes(part) async for part in opening]))["parts"])
    except FileNotFoundError:
        return None


def name_of(blob_id: str, number: int) -> str:
    """The name of one of its parts."""
    return f"{blob_id}.{number:06d}"
