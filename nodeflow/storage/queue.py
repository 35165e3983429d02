"""QueueStore: queues that any Redis client can push to and pop from, and leases on their items."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from typing import Any, TypeVar

from nodeflow.errors import BlobStoreError, PayloadError
from nodeflow.storage.arguments import blame, deadline, seconds_of, slot_name, whole
from nodeflow.storage.changes import Changes
from nodeflow.storage.connection import RedisConnection
from nodeflow.storage.envelopes import DeadLetter, split
from nodeflow.storage.hops import Hops
from nodeflow.storage.keys import BOUND, Keys
from nodeflow.storage.lease import Item, Lease
from nodeflow.storage.letters import read_letters, replace_letters, settle_letters
from nodeflow.storage.names import queue_names
from nodeflow.storage.outgoing import Outgoing, push_later
from nodeflow.storage.payloads import Payloads, Stored
from nodeflow.storage.pops import Pops
from nodeflow.storage.stream import stream_of
from nodeflow.storage.taking import Taking
from nodeflow.storage.tally import Tally
from nodeflow.storage.writers import Writers

MAX_LEASE = 10_000
"""The most items that one lease may hold."""

_MOST_KNOWN = 1_000
"""Of how many queues a process remembers that it pushes to them or pops from them."""

T = TypeVar("T", Outgoing, Pops)


class QueueStore:
    """First in, first out queues; their elements are plain JSON in Redis lists.

    Args:
        connection: the connection that all stores share.
        keys: the names of the keys.
        payloads: what makes stored payloads of values.
    """

    def __init__(self, connection: RedisConnection, keys: Keys, payloads: Payloads) -> None:
        self._connection = connection
        self._keys = keys
        self._payloads = payloads
        self._hops = Hops(connection, keys, payloads)
        self._outgoing: dict[str, Outgoing] = {}
        self._pops: dict[str, Pops] = {}

    async def push(self, name: str, value: Any, *, delay: float = 0.0, timeout: float | None = None) -> None:
        """Put a value at the end of a queue (LPUSH); done when it is in the server, once.

        Concurrent pushes of one process go together; those of one caller keep their order.

        Args:
            name: the queue's name.
            value: whatever `nodeflow.values.encode` takes.
            delay: seconds until it can be taken, by the server's clock; then it comes before what waits.
            timeout: seconds to wait for room in a bounded queue; None waits for ever.

        Raises:
            PayloadError: the value can't be held or is too large; nothing was sent.
            QueueFullError: the queue had no room in time.
            StorageFullError: the server's memory is full.
            StorageError: the server failed; `may_have_happened` says whether the value may be in the queue.
        """
        await self._push(name, [await self._payloads.pack(value, self._keys.queue(name))], delay, deadline(timeout))

    async def push_many(
        self, name: str, values: Iterable[Any], *, delay: float = 0.0, timeout: float | None = None
    ) -> None:
        """Put values at the end of a queue, in order; done when all of them are in the server.

        Args:
            name: the queue's name.
            values: a list of them, or the like; each as in `push`.
            delay: seconds until they can be taken.
            timeout: seconds to wait for room in a bounded queue; None waits for ever.

        Raises:
            PayloadError: one of them can't be held; none was sent.
            QueueFullError: the queue had no room for all in time; `pushed` says how many of the first are in it.
            StorageError: the server failed; the first of them may be in the queue, in order, the others not.
        """
        await self._push(
            name, await self._payloads.pack_each("values", values, self._keys.queue(name)), delay, deadline(timeout)
        )

    async def pop(self, name: str, timeout: float | None = None, default: Any = None) -> Any:
        """Take the oldest value out of a queue (BRPOP): at most once, gone with the process that dies on it.

        Args:
            name: the queue's name.
            timeout: seconds to wait for a value; None waits for ever, 0 doesn't wait.
            default: what is returned when none came in time.

        Raises:
            PayloadError: what was popped can't be read; it is in the dead letters now.
            BlobStoreError: its blob can't be read; so is it.
            StorageError: the server failed; with `may_have_happened`, an item may have been taken and lost.
        """
        end = deadline(timeout)
        pops = await self._known(self._pops, Pops, name)
        popped = await pops.pop(end)
        if popped is None:
            return default
        self._connection.stats.pops += 1
        self._connection.stats.bytes_received += len(popped.data)
        element = popped.data
        try:
            if popped.is_envelope:
                element = split(popped.data)[1]
            return await self._payloads.unpack(element, self._keys.queue(name))
        except (PayloadError, BlobStoreError) as error:
            await self._hops.commit(dead={name: [Stored(element)]}, reason=str(error).removeprefix("$: "))
            error.add_note(f"It was popped from queue {name!r}, and lies in its dead letters now.")
            raise
        except asyncio.CancelledError:
            pops.put_back(popped)
            raise

    @asynccontextmanager
    async def lease(
        self,
        name: str,
        max_items: int = 1,
        timeout: float | None = None,
        *,
        consumer: str | None = None,
        is_read: bool = True,
    ) -> AsyncIterator[Lease]:
        """Take items so that they are acknowledged on a clean exit and given back, in order, on an error.

        When the block raises, what its lease still holds comes back suspect: it is delivered one at a time, and
        an item that fails alone `max_deliveries` times goes to the dead letters. So does one whose consumers die.

        Args:
            name: the queue's name.
            max_items: the most to take, 1 to 10,000; as many as wait are taken in one step, at least one.
            timeout: seconds to wait for the first one; None waits for ever, 0 doesn't wait.
            consumer: a slot, as in `count/0`: what its former holder had leased is taken over at once, and that
                one can't acknowledge any more. None is a consumer of this process's own.
            is_read: whether the items are read at once; else `lease.read` gives some values, and `lease.open` all.

        Returns:
            an async context manager whose value is the `Lease`, empty when nothing came in time.

        Raises:
            LeaseLostError: another process has taken over the slot; or, at the exit, the items were given to
                another consumer.
        """
        whole("max_items", max_items, 1, MAX_LEASE)
        slot = None if consumer is None else slot_name(consumer)
        lease = await self._lease(name, max_items, timeout, slot, is_read)
        try:
            yield lease
            if lease.is_open:
                await lease.commit()
        except BaseException as error:
            if lease.is_open:
                await self._hops.give_back_after(error, name, lease.member, lease.number, blame(error))
            raise

    async def stream(
        self, name: str, max_items: int = 100, *, consumer: str | None = None
    ) -> AsyncGenerator[Item, None]:
        """The items of a queue, until its writers are done and nothing waits, is leased or delayed.

        An item is acknowledged some time after the next one was asked for. When the loop is left by a break or
        an error, the item at hand and those behind it are given back: `contextlib.aclosing` does so at once.
        A generator can't see an error of the loop around it, so that doesn't count against the item: catch what one
        item may raise within the loop, or take items by `lease`, where an exception counts.

        Args:
            name: the queue's name.
            max_items: how many are leased together at most.
            consumer: a slot, as in `lease`.

        Raises:
            WriterLostError: a registered writer has shown no sign of life for twice `lease_seconds`.
        """

        def lease(seconds: float) -> AbstractAsyncContextManager[Lease]:
            return self.lease(name, max_items, timeout=seconds, consumer=consumer)

        async with aclosing(stream_of(lease, Writers(self._connection, self._keys, name))) as items:
            async for item in items:
                yield item

    async def register_writers(self, name: str, writers: Iterable[str]) -> None:
        """Say who will write to a queue, before it is read; each has `lease_seconds` to begin with `write_as`.

        Args:
            name: the queue's name.
            writers: their slots, as in `read/0`.
        """
        await Writers(self._connection, self._keys, name).register(writers)

    def write_as(self, name: str, writer: str) -> AbstractAsyncContextManager[None]:
        """Be one of a queue's writers within the block: alive in it, done after a clean exit, missed after a death.

        Args:
            name: the queue's name.
            writer: the slot; whoever had it before loses it: its end is no end of the queue any more. It isn't
                kept from pushing.
        """
        return Writers(self._connection, self._keys, name).write_as(writer)

    async def end_writers(self, name: str, writers: Iterable[str]) -> None:
        """Say that writers of a queue are done, whether they live or not."""
        await Writers(self._connection, self._keys, name).end(writers)

    async def close(self, name: str) -> None:
        """Say that all writers of a queue are done: its streams end when nothing is left in it."""
        await Writers(self._connection, self._keys, name).close()

    async def length(self, name: str) -> int:
        """How many items wait in a queue, those that came back included; leased and delayed ones don't wait."""
        return (await self.tally(name)).waiting

    async def leased(self, name: str) -> int:
        """How many items of a queue are leased, by whomever."""
        return (await self.tally(name)).leased

    async def delayed(self, name: str) -> int:
        """How many items of a queue are to wait later."""
        return (await self.tally(name)).delayed

    async def tally(self, name: str) -> Tally:
        """What became of all that was pushed to a queue, looked at in one step."""
        return Tally(*await self._connection.run_script("sizes", self._keys.all_of(name), [], f"count '{name}'"))

    async def bound(self, name: str, max_length: int | None) -> None:
        """Bound a queue, for all processes and until it is changed: a push waits while so many items wait.

        Items that are leased don't count, so what comes back may exceed the bound for a while.

        Args:
            name: the queue's name.
            max_length: how many items may wait or be delayed; None lifts the bound.
        """
        key = self._keys.all_of(name)[BOUND]
        if max_length is None:
            await self._connection.call("DEL", key, operation=f"lift the bound of '{name}'")
        else:
            whole("max_length", max_length, 1)
            await self._connection.run_script("at_full", [key], ["SET", max_length], f"bound '{name}'")

    async def peek(self, name: str, start: int = 0, stop: int = 9) -> list[Any]:
        """Look at the values that wait, without taking them.

        Args:
            name: the queue's name.
            start: the first place; 0 is what is taken next.
            stop: the last place, included; -1 is the last one of all.

        Raises:
            PayloadError: an element there isn't JSON.
        """
        whole("start", start, 0)
        whole("stop", stop, -1)
        operation = f"peek into '{name}'"
        envelopes, bare = await self._connection.run_script("peek", self._keys.all_of(name), [start, stop], operation)
        elements = [*(split(data)[1] for data in reversed(envelopes)), *reversed(bare)]
        values = await self._payloads.unpack_each(elements, self._keys.queue(name))
        if bad := next((value for value in values if isinstance(value, PayloadError)), None):
            raise bad
        return values

    async def clear(self, name: str) -> int:
        """Remove all that waits in a queue or is delayed; how many items that were. Leased ones stay."""
        keys = self._keys.all_of(name)
        session = await self._connection.session()
        with session.lane() as lane:
            sent = self._keys.sent(keys[0], session.id)
            return int(await self._connection.step("clear", [*keys, sent], lane, f"clear '{name}'"))

    async def hasten(self, name: str) -> None:
        """Let all that is delayed in a queue be due now, in the order of the times."""
        while await self._connection.step("hasten", self._keys.all_of(name), [], f"hasten '{name}'"):
            pass

    async def release(self, name: str, consumer: str) -> None:
        """Put back what a slot's consumer holds that was ended on purpose: that counts against no item.

        Args:
            name: the queue's name.
            consumer: the slot, as in `lease`; nobody may be at work there any more.
        """
        keys = self._keys.all_of(name)
        operation = f"put back what {consumer} held of '{name}'"
        await self._connection.step("release", keys, [slot_name(consumer)], operation)

    async def clear_leases(self, name: str) -> None:
        """Remove the leased items of a queue, of which nobody who holds them is alive any more."""
        await self._connection.step("clear_leases", self._keys.all_of(name), [], f"remove the leases of '{name}'")

    async def names(self) -> list[str]:
        """The names of the queues that hold anything: what waits, is delayed, leased or dead.

        The server is never held up (SCAN); a queue that comes or goes meanwhile may be left out.
        """
        return await queue_names(self._connection, self._keys)

    async def dead_letters(self, name: str, start: int = 0, stop: int = -1) -> list[DeadLetter]:
        """The dead letters of a queue, oldest first.

        Args:
            name: the queue's name.
            start: the first place.
            stop: the last place, included; -1 is the last one of all.
        """
        return await read_letters(self._connection, self._keys, self._payloads, name, start, stop)

    async def requeue(self, name: str, ids: Iterable[str] | None = None) -> int:
        """Put dead letters back in front of what waits, whatever the queue's bound; how many those were.

        They are delivered one at a time, as `attempt` 1 again, with the error that they died of; and an item goes to
        the dead letters again only after `max_deliveries` further failures.

        Args:
            name: the queue's name.
            ids: `DeadLetter.id` of each; None means all.

        Raises:
            UsageError: one of them is no dead letter; nothing was changed.
        """
        return await settle_letters(self._connection, self._keys, name, "requeue", ids)

    async def replace(self, name: str, elements: Mapping[str, bytes]) -> int:
        """As `requeue`, but something else goes on in place of each dead letter; how many those were.

        Args:
            name: the queue's name.
            elements: by `DeadLetter.id` what `DataStore.prepare` has made for this queue.

        Raises:
            UsageError: one of them is no dead letter; it, and those behind it, were not changed.
        """
        return await replace_letters(self._connection, self._keys, name, elements)

    async def discard(self, name: str, ids: Iterable[str] | None) -> int:
        """Remove dead letters for good; how many those were.

        Args:
            name: the queue's name.
            ids: `DeadLetter.id` of each; None means all.

        Raises:
            UsageError: one of them is no dead letter; nothing was changed.
        """
        return await settle_letters(self._connection, self._keys, name, "discard", ids)

    async def commit(
        self,
        *,
        pushes: Mapping[str, Sequence[Any]] | None = None,
        states: Mapping[str, Any] | None = None,
        dead: Mapping[str, Sequence[Any]] | None = None,
        reason: str = "",
        later: Mapping[str, Sequence[tuple[float, Any]]] | None = None,
        counts: Mapping[str, int] | None = None,
        job: str = "",
        changes: Changes | None = None,
        timeout: float | None = None,
    ) -> None:
        """One hop without a lease to acknowledge, as for a producer's values; see `Lease.commit`."""
        changes = changes or Changes.of(counts, job)
        await self._hops.commit(
            pushes=pushes, states=states, dead=dead, reason=reason, later=later, changes=changes, timeout=timeout
        )

    async def _lease(self, name: str, most: int, timeout: float | None, slot: str | None, is_read: bool) -> Lease:
        end, member = deadline(timeout), await self._hops.member(name, slot)
        session = await self._connection.session()
        return await Taking(self._connection, session, self._hops, name, most, member, end, is_read).lease()

    async def _push(self, name: str, elements: Sequence[bytes], delay: float, end: float) -> None:
        outgoing = await self._known(self._outgoing, Outgoing, name)
        if delay:
            microseconds = round(seconds_of("delay", delay) * 1e6)
            await push_later(self._connection, self._keys, name, elements, microseconds, end)
        elif elements:
            await outgoing.push(elements, end)

    async def _known(self, known: dict[str, T], kind: type[T], name: str) -> T:
        """What this process has for a queue in this session, made when there is none; idle ones are forgotten."""
        self._keys.all_of(name)
        session = await self._connection.session()
        found = known.get(name)
        if found is None or found.session is not session:
            if len(known) >= _MOST_KNOWN:
                for each in [key for key, one in known.items() if one.is_idle]:
                    del known[each]
            found = known[name] = kind(self._connection, session, self._keys, name)
        return found
