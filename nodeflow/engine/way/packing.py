"""What nodes give, made ready to be pushed before any node goes on: encoded, and large values in blobs of their own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from attrs import evolve, frozen

from nodeflow.engine.core.evaluation import Absent, Branches, Outcome
from nodeflow.engine.core.partitioning import Partitioning, partition_of
from nodeflow.engine.core.results import dead_letter, enveloped, in_words, loop_queue
from nodeflow.engine.core.stages import Write
from nodeflow.engine.core.work import Again, Work, kept_outcome
from nodeflow.errors import BlobStoreError, KeyMissingError, PayloadError
from nodeflow.storage import joins_hash
from nodeflow.values import Encoded, RefValue
from nodeflow.values.codec import prepare


class Store(Protocol):
    """What encodes values, and writes the blobs of large ones."""

    def encode(self, value: Any) -> bytes | None:
        """A value as it will lie in any queue; `Encoded` or None when more is to be done with it."""

    @property
    def encode_small(self) -> Callable[[dict[str, Any], Any], bytes | None]:
        """As `encode`, of what holds a value and beside it only texts; None when there is more to it."""

    async def prepare(self, queue: str, value: Any) -> bytes:
        """A value as it will lie in a queue."""

    async def prepare_field(self, job: str, name: str, value: Any) -> bytes:
        """A value as it will lie in a hash of a job."""

    async def offload(self, value: Any) -> RefValue | None:
        """The handle of a large value; None for a smaller one."""


@frozen
class Packing:
    """Makes what nodes give ready to be pushed: later they may change it, as a buffer that is filled again.

    Args:
        store: the store, below the graph's prefix.
        loop: the loop's name.
        job: the job's id.
    """

    store: Store
    loop: str
    job: str

    async def push(self, write: Write, item_id: str, outcome: Outcome) -> tuple[str, bytes] | None:
        """What a writer pushes, and to which queue; None for nothing.

        Raises:
            PayloadError: it can't be sent; with the path within the value.
            KeyMissingError: it has no key by which the loop behind takes it.
            BlobStoreError: it is large, and its blob can't be written.
        """
        content = enveloped(write.channel, item_id, outcome)
        if content is None and (write.channel is not None or isinstance(outcome, Absent)):
            return None
        queue = write.queue
        if write.channel is not None and write.channel.partitioning is not None:
            queue, content = await addressed(write.channel.partitioning, queue, content)
        try:
            data = self.store.encode(content)
            if type(data) is bytes:
                return queue, data
            if data is None and write.channel is not None:
                content = await self._offloaded(content)
            return queue, await self.store.prepare(queue, data or content)
        except PayloadError as error:
            raise _of_value(write, error) from error.__cause__

    def plain(self, write: Write) -> Callable[[str, Any], tuple[str, bytes] | None]:
        """What packs as `push`, for a writer to which each value goes as it is; None when there is more to a value."""
        queue, encode = write.queue, self.store.encode_small
        if write.channel is None:
            return self._bare(queue)
        partitioning = write.channel.partitioning
        if partitioning is None:

            def pack(item_id: str, value: Any) -> tuple[str, bytes] | None:
                data = encode({"id": item_id, "value": value}, value)
                return None if data is None else (queue, data)

            return pack
        queues, key_of = partitioning.queues(queue), partitioning.key

        def pack_by_key(item_id: str, value: Any) -> tuple[str, bytes] | None:
            try:
                key, partition = key_of(value)
            except KeyMissingError:  # `push` says so
                return None
            data = encode({"id": item_id, "value": value, "key": key}, value)
            return None if data is None else (queues[partition % len(queues)], data)

        return pack_by_key

    def _bare(self, queue: str) -> Callable[[str, Any], tuple[str, bytes] | None]:
        def pack(item_id: str, value: Any) -> tuple[str, bytes] | None:
            try:
                data = self.store.encode(value)
            except PayloadError:  # `push` says what is wrong with it
                return None
            return (queue, data) if type(data) is bytes else None

        return pack

    async def part(self, join: str, outcomes: dict[str, Outcome]) -> bytes:
        """What goes into the record of a join, by the node that gave it.

        Raises:
            PayloadError: it can't be kept.
            BlobStoreError: it is large, and its blob can't be written.
        """
        given = {node: kept_outcome(await self._kept_outcome(outcome)) for node, outcome in outcomes.items()}
        return await self.store.prepare_field(self.job, joins_hash(join), given)

    async def work(self, queue: str, work: Work) -> bytes:
        """Work that is left for later, as it waits in a queue of the loop.

        Raises:
            PayloadError: what it needs can't be kept.
            BlobStoreError: it is large, and its blob can't be written.
        """
        return await self.store.prepare(queue, (await self.kept_work(work)).to_data())

    async def field(self, name: str, data: bytes) -> bytes:
        """What is saved in a field of a hash of the job, of a value that is encoded already; as `part`."""
        return await self.store.prepare_field(self.job, name, Encoded(data))

    async def foreign(self, queue: str, data: bytes) -> bytes:
        """What is pushed to a queue that other programs read, of a value that is encoded already; as `push`."""
        return await self.store.prepare(queue, Encoded(data))

    async def letter(self, work: Work, node: str, error: Mapping[str, Any], attempt: int) -> bytes:
        """The dead letter of an item on which a node raised; what can't be kept of its input stands there in words."""
        for strict in (True, False):
            try:
                kept = await self.kept_work(work) if strict else _work_in_words(work)
                letter = dead_letter(kept.to_data(), node, error, attempt, loop=self.loop, job=self.job)
                return await self.store.prepare(loop_queue(self.loop), letter)
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

    async def _kept_outcome(self, outcome: Outcome) -> Outcome:
        if isinstance(outcome, Absent):
            return outcome
        if isinstance(outcome, Branches):
            return Branches({name: await self._offload(value) for name, value in outcome.values.items()})
        return await self._offload(outcome)

    async def kept_work(self, work: Work) -> Work:
        return evolve(
            work,
            kept={node: await self._kept_outcome(outcome) for node, outcome in work.kept.items()},
            run=tuple([await self._kept_again(each) for each in work.run]),
            dead=tuple([await self._kept_again(each) for each in work.dead]),
        )

    async def _kept_again(self, again: Again) -> Again:
        return evolve(again, given={port: await self._offload(value) for port, value in again.given.items()})


