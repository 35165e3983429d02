"""Waiting for conditions, never for time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")

_POLL = 0.02


def eventually(condition: Callable[[], T], within: float, what: str) -> T:
    """Poll until the condition holds; returns what it gave.

    Args:
        condition: called again and again until it gives something true.
        within: for how many seconds at most.
        what: the condition in words, for the failure's message.
    """
    deadline = time.monotonic() + within
    while not (found := condition()):
        if time.monotonic() >= deadline:
            raise AssertionError(f"not within {within:g} s: {what}")
        time.sleep(_POLL)
    return found


async def until(condition: Callable[[], Awaitable[object]], within: float, what: str) -> None:
    """`eventually` for a coroutine function."""
    deadline = time.monotonic() + within
    while not await condition():
        if time.monotonic() >= deadline:
            raise AssertionError(f"not within {within:g} s: {what}")
        await asyncio.sleep(_POLL)
