"""FlowEngine: the one door to stepping a graph and to running it."""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, Iterable
from types import TracebackType
from typing import Any, Literal, Self

from attrs import evolve

from nodeflow.engine.jobs.job import JobResult, JobStatus, Observer, Progress, going_on_line
from nodeflow.engine.jobs.jobbook import JobBook
from nodeflow.engine.jobs.letterfilter import LetterFilter
from nodeflow.engine.jobs.letters import Letters
from nodeflow.engine.jobs.records import JobRecord
from nodeflow.engine.jobs.supervisor import Supervisor
from nodeflow.engine.loading import GraphSource, check_not_loading, source_of
from nodeflow.engine.passes import finished
from nodeflow.engine.stepping.development import Development, StepPlan, StepResult, Wanted
from nodeflow.engine.stepping.kept import KeptItem, KeptOutput
from nodeflow.engine.stepping.status import NodeStatus
from nodeflow.errors import LoopDiedError
from nodeflow.graph import Graph, declare_types
from nodeflow.storage import DataStore
from nodeflow.values.blobs import Blob


class FlowEngine:
    """Steps a graph node by node, or runs it as isolated loops.

    Args:
        graph: the graph.
        store: where its data lies; a store that is given isn't closed by the engine. None opens one by the
            environment: `NODEFLOW_URL` or `REDIS_URL`, else the embedded server in `.nodeflow`.
        source: where other processes can import the graph from; None looks for it among the imported modules.

    Raises:
        GraphInvalidError: the graph has problems, with all of them.
    """

    def __init__(self, graph: Graph, store: DataStore | None = None, *, source: GraphSource | None = None) -> None:
        self.graph = graph
        self._finished = finished(graph)
        declare_types(graph)
        self._source = source
        self._owns_store = store is None
        self._store = store or DataStore.open()
        self._scoped = self._store.scoped(f"{{{graph.name}}}:")
        self._development = Development(graph, self._finished, self._scoped, self._store.settings.output_ttl)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def place(self) -> str:
        """Of which graph this is, and on which server, for messages."""
        return f"graph {self.graph.name!r} on {self._store.connection.address}"

    async def close(self) -> None:
        """Close the store, if the engine opened it."""
        if self._owns_store:
            await self._store.close()

    async def step(
        self, node_id: str, *, items: int | Literal["all"] | None = None, refresh: bool = False
    ) -> StepResult:
        """Run one node on the kept output of the nodes before it, and keep its own.

        A missing output of a node before it is produced first.

        Args:
            node_id: the node.
            items: how many values of each producer and fan-out to take, "all" for all; by default 1 of those that are
                run, and all that is kept.
            refresh: run nodes before it whose output is stale, too.

        Raises:
            UsageError: the graph has no such node.
            NodeFailedError: a node raised; what was kept of it stays.
            NoneReturnedError: a node gave None, though it is annotated to give something else; the same.
        """
        check_not_loading("engine.step()")
        return await self._development.step(node_id, Wanted(items=items, refresh=refresh))

    async def plan(self, node_id: str, *, items: int | Literal["all"] | None = None, refresh: bool = False) -> StepPlan:
        """What `step` would run and why; nothing is run. The arguments are those of `step`."""
        return await self._development.plan(node_id, Wanted(items=items, refresh=refresh))

    async def status(self) -> dict[str, NodeStatus]:
        """What the kept output of each node is worth: fresh, stale and why, or missing."""
        return await self._development.status()

    async def output(self, node_id: str) -> KeptOutput | None:
        """The kept output of a node, or None.

        Raises:
            UsageError: the graph has no such node.
        """
        return await self._development.kept(node_id)

    def follow(self, node_id: str) -> AsyncGenerator[KeptItem, None]:
        """The items of a node from the first on, those too that a step which is under way elsewhere still gives.

        Raises:
            UsageError: the graph has no such node, or nothing is kept of it.
            JobError: the step failed meanwhile.
        """
        return self._development.follow(node_id)

    async def run(self, *, fresh: bool = False, observer: Observer | None = None) -> JobResult:
        """Run every loop in processes of its own, until the input is used up or a signal drains the job.

        A job that was not done goes on where it was; so does one of which dead letters were requeued.

        Args:
            fresh: discard that, and begin a new one.
            observer: what wants to know how the job goes on; by default the output of the processes is printed.

        Raises:
            UsageError: the graph is no module-level name of a file, or a file runs it when imported.
            AlreadyRunningError: another supervisor runs the graph.
            LoopDiedError: a process died again and again; the others were stopped.
            JobError: a node stopped the job.
        """
        check_not_loading("engine.run()")
        source = self._source or source_of(self.graph)
        supervisor = Supervisor(self._finished, source, self._scoped, observer or _Printer())
        return await supervisor.run(fresh=fresh)

    async def blobs(self) -> list[Blob]:
        """The blobs to which the graph's kept outputs, channels and dead letters refer.

        Raises:
            UsageError: the store has no blobs.
        """
        return await self._scoped.blobs_in_use()

    async def dead_letters(self, which: LetterFilter | None = None) -> list[dict[str, Any]]:
        """The items that nodes raised on or readers couldn't take in, oldest first: input, error and traceback.

        Args:
            which: those that are given; None for all.

        Raises:
            UsageError: one is named that there isn't.
        """
        return [dict(letter.shown) for letter in await self._letters.chosen(_filter(which))]

    async def requeueable(self, which: LetterFilter | None = None) -> list[dict[str, Any]]:
        """Those that `requeue` would let go on, as `dead_letters` gives them."""
        return [dict(letter.shown) for letter in await self._letters.requeueable(_filter(which))]

    async def requeue(self, letters: LetterFilter | Iterable[str] | None = None) -> int:
        """Let the items of dead letters go on at the node that raised: in their job if that runs, or in the next run.

        Args:
            letters: which, by a filter or by the id in `letter`, all of one job. Where neither ids nor a job are named,
                it is those of the last job, or of the one that isn't done, and what could not be read.

        Returns:
            how many those were.

        Raises:
            UsageError: there is no such letter, they are of several jobs, another job isn't done, or theirs is gone
                with what they are a part of.
            AlreadyRunningError: they are of a job that is done, and a run begins just now.
        """
        return await self._letters.requeue(_filter(letters))

    async def clear_dead_letters(self, letters: LetterFilter | Iterable[str] | None = None) -> int:
        """Remove dead letters of the graph for good; how many those were.

        Where something waits for what they would give, it gets that as skipped: in their job, if that runs, or in the
        next run. This is done for one job at a time, the one that isn't done or else the oldest: those of others stay.

        Args:
            letters: which, by a filter or by the id in `letter`; None for all.

        Raises:
            UsageError: one is named that there isn't.
        """
        return await self._letters.clear(_filter(letters))

    async def waiting(self) -> dict[str, int]:
        """How many items lie in each channel that isn't empty, those that are at work included."""
        return await self._book.waiting()

    @property
    def _letters(self) -> Letters:
        return Letters(self._finished, self._scoped)

    @property
    def _book(self) -> JobBook:
        return JobBook(self._finished, self._scoped)

    async def jobs(self) -> list[JobRecord]:
        """The jobs of the graph, oldest first; of one that runs, what its nodes have done so far."""
        return [
            evolve(record, nodes=await self._book.counts(record.id)) if record.status is JobStatus.RUNNING else record
            for record in await self._book.all()
        ]


def _filter(letters: LetterFilter | Iterable[str] | None) -> LetterFilter:
    if isinstance(letters, LetterFilter):
        return letters
    return LetterFilter(ids=None if letters is None else frozenset(letters))


class _Printer:
    """Prints what the processes of the loops write."""

    def progress(self, progress: Progress) -> None:
        """Nothing: a script that runs a graph prints what it wants."""

    def going_on(self, job: str, status: JobStatus) -> None:
        """Say it: it is easily forgotten."""
        print(going_on_line(job, status), file=sys.stderr, flush=True)  # noqa: T201 - so that it is seen

    def draining(self) -> None:
        """Nothing: whoever sent the signal knows."""

    def restarting(self, death: LoopDiedError, seconds: float) -> None:
        """Print it."""
        print(death.restart_line(seconds), file=sys.stderr, flush=True)  # noqa: T201 - so that it is seen

    def output(self, slot: str, text: str, *, is_error: bool) -> None:
        """Print a line where the process wrote it."""
        print(text, file=sys.stderr if is_error else sys.stdout, flush=True)
