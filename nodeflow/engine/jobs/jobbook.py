"""The jobs of a graph: which one is to be gone on with, and what is left of those that are over."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from attrs import evolve, frozen

from nodeflow.engine.calls.state import state_hash
from nodeflow.engine.core.marks import caution_marks, closed_mark, finished_mark
from nodeflow.engine.core.plan import LoopPlan, channels_of, plan_loop
from nodeflow.engine.core.queues import Queues
from nodeflow.engine.core.refusals import RefusedError
from nodeflow.engine.core.results import done_count, failed_count, is_failure, loop_queue
from nodeflow.engine.core.stages import Entry
from nodeflow.engine.core.work import Work
from nodeflow.engine.jobs.job import JobStatus, NodeCount
from nodeflow.engine.jobs.records import JobRecord
from nodeflow.engine.jobs.reslotting import Reslotting
from nodeflow.engine.loops.hops import PROGRESS
from nodeflow.engine.loops.intake import check
from nodeflow.engine.way.held import held_hash
from nodeflow.errors import BlobStoreError, JobError, PayloadError
from nodeflow.graph import Graph, Kind
from nodeflow.storage import DataStore, joins_hash

MOST_WAITING = 10_000
"""How many items a channel holds."""

_MOST_RECORDS = 100
"""How many records of jobs that are done are kept of a graph."""


@frozen
class JobBook:
    """The jobs of one graph.

    Args:
        graph: the finished graph.
        store: the store, below the graph's prefix.
    """

    graph: Graph
    store: DataStore

    async def all(self) -> list[JobRecord]:
        """The records of the jobs, oldest first."""
        return [JobRecord.from_data(data) for data in await self.store.jobs().list()]

    async def last(self) -> JobRecord | None:
        """The job that a run goes on with if there is anything to do: the one that isn't done, else the last one."""
        known = await self.all()
        return next((record for record in known if not record.is_done), known[-1] if known else None)

    async def queues(self) -> Queues:
        """The queues of the graph, those of processes that there are no longer included: dead letters may lie there."""
        return Queues(self.graph, _most_slots(await self.all()))

    async def write(self, record: JobRecord) -> None:
        """Write the record of a job."""
        await self.store.jobs().put(record.id, record.to_data())

    async def open(self, source: str) -> JobRecord:
        """The job that a run works on: one that isn't done, or of which something is requeued; else a new one.

        Args:
            source: `FILE:name` of the graph.

        Raises:
            JobError: a producer is in another number of processes than when the job began, or items wait for a node
                that is gone.
        """
        last = await self.last()
        requeued = await self._loops_with_work() if last is not None else set()
        if last is not None and (not last.is_done or requeued):
            self._check_shards(last)
            await self._check_queues(last)
            if last.is_done or last.status is JobStatus.REQUEUED:
                await self._open_again(last, requeued)
            record = await self._move_items(last.again(source))
        else:
            record = JobRecord.new(self.graph.name, source, self._shards)
            record = evolve(record, slots=self._slots, queues=tuple(Queues(self.graph).all))
            await self.write(record)
        await self._bound(MOST_WAITING)
        return record

    async def _bound(self, most: int | None) -> None:
        for queues in Queues(self.graph).between.values():
            for queue in queues:
                await self.store.queue.bound(queue, most)

    @property
    def _shards(self) -> dict[str, int]:
        producers = (spec for spec in self.graph.nodes.values() if spec.kind is Kind.PRODUCER)
        return {spec.id: self.graph.loops[spec.loop].processes for spec in producers}

    def _check_shards(self, record: JobRecord) -> None:
        for producer, shards in self._shards.items():
            before = record.shards.get(producer, shards)
            if before != shards:
                raise JobError(
                    f"job {record.id} was begun with producer {producer!r} in {before} processes, and each has given a "
                    f"part of its share: go on with processes={before}, or discard the job with `nodeflow run --fresh`"
                )

    async def _check_queues(self, record: JobRecord) -> None:
        divided = {loop: slots for loop, slots in (await self.queues()).slots.items() if loop in self._slots}
        known = set(Queues(self.graph, divided).all)
        for name in record.queues:
            tally = None if name in known else await self.store.queue.tally(name)
            if tally is not None and (left := tally.waiting + tally.leased + tally.delayed):
                raise JobError(
                    f"job {record.id} has {left:,} items in {name}, and no loop of the graph reads that any more: was "
                    "a node renamed or moved to another loop, or by= added or removed? Undo it, or discard the job "
                    "with `nodeflow run --fresh`"
                )

    @property
    def _slots(self) -> dict[str, int]:
        return {loop.name: loop.processes for loop in self.graph.loops.values() if loop.by is not None}

    async def _move_items(self, record: JobRecord) -> JobRecord:
        """Let each item go where its key is, when a loop has other processes than before."""
        queues, ever = Queues(self.graph), await self.queues()
        divided = [self.graph.loops[loop] for loop in self._slots]
        for loop in divided:
            gone = set(ever.of_loop(loop.name)) - set(queues.of_loop(loop.name))
            before = record.slots.get(loop.name, loop.processes)
            if before != loop.processes or await self._length(sorted(gone)):
                await Reslotting(self.store, record.id, loop).gather(queues, ever.slots[loop.name])
        for name in set(record.queues) - set(queues.all):
            await self.store.queue.bound(name, None)
        record = evolve(record, slots=self._slots, queues=tuple(queues.all))
        await self.write(record)
        for loop in divided:
            await Reslotting(self.store, record.id, loop).scatter(queues)
        return record

    async def counts(self, job: str) -> dict[str, NodeCount]:
        """How many items each node of the user's has handled so far."""
        marks = await self.store.ledger(job).read()
        return {
            spec.id: NodeCount(marks.get(done_count(spec.id), 0), marks.get(failed_count(spec.id), 0))
            for spec in self.graph.nodes.values()
            if spec.kind not in (Kind.READER, Kind.WRITER)
        }

    async def waiting(self) -> dict[str, int]:
        """How many items lie in each channel that isn't empty, and in each loop's own queue, to be tried again.

        Those that are leased or delayed count, too.
        """
        queues = Queues(self.graph)
        places = {**queues.between, **{loop_queue(loop): queues.own(loop) for loop in self.graph.loops}}
        depths = {name: await self._depth(parts) for name, parts in places.items()}
        return {name: depth for name, depth in depths.items() if depth}

    async def _depth(self, queues: list[str]) -> int:
        tallies = [await self.store.queue.tally(queue) for queue in queues]
        return sum(tally.waiting + tally.leased + tally.delayed for tally in tallies)

    async def lift_bounds(self) -> None:
        """Let channels hold as much as there is: nobody takes from them now."""
        await self._bound(None)

    async def absolve(self, record: JobRecord, loop: str, slot: int) -> None:
        """Have nothing count as deadly that a process had in hand when its supervisor ended it."""
        heads = [spec.id for spec in self.graph.nodes.values() if spec.loop == loop and spec.kind is Kind.PRODUCER]
        await self.store.ledger(record.id).unmark([mark for head in heads for mark in caution_marks(head, slot)])
        for queue in (await self.queues()).of_loop(loop):
            await self.store.queue.release(queue, f"{loop}/{slot}")

    async def discard(self) -> None:
        """Remove all that jobs which are not done have left: what waits in queues, and their records.

        One that was done stays so; what was requeued of it is gone.
        """
        known = [record for record in await self.all() if not record.is_done]
        before = [name for record in known for name in record.queues]
        for name in dict.fromkeys([*(await self.queues()).all, *before]):
            await self.store.queue.clear(name)
            await self.store.queue.clear_leases(name)
            await self.store.queue.bound(name, None)
        for record in known:
            if record.status is JobStatus.REQUEUED:
                await self.write(evolve(record, status=JobStatus.DONE))
            else:
                await self._forget(record)
                await self.store.jobs().remove(record.id)

    async def reopen(self, job: str) -> None:
        """Have the next run go on with a job, if that is done."""
        for record in await self.all():
            if record.id == job and record.is_done:
                await self.write(evolve(record, status=JobStatus.REQUEUED))

    async def close(self, record: JobRecord) -> None:
        """Write the record of a job that is done; what it needed is kept only as long as it may have dead letters."""
        await self.write(record)
        if await self._loops_with_work():  # requeued when its loop had come to its end
            await self.reopen(record.id)
        await self.tidy()

    async def tidy(self) -> None:
        """Forget what jobs that are done needed for their dead letters, when there are none; and the oldest records."""
        done = [record for record in await self.all() if record.is_done]
        over = done[:-_MOST_RECORDS]
        if any([(await self.store.queue.tally(name)).dead for name in (await self.queues()).all]):
            over = [record for record in over if not await self._has_failed(record)]
            done = over
        for record in done:
            await self._forget(record)
        await self.store.jobs().remove(*(record.id for record in over))

    async def _has_failed(self, record: JobRecord) -> bool:
        counts = await self.store.ledger(record.id).read()
        return any(number and is_failure(name) for name, number in counts.items())

    async def _loops_with_work(self) -> set[str]:
        queues = await self.queues()
        return {loop for loop in self.graph.loops if await self._length(queues.of_loop(loop))}

    async def _length(self, queues: list[str]) -> int:
        return sum([await self.store.queue.length(queue) for queue in queues])

    async def _open_again(self, record: JobRecord, loops: set[str]) -> None:
        """Let loops go on, and all that take from them; they finish again, but for one that has nothing new."""
        reached = set(_behind(self.graph, loops))
        finish = {loop for loop in reached if loop not in loops or await self._has_news(loop)}
        marks = [*map(closed_mark, reached), *map(finished_mark, finish)]
        await self.store.ledger(record.id).unmark(marks)

    async def _has_news(self, loop: str) -> bool:
        """Whether more waits for a loop than dead letters of its `finish`, or given up without one behind them."""
        queues = await self.queues()
        own = set(queues.own(loop))
        waiting = []
        for name in queues.of_loop(loop):
            if name not in own and await self.store.queue.length(name):
                return True
            try:
                waiting += await self.store.queue.peek(name, 0, -1) if name in own else []
            except (PayloadError, BlobStoreError):  # the loop will say what is wrong with it
                return True
        plan = plan_loop(self.graph, loop)
        return any(_is_news(plan, value) for value in waiting)

    async def _forget(self, record: JobRecord) -> None:
        nodes, loops = self.graph.nodes.values(), self.graph.loops
        hashes = [PROGRESS, *map(held_hash, loops), *(joins_hash(spec.id) for spec in nodes)]
        hashes += [state_hash(spec.id, each) for spec in nodes for each in range(loops[spec.loop].partitions)]
        await self.store.ledger(record.id).remove(hashes)


