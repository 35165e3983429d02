"""One process of a loop at work: its heads take in items until their input is used up or it is told to drain."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing, suppress
from functools import partial
from typing import Any

import anyio
import anyio.lowlevel
from attrs import define, field, frozen

from nodeflow.engine.failures import StoppedError
from nodeflow.engine.hops import DrainedError, Hops
from nodeflow.engine.intake import Intake, RefusedError
from nodeflow.engine.invoke import Nodes
from nodeflow.engine.marks import end_mark, epoch_mark, finishers, loop_end, position_mark
from nodeflow.engine.outbox import Outbox
from nodeflow.engine.packing import Packing
from nodeflow.engine.plan import LoopPlan
from nodeflow.engine.progress import InParts
from nodeflow.engine.results import Results, loop_queue, refused_count
from nodeflow.engine.runner import Runner
from nodeflow.engine.state import State, States, state_hash
from nodeflow.engine.way import HOP_BYTES
from nodeflow.engine.work import Work
from nodeflow.graph import Context, Kind, NodeSpec
from nodeflow.storage import DataStore, Item, Lease, Ledger

WorkOf = Callable[[Item, Results], Awaitable[Work]]

CLOSED = 2
"""What `Ledger.end_loop` says of a loop that is closed."""

_LOOK_SECONDS = 0.1
"""How often a reader whose queue is empty looks whether it is used up, or whether to drain."""

_LEASE_SECONDS = 0.1
"""How much work a lease should hold: enough to fill a hop, little enough for others to get their share."""

_MOST_LEASED = 500


async def _do_nothing() -> None:
    """Nothing is to be done."""


@frozen
class Post:
    """Where a process works.

    Args:
        plan: its loop.
        store: the store, below the graph's prefix.
        job: the job's id.
        slot: which process of the loop it is, from 0 on.
        most_deaths: how often an item is delivered alone and ends its process, before it is not tried again.
    """

    plan: LoopPlan
    store: DataStore
    job: str
    slot: int
    most_deaths: int

    @property
    def name(self) -> str:
        """The slot's name, as in `parse/1`."""
        return f"{self.plan.loop.name}/{self.slot}"


async def _states(plan: LoopPlan, ledger: Ledger) -> States | None:
    """What the nodes of a loop remember, as it was saved; None when it has several processes."""
    if plan.loop.processes > 1:
        return None
    names = [state_hash(spec.id, 0) for spec in plan.nodes.values() if spec.takes_context]
    return States({name: State.load(name, await ledger.table(name)) for name in names})


async def run_loop(post: Post, drain: anyio.Event) -> bool:
    """Run a process's part of a loop until its input is used up, or until it is told to drain.

    Args:
        post: where it works.
        drain: when set, heads stop, what is in hand is finished and the rest given back.

    Returns:
        whether the input is used up, and the loop closed.
    """
    plan = post.plan
    context = Context(
        graph=plan.graph,
        node="",
        loop=plan.loop.name,
        job=post.job,
        slot=post.name,
        shard=post.slot,
        shards=plan.loop.processes,
    )
    ledger = post.store.ledger(post.job)
    epoch = await ledger.begin(epoch_mark(plan.loop.name, post.slot))
    states = await _states(plan, ledger)
    async with Nodes(plan.nodes.values(), context, states) as nodes:
        packing = Packing(post.store, plan.loop.name, post.job)
        worker = _Worker(
            post,
            Runner(plan, nodes, packing, post.job),
            Hops(post.store, plan.loop.name, post.job, post.slot, epoch),
            Intake(plan, ledger, post.job),
            InParts(ledger, packing),
            drain,
        )
        async with anyio.create_task_group() as draining:
            draining.start_soon(worker.hops.drain, drain)
            async with anyio.create_task_group() as tasks:
                for head in plan.heads:
                    tasks.start_soon(worker.produce if head.kind is Kind.PRODUCER else worker.read_channel, head)
                tasks.start_soon(worker.read_own)
            draining.cancel_scope.cancel()
    return worker.is_closed


