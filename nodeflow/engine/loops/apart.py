"""The values of a plain producer that waits for them, made in a thread of its own: the event loop goes on meanwhile."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from queue import SimpleQueue
from typing import Any, Self

import anyio
from attrs import define, field

_SOON_SECONDS = 0.1
"""How long is waited for a value when none is to come any more: one that was made must not be lost."""

Call = tuple[Callable[[], Any], asyncio.Future[Any]]
"""What the thread is to call, and who is to be told what came of it."""


@define(eq=False)
class Apart:
    """An iterator whose values are made in a thread, each when it is asked for.

    It is one thread from the first value to the end, so that the iterator can use what only the thread can use that
    made it.

    Args:
        values: the iterator.
    """

    values: Iterator[Any]
    _calls: SimpleQueue[Call | None] = field(factory=SimpleQueue, init=False)
    _is_busy: bool = field(default=False, init=False)
    _is_stopped: bool = field(default=False, init=False)
    _next: asyncio.Future[Any] | None = field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        work = partial(_work, self._calls, asyncio.get_running_loop(), self._told)
        run = contextvars.copy_context().run
        threading.Thread(target=run, args=(work,), name="producer", daemon=True).start()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        if self._is_stopped:
            raise StopAsyncIteration
        self._next = self._call(lambda: next(self.values, _END))
        value = await self._next
        if value is _END:
            raise StopAsyncIteration
        return value

    def stop(self) -> None:
        """Give no further value, but for one that is just being made; whoever waits for one soon waits no longer."""
        self._is_stopped = True
        if self._next is not None:
            asyncio.get_running_loop().call_later(_SOON_SECONDS, _tell, self._next, _END)

    async def close(self) -> None:
        """Close the iterator and end the thread; one that still waits for a value is left to do so when it has that."""
        was_busy = self._is_busy
        closed = self._call(getattr(self.values, "close", _nothing))
        self._calls.put(None)
        if not was_busy:
            await closed

    def _call(self, call: Callable[[], Any]) -> asyncio.Future[Any]:
        future = asyncio.get_running_loop().create_future()
        self._is_busy = True
        self._calls.put((call, future))
        return future

    def _told(self, future: asyncio.Future[Any], value: Any, error: BaseException | None) -> None:
        self._is_busy = False
        _tell(future, value, error)


def _tell(future: asyncio.Future[Any], value: Any, error: BaseException | None = None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(value)
    else:
        future.set_exception(error)


Told = Callable[[asyncio.Future[Any], Any, BaseException | None], None]


def _work(calls: SimpleQueue[Call | None], loop: asyncio.AbstractEventLoop, told: Told) -> None:
    """What the thread does: one call after the other."""
    while (asked := calls.get()) is not None:
        call, future = asked
        value, error = None, None
        try:
            value = call()
        except BaseException as raised:
            error = raised
        with suppress(RuntimeError):  # the event loop is closed: nobody waits any more
            loop.call_soon_threadsafe(told, future, value, error)


@asynccontextmanager
async def apart(values: Iterator[Any]) -> AsyncIterator[Apart]:
    """An iterator's values, made in a thread of their own; closed there at the end."""
    found = Apart(values)
    try:
        yield found
    finally:
        with anyio.CancelScope(shield=True):
            await found.close()


def _nothing() -> None:
    """Nothing is to be closed."""


_END: Any = object()
