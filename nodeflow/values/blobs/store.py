"""The blobs of a store: bytes by id, written once, checked whenever they are read."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterator, Sequence
from contextlib import aclosing, contextmanager
from datetime import datetime
from pathlib import Path
from urllib.parse import unquote, urlsplit

from attrs import frozen

from nodeflow.errors import BlobDamagedError, BlobMissingError, BlobStoreError, UsageError
from nodeflow.values.blobs.bucket import PART_BYTES, Bucket
from nodeflow.values.blobs.folder import Folder
from nodeflow.values.descriptor import Descriptor, is_blob_id

_OWNER = "owner"
"""The name under which it stands whose blobs they are."""

_SCHEMES = ("s3", "s3a", "gs", "az", "azure", "abfs", "abfss", "memory")


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
    """

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket

    def __repr__(self) -> str:
        return f"BlobStore({self.place})"

    @property
    def place(self) -> str:
        """Where they lie."""
        return self._bucket.place

    @classmethod
    def open(cls, url: str | Path) -> BlobStore:
        """The blobs at a place; nothing is read or written yet.

        Args:
            url: a folder's path or `file://` URL; `s3://bucket/prefix`, `gs://…`, `az://…`, with credentials from the
                environment (`AWS_ACCESS_KEY_ID`, …); or `memory://`, which ends with the process.

        Raises:
            ValueError: the URL is of none of these kinds, or what it needs from the environment is wrong.
        """
        parts = urlsplit(str(url))
        if isinstance(url, Path) or parts.scheme in ("", "file"):
            return cls(Folder(Path(unquote(parts.path) if parts.scheme == "file" else url)))
        if parts.scheme not in _SCHEMES:
            raise ValueError(f"blobs can't lie at {parts.scheme}://: give a folder, or {', '.join(_SCHEMES)}")
        from nodeflow.values.blobs.remote import Remote

        try:
            return cls(Remote(str(url)))
        except Exception as error:
            reason = str(error).splitlines()[0].replace(str(url), "the URL")
            raise ValueError(f"blobs can't lie at {parts.scheme}://{parts.hostname or ''}: {reason}") from None

    async def write(
        self, blob_id: str, parts: AsyncIterable[bytes] | bytes, *, size: int | None = None, media_type: str
    ) -> Descriptor:
        """Write a blob, which is there as a whole or not at all.

        Args:
            blob_id: its id, of `new_blob_id`.
            parts: its bytes.
            size: how many bytes the value has that it holds; as many as the blob when left out.
            media_type: what the value's bytes are.

        Raises:
            BlobStoreError: it can't be written.
        """
        digest = _Digest()
        with self._failing(f"write blob {blob_id}"):
            await self._bucket.put(blob_id, digest.through(_in_parts(parts) if isinstance(parts, bytes) else parts))
        stored = digest.size
        return Descriptor(
            storage_id=blob_id,
            size_bytes=stored if size is None else size,
            stored_bytes=stored,
            media_type=media_type,
            digest=digest.text,
        )

    async def raw(self, blob_id: str) -> AsyncIterator[bytes]:
        """A blob's bytes by its id alone, in parts, not checked.

        Raises:
            UsageError: this is no blob's id.
            BlobMissingError: it isn't there.
            BlobStoreError: it can't be read.
        """
        _must_be_ids([blob_id])
        with self._failing(f"read blob {blob_id}", blob_id):
            async for part in self._bucket.get(blob_id):
                yield part

    async def read(self, descriptor: Descriptor) -> bytes:
        """The whole of a blob.

        Raises:
            BlobMissingError: it isn't there.
            BlobDamagedError: its bytes aren't the ones that were written.
            BlobStoreError: it can't be read.
        """
        return b"".join([part async for part in self.stream(descriptor)])

    async def stream(self, descriptor: Descriptor) -> AsyncIterator[bytes]:
        """A blob in parts. That it is whole and undamaged is known only when the last part was given.

        Raises:
            BlobMissingError: it isn't there.
            BlobDamagedError: its bytes aren't the ones that were written.
            BlobStoreError: it can't be read.
        """
        digest, blob_id = _Digest(), descriptor.storage_id
        with self._failing(f"read blob {blob_id}", blob_id):
            async with aclosing(digest.through(self._bucket.get(blob_id))) as parts:
                async for part in parts:
                    if digest.size > descriptor.stored_bytes:
                        break
                    yield part
        if digest.size != descriptor.stored_bytes:
            raise BlobDamagedError(blob_id, f"it has not the {descriptor.stored_bytes:,} bytes that were written")
        if digest.text != descriptor.digest:
            raise BlobDamagedError(blob_id, "its bytes are not those that were written")

    async def delete(self, blob_ids: Sequence[str]) -> None:
        """Remove blobs; one that isn't there is removed already.

        Raises:
            UsageError: one is no blob's id.
            BlobStoreError: they can't be removed.
        """
        _must_be_ids(blob_ids)
        with self._failing("remove blobs"):
            await self._bucket.delete(blob_ids)

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
        with self._failing("list the blobs"):
            async for found in self._bucket.found():
                if is_blob_id(found.name):
                    yield Blob(found.name, found.size, found.at)

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
            await self._bucket.put(_OWNER, _in_parts(owner.encode()))
            async for found in self._bucket.found():
                if found.name == _OWNER:
                    return found.at
        raise BlobStoreError(f"what was written in {self.place} can't be found there")

    def path(self, descriptor: Descriptor) -> Path | None:
        """The file that a blob is on this machine; None where it is none."""
        return self._bucket.path(descriptor.storage_id)

    async def url(self, descriptor: Descriptor, expires: float = 3600.0) -> str:
        """An address under which anybody can read a blob's bytes for a time: a pre-signed URL.

        Args:
            descriptor: the blob.
            expires: for how many seconds.

        Raises:
            BlobStoreError: there is no such thing in this place.
        """
        with self._failing(f"sign a URL of blob {descriptor.storage_id}"):
            url = await self._bucket.url(descriptor.storage_id, expires)
        if url is None:
            raise BlobStoreError(f"the blobs in {self.place} have no URLs: only those in an object store do")
        return url

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


class _Digest:
    """The digest and size of bytes in parts, computed in a thread while they are read or written."""

    def __init__(self) -> None:
        self.size = 0
        self._hash = hashlib.sha256()

    @property
    def text(self) -> str:
        """The digest of all that went through, as a descriptor has it."""
        return f"sha256:{self._hash.hexdigest()}"

    async def through(self, parts: AsyncIterable[bytes]) -> AsyncGenerator[bytes, None]:
        """The parts; the next one is asked for while the last one is being looked at."""
        looking: asyncio.Future[None] | None = None
        async for part in parts:
            if looking is not None:
                await looking
            self.size += len(part)
            looking = asyncio.get_running_loop().run_in_executor(None, self._hash.update, part)
            yield part
        if looking is not None:
            await looking


def _must_be_ids(blob_ids: Sequence[str]) -> None:
    if wrong := [blob_id for blob_id in blob_ids if not is_blob_id(blob_id)]:
        raise UsageError(f"{wrong[0]!r:.60} is no id of a blob")


async def _in_parts(data: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(data), PART_BYTES):
        yield data[start : start + PART_BYTES]