@define(eq=False)
class _Worker:
    post: Post
    runner: Runner
    hops: Hops
    intake: Intake
    in_parts: InParts
    drain: anyio.Event
    is_closed: bool = False
    _turn: anyio.Lock = field(factory=partial(anyio.Lock, fast_acquire=True), init=False)
    """Held by the head whose items go through the loop."""
    _outboxes: list[Outbox] = field(factory=list, init=False)

    async def produce(self, head: NodeSpec) -> None:
        """Take a producer's values through the loop, and commit whatever has come of them meanwhile."""
        at, end = position_mark(head.id, self.post.slot), end_mark(head.id, self.post.slot)
        known = await self.in_parts.ledger.read()
        if end in known:
            return
        producing = _Producing(self, head, at, end, known.get(at, 0))
        self.hops.expect(at, producing.position)
        self._outboxes.append(producing.outbox)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(producing.outbox.run)
            async with anyio.create_task_group() as pulling:
                pulling.start_soon(self._cancel_on_drain, pulling.cancel_scope)
                try:
                    await producing.run()
                except DrainedError:
                    producing.outbox.results.take()  # it is given again: the position is where it was
                pulling.cancel_scope.cancel()
            producing.outbox.close()

    async def _cancel_on_drain(self, scope: anyio.CancelScope) -> None:
        await self.drain.wait()
        scope.cancel()

    async def read_channel(self, head: NodeSpec) -> None:
        """Lease items of a channel, take them through the loop and commit, until the loop is closed."""

        async def work_of(item: Item, results: Results) -> Work:
            return self.intake.of_channel(head, item)

        await self._read(str(head.target.queue), work_of)

    async def read_own(self) -> None:
        """Do the work that the loop has left for later, and look for its end when there is none."""
        items = [await self.runner.packing.work(work) for work in finishers(self.post.plan, self.post.job)]
        end = loop_end(self.post.plan)

        async def look() -> None:
            state = await self.in_parts.ledger.end_loop(end, items)
            self.is_closed = state == CLOSED

        await self._read(loop_queue(self.post.plan.loop.name), self.intake.of_loop, look)

    async def _read(self, queue: str, work_of: WorkOf, when_idle: Callable[[], Awaitable[None]] = _do_nothing) -> None:
        most = 1
        with suppress(DrainedError):
            while not self.drain.is_set() and not self.is_closed:
                leasing = self.post.store.queue.lease(queue, most, timeout=_LOOK_SECONDS, consumer=self.post.name)
                async with leasing as lease:
                    if lease:
                        most = await self._handle(lease, work_of, most)
                        continue
                await when_idle()

    async def _handle(self, lease: Lease, work_of: WorkOf, most: int) -> int:
        async with self._turn:
            for outbox in self._outboxes:  # what nodes remember of its items is in these already
                await outbox.flush()
            try:
                return await _Batch(self, lease, work_of).run(most)
            except StoppedError:
                await lease.give_back()  # without an error: it says nothing about the item
                raise


