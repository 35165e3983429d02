"""QueueStore: queues that any Redis client can push to and pop from, and leases on their items."""

from __future__ import annotations

import itertools
import math
import os
import socket
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import anyio

from nodeflow.errors import NodeflowError, PayloadError
from nodeflow.storage.connection import BLOCK_SECONDS, RedisConnection, to_the_end
from nodeflow.storage.keys import Keys
from nodeflow.storage.lease import Item, Lease, leased_items, open_envelope
from nodeflow.values import decode, encode

MAX_LEASE = 10_000
"""The most items that one lease may hold."""

JOB_SECONDS = 7 * 24 * 3600
"""How long a job's counts and marks are kept after its last hop, in seconds."""

_COMMAND_ITEMS = 1_000
_COMMAND_BYTES = 1 << 20
_LEAST_BLOCK = 0.01


class QueueStore:
    """First in, first out queues; their elements are plain JSON in Redis lists.

    Args:
        connection: the connection that all stores share.
        keys: the names of the keys.
    """

    def __init__(self, connection: RedisConnection, keys: Keys) -> None:
        self._connection = connection
        self._keys = keys
        self._consumer = f"{socket.gethostname()}-{os.getpid()}-{uuid4().hex[:8]}"
        self._lease_numbers = itertools.count(1)

    async def push(self, name: str, value: Any) -> None:
        """Put a value at the end of a queue (LPUSH); done when it is in the server.

        Args:
            name: the queue's name.
            value: what JSON can hold.

        Raises:
            PayloadError: the value can't be held, with the path of the part; nothing was sent.
            StorageTimeoutError: no answer in time; the value may be in the queue or not.
        """
        await self._push(name, [encode(value)])

    async def push_many(self, name: str, values: Iterable[Any]) -> None:
        """Put values at the end of a queue, in order; done when all of them are in the server.

        Args:
            name: the queue's name.
            values: each as in `push`.

        Raises:
            PayloadError: one of them can't be held; none was sent.
            StorageError: the server failed; the first of them may be in the queue, in order, the others not.
        """
        await self._push(name, encode_each(values))

    async def pop(self, name: str, timeout: float | None = None, default: Any = None) -> Any:
        """Take the oldest value out of a queue (BRPOP): at most once, gone with the process that dies on it.

        Args:
            name: the queue's name.
            timeout: seconds to wait for a value; None waits for ever, 0 doesn't wait.
            default: what is returned when none came in time.

        Raises:
            PayloadError: what was popped isn't JSON.
        """
        sources = [self._keys.returned(name), self._keys.queue(name)]
        deadline = _deadline(timeout)
        with self._connection.errors(f"pop from {name!r}"):
            if timeout == 0:
                found = await self._pop_now(sources)
            else:
                found = await self._pop_before(sources, deadline)
        if found is None:
            return default
        source, data = found
        return open_envelope(data).value if source == sources[0].encode() else decode(data)

    async def length(self, name: str) -> int:
        """How many items wait in a queue (LLEN), those that were given back included; leased ones don't wait."""
        return sum(await self._lengths(name))

    @asynccontextmanager
    async def lease(self, name: str, max_items: int = 1, timeout: float | None = None) -> AsyncIterator[Lease]:
        """Take items so that they are acknowledged on a clean exit and given back, in order, on an error.

        Args:
            name: the queue's name.
            max_items: the most to take, 1 to 10,000; as many as wait are taken in one step, at least one.
            timeout: seconds to wait for the first one; None waits for ever, 0 doesn't wait.

        Returns:
            an async context manager whose value is the `Lease`, empty when nothing came in time.

        Raises:
            PayloadError: an element isn't JSON; all that were taken are given back.
        """
        if isinstance(max_items, bool) or not isinstance(max_items, int) or not 1 <= max_items <= MAX_LEASE:
            raise ValueError(f"max_items must be a whole number from 1 to {MAX_LEASE}, not {max_items!r}")
        lease = await self._lease_before(name, max_items, _deadline(timeout))
        try:
            yield lease
        except BaseException as error:
            await self._give_back_after(error, lease)
            raise
        if lease.is_open:
            await lease.commit()

    async def peek(self, name: str, start: int = 0, stop: int = 9) -> list[Any]:
        """Look at the values that wait, without taking them.

        Args:
            name: the queue's name.
            start: the first place; 0 is what is taken next.
            stop: the last place, included; -1 is the last one of all.
        """
        if start < 0 or stop < -1:
            raise ValueError(f"start must be 0 or more and stop -1 or more, not {start} and {stop}")
        returned, waiting = await self._lengths(name)
        last = returned + waiting - 1 if stop == -1 else stop
        client = await self._connection.ensure_connection()
        with self._connection.errors(f"peek into {name!r}"):
            envelopes: Any = (
                await client.lrange(self._keys.returned(name), -last - 1, -start - 1) if start < returned else []
            )
            first, end = max(start - returned, 0), last - returned
            bare = await client.lrange(self._keys.queue(name), -end - 1, -first - 1) if end >= first else []
        return [*(open_envelope(data).value for data in reversed(envelopes)), *map(decode, reversed(bare))]

    async def clear(self, name: str) -> int:
        """Remove all that waits in a queue; how many items that were. Leased ones stay with who holds them."""
        return await self._remove(name, self._keys.queue(name), self._keys.returned(name))

    async def names(self) -> list[str]:
        """The names of the queues in which something waits (SCAN, so the server is never held up)."""
        client = await self._connection.ensure_connection()
        found: set[str] = set()
        with self._connection.errors("list the queues"):
            for pattern in self._keys.queue_patterns():
                async for key in client.scan_iter(match=pattern, count=1_000, _type="list"):
                    if name := self._keys.queue_name(key.decode(errors="replace")):
                        found.add(name)
        return sorted(found)

    async def leased(self, name: str) -> int:
        """How many items of a queue are leased, by whomever."""
        client = await self._connection.ensure_connection()
        with self._connection.errors(f"count the leases of {name!r}"):
            leases: Any = await client.hkeys(self._keys.leases(name))
            lists = [self._keys.leased(name, lease.decode()) for lease in leases]
            return sum([int(await client.llen(each)) for each in lists])

    async def clear_leases(self, name: str) -> None:
        """Remove the leased items of a queue, of which nobody who holds them is alive any more."""
        client = await self._connection.ensure_connection()
        with self._connection.errors(f"remove the leases of {name!r}"):
            leases: Any = await client.hkeys(self._keys.leases(name))
            lists = [self._keys.leased(name, lease.decode()) for lease in leases]
            await client.delete(self._keys.leases(name), *lists)

    async def dead_letters(self, name: str, start: int = 0, stop: int = -1) -> list[Any]:
        """The dead letters of a queue, oldest first.

        Args:
            name: the queue's name.
            start: the first place.
            stop: the last place, included; -1 is the last one of all.
        """
        client = await self._connection.ensure_connection()
        with self._connection.errors(f"read the dead letters of {name!r}"):
            letters = await client.lrange(self._keys.dead(name), 0, -1)
        return [decode(data) for data in letters[::-1][start : stop + 1 or None]]

    async def clear_dead_letters(self, name: str) -> int:
        """Remove the dead letters of a queue for good; how many there were."""
        return await self._remove(name, self._keys.dead(name))

    async def commit(
        self,
        *,
        lease: Lease | None = None,
        pushes: Mapping[str, Sequence[Any]] | None = None,
        dead: Mapping[str, Sequence[Any]] | None = None,
        counts: Mapping[str, int] | None = None,
        job: str = "",
    ) -> None:
        """One hop: as `Lease.commit`, also for what has no lease to acknowledge, as a producer's values."""
        targets = {self._keys.queue(name): encode_each(values) for name, values in (pushes or {}).items() if values}
        targets |= {self._keys.dead(name): encode_each(values) for name, values in (dead or {}).items() if values}
        held = [self._keys.leases(lease.name), self._keys.leased(lease.name, lease.id)] if lease else []
        keys = [*([self._keys.job(job)] if counts else []), *held, *targets]
        if not keys:
            return
        fields = [part for field, increment in (counts or {}).items() for part in (field, increment)]
        sizes = [len(values) for values in targets.values()]
        values = itertools.chain.from_iterable(targets.values())
        arguments = [lease.id if lease else "", JOB_SECONDS, len(counts or {}), *fields, *sizes, *values]
        names = ", ".join(pushes or {}) or (lease.name if lease else job)
        await to_the_end(self._connection.run_script("hop", keys, arguments, f"commit to {names}"))

    async def give_back(self, name: str, lease_id: str) -> int:
        """Put the items of a lease back, in order; how many those were, 0 when it isn't open."""
        keys = [self._keys.returned(name), self._keys.leases(name), self._keys.leased(name, lease_id)]
        return int(
            await to_the_end(self._connection.run_script("give_back", keys, [lease_id], f"give back to {name!r}"))
        )

    async def _push(self, name: str, elements: Sequence[bytes]) -> None:
        key = self._keys.queue(name)
        client = await self._connection.ensure_connection()
        with self._connection.errors(f"push to {name!r}"):
            for batch in _batches(elements):
                await client.lpush(key, *batch)

    async def _pop_now(self, sources: Sequence[str]) -> tuple[bytes, bytes] | None:
        client = await self._connection.ensure_connection()
        for source in sources:
            data: Any = await client.rpop(source)
            if data is not None:
                return source.encode(), data
        return None

    async def _pop_before(self, sources: Sequence[str], deadline: float) -> tuple[bytes, bytes] | None:
        while True:
            async with self._connection.blocking() as client:
                found: Any = await client.brpop(list(sources), timeout=_block(deadline))
            if found is not None:
                return found[0], found[1]
            if anyio.current_time() >= deadline:
                return None

    async def _lease_before(self, name: str, max_items: int, deadline: float) -> Lease:
        main = self._keys.queue(name)
        while True:
            lease = await self._take(name, max_items)
            if lease or anyio.current_time() >= deadline:
                return lease
            with self._connection.errors(f"wait for {name!r}"):
                async with self._connection.blocking() as client:
                    # Moving the oldest item onto its own place wakes up when there is one and takes nothing,
                    # so a caller who is cancelled here loses nothing.
                    await client.blmove(main, main, _block(deadline), "RIGHT", "RIGHT")  # type: ignore[arg-type] # floats do

    async def _take(self, name: str, max_items: int) -> Lease:
        lease_id = f"{self._consumer}-{next(self._lease_numbers)}"
        keys = [
            self._keys.returned(name),
            self._keys.queue(name),
            self._keys.leases(name),
            self._keys.leased(name, lease_id),
        ]
        try:
            reply = await to_the_end(
                self._connection.run_script("take", keys, [max_items, lease_id], f"lease from {name!r}")
            )
            return Lease(self, name, lease_id, leased_items(lease_id, int(reply[0]), reply[:0:-1]))
        except BaseException as error:
            await self._give_back_after(error, Lease(self, name, lease_id, [Item("", None)]))
            raise

    async def _give_back_after(self, error: BaseException, lease: Lease) -> None:
        with anyio.CancelScope(shield=True):
            try:
                await lease.give_back()
            except NodeflowError as failure:
                error.add_note(f"{lease!r} could not be given back: {failure}")

    async def _lengths(self, name: str) -> tuple[int, int]:
        client = await self._connection.ensure_connection()
        with self._connection.errors(f"length of {name!r}"):
            async with client.pipeline(transaction=True) as pipeline:
                pipeline.llen(self._keys.returned(name))
                pipeline.llen(self._keys.queue(name))
                returned, waiting = await pipeline.execute()
        return returned, waiting

    async def _remove(self, name: str, *lists: str) -> int:
        client = await self._connection.ensure_connection()
        with self._connection.errors(f"clear {name!r}"):
            async with client.pipeline(transaction=True) as pipeline:
                for key in lists:
                    pipeline.llen(key)
                pipeline.delete(*lists)
                *lengths, _ = await pipeline.execute()
        return int(sum(lengths))


