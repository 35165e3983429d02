"""The bytes of blobs on their way: in parts, looked at in threads, so that nothing else has to wait."""

from __future__ import annotations

import asyncio
import hashlib
import mmap
import os
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable, Iterator
from contextlib import aclosing
from pathlib import Path

from anyio.to_thread import run_sync

from nodeflow.values.attachment import Attachment
from nodeflow.values.blobs.bucket import PART_BYTES
from nodeflow.values.chunks import Opener, Sealer
from nodeflow.values.frames import Parts

Content = Attachment | Parts | Iterable[Parts] | AsyncIterable[Parts]
"""The bytes of a blob, as a whole or in parts of any size."""

_LEAST_BYTES = 1 << 20


Watch = Callable[[str, str, int | None], Callable[[int], None] | None]
"""Told of each blob that is "written" or "read", its id, and how many bytes are to come, if that is known; it may give
what is told how many have."""


class Digest:
    """The digest and size of bytes in parts, computed in a thread while they are read or written.

    Args:
        tell: told how many bytes have gone through.
    """

    def __init__(self, tell: Callable[[int], None] | None = None) -> None:
        self.size = 0
        self._tell = tell
        self._hash = hashlib.sha256()

    @property
    def text(self) -> str:
        """The digest of all that went through, as a descriptor has it."""
        return f"sha256:{self._hash.hexdigest()}"

    async def through(self, parts: AsyncIterable[Parts]) -> AsyncGenerator[Parts, None]:
        """The parts; the next one is asked for while the last one is being looked at."""
        looking: asyncio.Future[None] | None = None
        async for part in parts:
            if looking is not None:
                await looking
            self.size += len(part)
            if self._tell is not None:
                self._tell(self.size)
            looking = asyncio.get_running_loop().run_in_executor(None, self._hash.update, part)
            yield part
        if looking is not None:
            await looking


async def in_parts(content: Content) -> AsyncGenerator[Parts, None]:
    """Bytes in parts of at most `PART_BYTES` and, but for the last one, not much less than `_LEAST_BYTES`."""
    few = bytearray()
    async for part in _each(content):
        start = 0
        if few or len(part) < _LEAST_BYTES:
            start = _LEAST_BYTES - len(few)
            few += part[:start]
            if len(few) < _LEAST_BYTES:
                continue
            yield few
            few = bytearray()
        for place in range(start, len(part), PART_BYTES):
            yield part[place : place + PART_BYTES]
    if few:
        yield few


async def _each(content: Content) -> AsyncGenerator[memoryview, None]:
    if isinstance(content, bytes | bytearray | memoryview):
        yield memoryview(content)
    elif isinstance(content, AsyncIterable):
        async for part in content:
            yield memoryview(part)
    else:
        parts = iter(content.parts() if isinstance(content, Attachment) else content)
        while lot := await run_sync(_next_few, parts):
            for part in lot:
                yield part


def _next_few(parts: Iterator[Parts]) -> list[memoryview]:
    """The next parts, about as many as are written at once: going into a thread for each of many small ones is slow."""
    found: list[memoryview] = []
    size = 0
    for part in parts:
        found.append(memoryview(part))
        size += len(found[-1])
        if size >= _LEAST_BYTES:
            break
    return found


async def sealed(sealer: Sealer, content: Content) -> AsyncGenerator[Parts, None]:
    """What is stored of a blob's bytes."""
    async with aclosing(in_parts(content)) as parts:
        async for part in parts:
            for sealed in await run_sync(sealer.update, part):
                yield sealed
    for sealed in await run_sync(sealer.finish):
        yield sealed


async def opened(opener: Opener, stored: AsyncIterable[Parts]) -> AsyncGenerator[Parts, None]:
    """The bytes of a blob of what is stored of it."""
    async for part in stored:
        for found in await run_sync(opener.update, part):
            if found:
                yield found
    opener.finish()


def mapped(path: Path) -> memoryview:
    """A file in memory; what is written there stays with this process.

    Raises:
        OSError: it can't be read, or is empty.
    """
    file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        return memoryview(mmap.mmap(file, 0, access=mmap.ACCESS_COPY))
    except ValueError as error:  # it is empty, which it was not when it was written
        raise OSError(str(error)) from error
    finally:
        os.close(file)


def _sha256(data: memoryview) -> str:
    return hashlib.sha256(data).hexdigest()


def sha256_of(data: memoryview) -> str:
    """The digest of bytes, as a descriptor has it."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"
