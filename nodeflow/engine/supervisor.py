"""The supervisor: starts every loop in processes of its own, watches over them and leaves none behind."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import anyio
from anyio.abc import ByteReceiveStream, Process
from attrs import asdict, define, field

from nodeflow.engine.claim import sole_supervisor
from nodeflow.engine.job import JobResult, NodeCount, Observer, Progress
from nodeflow.engine.loading import GraphSource
from nodeflow.engine.plan import channels_of, closed_mark, finish_mark
from nodeflow.engine.process import DRAINED, USED_UP, Order
from nodeflow.engine.results import done_count, failed_count
from nodeflow.engine.streams import lines_of
from nodeflow.errors import JobError, LoopDiedError, NodeflowError, UnfinishedJobError
from nodeflow.graph import Graph, Kind
from nodeflow.storage import DataStore
from nodeflow.storage.groups import ungrouped
from nodeflow.storage.sweep import SWEEP_SECONDS

_log = logging.getLogger(__name__)

_PROGRESS_SECONDS = 0.2
_GRACE_SECONDS = 5.0
_LAST_LINES = 40
_LAST_WORDS_SECONDS = 0.5
_PROGRAM = "import sys; sys.path.append(sys.argv[1]); from nodeflow.engine.process import main; sys.exit(main())"


def new_job_id() -> str:
    """An id that sorts by the time at which it was made."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{uuid4().hex[:6]}"


@define(eq=False)
class _Child:
    loop: str
    slot: str
    process: Process
    last_lines: deque[str] = field(factory=lambda: deque(maxlen=_LAST_LINES))

    def drain(self) -> None:
        with suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End the process and all that it started, which share its process group."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)

    def death(self, status: int) -> LoopDiedError:
        if status == DRAINED:
            cause = "was told to stop by somebody else than its supervisor"
        elif status >= 0:
            cause = f"exited with status {status}"
        else:
            cause = f"was killed by {signal.Signals(-status).name}"
        return LoopDiedError(self.loop, self.slot, cause, "\n".join(self.last_lines))