async def check_sent(write: Write, item_id: str, outcome: Outcome) -> None:
    """Make sure that what a node gave can go where a writer pushes it; nothing is pushed.

    The arguments are those of `Packing.push`.

    Raises:
        PayloadError: it can't be sent; with the path within the value.
        KeyMissingError: it has no key by which the loop behind takes it.
    """
    content = enveloped(write.channel, item_id, outcome)
    if content is None and (write.channel is not None or isinstance(outcome, Absent)):
        return
    if write.channel is not None and write.channel.partitioning is not None:
        _, content = await addressed(write.channel.partitioning, write.queue, content)
    try:
        prepare(content)
    except PayloadError as error:
        raise unsent(write, _of_value(write, error)) from error.__cause__


def unsent(write: Write, error: PayloadError) -> PayloadError:
    """The error that a value can't be encoded, with where it should have gone."""
    return PayloadError(error.path, f"{error.reason}; so it can't go to queue {write.queue!r}")


def _of_value(write: Write, error: PayloadError) -> PayloadError:
    """The error that an item can't be encoded, with the path within its value."""
    if write.channel is None or not error.path.startswith(("$.value", "$.branches")):
        return error
    path = error.path.removeprefix("$.value").removeprefix("$.branches")
    return PayloadError(f"${path}", error.reason)


async def addressed(partitioning: Partitioning, queue: str, content: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """The part of a queue into which an item goes, and the item with its key; one of which nothing came has none.

    Args:
        partitioning: how the items are divided.
        queue: the queue.
        content: the item, as `enveloped` made it.

    Raises:
        KeyMissingError: it has no key, or one on each of its branches.
    """
    if "absent" in content:
        return partitioning.queue(queue, partition_of(content["id"])), content
    values = [content["value"]] if "value" in content else list(content["branches"].values())
    keys = {partitioning.key(await value.read() if isinstance(value, RefValue) else value) for value in values}
    if len(keys) > 1:
        found = " and ".join(sorted(key for key, _ in keys))
        raise KeyMissingError(f"an item has one key, but its branches have {found} for loop {partitioning.loop!r}")
    ((key, partition),) = keys
    return partitioning.queue(queue, partition), {**content, "key": key}


def _work_in_words(work: Work) -> Work:
    """What can be shown of work that can't be kept, and so can't be gone on with."""
    run = [evolve(each, given={port: in_words(value) for port, value in each.given.items()}) for each in work.run]
    return evolve(work, kept={}, run=tuple(run), dead=(), in_words=True)
