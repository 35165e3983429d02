"""What nodes give, made ready to be pushed before any node goes on: encoded, and large values in blobs of their own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import frozen

from nodeflow.engine.evaluation import Outcome, Task
from nodeflow.engine.plan import Channel
from nodeflow.engine.results import dead_letter, dead_queue, enveloped, in_words
from nodeflow.errors import BlobStoreError, PayloadError
from nodeflow.storage import DataStore


@frozen
class Packing:
    """Makes what nodes give ready to be pushed: later they may change it, as a buffer that is filled again.

    Args:
        store: the store, below the graph's prefix.
        channels: the channels of the graph, by queue.
        loop: the loop's name.
        job: the job's id.
    """

    store: DataStore
    channels: Mapping[str, Channel]
    loop: str
    job: str

    async def push(self, queue: str, item_id: str, outcome: Outcome) -> bytes | None:
        """What a writer pushes; None for nothing.

        Raises:
            PayloadError: it can't be sent; with the path within the value.
            BlobStoreError: it is large, and its blob can't be written.
        """
        channel = self.channels.get(queue)
        content = enveloped(channel, item_id, outcome)
        if content is None and channel is not None:
            return None
        try:
            if (data := self.store.encode(content)) is not None:
                return data
            if channel is not None:
                content = await self._offloaded(content)
            return await self.store.prepare(queue, content)
        except PayloadError as error:
            if channel is None or not error.path.startswith(("$.value", "$.branches")):
                raise
            path = error.path.removeprefix("$.value").removeprefix("$.branches")
            raise PayloadError(f"${path}", error.reason) from error.__cause__

    async def letter(self, task: Task, error: BaseException, attempt: int) -> bytes:
        """The dead letter of an item on which a node raised; what can't be kept of its input stands there in words."""
        given = {port: await self._kept(value) for port, value in task.arguments.items()}
        for input_of in (given, {port: in_words(value) for port, value in given.items()}):
            letter = dead_letter(task, input_of, error, loop=self.loop, job=self.job, attempt=attempt)
            try:
                return await self.store.prepare(dead_queue(self.loop), letter)
            except (PayloadError, BlobStoreError) as failure:
                last: Exception = failure
        raise last

    async def _offloaded(self, content: dict[str, Any]) -> dict[str, Any]:
        if "value" in content:
            return {**content, "value": await self._offload(content["value"])}
        return {
            **content,
            "branches": {name: await self._offload(value) for name, value in content["branches"].items()},
        }

    async def _offload(self, value: Any) -> Any:
        ref = await self.store.offload(value)
        return value if ref is None else ref

    async def _kept(self, value: Any) -> Any:
        try:
            return await self._offload(value)
        except (PayloadError, BlobStoreError):
            return in_words(value)