@define(eq=False)
class Supervisor:
    """One job: all processes of all loops of a graph.

    Args:
        graph: the finished graph.
        source: where the processes import it from.
        store: the store, below the graph's prefix.
        observer: what wants to know how the job goes on.
        job: the job's id.
    """

    graph: Graph
    source: GraphSource
    store: DataStore
    observer: Observer
    job: str = field(factory=new_job_id)
    _children: list[_Child] = field(factory=list, init=False)
    _channels: list[str] = field(init=False)
    _death: LoopDiedError | None = field(default=None, init=False)
    _signals: int = field(default=0, init=False)
    _start: float = field(factory=time.monotonic, init=False)

    def __attrs_post_init__(self) -> None:
        self._channels = list(channels_of(self.graph))

    async def run(self, *, fresh: bool = False) -> JobResult:
        """Run the job to its end, or until SIGINT or SIGTERM drains it; a second signal ends it at once.

        Args:
            fresh: discard what an earlier job left in the channels.

        Raises:
            AlreadyRunningError: another supervisor runs the graph.
            UnsafeServerError: the server may throw queued data away.
            UnfinishedJobError: an earlier job left items behind.
            LoopDiedError: a process died; the others were stopped.
            JobError: a second signal ended the job.
        """
        await self.store.check_server()
        with ungrouped():
            async with sole_supervisor(self.graph.name, self.store, self.job):
                await self._make_room(fresh=fresh)
                try:
                    await self._supervise()
                    return await self._result()
                finally:
                    with anyio.CancelScope(shield=True):
                        await self.store.ledger(self.job).remove()

    async def _supervise(self) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._obey_signals)
            tasks.start_soon(self._report)
            tasks.start_soon(self._sweep)
            await self._run_children()
            tasks.cancel_scope.cancel()

    async def _sweep(self) -> None:
        """Remove unused blobs each hour; where that fails, the job goes on."""
        while self.store.has_blobs:
            try:
                await self.store.sweep()
            except NodeflowError as error:
                _log.warning("the blobs could not be swept: %s", error)
            await anyio.sleep(SWEEP_SECONDS)

    async def _make_room(self, *, fresh: bool) -> None:
        waiting = await self._waiting()
        if waiting and not fresh:
            raise UnfinishedJobError(self.graph.name, waiting)
        for queue in waiting:
            await self.store.queue.clear(queue)
            await self.store.queue.clear_leases(queue)

    async def _run_children(self) -> None:
        used = {spec.loop for spec in self.graph.nodes.values()}
        try:
            async with anyio.create_task_group() as tasks:
                for loop in self.graph.loops.values():
                    for number in range(loop.processes if loop.name in used else 0):
                        child = await self._start_child(loop.name, f"{loop.name}/{number}")
                        tasks.start_soon(self._watch, child)
        finally:
            with anyio.CancelScope(shield=True):
                await self._stop_children()
                for child in self._children:
                    await child.process.aclose()

    async def _start_child(self, loop: str, slot: str) -> _Child:
        settings = asdict(self.store.settings)
        order = Order(
            source=str(self.source),
            loop=loop,
            slot=slot,
            job=self.job,
            prefix=self.store.prefix,
            settings=settings | {"folder": str(settings["folder"])},
        )
        process = await anyio.open_process(
            [sys.executable, "-P", "-c", _PROGRAM, str(Path(__file__).parents[2])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
            start_new_session=True,
            cwd=self.source.folder,
        )
        child = _Child(loop, slot, process)
        self._children.append(child)
        assert process.stdin is not None
        with suppress(anyio.BrokenResourceError):
            await process.stdin.send(order.to_line())
        return child

    async def _watch(self, child: _Child) -> None:
        process = child.process
        assert process.stdout is not None
        assert process.stderr is not None
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._forward, child, process.stdout, False)
            tasks.start_soon(self._forward, child, process.stderr, True)
            status = await process.wait()
            child.kill()
            # a process that a node has detached may hold the other end of the pipes for long
            tasks.cancel_scope.deadline = anyio.current_time() + _LAST_WORDS_SECONDS
        if self._death is None and not await self._has_done_its_part(child, status):
            self._death = child.death(status)
            await self._stop_children()

    async def _has_done_its_part(self, child: _Child, status: int) -> bool:
        """Whether a process ended as it should; a node may end it at any time, with whatever status."""
        if self._signals:
            return self._signals > 1 or status in (USED_UP, DRAINED, -signal.SIGTERM)
        marks = await self.store.ledger(self.job).read()
        others = any(each.loop == child.loop and each.process.returncode is None for each in self._children)
        last_mark = finish_mark(child.loop) if others else closed_mark(child.loop)
        return status == USED_UP and last_mark in marks

    async def _forward(self, child: _Child, stream: ByteReceiveStream, is_error: bool) -> None:
        async for line in lines_of(stream):
            if is_error:
                child.last_lines.append(line)
            self.observer.output(child.slot, line, is_error=is_error)

    async def _stop_children(self) -> None:
        """Let all children drain, for a few seconds; then end those that are still there."""
        alive = [child for child in self._children if child.process.returncode is None]
        for child in alive:
            child.drain()
        with anyio.move_on_after(_GRACE_SECONDS):
            for child in alive:
                await child.process.wait()
        for child in self._children:
            child.kill()
            await child.process.wait()

    async def _obey_signals(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            return
        with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            async for _ in signals:
                self._signals += 1
                self.observer.draining()
                for child in self._children:
                    if self._signals == 1:
                        child.drain()
                    else:
                        child.kill()

    async def _report(self) -> None:
        while True:
            self.observer.progress(await self._progress())
            await anyio.sleep(_PROGRESS_SECONDS)

    async def _progress(self) -> Progress:
        counts = await self.store.ledger(self.job).read()
        nodes = {
            spec.id: NodeCount(counts.get(done_count(spec.id), 0), counts.get(failed_count(spec.id), 0))
            for spec in self.graph.nodes.values()
            if spec.kind not in (Kind.READER, Kind.WRITER)
        }
        return Progress(nodes=nodes, waiting=await self._waiting(), seconds=time.monotonic() - self._start)

    async def _waiting(self) -> dict[str, int]:
        """How many items lie in each channel that isn't empty, leased ones included."""
        queue = self.store.queue
        depths = {name: await queue.length(name) + await queue.leased(name) for name in self._channels}
        return {name: depth for name, depth in depths.items() if depth}

    async def _result(self) -> JobResult:
        progress = await self._progress()
        self.observer.progress(progress)
        if self._signals > 1:
            raise JobError(f"job {self.job} was ended at once by a second signal")
        if self._death is not None:
            raise self._death
        return JobResult(
            job=self.job,
            nodes=progress.nodes,
            done=sum(progress.nodes[node].done for node in self._last_nodes()),
            failed=sum(count.failed for count in progress.nodes.values()),
            waiting=progress.waiting,
            seconds=progress.seconds,
            drained=self._signals > 0,
        )

    def _last_nodes(self) -> list[str]:
        """The nodes whose output nothing in the graph takes."""
        readers = {edge.source for spec in self.graph.nodes.values() for edge in spec.edges.values()}
        taken = {
            edge.source
            for spec in self.graph.nodes.values()
            for edge in spec.edges.values()
            if spec.kind is not Kind.WRITER or spec.id in readers
        }
        ends = (spec for spec in self.graph.nodes.values() if spec.kind not in (Kind.READER, Kind.WRITER))
        return [spec.id for spec in ends if spec.id not in taken]
