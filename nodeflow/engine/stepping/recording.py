"""Recording: what a node gives is kept while it gives it, much of it in one blob that grows."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import anyio
from attrs import evolve

from nodeflow.engine.core.evaluation import Absent
from nodeflow.engine.stepping.kept import KeptItem, changed, value_of
from nodeflow.errors import BlobStoreError, PayloadError
from nodeflow.graph import NodeSpec
from nodeflow.storage import DataStore
from nodeflow.storage.groups import ungrouped
from nodeflow.values import FileRefValue, RefValue, decode, digest, encode
from nodeflow.values.blobs import Growing
from nodeflow.values.codec import encode_text, prepare, size_of

_log = logging.getLogger(__name__)

FEW_ITEMS = 100
"""Up to so many items, and no more than `max_inline_bytes`, are kept in one entry of the cache; more in a blob."""

ALIVE_SECONDS = 20.0
"""How long it holds that a blob grows, unless it is said again."""

_FLUSH_SECONDS, _FLUSHES = 0.5, 10
MEDIA_TYPE = "application/jsonl"


class Recorder:
    """The items of one node, each as it was when the node gave it: later the node may change it.

    Args:
        store: where they are kept.
        announce: told the id of the blob in which many items are kept, as soon as it grows.
        spec: the node.
    """

    def __init__(self, store: DataStore, announce: Callable[[str], Awaitable[object]], spec: NodeSpec) -> None:
        self.items: list[KeptItem] = []
        """All of them; large values are references."""
        self.size = 0
        """How many bytes they have."""
        self.reason = ""
        """Why they can't be kept; empty when they can."""
        self._store, self._announce, self._spec = store, announce, spec
        self._digest = hashlib.blake2b(digest_size=12)
        self._growing: Growing | None = None
        self._blobs: dict[str, None] = {}
        self._inline = 0

    @property
    def digest(self) -> str:
        """Equal for equal items; empty when they can't be kept."""
        return "" if self.reason else self._digest.hexdigest()

    async def add(self, item: KeptItem) -> None:
        """Keep one more.

        Raises:
            BlobStoreError: it is large, or many were, and its blob can't be written.
        """
        try:
            kept = await self._fixed(item)
            given = item if kept.outcome is not Absent.SKIPPED else kept
            size, item_digest = size_of(value_of(given)), digest(given.to_data())
        except PayloadError as error:
            self.reason = self.reason or f"item {item.id}: {error}"
            self.items.append(item)
            return
        line = self._line(kept)
        self.items.append(kept)
        self.size += size
        self._inline += len(line)
        self._digest.update(item_digest.encode())
        if self._growing is not None:
            await self._growing.write(line)
        elif self._is_much and self._store.has_blobs and not self.reason:
            self._growing = await self._begun()

    async def _fixed(self, item: KeptItem) -> KeptItem:
        """The item as it is now; skipped where a value is large, can't be written and need not be."""
        try:
            return await changed(item, self._as_it_is_now)
        except BlobStoreError as error:
            if self._spec.options.on_blob_error == "fail":
                raise
            _log.warning("item %s goes on without what %r gave: %s", item.id, self._spec.id, error)
            return evolve(item, outcome=Absent.SKIPPED)

    @property
    def _is_much(self) -> bool:
        size = self.size if self._spec.fans_out else self._inline
        return len(self.items) > FEW_ITEMS or size > self._store.settings.max_inline_bytes

    async def beat(self) -> None:
        """Let others read what there is, and know that there will be more, also while the node takes its time."""
        while True:
            for _ in range(_FLUSHES):
                await anyio.sleep(_FLUSH_SECONDS)
                if self._growing is not None:
                    await self._growing.flush()
            if self._growing is not None:
                await self._announce(self._growing.id)

    async def finish(self) -> RefValue | None:
        """The blob in which they are kept; None when there are few.

        Raises:
            BlobStoreError: it can't be written.
        """
        if self._growing is None:
            return None
        if self.reason:
            await self._growing.abort()
            return None
        descriptor = await self._growing.finish(self._blobs)
        return FileRefValue(None, descriptor=descriptor, blobs=self._store.blobs)

    async def abort(self) -> None:
        """Remove what was written; what can't be removed now goes by a sweep."""
        if self._growing is not None:
            with suppress(BlobStoreError):
                await self._growing.abort()

    async def _begun(self) -> Growing:
        growing = await self._store.grow(MEDIA_TYPE, "stream")
        for item in self.items:
            await growing.write(self._line(item))
        await growing.flush()
        await self._announce(growing.id)
        return growing

    async def _as_it_is_now(self, value: Any) -> Any:
        """A copy, or the handle of a blob: of a large value, unless it is one of many chunks, which share a blob."""
        blobs = self._store.blobs if self._store.has_blobs else None
        if self._spec.fans_out and isinstance(data := prepare(value), bytes):
            return decode(data, blobs)
        ref = await self._store.offload(value)
        return decode(encode(value), blobs) if ref is None else ref

    def _line(self, item: KeptItem) -> bytes:
        line, blobs = encode_text(item.to_data())
        self._blobs |= dict.fromkeys(blobs)
        return line + b"\n"


@asynccontextmanager
async def recorded(
    store: DataStore, announce: Callable[[str], Awaitable[object]], spec: NodeSpec
) -> AsyncIterator[Recorder]:
    """A recorder, which removes what it has written when the block raises."""
    recorder = Recorder(store, announce, spec)
    try:
        with ungrouped():
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(recorder.beat)
                yield recorder
                tasks.cancel_scope.cancel()
    except BaseException:
        with anyio.CancelScope(shield=True):
            await recorder.abort()
        raise


async def items_of(stream: RefValue) -> list[KeptItem]:
    """The items of a blob in which many are kept.

    Raises:
        BlobMissingError, BlobDamagedError, BlobStoreError: it can't be read.
    """
    return [KeptItem.from_data(data) for data in await stream.read()]


async def split_lines(parts: AsyncIterator[Any]) -> AsyncIterator[bytes]:
    """The lines of bytes that come in parts."""
    rest = b""
    async for part in parts:
        *lines, rest = (rest + bytes(part)).split(b"\n")
        for line in lines:
            yield line
