"""Pushes on their way: concurrent ones of a process go together, in the order in which they were called."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import partial

import anyio
from attrs import define

from nodeflow.errors import QueueFullError, StorageError, StoreClosedError
from nodeflow.storage.connection import RedisConnection
from nodeflow.storage.failures import copy_of
from nodeflow.storage.keys import BOUND, Keys
from nodeflow.storage.room import once_there_is_room, turn_to_wait, wait_for_room
from nodeflow.storage.session import Session

COMMAND_ITEMS = 1_000
COMMAND_BYTES = 1 << 20
"""How many elements and bytes one command carries at most, so that the server is never held up for long."""


@define(eq=False)
class _Parcel:
    """What one call pushes.

    Args:
        elements: encoded values.
        done: set when all of them are in the server, or will not be.
        pushed: how many of them are in the server.
        on_the_way: how many are being sent now.
        is_given_up: whether nothing more of it is to be sent.
        was_refused: whether there was no room for it, or for one before it.
        landed: set when nothing is being sent any more; for who waits for that.
    """

    elements: Sequence[bytes]
    done: asyncio.Future[None]
    pushed: int = 0
    on_the_way: int = 0
    is_given_up: bool = False
    was_refused: bool = False
    landed: asyncio.Event | None = None

    def has_landed(self) -> None:
        """Nothing of it is on the way any more."""
        self.on_the_way = 0
        if self.landed is not None:
            self.landed.set()


class Outgoing:
    """The pushes of one session to one queue.

    Args:
        connection: the connection that all stores share.
        session: the session whose task sends them.
        keys: the names of the keys.
        name: the queue's name.
    """

    def __init__(self, connection: RedisConnection, session: Session, keys: Keys, name: str) -> None:
        self.session = session
        self._connection, self._name = connection, name
        every = keys.all_of(name)
        self._keys = (*every, keys.sent(every[0], session.id))
        self._operation = f"push to '{name}'"
        self._parcels: deque[_Parcel] = deque()
        self._task: asyncio.Task[None] | None = None
        self._is_alone = False
        self._last_number = 0

    @property
    def is_idle(self) -> bool:
        """Whether nothing is being pushed."""
        return not self._parcels and not self._is_alone and not self._is_at_work

    async def push(self, elements: Sequence[bytes], deadline: float) -> None:
        """Push elements, oldest first; done when all are in the server.

        Args:
            elements: encoded values.
            deadline: until when to wait for room, on the clock of `anyio.current_time`.

        Raises:
            QueueFullError: the queue had no room for all of them in time.
            StorageError: the server failed.
        """
        if self.session.closing.is_set():
            raise StoreClosedError
        if self._is_quiet and len(elements) == 1 and await self._push_alone(elements):
            return None
        parcel = _Parcel(elements, self.session.loop.create_future())
        self._parcels.append(parcel)
        self._see_to_it()
        try:
            if deadline == float("inf"):
                return await parcel.done
            with anyio.CancelScope(deadline=deadline):
                return await asyncio.shield(parcel.done)
            await self._give_up(parcel)
        finally:
            parcel.is_given_up = True

    @property
    def _is_quiet(self) -> bool:
        """Whether nobody else pushes, so that there is nobody to wait for; many who push in turns are not quiet."""
        return self._last_number <= 1 and self.is_idle

    @property
    def _is_at_work(self) -> bool:
        return self._task is not None and not self._task.done()

    async def _push_alone(self, elements: Sequence[bytes]) -> bool:
        """Push without the help of a task; False when there is no room."""
        self._is_alone = True
        try:
            return bool(await self._command(elements))
        finally:
            self._is_alone = False
            if self._parcels:
                self._see_to_it()

    def _see_to_it(self) -> None:
        if not self._is_alone and not self._is_at_work:
            self._task = self.session.start(self._send_all())

    async def _command(self, elements: Sequence[bytes]) -> int:
        """Push as many as there is room for; how many those were."""
        with self.session.lane() as (lane, step):
            arguments = (lane, step, "", "", *elements)
            pushed: int = await self._connection.run_script("push", self._keys, arguments, self._operation)
        self._last_number = len(elements)
        stats = self._connection.stats
        stats.pushes += pushed
        stats.bytes_sent += sum(map(len, elements[:pushed]))
        return pushed

    async def _give_up(self, parcel: _Parcel) -> None:
        """Time is over: what is on the way arrives; the rest isn't sent, if there was no room for it."""
        while not parcel.done.done() and (parcel.on_the_way or not parcel.was_refused):
            parcel.landed = asyncio.Event()
            await parcel.landed.wait()
        parcel.is_given_up = True
        if parcel.done.done():
            return parcel.done.result()
        bound = await self._connection.call("GET", self._keys[BOUND], operation="read a queue's bound")
        raise QueueFullError(self._name, int(bound or 0), parcel.pushed)

    async def _send_all(self) -> None:
        try:
            while self._parcels:
                if batch := self._next_batch():
                    await self._send(batch)
        except asyncio.CancelledError:
            self._fail(self._parcels, StoreClosedError())
            raise

    def _next_batch(self) -> list[tuple[_Parcel, int]]:
        """The parcels of the next command and how many elements of each; those given up are left out."""
        while self._parcels and self._parcels[0].is_given_up:
            self._parcels.popleft()
        batch: list[tuple[_Parcel, int]] = []
        number = size = 0
        for parcel in self._parcels:
            if parcel.is_given_up:
                continue
            taken = 0
            for element in parcel.elements[parcel.pushed : parcel.pushed + COMMAND_ITEMS]:
                if number and (number == COMMAND_ITEMS or size + len(element) > COMMAND_BYTES):
                    break
                number, size, taken = number + 1, size + len(element), taken + 1
            if taken:
                batch.append((parcel, taken))
            if parcel.pushed + taken < len(parcel.elements):
                break
        return batch

    async def _send(self, batch: list[tuple[_Parcel, int]]) -> None:
        elements: list[bytes] = []
        for parcel, number in batch:
            parcel.on_the_way = number
            elements += parcel.elements[parcel.pushed : parcel.pushed + number]
        try:
            pushed = await self._command(elements)
        except Exception as error:
            self._fail([parcel for parcel, _ in batch], error)
            return
        self._settle(batch, pushed)
        if pushed < len(elements) and self._parcels:
            for parcel in self._parcels:
                parcel.was_refused = True
                parcel.has_landed()
            try:
                async with turn_to_wait(self._connection, self._keys, float("inf")):
                    await wait_for_room(self._connection, self._keys, float("inf"))
            except StorageError as error:
                self._fail(self._parcels, error)

    def _settle(self, batch: list[tuple[_Parcel, int]], pushed: int) -> None:
        for parcel, number in batch:
            arrived = min(number, pushed)
            pushed -= arrived
            parcel.pushed += arrived
            parcel.has_landed()
            if parcel.pushed == len(parcel.elements):
                self._drop(parcel)
                if not parcel.done.done():
                    parcel.done.set_result(None)

    def _fail(self, parcels: Iterable[_Parcel], error: Exception) -> None:
        for parcel in list(parcels):
            self._drop(parcel)
            parcel.has_landed()
            if not parcel.done.done():
                parcel.done.set_exception(copy_of(error))
                parcel.done.exception()  # a caller who was cancelled doesn't ask

    def _drop(self, parcel: _Parcel) -> None:
        with suppress(ValueError):  # it may be gone already when the store is closed meanwhile
            self._parcels.remove(parcel)


async def push_later(
    connection: RedisConnection, keys: Keys, name: str, elements: Sequence[bytes], microseconds: int, deadline: float
) -> None:
    """Push elements that can be taken after a delay, one by one; arguments as in `Outgoing.push`.

    Args:
        microseconds: the delay.
    """
    every = keys.all_of(name)
    session = await connection.session()
    sent = keys.sent(every[0], session.id)

    async def push(element: bytes) -> bool:
        with session.lane() as (lane, number):
            arguments = [lane, number, microseconds, f"{session.id}.{number}", element]
            return bool(await connection.step("push", [*every, sent], arguments, f"push to '{name}'"))

    for place, element in enumerate(elements):
        if not await once_there_is_room(connection, every, deadline, partial(push, element)):
            bound = await connection.call("GET", every[BOUND], operation="read a queue's bound")
            raise QueueFullError(name, int(bound or 0), place)
        connection.stats.pushes += 1
        connection.stats.bytes_sent += len(element)
