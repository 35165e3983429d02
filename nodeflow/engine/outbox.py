"""What has come of a producer's values: committed while it goes on, as much at a time as there is."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

import anyio

from nodeflow.engine.results import Results

_TURN_SECONDS = 0.001
"""How long a producer may go on before the event loop has its turn, while a commit is under way."""

HOP_BYTES = 4 << 20
"""How many bytes of values one hop should carry at most, so that it holds up nobody in the server for long."""


class Outbox:
    """Results that wait for the commit that is under way, and then are committed together.

    Args:
        commit: commits some results.
    """

    def __init__(self, commit: Callable[[Results], Awaitable[None]]) -> None:
        self._commit = commit
        self._waiting = Results()
        self._something = anyio.Event()
        self._taken = anyio.Event()
        self._is_idle = False
        self._is_closed = False
        self._is_over = False
        self._turn = 0.0

    async def put(self, results: Results) -> None:
        """Add what has come of one item; waits while too much of what came before isn't committed."""
        self._waiting.add(results)
        self._something.set()
        while self._waiting.size > HOP_BYTES and not self._is_over:
            self._taken = anyio.Event()
            await self._taken.wait()

    @property
    def is_due(self) -> bool:
        """Whether the event loop should have its turn, so that what waits is sent."""
        if not self._is_idle and time.monotonic() < self._turn:
            return False
        self._turn = time.monotonic() + _TURN_SECONDS
        return True

    def close(self) -> None:
        """Nothing more will be put: `run` ends when all is committed."""
        self._is_closed = True
        self._something.set()

    async def run(self) -> None:
        """Commit what waits, again and again, until the outbox is closed and empty."""
        try:
            while not self._is_closed or self._waiting.counts:
                self._is_idle = True
                await self._something.wait()
                self._is_idle = False
                if self._waiting.counts:
                    await self._commit(self._take())
        finally:
            self._is_over = True
            self._taken.set()

    def _take(self) -> Results:
        results, self._waiting = self._waiting, Results()
        if not self._is_closed:
            self._something = anyio.Event()
        self._taken.set()
        return results
