"""SIGTERM tells a process to drain, also while a plain producer holds it up, waiting for its next value."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Container, Iterator
from contextlib import contextmanager
from types import CodeType, FrameType

import anyio

from nodeflow.engine.calls.stalls import is_within

_PATIENCE_SECONDS = 1.0
"""How long a producer may go on with its next value when the process is to drain."""


class Interrupted(BaseException):
    """Raised within a producer that waits for its next value, as Ctrl-C would be: its process is to drain."""


INTERRUPTED = threading.Event()
"""Whether that was raised in this process: an end of values behind it is none of the producer's."""


@contextmanager
def drained_by_sigterm(drain: anyio.Event, patient: Container[CodeType]) -> Iterator[None]:
    """Have SIGTERM tell this process to drain; for the event loop of the main thread.

    Args:
        drain: set by the first one.
        patient: functions within which `Interrupted` is raised when one is still at it a second later.
    """
    loop, main, is_over = asyncio.get_running_loop(), threading.get_ident(), threading.Event()
    reminding = threading.Thread(target=lambda: _remind(main, is_over), name="drain", daemon=True)

    def told(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(drain.set)
        if not reminding.ident:
            reminding.start()
        elif is_within(frame, patient):
            INTERRUPTED.set()
            raise Interrupted

    before = signal.signal(signal.SIGTERM, told)
    try:
        yield
    finally:
        is_over.set()
        if reminding.ident:
            reminding.join()
        signal.signal(signal.SIGTERM, before)


def _remind(thread: int, is_over: threading.Event) -> None:
    """Send the signal again, until the process has drained."""
    while not is_over.wait(_PATIENCE_SECONDS):
        signal.pthread_kill(thread, signal.SIGTERM)
