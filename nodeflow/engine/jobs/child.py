"""One process of a loop as its supervisor sees it: started, listened to, told to drain, ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import deque
from contextlib import suppress
from pathlib import Path

import anyio
from anyio.abc import ByteReceiveStream, Process
from attrs import define, field

from nodeflow.engine.jobs.job import Observer
from nodeflow.engine.jobs.streams import lines_of
from nodeflow.engine.loops.process import DRAINED, Order
from nodeflow.errors import LoopDiedError

_LAST_LINES = 40
_LAST_WORDS_SECONDS = 0.5
_PROGRAM = (
    "import gc, sys; gc.disable(); sys.path.append(sys.argv[1]); "
    "from nodeflow.engine.loops.process import main; sys.exit(main())"
)
"""What a process runs; while modules are imported there is no garbage to look for."""


@define(eq=False)
class Child:
    """A process of a loop.

    Args:
        order: what it was told to do.
        name: its slot, as in `parse/1`.
        process: the process.
    """

    order: Order
    name: str
    process: Process
    was_ended: bool = field(default=False, init=False)
    """Whether it was ended while it was at work."""
    _last_lines: deque[str] = field(factory=lambda: deque(maxlen=_LAST_LINES), init=False)

    @classmethod
    async def start(cls, order: Order, folder: Path) -> Child:
        """Start one.

        Args:
            order: what it is to do.
            folder: where.
        """
        process = await anyio.open_process(
            [sys.executable, "-P", "-c", _PROGRAM, str(Path(__file__).parents[3]), *order.title()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
            start_new_session=True,
            cwd=folder,
        )
        assert process.stdin is not None
        with suppress(anyio.BrokenResourceError):
            await process.stdin.send(order.to_line())
        return cls(order, f"{order.loop}/{order.slot}", process)

    @property
    def is_alive(self) -> bool:
        """Whether it has not ended yet."""
        return self.process.returncode is None

    def drain(self) -> None:
        """Tell it to finish what it has in hand, and to end."""
        with suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End the process and all that it started, which share its process group."""
        self.was_ended = self.was_ended or self.is_alive
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)

    async def watch(self, observer: Observer) -> int:
        """Tell an observer what it writes, until it ends; its exit status."""
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._forward, observer, self.process.stdout, False)
            tasks.start_soon(self._forward, observer, self.process.stderr, True)
            status = await self.process.wait()
            self.kill()
            # a process that a node has detached may hold the other end of the pipes for long
            tasks.cancel_scope.deadline = anyio.current_time() + _LAST_WORDS_SECONDS
        return status

    async def _forward(self, observer: Observer, stream: ByteReceiveStream, is_error: bool) -> None:
        async for line in lines_of(stream):
            if is_error:
                self._last_lines.append(line)
            observer.output(self.name, line, is_error=is_error)

    def death(self, status: int) -> LoopDiedError:
        """The error that says how it died."""
        if status == DRAINED:
            cause = "was told to stop by somebody else than its supervisor"
        elif status >= 0:
            cause = f"exited with status {status}"
        else:
            cause = f"was killed by {signal.Signals(-status).name}"
        return LoopDiedError(self.order.loop, self.name, cause, "\n".join(self._last_lines))
