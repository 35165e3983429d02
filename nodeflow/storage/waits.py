"""Waiting for items: few connections block, however many tasks wait for however many queues."""

from __future__ import annotations

import asyncio

import anyio

from nodeflow.errors import StorageError
from nodeflow.storage.connection import RedisConnection
from nodeflow.storage.session import Session

LOOK_SECONDS = 0.05
"""How often the queues for which no connection blocks are looked at, together."""


class Slots:
    """The right to block on a connection, which only so many have at a time; nobody waits for it."""

    def __init__(self, number: int) -> None:
        self._free = number

    @classmethod
    def of(cls, session: Session, number: int) -> Slots:
        """The slots of a session."""
        return session.part("slots", lambda: cls(number))

    def take(self) -> bool:
        """Take a slot; whether there was one."""
        if not self._free:
            return False
        self._free -= 1
        return True

    def give_back(self) -> None:
        """Give the slot back."""
        self._free += 1


class Turns:
    """Who of the tasks that wait for the same queue waits in the server for all: one at a time, first come first."""

    def __init__(self) -> None:
        self._locks: dict[str, tuple[asyncio.Lock, int]] = {}

    @classmethod
    def of(cls, session: Session) -> Turns:
        """The turns of a session."""
        return session.part("turns", cls)

    def is_free(self, key: str) -> bool:
        """Whether nobody has the turn, or waits for it."""
        return key not in self._locks

    async def take(self, key: str, deadline: float) -> bool:
        """Wait for the turn; whether it came in time."""
        lock, users = self._locks.get(key, (None, 0))
        lock = lock or asyncio.Lock()
        self._locks[key] = lock, users + 1
        has_turn = False
        try:
            with anyio.CancelScope(deadline=deadline):
                has_turn = await lock.acquire()
        finally:
            if not has_turn:
                self._leave(key)
        return has_turn

    def give_back(self, key: str) -> None:
        """Let the next one have its turn."""
        self._locks[key][0].release()
        self._leave(key)

    def _leave(self, key: str) -> None:
        lock, users = self._locks[key]
        if users == 1:
            del self._locks[key]
        else:
            self._locks[key] = lock, users - 1


class Lookout:
    """Looks at all the queues for which no connection blocks, with one request for all of them.

    Args:
        connection: the connection that all stores share.
        session: the session that looks.
    """

    def __init__(self, connection: RedisConnection, session: Session) -> None:
        self._connection, self._session = connection, session
        self._watched: dict[tuple[str, ...], set[asyncio.Event]] = {}
        self._task: asyncio.Task[None] | None = None

    @classmethod
    def of(cls, connection: RedisConnection, session: Session) -> Lookout:
        """The lookout of a session."""
        return session.part("lookout", lambda: cls(connection, session))

    async def something_in(self, lists: tuple[str, ...], seconds: float) -> None:
        """Wait until one of these lists isn't empty, but only so long."""
        event = asyncio.Event()
        self._watched.setdefault(lists, set()).add(event)
        if self._task is None or self._task.done():
            self._task = self._session.start(self._look())
        try:
            with anyio.move_on_after(seconds):
                await event.wait()
        finally:
            self._watched[lists].discard(event)
            if not self._watched[lists]:
                del self._watched[lists]
        if self._connection.is_closed:
            await self._connection.session()  # which says so

    async def _look(self) -> None:
        while self._watched and not self._session.closing.is_set():
            await self._session.pause(LOOK_SECONDS)
            watched = {lists: set(events) for lists, events in self._watched.items()}
            try:
                found = await self._connection.pipeline([("EXISTS", *lists) for lists in watched], "look at queues")
            except StorageError:
                found = [1] * len(watched)  # whoever waits will meet the error itself
            for events, number in zip(watched.values(), found, strict=True):
                for event in events if number else ():
                    event.set()
        for events in self._watched.values():
            for event in events:
                event.set()