def _most_slots(records: Iterable[JobRecord]) -> dict[str, int]:
    """In how many processes loops with `by=` were at most."""
    found: dict[str, int] = {}
    for record in records:
        for loop, slots in record.slots.items():
            found[loop] = max(slots, found.get(loop, 0))
    return found


def _is_news(plan: LoopPlan, value: Any) -> bool:
    """Whether nodes may be called for what lies in a loop's own queue that have more to give when they finish again."""
    try:
        work = Work.from_data(value)
        check(plan, work)
    except (PayloadError, RefusedError):
        return True
    if not work.is_given_up:
        return not work.finishes
    called = _called_without(plan.entries[work.entry], work.unsettled)
    return not work.finishes and any(spec.id in called for spec in plan.finishers)


def _called_without(entry: Entry, nodes: Iterable[str]) -> set[str]:
    """The nodes behind an entry that are called though some that they could take from give nothing."""
    skipped = {entry.places[node] for node in nodes}
    lost, new, called = frozenset(skipped), set(skipped), set()
    for step in entry.stage.every_step():
        taken = {place for _, place, _ in step.sources}
        if step.place in lost or taken.isdisjoint(new):
            continue
        new.add(step.place)
        needed = {place for port, place, _ in step.sources if port in step.spec.required}
        if taken <= skipped or not needed.isdisjoint(skipped):
            skipped.add(step.place)
        else:
            called.add(step.spec.id)
    return called


def _behind(graph: Graph, loops: set[str]) -> Iterable[str]:
    """Loops and all that take from them."""
    channels = channels_of(graph).values()
    found, new = set(loops), set(loops)
    while new:
        new = {channel.target_loop for channel in channels if channel.source_loop in new} - found
        found |= new
    return found
