"""The dead letters of a graph's loops: each goes on in the job that it belongs to, also when that is not the last."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from functools import cached_property
from typing import Any

from attrs import frozen

from nodeflow.engine.claim import sole_supervisor
from nodeflow.engine.job import JobStatus
from nodeflow.engine.jobbook import JobBook
from nodeflow.engine.plan import before_gathering
from nodeflow.engine.records import JobRecord, job_of_item
from nodeflow.engine.results import foreign_letter, is_enveloped, own_letter
from nodeflow.engine.work import Work
from nodeflow.errors import PayloadError, UsageError
from nodeflow.graph import Graph
from nodeflow.storage import DataStore, DeadLetter


@frozen
class Letter:
    """A dead letter of a graph.

    Args:
        queue: the queue that it belongs to.
        letter: as it lies there.
        shown: as it is shown.
        reader: the node that could not take it in; empty for what lies in a loop's own queue.
    """

    queue: str
    letter: DeadLetter
    shown: Mapping[str, Any]
    reader: str = ""

    @property
    def id(self) -> str:
        """By which it is named."""
        return self.letter.id

    @property
    def job(self) -> str:
        """The job that it belongs to; empty for what other programs pushed, and for what can't be read."""
        value = self.letter.value
        is_item = bool(self.reader) and is_enveloped(value)
        return str(self.shown["job"]) or job_of_item(str(value["id"] if is_item else self.shown["item"]))

    @property
    def lost(self) -> set[str]:
        """The nodes that gave nothing; empty when all that belongs together was there, and can't be read."""
        if self.reader:
            return {self.reader}
        try:
            work = Work.from_data(self.letter.value)
        except PayloadError:
            return set()
        return {each.node for each in (*work.run, *work.dead)} or {work.entry}

    @property
    def is_notice(self) -> bool:
        """Whether it says that all parts of a join are there."""
        return isinstance(self.letter.value, Mapping) and "join" in self.letter.value


@frozen
class Letters:
    """The dead letters of one graph.

    Args:
        graph: the finished graph.
        store: the store, below the graph's prefix.
    """

    graph: Graph
    store: DataStore

    @property
    def _book(self) -> JobBook:
        return JobBook(self.graph, self.store)

    async def all(self) -> list[Letter]:
        """All of them, oldest first."""
        queue, queues = self.store.queue, await self._book.queues()
        found = [
            Letter(name, letter, own_letter(letter, loop))
            for loop in self.graph.loops
            for name in queues.own(loop)
            for letter in await queue.dead_letters(name)
        ]
        found += [
            Letter(name, letter, foreign_letter(letter, reader), reader.id)
            for reader in queues.readers
            for name in {str(reader.target.queue), *queues.of_reader(reader)}
            for letter in await queue.dead_letters(name)
        ]
        return sorted(found, key=lambda letter: str(letter.shown["at"]))

    async def requeue(self, ids: Iterable[str] | None) -> int:
        """Let the items of some go on in their job, be it now or in the next run; how many those were.

        Args:
            ids: which; None for those of the job that a run goes on with, else the last one, and what can't be read.

        Raises:
            UsageError: there is no such letter, they are of several jobs, another job isn't done, or theirs is gone.
        """
        letters, last = await self.all(), await self._book.last()
        if ids is None:
            jobs = {"", last.id if last is not None else ""}
            chosen = [letter for letter in letters if letter.job in jobs]
        else:
            chosen = self._named(set(ids), letters)
        found = sorted({await self._home(letter) for letter in chosen} - {""})
        if len(found) > 1:
            raise UsageError(
                f"these dead letters are of the jobs {' and '.join(found)}: name those of one job at a time"
            )
        return await self._go_on(found[0] if found else last.id if last is not None else "", chosen)

    async def clear(self) -> int:
        """Remove all for good; how many there were."""
        queues = await self._book.queues()
        names = dict.fromkeys([*queues.all, *(str(reader.target.queue) for reader in queues.readers)])
        count = sum([await self.store.queue.discard(name, None) for name in names])
        await self._book.tidy()
        return count

    def _named(self, ids: set[str], letters: Sequence[Letter]) -> list[Letter]:
        if unknown := ids - {letter.id for letter in letters}:
            raise UsageError(f"no dead letter of graph {self.graph.name!r} has the id {min(unknown)!r}")
        return [letter for letter in letters if letter.id in ids]

    async def _home(self, letter: Letter) -> str:
        """The job in which a letter goes on; empty for any.

        Raises:
            UsageError: its job is gone, and with it what it would have to come together with.
        """
        if not letter.job or any(record.id == letter.job for record in await self._book.all()):
            return letter.job
        if self._is_awaited(letter):
            raise UsageError(
                f"dead letter {letter.id} is of job {letter.job}, which was discarded, and gone with it are the other "
                "parts of what is gathered behind it: it can't go on alone; push the input that it came of again"
            )
        return ""

    def _is_awaited(self, letter: Letter) -> bool:
        """Whether something that gathers waits for what a letter would give."""
        return letter.is_notice or not letter.lost.isdisjoint(self._before_gathering)

    @cached_property
    def _before_gathering(self) -> set[str]:
        return before_gathering(self.graph)

    async def _go_on(self, job: str, letters: Sequence[Letter]) -> int:
        """Requeue letters, with which a job goes on."""
        record = await self._ready(job)
        if not letters:
            return 0
        queues = set((await self._book.queues()).all)
        is_work = any(letter.queue in queues for letter in letters)
        async with self._alone(record):
            await self._ready(job)
            if is_work:
                await self._book.reopen(job)
            count = 0
            for queue in dict.fromkeys(letter.queue for letter in letters):
                ids = [letter.id for letter in letters if letter.queue == queue]
                count += await self.store.queue.requeue(queue, ids)
        if is_work:
            await self._book.reopen(job)  # it may have come to its end meanwhile
        return count

    def _alone(self, record: JobRecord | None) -> AbstractAsyncContextManager[None]:
        """Keep a new job from beginning, which would take what is requeued for its own."""
        is_done = record is not None and record.is_done
        return sole_supervisor(self.graph.name, self.store) if is_done else nullcontext()

    async def _ready(self, job: str) -> JobRecord | None:
        """The record of a job with which the next run may go on.

        Raises:
            UsageError: another one isn't done.
        """
        known = {record.id: record for record in await self._book.all()}
        for other in known.values():
            if other.id != job and not other.is_done:
                is_running = other.status is JobStatus.RUNNING and not other.is_interrupted
                do = "wait until it is" if is_running else "finish it with `nodeflow run`, or discard it with --fresh"
                raise UsageError(f"these dead letters are of job {job}, but job {other.id} isn't done: {do}")
        return known.get(job)
