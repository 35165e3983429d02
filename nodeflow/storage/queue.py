"""QueueStore: queues that any Redis client can push to and pop from, and leases on their items."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio

from nodeflow.storage.arguments import deadline, whole
from nodeflow.storage.batches import batches, encode_each
from nodeflow.storage.connection import RedisConnection
from nodeflow.storage.hops import Hops
from nodeflow.storage.keys import Keys
from nodeflow.storage.lease import Lease, open_envelope
from nodeflow.values import decode, encode

MAX_LEASE = 10_000
"""The most items that one lease may hold."""


class QueueStore:
    """First in, first out queues; their elements are plain JSON in Redis lists.

    Args:
        connection: the connection that all stores share.
        keys: the names of the keys.
    """

    def __init__(self, connection: RedisConnection, keys: Keys) -> None:
        self._connection = connection
        self._keys = keys
        self._hops = Hops(connection, keys)

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
        returned = self._keys.returned(name)
        sources = [returned, self._keys.queue(name)]
        end = deadline(timeout)
        with self._connection.errors(f"pop from {name!r}"):
            found = await self._pop_before(sources, end) or await self._pop_now(sources)
        if found is None:
            return default
        source, data = found
        return open_envelope(data).value if source == returned.encode() else decode(data)

    async def length(self, name: str) -> int:
        """How many items wait in a queue (LLEN), those that were given back included; leased ones don't wait."""
        client = await self._connection.ensure_connection()
        with self._connection.errors(f"length of {name!r}"):
            async with client.pipeline(transaction=True) as pipeline:
                pipeline.llen(self._keys.returned(name))
                pipeline.llen(self._keys.queue(name))
                return int(sum(await pipeline.execute()))

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
        whole("max_items", max_items, 1, MAX_LEASE)
        lease = await self._lease_before(name, max_items, deadline(timeout))
        try:
            yield lease
            if lease.is_open:
                await lease.commit()
        except BaseException as error:
            if lease.is_open:
                await self._hops.give_back_after(error, name, lease.id)
            raise

    async def peek(self, name: str, start: int = 0, stop: int = 9) -> list[Any]:
        """Look at the values that wait, without taking them.

        Args:
            name: the queue's name.
            start: the first place; 0 is what is taken next.
            stop: the last place, included; -1 is the last one of all.

        Raises:
            PayloadError: an element there isn't JSON.
        """
        _check_range(start, stop)
        keys = [self._keys.returned(name), self._keys.queue(name)]
        envelopes, bare = await self._connection.run_script("peek", keys, [start, stop], f"peek into {name!r}")
        return [*(open_envelope(data).value for data in reversed(envelopes)), *map(decode, reversed(bare))]

    async def clear(self, name: str) -> int:
        """Remove all that waits in a queue; how many items that were. Leased ones stay with who holds them."""
        return await self._clear(name, self._keys.queue(name), self._keys.returned(name))

    async def names(self) -> list[str]:
        """The names of the queues in which something waits (SCAN, so the server is never held up)."""
        client = await self._connection.ensure_connection()
        found: set[str] = set()
        with self._connection.errors("list the queues"):
            for pattern in self._keys.queue_patterns():
                async for key in client.scan_iter(match=pattern, count=1_000, _type="list"):
                    if name := self._keys.queue_name(key.decode(errors="surrogateescape")):
                        found.add(name)
        return sorted(found)

    async def leased(self, name: str) -> int:
        """How many items of a queue are leased, by whomever."""
        return await self._hops.held(name)

    async def clear_leases(self, name: str) -> None:
        """Remove the leased items of a queue, of which nobody who holds them is alive any more."""
        await self._hops.clear(name)

    async def dead_letters(self, name: str, start: int = 0, stop: int = -1) -> list[Any]:
        """The dead letters of a queue, oldest first.

        Args:
            name: the queue's name.
            start: the first place.
            stop: the last place, included; -1 is the last one of all.
        """
        _check_range(start, stop)
        client = await self._connection.ensure_connection()
        with self._connection.errors(f"read the dead letters of {name!r}"):
            letters = await client.lrange(self._keys.dead(name), 0 if stop == -1 else -stop - 1, -start - 1)
        return [decode(data) for data in reversed(letters)]

    async def clear_dead_letters(self, name: str) -> int:
        """Remove the dead letters of a queue for good; how many there were."""
        return await self._clear(name, self._keys.dead(name))

    async def commit(
        self,
        *,
        pushes: Mapping[str, Sequence[Any]] | None = None,
        dead: Mapping[str, Sequence[Any]] | None = None,
        counts: Mapping[str, int] | None = None,
        job: str = "",
    ) -> None:
        """One hop without a lease to acknowledge, as for a producer's values; see `Lease.commit`."""
        await self._hops.commit(pushes=pushes, dead=dead, counts=counts, job=job)

    async def _push(self, name: str, elements: Sequence[bytes]) -> None:
        key = self._keys.queue(name)
        client = await self._connection.ensure_connection()
        with self._connection.errors(f"push to {name!r}"):
            for batch in batches(elements):
                await client.lpush(key, *batch)

    async def _pop_now(self, sources: Sequence[str]) -> tuple[bytes, bytes] | None:
        client = await self._connection.ensure_connection()
        for source in sources:
            data: Any = await client.rpop(source)
            if data is not None:
                return source.encode(), data
        return None

    async def _pop_before(self, sources: Sequence[str], end: float) -> tuple[bytes, bytes] | None:
        while anyio.current_time() < end:
            found: Any = await self._connection.block(
                lambda client, seconds: client.brpop(list(sources), timeout=seconds), end
            )
            if found is not None:
                return found[0], found[1]
        return None

    async def _lease_before(self, name: str, max_items: int, end: float) -> Lease:
        main = self._keys.queue(name)
        while True:
            lease = await self._hops.take(name, max_items)
            if lease or anyio.current_time() >= end:
                return lease
            with self._connection.errors(f"wait for {name!r}"):
                # Moving the oldest item onto its own place wakes up when there is one and takes nothing,
                # so a caller who is cancelled here loses nothing.
                await self._connection.block(
                    lambda client, seconds: client.blmove(main, main, seconds, "RIGHT", "RIGHT"),  # type: ignore[arg-type] # floats do
                    end,
                )

    async def _clear(self, name: str, *lists: str) -> int:
        return int(await self._connection.run_script("clear", lists, [], f"clear {name!r}"))


def _check_range(start: int, stop: int) -> None:
    whole("start", start, 0)
    whole("stop", stop, -1)
