"""The blobs of a store: bytes by id, written once, checked whenever they are read."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import aclosing, contextmanager
from datetime import datetime
from io import BytesIO
from pathlib import Path
from typing import Any, Protocol
from weakref import WeakSet

from anyio.to_thread import run_sync
from attrs import frozen

from nodeflow.errors import BlobDamagedError, BlobMissingError, BlobStoreError, PayloadError, UsageError
from nodeflow.values.attachment import BINARY, Attachment
from nodeflow.values.blobs.bucket import Bucket
from nodeflow.values.blobs.growing import Growing, end_of, followed, is_growing, name_of, part_of
from nodeflow.values.blobs.parts import Content, Digest, Watch, in_parts, mapped, opened, sealed, sha256_of
from nodeflow.values.blobs.places import bucket_at
from nodeflow.values.chunks import Opener, Sealer, allowed
from nodeflow.values.counts import ValueCounts
from nodeflow.values.descriptor import Descriptor, HasBlob, is_blob_id
from nodeflow.values.frames import Frames, Parts, is_framed

_OWNER = "owner"  # the name under which it stands whose blobs they are


class Live(Protocol):
    """Where the handles of blobs are noted that a process has."""

    def add(self, item: Any, /) -> None:
        """Note one, for as long as it lives."""


@frozen
class Blob:
    """A blob that lies in a store.

    Args:
        id: its id.
        size: how many bytes it has.
        at: when it was written, by the clock of the place.
    """

    id: str
    size: int
    at: datetime


class BlobStore:
    """Blobs in a folder, in memory, or in an object store.

    Args:
        bucket: where they lie.
        frames: how they are compressed and encrypted; None is not at all.
        max_inline_bytes: up to which size a value needs no blob.
        live: where handles are noted that this process has.
        counts: what counts what is done.
    """

    def __init__(
        self,
        bucket: Bucket,
        frames: Frames | None = None,
        max_inline_bytes: int = 1 << 20,
        live: Live | None = None,
        counts: ValueCounts | None = None,
    ) -> None:
        self._bucket = bucket
        self.frames = frames or Frames(compress_above=None)
        self.max_inline_bytes = max_inline_bytes
        self.live: Live = WeakSet() if live is None else live
        self.counts = counts or ValueCounts()
        self.watch: Watch | None = None
        """Told how blobs are written and read; for progress bars."""

    def __repr__(self) -> str:
        return f"BlobStore({self.place})"

    @property
    def place(self) -> str:
        """Where they lie."""
        return self._bucket.place

    @classmethod
    def open(
        cls,
        url: str | Path,
        frames: Frames | None = None,
        max_inline_bytes: int = 1 << 20,
        live: Live | None = None,
        counts: ValueCounts | None = None,
    ) -> BlobStore:
        """The blobs at a place; nothing is read or written yet.

        Args:
            url: a folder's path or `file://` URL; `s3://bucket/prefix`, `gs://…`, `az://…`, with credentials from the
                environment (`AWS_ACCESS_KEY_ID`, …); or `memory://`, which ends with the process.
            frames: how they are compressed and encrypted; None is not at all.
            max_inline_bytes: up to which size a value needs no blob.
            live: where the handles of blobs are noted that this process has.
            counts: what counts what is done.

        Raises:
            ValueError: the URL is of none of these kinds, or what it needs from the environment is wrong.
        """
        return cls(bucket_at(url), frames, max_inline_bytes, live, counts)

    async def write(self, blob_id: str, content: Content, *, media_type: str = BINARY) -> Descriptor:
        """Write a blob, which is there as a whole or not at all.

        Args:
            blob_id: its id, of `new_blob_id`.
            content: its bytes. An iterable of parts is gone through in a thread.
            media_type: what they are; an attachment says so itself.

        Raises:
            BlobStoreError: it can't be written.
        """
        alone = content if isinstance(content, Attachment) else Attachment(media_type, 0, tuple, is_mapped=False)
        is_mapped = alone.is_mapped and self._bucket.path(blob_id) is not None
        digest = Digest(self.watch and self.watch("written", blob_id, alone.size or None))
        sealer = Sealer(self.frames, blob_id, is_mapped=is_mapped)
        with self._failing(f"write blob {blob_id}"):
            await self._bucket.put(blob_id, digest.through(sealed(sealer, content)))
        self.counts.blobs_written += 1
        self.counts.blob_bytes_written += digest.size
        return Descriptor(
            storage_id=blob_id,
            size_bytes=sealer.size,
            stored_bytes=digest.size,
            media_type=alone.media_type,
            digest=digest.text,
            kind=alone.kind,
            name=alone.name,
            blobs=alone.blobs,
            content_digest=sealer.digest,
        )

    async def raw(self, blob_id: str) -> AsyncGenerator[Parts, None]:
        """A blob's stored bytes by its id alone, in parts, not checked.

        Raises:
            UsageError: this is no blob's id.
            BlobMissingError: it isn't there.
            BlobStoreError: it can't be read.
        """
        _must_be_ids([blob_id])
        with self._failing(f"read blob {blob_id}", blob_id):
            for name in await self._names(blob_id):
                async with aclosing(self._bucket.get(name)) as parts:
                    async for part in parts:
                        yield part

    async def content(self, blob_id: str) -> AsyncGenerator[Parts, None]:
        """What a blob holds by its id alone, in parts: decrypted and decompressed, but not checked otherwise.

        Raises:
            UsageError: this is no blob's id.
            BlobMissingError: it isn't there.
            PayloadError: its key isn't known, or a chunk of it was changed.
            BlobStoreError: it can't be read.
        """
        _must_be_ids([blob_id])
        with self._failing(f"read blob {blob_id}", blob_id):
            for name in await self._names(blob_id):
                async with aclosing(opened(Opener(self.frames, name), self._bucket.get(name))) as parts:
                    async for part in parts:
                        yield part

    def grow(self, media_type: str, kind: str = "") -> Growing:
        """A new blob that grows part by part, and can be followed from its start meanwhile.

        Args:
            media_type: what its bytes are.
            kind: the name of the type that they are a value of.
        """
        growing = Growing(self._bucket, self.frames, media_type, kind, self.counts)
        self.live.add(growing)
        return growing

    async def follow(self, blob_id: str, patience: float = 600.0) -> AsyncGenerator[Parts, None]:
        """The bytes of a blob that grows, from its start to its end, as they come.

        Args:
            blob_id: its id.
            patience: for how many seconds nothing new may come.

        Raises:
            UsageError: this is no blob's id.
            BlobMissingError: it was removed meanwhile, as when its writer failed.
            BlobStoreError: it can't be read, or nothing came for so long.
        """
        _must_be_ids([blob_id])
        with self._failing(f"follow blob {blob_id}", blob_id):
            async with aclosing(followed(self._bucket, self.frames, blob_id, patience)) as parts:
                async for part in parts:
                    yield part

    async def _names(self, blob_id: str) -> list[str]:
        """The names under which a blob lies: its own, or those of its parts."""
        if not is_growing(blob_id):
            return [blob_id]
        if (end := await end_of(self._bucket, self.frames, blob_id)) is not None:
            return [name_of(blob_id, number) for number in range(end)]
        found = [each.name async for each in self._bucket.found() if part_of(each.name) == blob_id]
        if not found:
            raise FileNotFoundError(blob_id)
        return sorted(found)

    async def read(self, descriptor: Descriptor) -> bytes:
        """The whole of a blob.

        Raises:
            BlobMissingError: it isn't there.
            BlobDamagedError: its bytes aren't the ones that were written.
            PayloadError: its key isn't known, or it claims to be too large.
            BlobStoreError: it can't be read.
        """
        return (await self._whole(descriptor)).getvalue()

    async def map(self, descriptor: Descriptor) -> memoryview:
        """The whole of a blob; mapped into memory, changes staying with this process, where it is a plain file here.

        Raises:
            BlobMissingError, BlobDamagedError, PayloadError, BlobStoreError: as `read`.
        """
        path = self._bucket.path(descriptor.storage_id)
        if path is not None and descriptor.stored_bytes:
            with self._failing(f"read blob {descriptor.storage_id}", descriptor.storage_id):
                found = await run_sync(mapped, path)
            if not is_framed(found[:8].tobytes()):
                _must_be_whole(descriptor, len(found), await run_sync(sha256_of, found))
                self._count_read(len(found))
                return found
        return (await self._whole(descriptor)).getbuffer()

    async def _whole(self, descriptor: Descriptor) -> BytesIO:
        whole = BytesIO()
        async with aclosing(self.stream(descriptor)) as parts:
            async for part in parts:
                whole.write(part)
        return whole

    async def stream(self, descriptor: Descriptor) -> AsyncGenerator[Parts, None]:
        """A blob in parts. That it is whole and undamaged is known only when the last part was given.

        Raises:
            BlobMissingError: it isn't there.
            BlobDamagedError: its bytes aren't the ones that were written.
            PayloadError: its key isn't known, or it claims to be too large.
            BlobStoreError: it can't be read.
        """
        blob_id, size = descriptor.storage_id, 0
        digest = Digest(self.watch and self.watch("read", blob_id, descriptor.stored_bytes))
        if descriptor.size_bytes > allowed(descriptor.stored_bytes):
            raise PayloadError("$", f"blob {blob_id} claims {descriptor.size_bytes:,} bytes: a bomb?")
        failure: PayloadError | None = None
        with self._failing(f"read blob {blob_id}", blob_id):
            for name in await self._names(blob_id):
                async with aclosing(digest.through(self._bucket.get(name))) as stored:
                    try:
                        async with aclosing(opened(Opener(self.frames, name), stored)) as parts:
                            async for part in parts:
                                size += len(part)
                                if size > descriptor.size_bytes:
                                    break
                                yield part
                    except PayloadError as error:
                        failure = failure or error
                    async for _ in stored:
                        if digest.size > descriptor.stored_bytes:
                            break
        _must_be_whole(descriptor, digest.size, digest.text)
        self._count_read(digest.size)
        if failure is not None:
            raise failure
        if size != descriptor.size_bytes:
            raise BlobDamagedError(blob_id, f"it hasn't the {descriptor.size_bytes:,} bytes that it should hold")

    async def delete(self, blob_ids: Sequence[str]) -> None:
        """Remove blobs; one that isn't there is removed already.

        Raises:
            UsageError: one is no blob's id.
            BlobStoreError: they can't be removed.
        """
        _must_be_ids(blob_ids)
        with self._failing("remove blobs"):
            grown = {blob_id for blob_id in blob_ids if is_growing(blob_id)}
            parts = [each.name async for each in self._bucket.found() if part_of(each.name) in grown] if grown else []
            await self._bucket.delete([*blob_ids, *parts])

    async def tidy(self, older_than: float) -> None:
        """Remove what writers that died so many seconds ago have left half-written.

        Raises:
            BlobStoreError: it can't be removed.
        """
        with self._failing("remove what was left half-written"):
            await self._bucket.tidy(older_than)

    async def list(self) -> AsyncIterator[Blob]:
        """All blobs, in no order; what else lies in the place is left out.

        Raises:
            BlobStoreError: they can't be listed.
        """
        grown: dict[str, Blob] = {}
        with self._failing("list the blobs"):
            async for found in self._bucket.found():
                blob_id = part_of(found.name)
                if is_growing(blob_id):
                    known = grown.get(blob_id, Blob(blob_id, 0, found.at))
                    grown[blob_id] = Blob(blob_id, known.size + found.size, max(known.at, found.at))
                elif is_blob_id(found.name):
                    yield Blob(found.name, found.size, found.at)
        for blob in grown.values():
            yield blob

    async def owner(self) -> str | None:
        """Whose blobs they are, as `mark` wrote it; None when nobody has.

        Raises:
            BlobStoreError: it can't be read.
        """
        try:
            with self._failing("read whose blobs they are"):
                return b"".join([part async for part in self._bucket.get(_OWNER)]).decode(errors="replace")
        except BlobStoreError as error:
            if isinstance(error.__cause__, FileNotFoundError):
                return None
            raise

    async def mark(self, owner: str) -> datetime:
        """Write whose blobs they are; when that was, by the clock of the place.

        Raises:
            BlobStoreError: it can't be written.
        """
        with self._failing("write whose blobs they are"):
            await self._bucket.put(_OWNER, in_parts(owner.encode()))
            async for found in self._bucket.found():
                if found.name == _OWNER:
                    return found.at
        raise BlobStoreError(f"what was written in {self.place} can't be found there")

    def path(self, descriptor: Descriptor) -> Path | None:
        """The file that a blob is on this machine; None where it is none."""
        return self._bucket.path(descriptor.storage_id)

    async def url(self, ref: Descriptor | HasBlob, expires: float = 3600.0) -> str:
        """An address under which anybody can read a blob's bytes for a time: a pre-signed URL.

        Args:
            ref: the blob, or a reference that has one: `RefValue.save` gives it one.
            expires: for how many seconds.

        Raises:
            UsageError: the reference has no blob.
            BlobStoreError: there is no such thing in this place.
        """
        descriptor = ref if isinstance(ref, Descriptor) else ref.descriptor
        if descriptor is None:
            raise UsageError(f"{ref!r} has no blob yet: save it first")
        with self._failing(f"sign a URL of blob {descriptor.storage_id}"):
            url = await self._bucket.url(descriptor.storage_id, expires)
        if url is None:
            raise BlobStoreError(f"the blobs in {self.place} have no URLs: only those in an object store do")
        return url

    def _count_read(self, size: int) -> None:
        self.counts.blobs_read += 1
        self.counts.blob_bytes_read += size

    @contextmanager
    def _failing(self, what: str, blob_id: str = "") -> Iterator[None]:
        try:
            yield
        except FileNotFoundError as error:
            if blob_id:
                raise BlobMissingError(blob_id, self.place) from error
            raise BlobStoreError(f"{what} in {self.place}: {error}") from error
        except OSError as error:
            raise BlobStoreError(f"{what} in {self.place}: {error}") from error


def _must_be_ids(blob_ids: Sequence[str]) -> None:
    if wrong := [blob_id for blob_id in blob_ids if not is_blob_id(blob_id)]:
        raise UsageError(f"{wrong[0]!r:.60} is no id of a blob")


def _must_be_whole(descriptor: Descriptor, size: int, digest: str) -> None:
    blob_id = descriptor.storage_id
    if size != descriptor.stored_bytes:
        raise BlobDamagedError(blob_id, f"it has not the {descriptor.stored_bytes:,} bytes that were written")
    if digest != descriptor.digest:
        raise BlobDamagedError(blob_id, "its bytes are not those that were written")
