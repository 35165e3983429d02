"""Stalls: a node that waits for too long fails its item; one that holds up the whole process costs it that."""

from __future__ import annotations

import asyncio
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Container, Coroutine, Generator
from functools import partial
from types import CodeType, FrameType, coroutine
from typing import Any

from nodeflow.engine.core.traces import user_stack

_LOOKS = 4
"""How often within the time allowed it is looked whether the process is held up."""

_SECOND_LOOK = 1.0
"""How long a process has to show life when the time is over: it may have been frozen itself, or the machine."""


async def limited(call: Coroutine[Any, Any, Any], seconds: float) -> Any:
    """What a coroutine gives.

    Args:
        call: the coroutine; nothing but calling it is to be paid for as long as it doesn't wait.
        seconds: how long it may wait.

    Raises:
        TimeoutError: it waited for longer.
    """
    try:
        waits_for = call.send(None)
    except StopIteration as stop:
        return stop.value
    return await waited(call, waits_for, seconds)


async def waited(call: Coroutine[Any, Any, Any], waits_for: Any, seconds: float) -> Any:
    """What a coroutine gives that was begun, and waits; the rest is as for `limited`."""
    timeout = asyncio.timeout(seconds if seconds < math.inf else None)
    try:
        async with timeout:
            return await _resumed(call, waits_for)
    except TimeoutError as error:
        if not timeout.expired():
            raise
        raise TimeoutError(f"it held up its loop for {seconds:g} s, the stall_timeout of that") from error


@coroutine
def _resumed(call: Coroutine[Any, Any, Any], waits_for: Any) -> Generator[Any, Any, Any]:
    while True:
        try:
            sent = yield waits_for
        except BaseException as error:
            go_on = partial(call.throw, error)
        else:
            go_on = partial(call.send, sent)
        try:
            waits_for = go_on()
        except StopIteration as stop:
            return stop.value


def watch_stalls(seconds: float, patient: Container[CodeType]) -> None:
    """From now on end this process when its event loop is held up; called in the event loop.

    Args:
        seconds: for how long it may be.
        patient: functions within which it may be held up for ever: producers wait there for their next value.
    """
    loop, thread = asyncio.get_running_loop(), threading.get_ident()

    def look() -> None:
        while True:
            alive = threading.Event()
            try:
                loop.call_soon_threadsafe(alive.set)
            except RuntimeError:
                return  # it is closed
            if alive.wait(seconds) or alive.wait(_SECOND_LOOK):
                time.sleep(seconds / _LOOKS)
            elif not is_within(sys._current_frames()[thread], patient):
                _give_up(sys._current_frames()[thread], seconds)

    threading.Thread(target=look, name="stalls", daemon=True).start()


def is_within(frame: FrameType | None, codes: Container[CodeType]) -> bool:
    """Whether a frame is that of a call within one of some functions."""
    while frame is not None:
        if frame.f_code in codes:
            return True
        frame = frame.f_back
    return False


def _give_up(frame: FrameType, seconds: float) -> None:
    stack = user_stack(frame)
    text = f"a node held up its loop for {seconds:g} s, the stall_timeout of that, so its process is ended; it is at\n"
    print(text + stack, file=sys.stderr, flush=True)  # noqa: T201 - the supervisor reads it
    os.kill(os.getpid(), signal.SIGKILL)
