"""The dead letters of a graph's loops: each goes on in the job that it belongs to, also when that is not the last."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from functools import cached_property
from typing import Any

from attrs import evolve, field, frozen

from nodeflow.engine.core.plan import LoopPlan, before_gathering, plan_loop, waits_for
from nodeflow.engine.core.refusals import RefusedError
from nodeflow.engine.core.results import foreign_letter, is_enveloped, own_letter
from nodeflow.engine.core.work import Work
from nodeflow.engine.jobs.claim import sole_supervisor
from nodeflow.engine.jobs.job import JobStatus
from nodeflow.engine.jobs.jobbook import JobBook
from nodeflow.engine.jobs.letterfilter import LetterFilter
from nodeflow.engine.jobs.records import JobRecord, job_of_item
from nodeflow.engine.loops.intake import check
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
        instead: what goes on in its place; None for what it holds.
    """

    queue: str
    letter: DeadLetter
    shown: Mapping[str, Any]
    reader: str = ""
    instead: Mapping[str, Any] | None = None

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
    def lost(self) -> frozenset[str]:
        """The nodes that gave nothing, or not all."""
        if self.reader or self.is_notice:
            return frozenset({self.reader or str(self.letter.value["join"])})
        try:
            return frozenset(Work.from_data(self.letter.value).unsettled)
        except PayloadError:
            return frozenset()

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
    _waits: dict[frozenset[str], bool] = field(factory=dict, init=False)

    @property
    def _book(self) -> JobBook:
        return JobBook(self.graph, self.store)

    async def all(self) -> list[Letter]:
        """All of them, oldest first."""
        queue, queues = self.store.queue, await self._book.queues()
        found = [
            Letter(name, letter, own_letter(letter, loop, self.graph.nodes))
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

    async def chosen(self, which: LetterFilter) -> list[Letter]:
        """Some of them, oldest first.

        Raises:
            UsageError: there is none of a name, or no such node.
        """
        letters = await self.all()
        if unknown := {*(which.ids or ())} - {letter.id for letter in letters}:
            raise UsageError(f"no dead letter of graph {self.graph.name!r} has the id {min(unknown)!r}")
        if which.node is not None and which.node not in {*self.graph.nodes, *(each.shown["node"] for each in letters)}:
            raise UsageError(f"graph {self.graph.name!r} has no node {which.node!r}, and no dead letter of one")
        return [letter for letter in letters if which.takes(letter)][: which.limit]

    async def requeueable(self, which: LetterFilter) -> list[Letter]:
        """Those of some that `requeue` lets go on.

        Where neither ids nor a job are named, these are the letters of the job that a run goes on with, else of the
        last one, and what can't be read.

        Raises:
            UsageError: there is none of a name.
        """
        letters = await self.chosen(which.unlimited)
        if which.ids is None and which.job is None:
            last = await self._last()
            letters = [letter for letter in letters if letter.job in ("", last)]
        return letters[: which.limit]

    async def requeue(self, which: LetterFilter) -> int:
        """Let the items of some go on in their job, be it now or in the next run; how many those were.

        Raises:
            UsageError: there is no such letter, they are of several jobs, another job isn't done, or theirs is gone.
        """
        chosen, lasts = await self.requeueable(which), await self._last()
        jobs = {record.id for record in await self._book.all()}
        found = sorted({self._home(letter, jobs) for letter in chosen} - {""})
        if len(found) > 1:
            raise UsageError(
                f"these dead letters are of the jobs {' and '.join(found)}: name those of one job at a time"
            )
        return await self._go_on(found[0] if found else lasts, chosen)

    async def _last(self) -> str:
        last = await self._book.last()
        return last.id if last is not None else ""

    async def clear(self, which: LetterFilter) -> int:
        """Remove some for good; how many those were.

        What waits for some of them gets them as skipped, in their job, be it now or in the next run. That is done for
        one job at a time, the one that isn't done or else the oldest: such letters of others stay.

        Raises:
            UsageError: there is none of a name.
        """
        letters, known = await self.chosen(which), await self._book.all()
        jobs = {record.id for record in known}
        awaited = [found for letter in letters if letter.job in jobs and (found := self._given_up(letter)) is not None]
        undone = [record.id for record in known if not record.is_done]
        job = undone[0] if undone else min((letter.job for letter in awaited), default="")
        count = await self._go_on(job, [letter for letter in awaited if letter.job == job])
        kept = {letter.id for letter in awaited}
        rest = [letter for letter in letters if letter.id not in kept]
        count += await self._discard(None if which.is_open and not kept else rest)
        await self._book.tidy()
        return count

    async def _discard(self, letters: Sequence[Letter] | None) -> int:
        """Remove letters for which nothing waits; None for all that there are, also those that come meanwhile."""
        queues, discard = await self._book.queues(), self.store.queue.discard
        names = dict.fromkeys([*queues.all, *(str(reader.target.queue) for reader in queues.readers)])
        if letters is None:
            return sum([await discard(name, None) for name in names])
        return sum([await discard(name, [each.id for each in letters if each.queue == name]) for name in names])

    def _given_up(self, letter: Letter) -> Letter | None:
        """A letter for which something waits, and what that gets in its place; None when it gets nothing."""
        value, lost = letter.letter.value, letter.lost
        if lost not in self._waits:
            self._waits[lost] = waits_for(self.graph, lost)
        if letter.reader or not self._waits[lost]:
            return None
        if letter.is_notice:
            return evolve(letter, instead={**value, "state": "skipped"})
        try:
            work = Work.from_data(value)
            check(self._plans[letter.shown["loop"]], work)
        except (KeyError, RefusedError):
            return None
        if work.in_words and not (work.run or work.dead):  # nothing failed: what it gave can't be kept for a join
            return None
        return evolve(letter, instead={**value, "given_up": True})

    def _home(self, letter: Letter, jobs: set[str]) -> str:
        """The job, of these, in which a letter goes on; empty for any.

        Raises:
            UsageError: its job is gone, and with it what it would have to come together with.
        """
        if not letter.job or letter.job in jobs:
            return letter.job
        if letter.is_notice or not letter.lost.isdisjoint(before_gathering(self.graph)):
            raise UsageError(
                f"dead letter {letter.id} is of job {letter.job}, which was discarded, and gone with it are the other "
                "parts of what is gathered behind it: it can't go on alone; push the input that it came of again"
            )
        return ""

    @cached_property
    def _plans(self) -> Mapping[str, LoopPlan]:
        return {loop: plan_loop(self.graph, loop) for loop in self.graph.loops}

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
                own = [letter for letter in letters if letter.queue == queue]
                instead = {each.id: await self._prepared(each) for each in own if each.instead is not None}
                count += await self.store.queue.replace(queue, instead)
                count += await self.store.queue.requeue(queue, [each.id for each in own if each.id not in instead])
        if is_work:
            await self._book.reopen(job)  # it may have come to its end meanwhile
        return count

    async def _prepared(self, letter: Letter) -> bytes:
        return await self.store.prepare(letter.queue, letter.instead)

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
