"""Awaiting the store's own tasks: how they end, and what the caller hears, when one of the two is cancelled."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any, TypeVar

import anyio

from nodeflow.errors import StoreClosedError

T = TypeVar("T")


async def awaited(task: asyncio.Task[T]) -> T:
    """Await a task of the store's own, which is cancelled with the caller.

    Raises:
        StoreClosedError: the store was closed and ended the task.
    """
    try:
        return await task
    except asyncio.CancelledError:
        if _is_ended_by_store(task):
            raise StoreClosedError from None
        raise


def _is_ended_by_store(task: asyncio.Task[Any]) -> bool:
    own = asyncio.current_task()
    return task.cancelled() and own is not None and not own.cancelling()


async def to_the_end(task: asyncio.Task[T], hurry: asyncio.Event | None = None) -> T:
    """Await a task that must not be left half-done: when the caller is cancelled it still ends first.

    Args:
        task: a step in the server, whose time-outs bound it.
        hurry: set when the caller was cancelled.

    Raises:
        asyncio.CancelledError: after the task has ended, when the caller was cancelled meanwhile.
        StoreClosedError: the store was closed and didn't wait for the task any longer.
    """
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        if _is_ended_by_store(task):
            raise StoreClosedError from None
        if hurry is not None:
            hurry.set()
        while not task.done():  # however often the caller is cancelled
            with suppress(asyncio.CancelledError), anyio.CancelScope(shield=True):
                await asyncio.wait([task])
        if not task.cancelled():
            task.exception()  # retrieved, so that asyncio doesn't complain; the cancellation goes first
        raise
