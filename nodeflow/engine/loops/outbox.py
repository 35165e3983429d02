"""What has come of a producer's values: committed while it goes on, as much at a time as there is."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

import anyio
import anyio.lowlevel

from nodeflow.engine.core.endings import DrainedError
from nodeflow.engine.core.results import Results
from nodeflow.engine.way.way import HOP_BYTES

_TURN_SECONDS = 0.005
"""How long a producer may go on before the event loop has its turn, while a commit is under way."""


class Outbox:
    """Results that wait for the commit that is under way, and then are committed together.

    Args:
        commit: commits some results.
    """

    def __init__(self, commit: Callable[[Results], Awaitable[None]]) -> None:
        self.before: Callable[[], None] = lambda: None
        """Called before what has come so far is committed."""
        self.is_ahead: Callable[[], bool] = lambda: False
        """Whether too many values are in hand that aren't committed."""
        self.results = Results()
        """What has come of the values so far; only whole items are committed by `run`."""
        self._commit = commit
        self._is_within = False
        self._is_closed = False
        self._is_over = False
        self._something = anyio.Event()
        self._taken = anyio.Event()
        self._committing = anyio.Lock(fast_acquire=True)
        self._turn = 0.0
        self._is_awake = False
        self._is_committing = False

    def begin(self) -> None:
        """An item is being handled: its results are not whole yet."""
        self._is_within = True

    async def end(self) -> None:
        """The item was handled; waits while too much of what came before isn't committed."""
        self._is_within = False
        await self.make_room()

    async def make_room(self) -> None:
        """Have what there is committed; waits while too much isn't."""
        self.wake()
        while (self.is_full or self.is_ahead()) and not self._is_over:
            self._taken = anyio.Event()
            await self._taken.wait()

    @property
    def is_full(self) -> bool:
        """Whether more waits than one hop should carry."""
        return self.results.size > HOP_BYTES

    def wake(self) -> None:
        """There is something to commit."""
        if not self._is_awake:
            self._is_awake = True
            self._something.set()

    async def flush(self) -> None:
        """Commit what there is now, also within an item."""
        async with self._committing:
            await self._send()

    async def _send(self) -> None:
        self.before()
        if not self.results.is_empty:
            results = self.results.take()
            self._taken.set()
            await self._commit(results)
            self._taken.set()

    @property
    def is_due(self) -> bool:
        """Whether the event loop should have its turn, so that what waits is sent."""
        return not self._is_committing or time.monotonic() >= self._turn

    async def give_turn(self) -> None:
        """Let the event loop have its turn."""
        self._turn = time.monotonic() + _TURN_SECONDS
        await anyio.lowlevel.checkpoint()

    def close(self) -> None:
        """Nothing more will come: `run` ends when all is committed."""
        self._is_closed = True
        self._is_within = False
        self.wake()

    async def run(self) -> None:
        """Commit what waits, again and again, until the outbox is closed and empty."""
        try:
            while True:
                await self._something.wait()
                if not self._is_closed:
                    self._something = anyio.Event()
                    self._is_awake = False
                async with self._committing:
                    if not self._is_within and not self.results.is_empty:
                        self._is_committing = True
                        await self._send()
                        self._is_committing = False
                if self._is_closed and self.results.is_empty:
                    return
        except DrainedError:
            self.results.take()
        finally:
            self._is_over = True
            self._taken.set()
