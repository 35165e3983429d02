"""A value as a blob of its own, and back (the claim check)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import aclosing, contextmanager
from io import SEEK_END, BytesIO
from typing import Any

import anyio
from anyio.to_thread import run_sync

from nodeflow.errors import BlobStoreError, NodeflowError, PayloadError
from nodeflow.values.blobs import BlobStore
from nodeflow.values.bundle import MEDIA_TYPE, Bundle, as_attachment
from nodeflow.values.codec import decode, decode_kind
from nodeflow.values.descriptor import Descriptor, new_blob_id
from nodeflow.values.files import File
from nodeflow.values.lines import LineReader, is_lines


async def offload(blobs: BlobStore, data: bytes | Bundle) -> Descriptor:
    """Write a value to a new blob: what is nothing but an array, a table or a file as that, else its payload.

    Args:
        blobs: where.
        data: what `prepare` gave.

    Raises:
        BlobStoreError: it can't be written.
    """
    with counting_failures(blobs, "descriptor_write_failures"):
        return await blobs.write(new_blob_id(), as_attachment(data))


async def restore(blobs: BlobStore, descriptor: Descriptor) -> Any:
    """The value that lies in a blob; a file is copied from it, an array or table lies upon it where that can be.

    Raises:
        BlobMissingError: the blob isn't there.
        BlobDamagedError: its bytes aren't the ones that were written.
        PayloadError: it can't be read.
        BlobStoreError: the place can't be read.
    """
    with counting_failures(blobs, "descriptor_restore_failures"):
        return await _restored(blobs, descriptor)


@contextmanager
def counting_failures(blobs: BlobStore, name: str) -> Iterator[None]:
    """Add to a count of failures when the block raises."""
    try:
        yield
    except NodeflowError:
        setattr(blobs.counts, name, getattr(blobs.counts, name) + 1)
        raise


async def _restored(blobs: BlobStore, descriptor: Descriptor) -> Any:
    if descriptor.kind == "file":
        return await _file(blobs, descriptor)
    if descriptor.kind == "stream":
        return [decode(line, blobs) for line in (await blobs.read(descriptor)).splitlines()]
    if descriptor.kind == "bytes":
        return await blobs.read(descriptor)
    if descriptor.kind:
        return decode_kind(descriptor.kind, await blobs.map(descriptor))
    if descriptor.media_type == MEDIA_TYPE:
        return decode(await blobs.map(descriptor), blobs)
    return await _json(blobs, descriptor)


async def _json(blobs: BlobStore, descriptor: Descriptor) -> Any:
    """The value of JSON; what is in lines is read while it comes."""
    async with aclosing(blobs.stream(descriptor)) as parts:
        first = bytes(await anext(parts, b""))
        if not is_lines(first):
            whole = BytesIO(first)
            whole.seek(0, SEEK_END)
            async for part in parts:
                whole.write(part)
            return decode(whole.getvalue(), blobs)
        reader = LineReader()
        await run_sync(reader.feed, first)
        async for part in parts:
            await run_sync(reader.feed, bytes(part))
    return reader.value()


async def _file(blobs: BlobStore, descriptor: Descriptor) -> File:
    try:
        found = File.to_be_filled(descriptor.name, descriptor.media_type)
    except ValueError as error:
        raise PayloadError("$", str(error)) from error
    try:
        async with await anyio.open_file(found.path, "wb") as file, aclosing(blobs.stream(descriptor)) as parts:
            async for part in parts:
                await file.write(part)
    except OSError as error:
        raise BlobStoreError(f"copy blob {descriptor.storage_id} to {found.path}: {error}") from error
    return found
