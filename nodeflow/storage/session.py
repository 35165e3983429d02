"""A session: what a store keeps for as long as it is used in one process and one event loop."""

from __future__ import annotations

import asyncio
import itertools
import os
import socket
from collections.abc import Awaitable, Callable, Coroutine, Hashable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar
from uuid import uuid4

from nodeflow.storage.link import Link

T = TypeVar("T")

Lane = tuple[int, int]
"""A lane and the number of a step in it."""


class Session:
    """An identity towards the server, the background tasks, and the parts that belong to them.

    A new one is begun after a fork and in another event loop: neither connections nor tasks can be taken along.

    Args:
        link: the connections.
    """

    def __init__(self, link: Link) -> None:
        self.link = link
        self.process = os.getpid()
        self.loop = asyncio.get_running_loop()
        self.id = f"{_clean(socket.gethostname())}-{self.process}-{uuid4().hex[:8]}"
        self.closing = asyncio.Event()
        self._farewells: list[Callable[[], Awaitable[None] | None]] = []
        self.endings: list[Callable[[], None]] = []
        self._tasks: set[asyncio.Task[Any]] = set()
        self._parts: dict[Hashable, Any] = {}
        self._lanes: list[int] = []
        self._last_lane = 0
        self._numbers = itertools.count(1)

    def at_the_end(self, ending: Callable[[], None]) -> None:
        """Have something done at the very end, as ending a thread; it must not need the server."""
        self.endings.append(ending)

    @property
    def is_at_work_elsewhere(self) -> bool:
        """Whether another event loop of this process still runs what belongs to the session."""
        return self.process == os.getpid() and not self.is_here and not self.loop.is_closed()

    @property
    def is_here(self) -> bool:
        """Whether this is the process and the event loop that the session belongs to."""
        return self.process == os.getpid() and self.loop is asyncio.get_running_loop()

    def part(self, key: Hashable, make: Callable[[], T]) -> T:
        """The part of this name, made when it isn't there."""
        if key not in self._parts:
            self._parts[key] = make()
        found: T = self._parts[key]
        return found

    def start(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """A task of the store's own, which goes on when whoever waits for it is cancelled; `end` waits for it."""
        task = self.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def pause(self, seconds: float, hurry: asyncio.Event | None = None) -> None:
        """Wait for so long, but no longer than until the store is closed or somebody is in a hurry."""
        waits = [asyncio.ensure_future(event.wait()) for event in (self.closing, hurry) if event is not None]
        try:
            await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    def before_end(self, farewell: Callable[[], Awaitable[None] | None]) -> None:
        """Have something done when the store is closed: first come, last served."""
        self._farewells.append(farewell)

    async def close(self, seconds: float) -> None:
        """End what belongs to the session, but for the link; its tasks have so many seconds to end by themselves."""
        self.closing.set()
        try:
            async with asyncio.timeout(seconds):
                await self.link.unblock()
                while left := self._tasks - {asyncio.current_task()}:
                    await asyncio.wait(left)
                for farewell in reversed(self._farewells):
                    if (work := farewell()) is not None:
                        await work
        except TimeoutError:
            pass
        self.abandon()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=seconds)

    def abandon(self) -> None:
        """Let go of everything, without asking the server."""
        self.closing.set()
        for task in self._tasks:
            with suppress(RuntimeError):
                task.cancel()
        for ending in self.endings:
            ending()

    def take_lane(self) -> Lane:
        """A lane in which no other step is under way, and the step's number in it; see `lib_once.lua`."""
        if not self._lanes:
            self._last_lane += 1
            self._lanes.append(self._last_lane)
        return self._lanes.pop(), next(self._numbers)

    def free_lane(self, lane: Lane) -> None:
        """Let another step have the lane."""
        self._lanes.append(lane[0])

    @contextmanager
    def lane(self) -> Iterator[Lane]:
        """A lane for the length of the context."""
        lane = self.take_lane()
        try:
            yield lane
        finally:
            self.free_lane(lane)


def _clean(text: str) -> str:
    return "".join(char if (char.isalnum() and char.isascii()) or char in "-." else "-" for char in text)