def encode_each(values: Iterable[Any]) -> list[bytes]:
    """Each value as JSON.

    Raises:
        PayloadError: one can't be held; the path begins with its place, as in `$[3].when`.
    """
    encoded = []
    for place, value in enumerate(values):
        try:
            encoded.append(encode(value))
        except PayloadError as error:
            raise PayloadError(f"$[{place}]{error.path.removeprefix('$')}", error.reason) from None
    return encoded


def _batches(elements: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    """Cut elements into the parts that one command carries: neither too many nor too many bytes."""
    start = size = 0
    for place, element in enumerate(elements):
        if place > start and (place - start == _COMMAND_ITEMS or size + len(element) > _COMMAND_BYTES):
            yield elements[start:place]
            start, size = place, 0
        size += len(element)
    if start < len(elements):
        yield elements[start:]


def _deadline(timeout: float | None) -> float:
    if timeout is None:
        return math.inf
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not 0 <= timeout < math.inf:
        raise ValueError(f"timeout must be seconds, 0 or more, or None to wait for ever, not {timeout!r}")
    return anyio.current_time() + timeout


def _block(deadline: float) -> float:
    """How long the next command may block in the server; 0 would be for ever."""
    return max(_LEAST_BLOCK, min(BLOCK_SECONDS, deadline - anyio.current_time()))
