"""The supervisor: starts every loop in processes of its own, watches over them, and starts those again that die."""

from __future__ import annotations

import logging
import signal
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime

import anyio
from attrs import asdict, define, evolve, field

from nodeflow.engine.core.marks import closed_mark, committed_count
from nodeflow.engine.core.results import refused_count
from nodeflow.engine.jobs.child import Child
from nodeflow.engine.jobs.claim import sole_supervisor
from nodeflow.engine.jobs.job import JobResult, JobStatus, Observer, Progress
from nodeflow.engine.jobs.jobbook import JobBook
from nodeflow.engine.jobs.records import JobRecord
from nodeflow.engine.loading import GraphSource
from nodeflow.engine.loops.process import STOPPED, Order
from nodeflow.errors import JobError, LoopDiedError, NodeflowError, StorageError
from nodeflow.graph import Graph, Kind
from nodeflow.storage import DataStore
from nodeflow.storage.groups import ungrouped
from nodeflow.storage.sweep import SWEEP_SECONDS

_log = logging.getLogger(__name__)

_PROGRESS_SECONDS = 0.2
_GRACE_SECONDS = 5.0
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.1, 5.0
MOST_DEATHS = 5
"""After how many deaths in a row, without a committed item, a slot is given up."""


@define(eq=False)
class Supervisor:
    """One job: all processes of all loops of a graph.

    Args:
        graph: the finished graph.
        source: where the processes import it from.
        store: the store, below the graph's prefix.
        observer: what wants to know how the job goes on.
    """

    graph: Graph
    source: GraphSource
    store: DataStore
    observer: Observer
    _book: JobBook = field(init=False)
    _record: JobRecord = field(init=False)
    _children: dict[str, Child] = field(factory=dict, init=False)
    _failure: JobError | None = field(default=None, init=False)
    _signals: int = field(default=0, init=False)
    _start: float = field(factory=time.monotonic, init=False)

    def __attrs_post_init__(self) -> None:
        self._book = JobBook(self.graph, self.store)

    async def run(self, *, fresh: bool = False) -> JobResult:
        """Run the job to its end, or until SIGINT or SIGTERM drains it; a second signal ends it at once.

        A job that was not done goes on where it was.

        Args:
            fresh: discard that, and begin a new one.

        Raises:
            AlreadyRunningError: another supervisor runs the graph.
            UnsafeServerError: the server may throw queued data away.
            LoopDiedError: a process died again and again; the others were stopped.
            JobError: a node stopped the job, or a second signal ended it.
        """
        await self.store.check_server()
        with ungrouped():
            async with sole_supervisor(self.graph.name, self.store):
                if fresh:
                    await self._book.discard()
                self._record = await self._open()
                await self._supervise()
                return await self._result()

    async def _open(self) -> JobRecord:
        before = {record.id: record.status for record in await self._book.all()}
        record = await self._book.open(str(self.source))
        if record.id in before:
            self.observer.going_on(record.id, before[record.id])
        return record

    async def _supervise(self) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._obey_signals)
            tasks.start_soon(self._report)
            tasks.start_soon(self._sweep)
            await self._run_slots()
            tasks.cancel_scope.cancel()

    async def _sweep(self) -> None:
        """Remove unused blobs each hour; where that fails, the job goes on."""
        while self.store.has_blobs:
            try:
                await self.store.sweep()
            except NodeflowError as error:
                _log.warning("the blobs could not be swept: %s", error)
            await anyio.sleep(SWEEP_SECONDS)

    async def _run_slots(self) -> None:
        used = {spec.loop for spec in self.graph.nodes.values()}
        try:
            async with anyio.create_task_group() as tasks:
                for loop in self.graph.loops.values():
                    for slot in range(loop.processes if loop.name in used else 0):
                        tasks.start_soon(self._keep, loop.name, slot)
        finally:
            with anyio.CancelScope(shield=True):
                await self._stop_children()

    async def _keep(self, loop: str, slot: int) -> None:
        """Keep a slot filled until its part of the job is done."""
        deaths, committed = 0, 0
        while not self._signals and self._failure is None:
            child = await Child.start(self._order(loop, slot), self.source.folder)
            self._children[child.name] = child
            self._tell(child)  # what came while it was started
            try:
                status = await child.watch(self.observer)
            finally:
                with anyio.CancelScope(shield=True):
                    child.kill()
                    await child.process.aclose()
                    if child.was_ended:
                        await self._absolve(loop, slot)
            if await self._is_over(loop):
                return
            marks = await self.store.ledger(self._record.id).read()
            before, committed = committed, marks.get(committed_count(loop, slot), 0)
            deaths = 1 if committed > before else deaths + 1
            self._record = evolve(self._record, deaths=self._record.deaths + 1)
            await self._book.write(self._record)
            if status == STOPPED or deaths >= self._most_deaths:
                await self._give_up(child, status, deaths)
                return
            death = child.death(status)
            pause = min(_LONGEST_PAUSE_SECONDS, _FIRST_PAUSE_SECONDS * 2 ** (deaths - 1))
            self.observer.restarting(death, pause)
            await anyio.sleep(pause)

    async def _absolve(self, loop: str, slot: int) -> None:
        """Have nothing count as deadly that an ended process had in hand; without a server nobody waits for that."""
        with anyio.move_on_after(_GRACE_SECONDS), suppress(StorageError):
            await self._book.absolve(self._record, loop, slot)

    async def _give_up(self, child: Child, status: int, deaths: int) -> None:
        if self._failure is None:
            death = child.death(status)
            self._failure = JobError(death.output) if status == STOPPED else evolve_death(death, deaths)
            await self._stop_children()

    @property
    def _most_deaths(self) -> int:
        """More than it takes until an item that kills its process is in the dead letters."""
        return max(MOST_DEATHS, self.store.settings.max_deliveries + 2)

    def _order(self, loop: str, slot: int) -> Order:
        settings = asdict(self.store.settings)
        return Order(
            source=str(self.source),
            loop=loop,
            slot=slot,
            job=self._record.id,
            prefix=self.store.prefix,
            settings=settings | {"folder": str(settings["folder"])},
        )

    async def _is_over(self, loop: str) -> bool:
        """Whether a loop needs no process any more; a node may end one at any time, with whatever status."""
        if self._signals or self._failure is not None:
            return True
        return closed_mark(loop) in await self.store.ledger(self._record.id).read()

    async def _stop_children(self) -> None:
        """Let all children drain, for a few seconds; then end those that are still there."""
        alive = [child for child in self._children.values() if child.is_alive]
        for child in alive:
            child.drain()
        with anyio.move_on_after(_GRACE_SECONDS):
            for child in alive:
                await child.process.wait()
        for child in self._children.values():
            child.kill()

    async def _obey_signals(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            return
        with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            async for _ in signals:
                self._signals += 1
                self.observer.draining()
                for child in self._children.values():
                    self._tell(child)

    def _tell(self, child: Child) -> None:
        """Let a child drain, or end it, if the job is to end."""
        if self._signals > 1:
            child.kill()
        elif self._signals or self._failure is not None:
            child.drain()

    async def _report(self) -> None:
        while True:
            self.observer.progress(await self._progress())
            await anyio.sleep(_PROGRESS_SECONDS)

    async def _progress(self) -> Progress:
        nodes = await self._book.counts(self._record.id)
        return Progress(nodes=nodes, waiting=await self._book.waiting(), seconds=time.monotonic() - self._start)

    async def _result(self) -> JobResult:
        progress = await self._progress()
        self.observer.progress(progress)
        marks = await self.store.ledger(self._record.id).read()
        used = {spec.loop for spec in self.graph.nodes.values()}
        is_done = all(closed_mark(loop) in marks for loop in used)
        await self._close(progress, is_done=is_done)
        if self._signals > 1 and not is_done:
            raise JobError(f"job {self._record.id} was ended at once by a second signal")
        if self._failure is not None and not is_done:
            raise self._failure
        return JobResult(
            job=self._record.id,
            nodes=progress.nodes,
            done=sum(progress.nodes[node].done for node in self._last_nodes()),
            failed=sum(count.failed for count in progress.nodes.values())
            + sum(marks.get(refused_count(loop), 0) for loop in used),
            waiting=progress.waiting,
            seconds=progress.seconds,
            drained=not is_done,
        )

    async def _close(self, progress: Progress, *, is_done: bool) -> None:
        status = JobStatus.DONE if is_done else JobStatus.DRAINED if self._failure is None else JobStatus.STOPPED
        record = evolve(
            self._record,
            status=status,
            ended=datetime.now(UTC),
            nodes=progress.nodes,
            why="" if self._failure is None else str(self._failure),
        )
        await self._book.lift_bounds()
        if is_done:
            await self._book.close(record)
        else:
            await self._book.write(record)

    def _last_nodes(self) -> list[str]:
        """The nodes whose output no other node takes, be it through a channel."""
        nodes = self.graph.nodes
        taken: set[str] = set()
        for spec in reversed(list(nodes.values())):
            if spec.kind not in (Kind.READER, Kind.WRITER) or spec.id in taken:
                taken |= {edge.source for edge in spec.edges.values()}
        return [
            spec.id for spec in nodes.values() if spec.id not in taken and spec.kind not in (Kind.READER, Kind.WRITER)
        ]


def evolve_death(death: LoopDiedError, deaths: int) -> LoopDiedError:
    """A death that was one too many."""
    cause = f"{death.cause}, for the {deaths}th time in a row without having done anything"
    return LoopDiedError(death.loop, death.slot, cause, death.output)
