"""The jobs of a graph: which one is to be gone on with, and what is left of those that are over."""

from __future__ import annotations

from collections.abc import Iterable

from attrs import frozen

from nodeflow.engine.hops import PROGRESS
from nodeflow.engine.marks import closed_mark, finished_mark
from nodeflow.engine.plan import channels_of
from nodeflow.engine.records import JobRecord, JobStatus
from nodeflow.engine.results import loop_queue
from nodeflow.engine.state import state_hash
from nodeflow.errors import JobError
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

    async def write(self, record: JobRecord) -> None:
        """Write the record of a job."""
        await self.store.jobs().put(record.id, record.to_data())

    async def open(self, source: str) -> JobRecord:
        """The job that a run works on: the last one, unless that is done and nothing of it requeued; else a new one.

        Args:
            source: `FILE:name` of the graph.

        Raises:
            JobError: a producer is in another number of processes than when the job began.
        """
        known = await self.all()
        last = known[-1] if known else None
        requeued = await self._loops_with_work() if last is not None else set()
        if last is not None and (last.status is not JobStatus.DONE or requeued):
            self._check_shards(last)
            if last.status is JobStatus.DONE:
                await self._open_again(last, requeued)
            record = last.again(source)
        else:
            record = JobRecord.new(self.graph.name, source, self._shards)
        await self.write(record)
        for queue in channels_of(self.graph):
            await self.store.queue.bound(queue, MOST_WAITING)
        return record

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

    async def lift_bounds(self) -> None:
        """Let channels hold as much as there is: nobody takes from them now."""
        for queue in channels_of(self.graph):
            await self.store.queue.bound(queue, None)

    async def discard(self) -> None:
        """Remove all that jobs which are not done have left: what waits in queues, and their records."""
        for name in self.queues:
            await self.store.queue.clear(name)
            await self.store.queue.clear_leases(name)
        for record in await self.all():
            if record.status is not JobStatus.DONE:
                await self._forget(record)
                await self.store.jobs().remove(record.id)

    async def close(self, record: JobRecord) -> None:
        """Write the record of a job that is done; what it needed is kept only as long as it has dead letters."""
        await self.write(record)
        await self.tidy()
        done = [each.id for each in await self.all() if each.status is JobStatus.DONE]
        await self.store.jobs().remove(*done[:-_MOST_RECORDS])

    async def tidy(self) -> None:
        """Forget what jobs that are done needed for their dead letters, when there are none any more."""
        if any([(await self.store.queue.tally(name)).dead for name in self.queues]):
            return
        for record in await self.all():
            if record.status is JobStatus.DONE:
                await self._forget(record)

    @property
    def queues(self) -> list[str]:
        """The queues of all channels, and those of the loops' own work."""
        return [*channels_of(self.graph), *map(loop_queue, self.graph.loops)]

    async def _loops_with_work(self) -> set[str]:
        queue = self.store.queue
        found = {loop for loop in self.graph.loops if await queue.length(loop_queue(loop))}
        channels = channels_of(self.graph).values()
        return found | {channel.target_loop for channel in channels if await queue.length(channel.queue)}

    async def _open_again(self, record: JobRecord, loops: set[str]) -> None:
        """Let loops go on, and all that take from them; they finish again."""
        reached = set(_behind(self.graph, loops))
        marks = [mark for loop in reached for mark in (closed_mark(loop), finished_mark(loop))]
        await self.store.ledger(record.id).unmark(marks)

    async def _forget(self, record: JobRecord) -> None:
        nodes = self.graph.nodes
        hashes = [PROGRESS, *map(joins_hash, nodes), *(state_hash(node, 0) for node in nodes)]
        await self.store.ledger(record.id).remove(hashes)


def _behind(graph: Graph, loops: set[str]) -> Iterable[str]:
    """Loops and all that take from them."""
    channels = channels_of(graph).values()
    found, new = set(loops), set(loops)
    while new:
        new = {channel.target_loop for channel in channels if channel.source_loop in new} - found
        found |= new
    return found
