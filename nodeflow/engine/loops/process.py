"""The main program of one process of a loop, which gets its order on standard input.

Standard input stays open for as long as the supervisor lives: its end is the supervisor's death.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import anyio
from attrs import asdict, evolve, frozen

from nodeflow.engine.core.endings import StoppedError
from nodeflow.engine.core.plan import LoopPlan, plan_loop
from nodeflow.engine.core.traces import user_trace
from nodeflow.engine.loading import load_graph
from nodeflow.engine.loops.draining import drained_by_sigterm
from nodeflow.engine.loops.loop import Post, run_loop
from nodeflow.engine.loops.producing import PATIENT
from nodeflow.engine.passes import finished
from nodeflow.errors import NodeflowError
from nodeflow.graph import declare_types
from nodeflow.settings import Settings
from nodeflow.storage import DataStore
from nodeflow.storage.groups import ungrouped


@frozen(kw_only=True)
class Order:
    """What a supervisor tells a process to do.

    Args:
        source: `FILE:name` of the graph.
        loop: which loop of it.
        slot: which process of the loop.
        job: the job's id.
        prefix: the store's prefix, the graph's own included.
        settings: the fields of the store's `Settings`.
    """

    source: str
    loop: str
    slot: int
    job: str
    prefix: str
    settings: dict[str, Any]

    def title(self) -> list[str]:
        """What tells the process from others in a list of processes: arguments that it doesn't read."""
        return [f"nodeflow:{self.loop}/{self.slot}", self.source]

    def to_line(self) -> bytes:
        """The order as one line of JSON."""
        return json.dumps(asdict(self)).encode() + b"\n"


_GARBAGE = 20_000
"""After how many new lists, dicts and the like it is looked for garbage; Python's 700 is less than one lease."""

USED_UP = 10
DRAINED = 11
STOPPED = 12
"""How a process that did its part ends: never with 0, with which a node may end it at any time."""


def main() -> int:
    """Read the order, import the graph and run the loop; the process's exit status."""
    order = Order(**json.loads(sys.stdin.buffer.readline()))
    _watch_supervisor()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        graph, _ = load_graph(order.source)
        plan = plan_loop(finished(graph), order.loop)
        if plan.loop.memory is not None:
            resource.setrlimit(resource.RLIMIT_DATA, (plan.loop.memory, resource.RLIM_INFINITY))
        declare_types(graph)
        gc.freeze()  # what was imported stays: it need not be looked through again and again
        gc.set_threshold(_GARBAGE)
        gc.enable()
        with ungrouped():
            is_used_up = anyio.run(_run, order, plan)
    except StoppedError as error:
        print(error, file=sys.stderr)  # noqa: T201 - the supervisor reads it
        return STOPPED
    except NodeflowError as error:
        print(error, file=sys.stderr)  # noqa: T201 - the supervisor reads it
        return 1
    except (Exception, SystemExit) as error:
        print(user_trace(error), file=sys.stderr)  # noqa: T201 - the supervisor reads it
        return 1
    return USED_UP if is_used_up else DRAINED


async def _run(order: Order, plan: LoopPlan) -> bool:
    drain = anyio.Event()
    settings = Settings(**order.settings)
    with drained_by_sigterm(drain, PATIENT):
        # The loop itself buries what kills it, and tells those who wait for what would have come of it.
        lenient = evolve(settings, max_deliveries=settings.max_deliveries + 1)
        async with DataStore.open(lenient, prefix=order.prefix) as store:
            return await run_loop(Post(plan, store, order.job, order.slot, settings.max_deliveries), drain)


def _watch_supervisor() -> None:
    """End this process, and what it started, when the supervisor's end of the standard input is closed."""
    supervisor = os.dup(0)
    with Path(os.devnull).open() as nothing:
        os.dup2(nothing.fileno(), 0)

    def wait() -> None:
        while os.read(supervisor, 1):
            pass
        os.killpg(os.getpgrp(), signal.SIGKILL)

    threading.Thread(target=wait, name="supervisor watch", daemon=True).start()
