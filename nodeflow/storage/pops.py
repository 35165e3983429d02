"""Popping: the reply is read by a task of the store's own, so that an item never comes to a caller who is gone."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Sequence
from typing import Any

import anyio
from attrs import frozen

from nodeflow.errors import StorageError, StoreClosedError
from nodeflow.storage.connection import RedisConnection
from nodeflow.storage.failures import copy_of
from nodeflow.storage.keys import RETURNED, Keys
from nodeflow.storage.link import BLOCK_SECONDS
from nodeflow.storage.session import Lane, Session
from nodeflow.storage.waits import Lookout, Slots


@frozen
class Popped:
    """What was popped.

    Args:
        data: the element.
        is_envelope: whether it lies in an envelope, as what came back does.
    """

    data: bytes
    is_envelope: bool


@frozen(eq=False)
class _Caller:
    result: asyncio.Future[Popped | None]
    deadline: float


class Pops:
    """Those who wait for an item of one queue, and the task that pops for them.

    Args:
        connection: the connection that all stores share.
        session: the session whose tasks they are.
        keys: the names of the keys.
        name: the queue's name.
    """

    def __init__(self, connection: RedisConnection, session: Session, keys: Keys, name: str) -> None:
        self.session = session
        self._connection = connection
        self._keys = keys.all_of(name)
        self._sent = keys.sent(self._keys[0], session.id)
        self._operation = f"pop from '{name}'"
        self._callers: deque[_Caller] = deque()
        self._task: asyncio.Task[None] | None = None

    @property
    def is_idle(self) -> bool:
        """Whether nobody waits."""
        return not self._callers

    async def pop(self, deadline: float) -> Popped | None:
        """The oldest item, waited for until the deadline; None when none came."""
        lane = self.session.take_lane()
        try:
            popped, _ = await self._pop_now(lane)
        except asyncio.CancelledError:
            self.session.start(self._undo(lane))
            raise
        except BaseException:
            self.session.free_lane(lane)
            raise
        self.session.free_lane(lane)
        began = anyio.current_time()
        if popped is not None or began >= deadline:
            return popped
        try:
            return await self._wait(deadline)
        finally:
            self._connection.stats.waited_for_item(anyio.current_time() - began)

    def put_back(self, popped: Popped) -> None:
        """Let the next one who waits have what was popped for a caller who is gone."""
        self._connection.stats.pops -= 1
        self._hand_over(popped)

    async def _undo(self, lane: Lane) -> None:
        """Hear what a pop whose caller is gone has taken, if it has, and hand that over.

        It is asked again under its own number: so it isn't done twice, whenever it arrives.
        """
        try:
            popped, _ = await self._pop_now(lane)
            if popped is not None:
                self._hand_over(popped)
        except StorageError:
            return
        finally:
            self.session.free_lane(lane)

    async def _wait(self, deadline: float) -> Popped | None:
        if self.session.closing.is_set():
            raise StoreClosedError
        caller = _Caller(self.session.loop.create_future(), deadline)
        self._callers.append(caller)
        if self._task is None or self._task.done():
            self._task = self.session.start(self._serve())
        try:
            return await caller.result
        except asyncio.CancelledError:
            if caller.result.done() and not caller.result.cancelled() and caller.result.exception() is None:
                popped = caller.result.result()
                if popped is not None:
                    self._hand_over(popped)
            raise
        finally:
            caller.result.cancel()
            if caller in self._callers:
                self._callers.remove(caller)

    async def _serve(self) -> None:
        """Pop for those who wait, until nobody does."""
        try:
            while self._callers:
                popped = await self._pop_once()
                if popped is not None:
                    self._hand_over(popped)
                self._let_go()
        except Exception as error:
            self._fail_all(error)
        except asyncio.CancelledError:
            self._fail_all()
            raise

    async def _pop_once(self) -> Popped | None:
        """What is there, or comes before the first of those who wait has waited long enough."""
        with self.session.lane() as lane:
            popped, due = await self._pop_now(lane)
        if popped is not None or not self._callers:
            return popped
        patience = min(caller.deadline for caller in self._callers) - anyio.current_time()
        seconds = min(BLOCK_SECONDS, patience, math.inf if due is None else due)
        if seconds <= 0:
            return None
        slots = Slots.of(self.session, self._connection.blocking_slots)
        main, returned = self._keys[0], self._keys[RETURNED]
        if not slots.take():
            await Lookout.of(self._connection, self.session).something_in((main, returned), seconds)
            return None
        try:
            command: Sequence[Any] = ("BRPOP", returned, main, None)
            found = await self._connection.block(command, seconds, self._operation, is_repeatable=False)
        finally:
            slots.give_back()
        if found is None:
            return None
        self.session.start(self._surely("count_pop"))
        return Popped(found[1], is_envelope=found[0] == returned.encode())

    def _let_go(self) -> None:
        """Tell those whose time is over that nothing came."""
        now = anyio.current_time()
        for caller in [each for each in self._callers if each.deadline <= now]:
            self._callers.remove(caller)
            if not caller.result.done():
                caller.result.set_result(None)

    async def _pop_now(self, lane: Lane) -> tuple[Popped | None, float | None]:
        """What is there, and else the seconds until a delayed item is due."""
        keys = [*self._keys, self._sent]
        origin, found = await self._connection.run_script("pop", keys, lane, self._operation)
        if origin >= 0:
            return Popped(found, is_envelope=origin == 1), None
        return None, found / 1000 if found >= 0 else None

    def _hand_over(self, popped: Popped) -> None:
        """Give an item to the first who waits and is still there, else put it back to the front."""
        while self._callers:
            caller = self._callers.popleft()
            if not caller.result.done():
                caller.result.set_result(popped)
                return
        self.session.start(self._surely("unpop", int(popped.is_envelope), popped.data))

    async def _surely(self, name: str, *arguments: Any) -> None:
        """Run a script of which nobody waits to hear, were it while the store is closed."""
        keys = [*self._keys, self._sent]
        with self.session.lane() as lane:
            try:
                await self._connection.run_script(name, keys, [*lane, *arguments], self._operation)
            except StoreClosedError:
                await self._connection.last_words(name, keys, [*lane, *arguments])

    def _fail_all(self, error: Exception | None = None) -> None:
        """Tell all who wait; without an error, that the store was closed."""
        for caller in self._callers:
            if not caller.result.done():
                caller.result.set_exception(copy_of(error or StoreClosedError()))
        self._callers.clear()
