"""Processes that use a store and can be killed: `python -m tests.faults.workers TASK URL PREFIX JSON`.

Each prints a line of JSON when it has done what the test waits for.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from nodeflow.errors import LeaseLostError
from nodeflow.settings import Settings
from nodeflow.storage import DataStore

ROOT = Path(__file__).parents[2]


class Worker:
    """A process at work.

    Args:
        process: it.
    """

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def said(self, within: float = 20.0) -> Any:
        """The next line that it prints, None when it ended without one."""
        assert self._process.stdout is not None
        line = await asyncio.wait_for(self._process.stdout.readline(), within)
        return json.loads(line) if line else None

    async def kill(self) -> None:
        """End it as a power cut would."""
        self._process.kill()
        await self._process.wait()

    def freeze(self) -> None:
        """Stop it where it is."""
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._process.send_signal(signal.SIGCONT)

    def go(self) -> None:
        """Close its standard input, for which tasks wait that do something later."""
        assert self._process.stdin is not None
        self._process.stdin.close()

    async def ended(self) -> int:
        """Its exit status, when it has ended."""
        return await asyncio.wait_for(self._process.wait(), 30)


@asynccontextmanager
async def worker(task: str, store: DataStore, **arguments: Any) -> AsyncIterator[Worker]:
    """A process with a store on the same server and prefix, for the length of the context.

    Args:
        task: the name of a function below.
        store: whose server and prefix.
        arguments: the task's, and fields of `Settings`.
    """
    settings = {"url": store.settings.url} | arguments.pop("settings", {})
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "tests.faults.workers", task, json.dumps(settings), store.prefix, json.dumps(arguments)),
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        yield Worker(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


def say(what: Any) -> None:
    print(json.dumps(what), flush=True)


async def told_to_go() -> None:
    """Wait until the test closes our standard input."""
    await asyncio.to_thread(sys.stdin.read)


async def hold(store: DataStore, max_items: int, consumer: str | None = None) -> None:
    """Lease and hold until told to go; then try to acknowledge, and say how that went."""
    try:
        async with store.queue.lease("jobs", max_items, consumer=consumer) as lease:
            say([item.value for item in lease])
            await told_to_go()
            await lease.commit(pushes={"out": ["a late write"]}, states={"late": True})
    except LeaseLostError:
        say("lost")
    else:
        say("done")


async def spin(store: DataStore, seconds: float) -> None:
    """Lease and compute for so long without letting the event loop have its turn; then acknowledge."""
    async with store.queue.lease("jobs", 10) as lease:
        say(len(lease))
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            pass
    say("done")


async def push(store: DataStore, count: int, parts: int) -> None:
    """Push numbers and say after each part how many are confirmed."""
    for first in range(0, count, parts):
        await store.queue.push_many("jobs", range(first, first + parts))
        say(first + parts)


async def consume(store: DataStore, most: int = 50, poison: int | None = None) -> None:
    """Hand on what comes, for ever; die of the poison."""
    while True:
        async with store.queue.lease("jobs", most) as lease:
            for item in lease:
                if item.value == poison:
                    os.kill(os.getpid(), signal.SIGKILL)
            await lease.commit(pushes={"out": [item.value for item in lease]})


async def write(store: DataStore, writer: str, count: int) -> None:
    """Push as a writer until told to go; done then."""
    async with store.queue.write_as("jobs", writer):
        await store.queue.push_many("jobs", range(count))
        say("written")
        await told_to_go()


async def _main(task: str, settings: str, prefix: str, arguments: str) -> None:
    threading.current_thread().name = task
    async with DataStore.open(Settings(**json.loads(settings)), prefix=prefix) as store:
        await globals()[task](store, **json.loads(arguments))


if __name__ == "__main__":
    asyncio.run(_main(*sys.argv[1:]))
