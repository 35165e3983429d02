"""Hops: what came of some items is committed in one step of the server, with what they came from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import anyio
from attrs import field, frozen

from nodeflow.engine.core.endings import DrainedError
from nodeflow.engine.core.evaluation import Absent
from nodeflow.engine.core.marks import committed_count, epoch_mark
from nodeflow.engine.core.results import Given, Results, loop_queue
from nodeflow.storage import Changes, DataStore, Gathered, Item, Lease, Part

_PATIENCE_SECONDS = 1.0
PROGRESS = "progress"
"""The job's hash of how far items are whose values are committed in parts."""


@frozen
class Hops:
    """Commits the results of one loop's process.

    Args:
        store: the store, below the graph's prefix.
        loop: the loop's name.
        job: the job's id.
        slot: the process's slot.
        epoch: that of the slot since this process has it.
    """

    store: DataStore
    loop: str
    job: str
    slot: int
    epoch: int
    _marks: dict[str, int] = field(factory=dict, init=False)
    _scopes: set[anyio.CancelScope] = field(factory=set, init=False)
    _is_over: anyio.Event = field(factory=anyio.Event, init=False)
    order: anyio.Lock = field(factory=lambda: anyio.Lock(fast_acquire=True), init=False)
    """Held by whoever commits: what nodes remember must be saved in the order in which it came about."""

    def expect(self, mark: str, value: int) -> None:
        """Note what a mark is: from now on only this process changes it, else its hops are refused."""
        self._marks[mark] = value

    def known(self, mark: str) -> int:
        """What a mark is that only this process changes, as far as its hops are committed."""
        return self._marks.get(mark, 0)

    async def commit(self, results: Results, lease: Lease | None = None, items: list[Item] | None = None) -> None:
        """Commit results, all or nothing, behind all that are being committed.

        The arguments and errors are those of `commit_now`.
        """
        async with self.order:
            await self.commit_now(results, lease, items)

    async def commit_now(self, results: Results, lease: Lease | None = None, items: list[Item] | None = None) -> None:
        """Commit results, all or nothing, by whoever has the order.

        Args:
            results: what came of the items.
            lease: the lease that holds the items.
            items: those that are done; None for all.

        Raises:
            DrainedError: the process was told to stop, and there was no room; nothing was done.
            LeaseLostError: another process has taken over; nothing was done.
            StorageError: the server refused.
        """
        self.go_on()
        with self.all_or_nothing(), anyio.CancelScope() as scope:
            self._scopes.add(scope)
            try:
                await self._commit(results, lease, items)
            finally:
                self._scopes.discard(scope)
        if scope.cancelled_caught:
            self._is_over.set()
        self.go_on()
        self._marks.update(results.marks)

    async def mark(self, marks: Mapping[str, int]) -> None:
        """Set marks that say nothing of how far the job is, whatever they are, also when nothing is committed any more.

        It is done to its end, so that what they are is known.

        Args:
            marks: those that only this process changes.

        Raises:
            LeaseLostError: another process has taken over; nothing was done.
            StorageError: the server refused.
        """
        async with self.order:
            with anyio.CancelScope(shield=True):
                await self.store.queue.commit(changes=Changes(job=self.job, expected=self._expected({}), marks=marks))
            self._marks.update(marks)

    @contextmanager
    def all_or_nothing(self) -> Iterator[None]:
        """When the context raises, nothing is committed any more: what nodes remember is ahead of what is saved."""
        try:
            yield
        except BaseException:
            self._is_over.set()
            raise

    @property
    def is_over(self) -> bool:
        """Whether nothing is committed any more."""
        return self._is_over.is_set()

    def go_on(self) -> None:
        """Make sure that what comes now may still be committed.

        Raises:
            DrainedError: it may not: what came before could not be.
        """
        if self.is_over:
            raise DrainedError(f"what loop {self.loop!r} gave had no room when it was told to stop, or came to nothing")

    async def drain(self, draining: anyio.Event) -> None:
        """When the process was told to stop, wait no longer for room: those who make it stop, too."""
        await draining.wait()
        while True:
            await anyio.sleep(_PATIENCE_SECONDS)
            for scope in list(self._scopes):
                scope.cancel()

    async def _commit(self, results: Results, lease: Lease | None, items: list[Item] | None) -> None:
        dead = {loop_queue(self.loop): results.dead} if results.dead else {}
        changes = self._changes(results)
        if lease is None:
            commit = self.store.queue.commit
            await commit(pushes=results.pushes, later=results.later, dead=dead, changes=changes)
        else:
            refused = results.refused
            if items is not None:
                items = [item for item in items if all(item is not each for each, _ in refused)]
            pushes, later = results.pushes, results.later
            await lease.commit(items=items, refused=refused, pushes=pushes, later=later, dead=dead, changes=changes)

    def _changes(self, results: Results) -> Changes:
        return Changes(
            job=self.job,
            counts={
                **{name: number for name, number in results.counts.items() if number},
                committed_count(self.loop, self.slot): 1,
            },
            expected=self._expected(results.marks),
            marks=results.marks,
            fields={**results.states, **({PROGRESS: results.progress} if results.progress else {})},
            parts=[_part(each) for each in results.given],
            gathered=[Gathered(join=join, item=item, names=names) for join, item, names in results.gathered],
        )

    def _expected(self, marks: Mapping[str, int]) -> dict[str, int]:
        known = {mark: self._marks[mark] for mark in marks if mark in self._marks}
        return {epoch_mark(self.loop, self.slot): self.epoch, **known}


def _part(given: Given) -> Part:
    join = given.join
    total: int | str | None = join.parts
    if given.name is None:
        total = given.count if not isinstance(given.count, Absent) else _WORDS[given.count]
    return Part(
        join=join.node,
        item=given.item,
        queue=loop_queue(join.loop),
        name=given.name,
        data=given.data,
        total=total,
        takes_dead=join.takes_dead,
    )


_WORDS: Mapping[Absent, str] = {Absent.SKIPPED: "skipped", Absent.FAILED: "dead"}
