"""What moves items into leases, back out of them and on: each one step of the server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import anyio
import orjson
from attrs import frozen

from nodeflow.errors import (
    LeaseLostError,
    NodeflowError,
    PayloadError,
    QueueFullError,
    StorageFullError,
    StoreClosedError,
)
from nodeflow.storage.arguments import clean, deadline, whole
from nodeflow.storage.changes import Changes
from nodeflow.storage.connection import RedisConnection
from nodeflow.storage.endings import to_the_end
from nodeflow.storage.heart import Member, heart_of
from nodeflow.storage.hop import Hop
from nodeflow.storage.keys import BOUND, Keys
from nodeflow.storage.lease import Lease
from nodeflow.storage.opening import opened_each
from nodeflow.storage.outgoing import COMMAND_BYTES
from nodeflow.storage.packing import Packing
from nodeflow.storage.payloads import Payloads
from nodeflow.storage.room import once_there_is_room
from nodeflow.storage.session import Lane

_LEAST_COUNT, _MOST_COUNT = -(2**53), 2**53  # what a number in Lua holds exactly
_OVERDUE_SECONDS = 1.0
"""After how long a hop that needs room for many goes where there is room for one, past those who push one by one."""

_LEASE_BYTES = 4 * COMMAND_BYTES
_LARGE_BYTES = 16_384
"""From how many bytes on to send a hop in vain costs more than to ask first."""


@frozen
class Taken:
    """What came of asking for a lease.

    Args:
        lease: the lease, maybe empty.
        next_due: seconds until a delayed item is due; None when there is none.
        was_garbage: whether there were items, but none that could be read.
        could_wait: whether the server could be waited in: it can't when its memory is full.
    """

    lease: Lease
    next_due: float | None
    was_garbage: bool = False
    could_wait: bool = True


class Hops:
    """The steps of a store's leases. A step that was sent ends, also when its caller is cancelled.

    Args:
        connection: the connection that all stores share.
        keys: the names of the keys.
        payloads: what makes stored payloads of values.
    """

    def __init__(self, connection: RedisConnection, keys: Keys, payloads: Payloads) -> None:
        self._connection = connection
        self._keys = keys
        self._payloads = payloads
        self._full: set[str] = set()
        """The queues that had no room for the last hop that pushed to them."""

    async def member(self, name: str, consumer: str | None) -> Member:
        """The consumer of a queue: a slot, or this process's own one."""
        session = await self._connection.session()
        return heart_of(self._connection, session).member(self._keys.all_of(name), consumer or session.id)

    async def take(
        self, name: str, max_items: int, member: Member, patience: float | None = None, *, is_read: bool = True
    ) -> Taken:
        """Lease up to so many of the items that wait.

        Args:
            name: the queue's name.
            max_items: the most to take.
            member: the consumer.
            patience: seconds to wait in the server before, until something lies in the main list; None doesn't
                wait, and else the caller has a slot for it. To wait is to move the oldest item onto its own place:
                whoever is cancelled there loses nothing.
            is_read: whether the items are read, and not only leased.
        """
        session = await self._connection.session()
        heart = heart_of(self._connection, session)
        number = heart.next_number()
        member.held.add(number)
        arguments = [
            max_items,
            _LEASE_BYTES,
            self._payloads.most,
            member.consumer,
            session.id,
            int(member.has_begun),
            number,
        ]
        arguments += [heart.rhythm.milliseconds, heart.rhythm.max_deliveries]
        main, keys = member.keys[0], (*member.keys, self._keys.sent(member.keys[0], session.id))
        call: Any = ("take", keys, arguments, f"lease from '{name}'")
        could_wait = True
        with session.lane() as lane:
            arguments += lane
            try:
                if patience is not None:
                    waiting = ("BLMOVE", main, main, "RIGHT", "RIGHT", None)
                    could_wait, reply = await self._connection.step_after(waiting, patience, *call)
                else:
                    reply = await self._connection.step(*call)
            except BaseException as error:  # what it may have taken must not stay with a consumer that lives
                await self.give_back_after(error, name, member, number, lane=lane)
                raise
        member.has_begun = True
        return await self._taken(name, member, number, max_items, reply, could_wait=could_wait, is_read=is_read)

    async def give_back(self, name: str, member: Member, number: int, error: str = "") -> None:
        """Put the items of a lease back, in order; nothing when it isn't open."""
        hurry = asyncio.Event()
        await self._give_back(name, member, number, error, hurry)

    async def give_back_after(
        self,
        error: BaseException,
        name: str,
        member: Member,
        number: int,
        reason: str = "",
        lane: Lane | None = None,
    ) -> None:
        """Put the items of a lease back because of an error, which stays the one that is raised.

        It is tried once: when the server can't be asked now, the heartbeat does it later.

        Args:
            error: the error.
            name: the queue's name.
            member: the consumer.
            number: the lease's number.
            reason: what went wrong with its items, if it is that.
            lane: that of the step that took them, when it isn't known whether it was, or is still to be done.
        """
        hurry = asyncio.Event()
        hurry.set()
        with anyio.CancelScope(shield=True):
            try:
                await self._give_back(name, member, number, reason, hurry, lane)
            except StoreClosedError:
                pass  # closing gives everything back
            except NodeflowError as failure:
                error.add_note(f"what was leased from {name!r} could not be given back yet: {failure}")
        member.held.discard(number)

    async def _give_back(
        self, name: str, member: Member, number: int, error: str, hurry: asyncio.Event, lane: Lane | None = None
    ) -> None:
        session = await self._connection.session()
        script, keys, arguments = "give_back", member.keys, [member.consumer, session.id, number]
        if lane is None:
            arguments = [error, self._connection.settings.max_deliveries, *arguments]
        else:
            script, keys = "untake", (*keys, self._keys.sent(keys[0], session.id))
            arguments += lane
        work = self._connection.run_script(script, keys, arguments, f"give back to '{name}'", hurry=hurry)
        try:
            back, dead = await to_the_end(session.start(work), hurry)
        except BaseException:
            member.abandoned.add(number)
            raise
        member.held.discard(number)
        self._connection.stats.given_back += back
        self._connection.stats.dead += dead

    async def commit(
        self,
        *,
        lease: Lease | None = None,
        done: Sequence[int] | None = None,
        retries: Sequence[tuple[int, int, str]] = (),
        buried: Sequence[tuple[int, str]] = (),
        pushes: Mapping[str, Sequence[Any]] | None = None,
        states: Mapping[str, Any] | None = None,
        dead: Mapping[str, Sequence[Any]] | None = None,
        reason: str = "",
        later: Mapping[str, Sequence[tuple[float, Any]]] | None = None,
        moved: Mapping[str, Sequence[tuple[int, Any]]] | None = None,
        changes: Changes | None = None,
        timeout: float | None = None,
        after: Callable[[], None] | None = None,
    ) -> None:
        """One hop, as `Lease.commit`; the lease may be missing.

        Args:
            done: the places that are acknowledged, None for all.
            retries: place, microseconds of delay and error of those that are delivered again.
            buried: place and error of those that go to the dead letters.
            later: seconds of delay and value of what is pushed when that time is over, by queue.
            moved: place and value of those that go on in other queues, by queue.
            changes: what it changes in the records of a job.
            after: called when the hop was done, also when the caller was cancelled meanwhile.
        """
        for name, increment in (changes.counts if changes is not None else {}).items():
            whole(f"the count of {name!r}", increment, _LEAST_COUNT, _MOST_COUNT)
        packing = Packing(self._keys, self._payloads)
        plan = Hop(
            lease,
            done,
            retries,
            buried,
            await packing.values("pushes", pushes) if pushes else {},
            await packing.states(states) if states else {},
            await packing.values("dead", dead) if dead else {},
            clean(reason),
            await packing.later(later) if later else {},
            await packing.moved(moved) if moved else {},
            None if changes is None or changes.is_empty else changes,
        )
        if plan.is_empty:
            return
        end = deadline(timeout)
        queues = {name: self._keys.all_of(name) for name in plan.pushes}
        acknowledged = lease.left if lease is not None and done is None else len(done or ())

        def heard(reply: Sequence[int]) -> None:
            if reply[0]:
                self._count(plan, acknowledged)
                if after is not None:
                    after()

        full = await self._without_room(plan, is_overdue=False)
        if full is None:
            full = await self._hop(plan, heard, is_overdue=False)
        if full is not None:
            await self._once_there_is_room(plan, queues, heard, full, end)

    async def _once_there_is_room(
        self,
        plan: Hop,
        queues: Mapping[str, tuple[str, ...]],
        heard: Callable[[Sequence[int]], None],
        first_full: int,
        end: float,
    ) -> None:
        """Try a hop again, waiting for one queue after the other that has no room, the first of them first.

        A large one is sent when there seems to be room, and once a second: it may be that its lease was lost.
        """
        began = sent = anyio.current_time()
        full: int | None = first_full

        async def goes_past(place: int) -> bool:
            """Try the hop; whether it was not this queue that had no room."""
            nonlocal full, sent
            now = anyio.current_time()
            is_overdue = now - began > _OVERDUE_SECONDS
            full = await self._without_room(plan, is_overdue=is_overdue) if now - sent < _OVERDUE_SECONDS else None
            if full is None:
                sent, full = now, await self._hop(plan, heard, is_overdue=is_overdue)
            return full != place

        while full is not None:
            name = list(plan.pushes)[full]
            if not await once_there_is_room(self._connection, queues[name], end, partial(goes_past, full)):
                raise QueueFullError(name, await self._bound(queues[name]))

    async def _without_room(self, plan: Hop, *, is_overdue: bool) -> int | None:
        """The place of a pushed queue that had no room for the last hop, and has none for this one, if it is large."""
        for place, (name, lot) in enumerate(plan.pushes.items() if plan.size > _LARGE_BYTES else ()):
            if name in self._full and not await self._has_room(name, len(lot), is_overdue=is_overdue):
                return place
        return None

    async def _has_room(self, name: str, number: int, *, is_overdue: bool) -> bool:
        keys, operation = self._keys.all_of(name), f"look for room in '{name}'"
        try:
            return bool(await self._connection.run_script("has_room", keys, [number, int(is_overdue)], operation))
        except StorageFullError:  # before Redis 7 nothing can be noted then: the hop itself knows what to do
            return True

    async def _hop(
        self,
        plan: Hop,
        heard: Callable[[Sequence[int]], None],
        *,
        is_overdue: bool,
    ) -> int | None:
        """Send a hop; the place of the pushed queue that had no room, None when it was done."""
        session = await self._connection.session()
        keys = plan.keys(self._keys)
        keys.insert(0, self._keys.sent(keys[0], session.id))
        milliseconds = heart_of(self._connection, session).rhythm.milliseconds
        with session.lane() as (lane, number):
            head = plan.head(f"{session.id}.{number}", milliseconds, lane, number) | {"is_overdue": is_overdue}
            step = partial(self._connection.step, operation=plan.operation, heard=heard)
            try:
                script = "hop" if plan.values else "hop_at_full"
                reply = await step(script, keys, [orjson.dumps(head), *plan.values])
            except StorageFullError:
                head["is_full_server"] = True
                reply = await step("hop_at_full", keys, [orjson.dumps(head), *plan.values])
        full = None if reply[0] else int(reply[1]) - 1
        self._full.difference_update(plan.pushes)
        if full is not None:
            self._full.add(list(plan.pushes)[full])
        return full

    async def _bound(self, keys: Sequence[str]) -> int:
        return int(await self._connection.call("GET", keys[BOUND], operation="read a queue's bound") or 0)

    async def _taken(
        self,
        name: str,
        member: Member,
        number: int,
        max_items: int,
        reply: Sequence[Any],
        *,
        could_wait: bool,
        is_read: bool,
    ) -> Taken:
        epoch, envelopes, recovered, died, wait, found = reply
        stats = self._connection.stats
        stats.recovered += recovered
        stats.dead += died
        if not found:
            member.held.discard(number)
        lease_id = f"{member.consumer}:{epoch.decode()}:{number}"
        try:
            elements = await self._fetched(name, lease_id, found) if isinstance(found, int) else found
            member.seems_empty = wait < 0 and len(elements) < max_items
            lease = Lease(self, name, member, lease_id, number, elements, int(envelopes))
            if is_read:
                await lease.open()
        except BaseException as error:
            await self.give_back_after(error, name, member, number)
            raise
        if lease:
            stats.leases += 1
            stats.leased += len(lease)
            stats.bytes_received += sum(map(len, elements))
        was_garbage = bool(elements or died) and not lease
        return Taken(lease, wait / 1000 if wait >= 0 else None, was_garbage, could_wait)

    async def open(self, lease: Lease) -> None:
        """Read what lies in a lease; what can't be read goes to the dead letters."""
        values = None if lease.envelopes else await self.read(lease.unread)
        if values is not None:
            lease.opened(values)
            return
        main = lease.member.keys[0]
        items, garbage = await opened_each(self._payloads, main, lease.id, lease.envelopes, lease.unread)
        if garbage and lease.is_open:
            await self.commit(lease=lease, done=[], buried=garbage)
        lease.opened(None, items)
        if not items:
            lease.member.held.discard(lease.number)

    async def read(self, elements: Sequence[bytes]) -> Sequence[Any] | None:
        """The values of bare elements; None when one of them is to be looked at by itself."""
        if max(map(len, elements), default=0) > self._payloads.most:
            return None
        try:
            return await self._payloads.decode_each(elements)
        except PayloadError:
            return None

    async def _fetched(self, name: str, lease_id: str, number: int) -> list[bytes]:
        """The so many items of a lease, oldest first."""
        key = self._keys.leased(name, lease_id)
        found: list[bytes] = await self._connection.call("LRANGE", key, 0, -1, operation=f"lease from '{name}'")
        if len(found) != number:
            raise LeaseLostError(name, f"another process has taken over {lease_id}")
        return found[::-1]

    def _count(self, plan: Hop, acknowledged: int) -> None:
        stats = self._connection.stats
        stats.acks += acknowledged if plan.lease is not None else 0
        stats.pushes += sum(map(len, plan.pushes.values())) + sum(map(len, plan.later.values()))
        stats.given_back += len(plan.retries)
        stats.dead += len(plan.buried) + sum(map(len, plan.dead.values()))
        stats.bytes_sent += plan.size
