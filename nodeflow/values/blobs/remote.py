"""Blobs in an object store, or in this process's memory: what obstore can reach."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import obstore
from obstore.store import from_url

from nodeflow.values.blobs.bucket import PART_BYTES, Found
from nodeflow.values.frames import Parts

_AT_ONCE = 4
"""How many parts are on their way at the same time: with `PART_BYTES`, 32 MiB of memory."""

_READ_BYTES = 1 << 20


class Remote:
    """A bucket at a URL that obstore knows; credentials come from the environment, as the place's own tools take them.

    Args:
        url: `s3://…`, `gs://…`, `az://…` or `memory://`.

    Raises:
        obstore.exceptions.BaseError: the URL or what is in the environment for it is wrong.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.place = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
        self._store: Any = from_url(url)

    async def put(self, name: str, parts: AsyncIterable[Parts]) -> None:
        """Upload in parts, several at a time."""
        with _as_os_error():
            await obstore.put_async(self._store, name, parts, chunk_size=PART_BYTES, max_concurrency=_AT_ONCE)

    async def get(self, name: str) -> AsyncGenerator[bytes, None]:
        """Download in parts."""
        with _as_os_error():
            found = await obstore.get_async(self._store, name)
            async for part in found.stream(min_chunk_size=_READ_BYTES):
                yield bytes(part)

    async def delete(self, names: Sequence[str]) -> None:
        """Remove objects."""
        for name in names:
            with _as_os_error(), suppress(FileNotFoundError):
                await obstore.delete_async(self._store, name)

    async def found(self) -> AsyncIterator[Found]:
        """All objects below the URL."""
        with _as_os_error():
            async for portion in obstore.list(self._store):
                for each in portion:
                    yield Found(each["path"], each["size"], each["last_modified"])

    async def tidy(self, older_than: float) -> None:
        """Nothing: object stores end uploads that were never finished by a rule of their own."""

    def path(self, name: str) -> Path | None:
        """None: it is no file of this machine."""
        return None

    async def url(self, name: str, seconds: float) -> str | None:
        """A pre-signed URL; None for what can't sign, as memory."""
        if isinstance(self._store, obstore.store.MemoryStore):
            return None
        with _as_os_error():
            signed: str = await obstore.sign_async(self._store, "GET", name, timedelta(seconds=seconds))
        return signed


@contextmanager
def _as_os_error() -> Iterator[None]:
    """What obstore raises, but for `FileNotFoundError`, which it raises itself."""
    try:
        yield
    except obstore.exceptions.BaseError as error:
        raise OSError(str(error).splitlines()[0]) from error
