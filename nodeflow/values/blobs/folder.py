"""Blobs as files of a local folder, which only its owner can read.

obstore's own local store neither forces what it wrote to the disk nor keeps others out, and follows symbolic links out
of its folder, so this one is ours; see docs/decisions/0012-local-blobs.md.
"""

from __future__ import annotations

import asyncio
import os
import stat
import time
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial as partial_of
from pathlib import Path
from typing import TypeVar
from uuid import uuid4

import anyio
from anyio.to_thread import run_sync

from nodeflow.values.blobs.bucket import PART_BYTES, Found
from nodeflow.values.frames import Parts

T = TypeVar("T")

_PARTIAL = ".partial"
_NEW = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
_OLD = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC


class Folder:
    """A bucket in a folder; made, with mode 0700, at the first blob.

    Args:
        folder: the folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self.place = str(self.folder)

    async def put(self, name: str, parts: AsyncIterable[Parts]) -> None:
        """Write to a temporary name, force it to the disk, and give it its name."""
        await run_sync(self._prepare)
        partial = self.folder / _PARTIAL / f"{name}.{uuid4().hex[:8]}"
        try:
            file = await _to_its_end(partial_of(os.open, partial, _NEW, 0o600), os.close)
            try:
                async for part in parts:
                    await _to_its_end(partial_of(_write_all, file, part))
                await _to_its_end(partial_of(os.fsync, file))
            finally:
                os.close(file)
            await _to_its_end(partial_of(self._name, partial, name))
        except BaseException:
            with suppress(OSError):
                partial.unlink()
            raise

    async def get(self, name: str) -> AsyncGenerator[bytes, None]:
        """Read it in parts."""
        file = await _to_its_end(partial_of(os.open, self.folder / name, _OLD), os.close)
        try:
            while part := await _to_its_end(partial_of(os.read, file, PART_BYTES)):
                yield part
        finally:
            os.close(file)

    async def delete(self, names: Sequence[str]) -> None:
        """Remove files."""
        await run_sync(self._delete, names)

    async def found(self) -> AsyncIterator[Found]:
        """All files."""
        for each in await run_sync(_files_in, self.folder):
            yield each

    async def tidy(self, older_than: float) -> None:
        """Remove temporary files that nobody has written to for so long."""
        await run_sync(self._tidy, older_than)

    def path(self, name: str) -> Path | None:
        """The file."""
        return self.folder / name

    async def url(self, name: str, seconds: float) -> str | None:
        """None: others can't read the folder."""
        return None

    def _prepare(self) -> None:
        """Make the folder; one that others may write to is refused."""
        for folder in (self.folder, self.folder / _PARTIAL):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            facts = folder.lstat()
            if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.geteuid():
                raise PermissionError(f"{folder} must be a folder of yours, and no link")
            if stat.S_IMODE(facts.st_mode) != 0o700:
                folder.chmod(0o700)

    def _name(self, partial: Path, name: str) -> None:
        partial.rename(self.folder / name)
        folder = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _delete(self, names: Sequence[str]) -> None:
        for name in names:
            (self.folder / name).unlink(missing_ok=True)

    def _tidy(self, older_than: float) -> None:
        for found in _files_in(self.folder / _PARTIAL):
            if found.at.timestamp() < time.time() - older_than:
                (self.folder / _PARTIAL / found.name).unlink(missing_ok=True)


def _files_in(folder: Path) -> list[Found]:
    found = []
    for path in folder.iterdir() if folder.exists() else ():
        with suppress(FileNotFoundError):  # it may be removed meanwhile
            facts = path.lstat()
            if stat.S_ISREG(facts.st_mode):
                found.append(Found(path.name, facts.st_size, datetime.fromtimestamp(facts.st_mtime, UTC)))
    return found


async def _to_its_end(work: Callable[[], T], undo: Callable[[T], None] | None = None) -> T:
    """Do some work in a thread. Who is cancelled waits for its end: a file must not be closed while it is in use.

    Args:
        work: what is to be done.
        undo: gets the result when nobody else does any more.
    """
    future = asyncio.get_running_loop().run_in_executor(None, work)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        while not future.done():
            with suppress(asyncio.CancelledError), anyio.CancelScope(shield=True):
                await asyncio.wait([future])
        if future.exception() is None and undo is not None:
            undo(future.result())
        raise


def _write_all(file: int, part: Parts) -> None:
    left = memoryview(part)
    while left:
        left = left[os.write(file, left) :]
