"""Shows how a job goes on: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table

from nodeflow.cli.common import seconds_text
from nodeflow.engine import JobStatus, Observer, Progress
from nodeflow.engine.jobs.job import going_on_line
from nodeflow.errors import LoopDiedError
from nodeflow.graph import Graph

_PLAIN_SECONDS = 2.0
_DRAINING = "draining: what is in hand is finished, the rest stays in the queues; a second signal ends at once"


@contextmanager
def reporting(graph: Graph, *, quiet: bool) -> Iterator[Observer]:
    """What shows the progress of a graph's job while the context lasts.

    Args:
        graph: the graph.
        quiet: show no progress, only what the loops write.
    """
    console = Console(stderr=True)
    if quiet:
        yield Quiet()
    elif not console.is_terminal:
        yield Plain()
    else:
        with Live(console=console, refresh_per_second=8, transient=False) as live:
            yield LiveTable(graph, live)


class Quiet:
    """Passes on what the loops write, where they wrote it."""

    def progress(self, progress: Progress) -> None:
        """Shows nothing."""

    def going_on(self, job: str, status: JobStatus) -> None:
        """Say it."""
        print(f"nodeflow: {going_on_line(job, status)}", file=sys.stderr, flush=True)  # noqa: T201

    def draining(self) -> None:
        """Shows nothing."""

    def restarting(self, death: LoopDiedError, seconds: float) -> None:
        """Say it."""
        print(f"nodeflow: {death.restart_line(seconds)}", file=sys.stderr, flush=True)  # noqa: T201

    def output(self, slot: str, text: str, *, is_error: bool) -> None:
        """Print a line of a loop."""
        print(text, file=sys.stderr if is_error else sys.stdout, flush=True)


class Plain(Quiet):
    """A line every few seconds, on standard error."""

    def __init__(self) -> None:
        self._next = time.monotonic() + _PLAIN_SECONDS

    def draining(self) -> None:
        """Say it."""
        print(_DRAINING, file=sys.stderr, flush=True)  # noqa: T201

    def progress(self, progress: Progress) -> None:
        """Print a line when it is time for one."""
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + _PLAIN_SECONDS
        nodes = ", ".join(
            f"{node} {count.done}" + (f" ({count.failed} failed)" if count.failed else "")
            for node, count in progress.nodes.items()
        )
        waiting = ", ".join(f"{queue} {depth}" for queue, depth in progress.waiting.items()) or "nothing"
        print(f"{seconds_text(progress.seconds)}: done {nodes}; waiting {waiting}", file=sys.stderr, flush=True)  # noqa: T201


class LiveTable:
    """A table of nodes and channels that is drawn anew several times a second."""

    def __init__(self, graph: Graph, live: Live) -> None:
        self._loops = {spec.id: spec.loop for spec in graph.nodes.values()}
        self._live = live
        self._spinner = Spinner("dots")

    def progress(self, progress: Progress) -> None:
        """Draw the table anew."""
        self._live.update(self._table(progress))

    def going_on(self, job: str, status: JobStatus) -> None:
        """Say it above the table."""
        self._live.console.print(going_on_line(job, status), markup=False, highlight=False, soft_wrap=True)

    def draining(self) -> None:
        """Say it above the table."""
        self._live.console.print(_DRAINING)

    def restarting(self, death: LoopDiedError, seconds: float) -> None:
        """Say it above the table."""
        self._live.console.print(death.restart_line(seconds), markup=False, highlight=False, soft_wrap=True)

    def output(self, slot: str, text: str, *, is_error: bool) -> None:
        """Print a line of a loop above the table."""
        self._live.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def _table(self, progress: Progress) -> RenderableType:
        nodes = Table("node", "loop", "done", "failed", box=None, padding=(0, 2, 0, 0), header_style="dim")
        for node, count in progress.nodes.items():
            failed = f"[red]{count.failed:,}[/]" if count.failed else "0"
            nodes.add_row(node, self._loops.get(node, ""), f"{count.done:,}", failed)
        waiting = ", ".join(f"{queue} {depth:,}" for queue, depth in progress.waiting.items()) or "nothing"
        self._spinner.update(text=f"{seconds_text(progress.seconds)}  waiting: {waiting}")
        return Group(nodes, self._spinner)