@define(eq=False)
class _Producing:
    """A producer at work in one process."""

    worker: _Worker
    head: NodeSpec
    at: str
    end: str
    position: int
    has_sought: bool = field(default=False, init=False)
    outbox: Outbox = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.outbox = Outbox(self.worker.hops.commit)

    async def run(self) -> None:
        """Take its values through the loop, from its position on."""
        if self.head.options.live:
            await self._resume()
        first = self.position if self.head.options.live else 0
        number = first
        async with aclosing(self.worker.runner.nodes.produce(self.head, self._seek)) as values:
            async for value in _named(self.head, values):
                if self.has_sought and number == first:
                    number = self.position
                if number >= self.position:
                    with anyio.CancelScope(shield=True):
                        await self._handle(value, number)
                number += 1
                if self.outbox.is_due:
                    await anyio.lowlevel.checkpoint()
        self.outbox.results.marks[self.end] = 1
        await self.outbox.end()

    def _seek(self) -> int:
        self.has_sought = True
        return self.position

    async def _resume(self) -> None:
        """Go on with the value that was under way: it doesn't come again."""
        item = self._item(self.position)
        if left := (await self.worker.in_parts.left([item])).get(item):
            await self._run(left, self.position)
            self.position += 1

    async def _handle(self, value: Any, number: int) -> None:
        item = self._item(number)
        may_be_left = number == self.position and not self.head.options.live
        left = await self.worker.in_parts.left([item]) if may_be_left else {}
        await self._run(left.get(item) or [Work(item=item, entry=self.head.id, kept={self.head.id: value})], number)

    async def _run(self, works: Sequence[Work], number: int) -> None:
        item, results = self._item(number), self.outbox.results
        self.outbox.begin()
        async with self.worker._turn:
            await self.worker.runner.run_each(works, results, flush=partial(self._flush, item))
        self.worker.in_parts.over(item, results)
        results.marks[self.at] = number + 1
        await self.outbox.end()

    def _item(self, number: int) -> str:
        return f"{self.worker.post.job}.{self.head.id}.{self.worker.post.slot}.{number}"

    async def _flush(self, item: str, results: Results, works: Sequence[Work]) -> None:
        if await self.worker.in_parts.note(item, works, results):
            await self.outbox.flush()


@define(eq=False)
class _Batch:
    """The items of a lease, taken through the loop one after the other, and what came of them."""

    worker: _Worker
    lease: Lease
    work_of: WorkOf
    results: Results = field(factory=Results)
    done: list[Item] = field(factory=list)

    async def run(self, most: int) -> int:
        """Take them through and commit.

        Args:
            most: how many they could have been.

        Returns:
            how many the next ones should be at most.
        """
        start = time.monotonic()
        size = 0
        left = await self.worker.in_parts.left([self._key(item) for item in self.lease if self._came_back(item)])
        for item in self.lease:
            await self._handle(item, left)
            self.done.append(item)
            size = max(size, self.results.size)
        if self.lease.is_open or not self.results.is_empty:
            await self.worker.hops.commit(self.results, self.lease if self.lease.is_open else None)
        seconds = time.monotonic() - start
        fitting = len(self.lease) * min(_LEASE_SECONDS / seconds, HOP_BYTES / max(1, size))
        return max(1, min(_MOST_LEASED, round(fitting), 2 * most))

    async def _handle(self, item: Item, left: Mapping[str, list[Work]]) -> None:
        key = self._key(item)
        try:
            works = left.get(key) or [await self.work_of(item, self.results)]
            if item.deaths >= self.worker.post.most_deaths:
                error = {"type": "Death", "message": f"{item.error}, {item.deaths} times", "traceback": ""}
                await self.worker.runner.bury(works, self.results, error)
            else:
                flush = partial(self._flush, key)
                await self.worker.runner.run_each(works, self.results, item.attempt, flush)
        except RefusedError as refusal:
            await self.lease.dead_letter(item, str(refusal))
            loop = self.worker.post.plan.loop.name
            if self.lease.name == loop_queue(loop):  # what other programs push to a channel is no failure of the job
                self.results.count(refused_count(loop))
            return
        self.worker.in_parts.over(key, self.results)

    async def _flush(self, key: str, results: Results, works: Sequence[Work]) -> None:
        if await self.worker.in_parts.note(key, works, results):
            held = {item.id for item in self.lease.held}
            done = [item for item in self.done if item.id in held]
            self.done.clear()
            await self.worker.hops.commit(results.take(), self.lease, done)

    def _key(self, item: Item) -> str:
        return f"{self.lease.name}:{item.id}"

    def _came_back(self, item: Item) -> bool:
        return not item.id.startswith(f"{self.lease.id}.")


async def _named(head: NodeSpec, values: AsyncGenerator[Any, None]) -> AsyncGenerator[Any, None]:
    """The values of a producer; an error of its own says which one it was."""
    try:
        async for value in values:
            yield value
    except Exception as error:
        error.add_note(f"raised by the producer {head.id!r}, so its values have no end that others could wait for")
        raise
