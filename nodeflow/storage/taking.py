"""Leasing with patience: of the tasks that wait for the same queue, one waits in the server for all."""

from __future__ import annotations

import math

import anyio
from attrs import frozen

from nodeflow.storage.connection import RedisConnection
from nodeflow.storage.heart import Member
from nodeflow.storage.hops import Hops, Taken
from nodeflow.storage.keys import RETURNED
from nodeflow.storage.lease import Lease
from nodeflow.storage.link import BLOCK_SECONDS
from nodeflow.storage.session import Session
from nodeflow.storage.waits import Lookout, Slots, Turns

_SHORT_SECONDS = 0.1
"""Who is to wait no longer than this needn't look first whether something came back: it is seen soon enough."""


@frozen
class Taking:
    """A task that wants a lease.

    Args:
        connection: the connection that all stores share.
        session: its session.
        hops: what takes items.
        name: the queue's name.
        most: the most items to take.
        member: the consumer.
        deadline: until when to wait, on the clock of `anyio.current_time`.
        is_read: whether the items are read, and not only leased.
    """

    connection: RedisConnection
    session: Session
    hops: Hops
    name: str
    most: int
    member: Member
    deadline: float
    is_read: bool

    async def lease(self) -> Lease:
        """Lease what waits, or what comes before the deadline; empty when nothing did."""
        began, turns, main = anyio.current_time(), Turns.of(self.session), self.member.keys[0]
        is_alone = turns.is_free(main)
        is_short = 0 < self.deadline - began <= _SHORT_SECONDS
        taken = None if is_alone and is_short and self.member.seems_empty else await self._take()
        if taken is not None and not self._is_to_wait(taken):
            return taken.lease
        is_alone = turns.is_free(main)
        if await turns.take(main, self.deadline):
            try:
                if not is_alone:
                    taken = await self._take()
                while taken is None or self._is_to_wait(taken):
                    taken = await self._take_after(taken)
            finally:
                turns.give_back(main)
        self.connection.stats.waited_for_item(anyio.current_time() - began)
        return (taken or await self._take()).lease

    def _is_to_wait(self, taken: Taken) -> bool:
        return not taken.lease and (taken.was_garbage or anyio.current_time() < self.deadline)

    async def _take(self, patience: float | None = None) -> Taken:
        return await self.hops.take(self.name, self.most, self.member, patience, is_read=self.is_read)

    async def _take_after(self, before: Taken | None) -> Taken:
        """Take when something has come, or a second has passed: what came back is seen then."""
        if before is not None and before.was_garbage:
            return await self._take()
        due = math.inf if before is None or before.next_due is None else before.next_due
        seconds = max(0.0, min(due, self.deadline - anyio.current_time(), BLOCK_SECONDS))
        slots = Slots.of(self.session, self.connection.blocking_slots)
        if (before is None or before.could_wait) and slots.take():
            try:
                return await self._take(seconds)
            finally:
                slots.give_back()
        lists = self.member.keys[0], self.member.keys[RETURNED]
        await Lookout.of(self.connection, self.session).something_in(lists, seconds)
        return await self._take()
