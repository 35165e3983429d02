"""One process of a loop at work: its heads take in items until their input is used up or it is told to drain."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager, suppress
from functools import partial

import anyio
import anyio.lowlevel
from anyio.abc import TaskGroup, TaskStatus
from attrs import define, evolve, field, frozen

from nodeflow.engine.calls.invoke import Nodes
from nodeflow.engine.calls.stalls import watch_stalls
from nodeflow.engine.calls.state import States, state_hash
from nodeflow.engine.core.endings import DrainedError, StoppedError
from nodeflow.engine.core.marks import end_mark, epoch_mark, finishers, loop_end
from nodeflow.engine.core.plan import LoopPlan
from nodeflow.engine.core.results import Results, loop_queue
from nodeflow.engine.core.work import Work
from nodeflow.engine.loops.batch import Batch, OverlappingBatch, Pace
from nodeflow.engine.loops.caution import Alone, Caution, orderly
from nodeflow.engine.loops.hops import Hops
from nodeflow.engine.loops.intake import Intake
from nodeflow.engine.loops.outbox import Outbox
from nodeflow.engine.loops.producing import PATIENT, Producing
from nodeflow.engine.loops.progress import InParts
from nodeflow.engine.loops.routing import AddressOf, Routing
from nodeflow.engine.way.express import Express
from nodeflow.engine.way.flights import Flights
from nodeflow.engine.way.hands import Hands
from nodeflow.engine.way.held import Held
from nodeflow.engine.way.packing import Packing
from nodeflow.engine.way.runner import Runner
from nodeflow.graph import Context, Kind, NodeSpec
from nodeflow.storage import DataStore, Lease, Ledger

GoOn = Callable[[int], None]
"""Called when the next items may be leased, with how many those should be at most."""

Handle = Callable[[Lease, int, GoOn], Awaitable[None]]
"""Handles the items of a lease, of which there could have been so many."""

CLOSED = 2
"""What `Ledger.end_loop` says of a loop that is closed."""

Wait = Callable[[], Awaitable[None]]
"""Waits for something."""

_LOOK_SECONDS = 0.1
"""How often a reader whose queue is empty looks whether it is used up, or whether to drain."""


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

    @property
    def partitions(self) -> Sequence[int]:
        """The partitions of the loop that the process has."""
        partitioning = self.plan.partitioning
        return (0,) if partitioning is None else partitioning.partitions(self.slot)


async def _states(post: Post, ledger: Ledger) -> States | None:
    """What the nodes of a loop remember, as it was saved; None where each process would see a part of it."""
    plan = post.plan
    states = States.of_loop(plan.loop)
    if states is not None:
        for spec in plan.nodes.values():
            for partition in post.partitions if spec.takes_context else ():
                states.load(spec.id, partition, await ledger.table(state_hash(spec.id, partition)))
    return states


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
    packing = Packing(post.store, plan.loop.name, post.job)
    held = Held(plan, packing)
    if plan.partitioning is not None:
        await held.load(ledger, post.partitions)
    states = await _states(post, ledger)
    async with Nodes(plan.nodes.values(), context, states, plan.loop.stall_timeout) as nodes:
        if plan.loop.stall_timeout < math.inf:
            watch_stalls(plan.loop.stall_timeout, PATIENT)
        worker = Worker(
            post,
            Runner(plan, nodes, packing, post.job, held=held),
            Hops(post.store, plan.loop.name, post.job, post.slot, epoch),
            Intake(plan, ledger, post.job),
            InParts(ledger, packing),
            held,
            drain,
        )
        async with anyio.create_task_group() as draining:
            draining.start_soon(worker.hops.drain, drain)
            await worker.run()
            draining.cancel_scope.cancel()
    return worker.is_closed


@define(eq=False)
class Worker:
    """What a process of a loop does: its heads take turns.

    Args:
        post: where it works.
        runner: takes items through the loop.
        hops: commits.
        intake: makes work of items.
        in_parts: keeps how far large items are.
        held: the keys that are held.
        drain: when set, heads stop.
    """

    post: Post
    runner: Runner
    hops: Hops
    intake: Intake
    in_parts: InParts
    held: Held
    drain: anyio.Event
    is_closed: bool = False
    turn: anyio.Lock = field(factory=partial(anyio.Lock, fast_acquire=True), init=False)
    """Held by the head whose items go through the loop, where that waits for all nodes."""
    paces: dict[str, Pace] = field(factory=dict, init=False)
    """How fast the items of each queue went through last."""
    hands: Hands = field(init=False)
    alone: Alone = field(init=False)
    outboxes: list[Outbox] = field(factory=list, init=False)
    _taken: dict[str, list[anyio.Event]] = field(factory=dict, init=False)
    _expresses: dict[str, Express | None] = field(factory=dict, init=False)

    def __attrs_post_init__(self) -> None:
        self.hands = Hands(self.runner.nodes, self._settle)
        self.alone = Alone(self.turn, self.hands)

    async def run(self) -> None:
        """Let all heads work until the loop is closed, or told to drain."""
        cautions = await self._cautions()
        async with orderly(cautions), anyio.create_task_group() as committing:
            async with anyio.create_task_group() as tasks:
                if self.post.plan.flies:
                    self.runner = evolve(self.runner, flights=Flights(tasks, self.hands))
                    self.hands.give_up = tasks.cancel_scope.cancel  # what is in hand is given again
                    committing.start_soon(self._commit_whole)
                for caution in cautions:
                    tasks.start_soon(self.produce, caution)
                self._start_readers(tasks)
            committing.cancel_scope.cancel()

    async def _cautions(self) -> list[Caution]:
        """One for each producer that has not come to its end."""
        heads, slot = [head for head in self.post.plan.heads if head.kind is Kind.PRODUCER], self.post.slot
        known = await self.in_parts.ledger.read() if heads else {}
        found = [Caution(self.hops, head, slot, known) for head in heads if end_mark(head.id, slot) not in known]
        for each in found:
            if each.is_called_for:
                self.alone.suspect(each.head.id)
        return found

    def _start_readers(self, tasks: TaskGroup) -> None:
        plan = self.post.plan
        for head in plan.heads:
            if head.kind is not Kind.PRODUCER:
                tasks.start_soon(self.read_channel, head)
        tasks.start_soon(self.read_own)
        if plan.partitioning is not None and self.post.slot == 0:
            routing = Routing(plan, plan.partitioning, self.runner.packing, self.hops)
            tasks.start_soon(self.route, routing, loop_queue(plan.loop.name), routing.of_loop)
            for reader in plan.foreign:
                tasks.start_soon(self.route, routing, str(reader.target.queue), routing.of_reader(reader))

    async def _commit_whole(self) -> None:
        try:
            await self.hands.commit()
        except DrainedError:
            self.hands.give_up()

    async def produce(self, caution: Caution) -> None:
        """Take a producer's values through the loop, and commit whatever has come of them meanwhile."""
        producing = Producing(self, caution)
        self.outboxes.append(producing.outbox)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(producing.outbox.run)
            async with anyio.create_task_group() as pulling:
                pulling.start_soon(self._stop_on_drain, producing)
                try:
                    await producing.run()
                except DrainedError:
                    producing.outbox.results.take()  # it is given again: the position is where it was
                pulling.cancel_scope.cancel()
            producing.outbox.close()
        self.alone.trust(producing.head.id)

    async def _stop_on_drain(self, producing: Producing) -> None:
        await self.drain.wait()
        producing.stop()

    def express(self, head: NodeSpec | None, results: Results) -> Express | None:
        """The short way of a head's items, for whoever has the turn; None when they have none."""
        if head is None:
            return None
        if head.id not in self._expresses:
            entry = self.post.plan.entries[head.id]
            self._expresses[head.id] = Express(self.runner, entry) if Express.is_for(self.runner, entry) else None
        found = self._expresses[head.id]
        if found is not None:
            found.results = results
        return found

    async def _settle(self) -> None:
        for outbox in self.outboxes:
            await outbox.flush()

    async def read_channel(self, head: NodeSpec) -> None:
        """Lease items of a channel, take them through the loop and commit, until the loop is closed."""

        async def there_is_room() -> None:
            while self.held.is_full and not self.drain.is_set():
                with anyio.move_on_after(_LOOK_SECONDS):
                    await self.drain.wait()

        async def handle(lease: Lease, most: int, go_on: GoOn) -> None:
            await self._handle(lease, head, most, go_on)

        await self._read(self.post.plan.queue_of(head, self.post.slot), handle, when_ready=there_is_room)

    async def read_own(self) -> None:
        """Do the work that the loop has left for later, and look for its end when there is none."""
        plan = self.post.plan
        ends = [[await self._packed(work) for work in works] for works in finishers(plan, self.post.job)]
        end = loop_end(plan)

        async def look() -> None:
            state = await self.in_parts.ledger.end_loop(end, ends)
            self.is_closed = state == CLOSED

        async def handle(lease: Lease, most: int, go_on: GoOn) -> None:
            await self._handle(lease, None, most, go_on)

        await self._read(plan.own_queue(self.post.slot), handle, when_idle=look)

    async def route(self, routing: Routing, queue: str, address_of: AddressOf) -> None:
        """Send what lies in a queue to the processes that have the keys."""

        async def handle(lease: Lease, most: int, go_on: GoOn) -> None:
            go_on(await routing.route(lease, address_of, most))

        await self._read(queue, handle)

    async def _packed(self, work: Work) -> tuple[str, bytes]:
        queue = self.post.plan.own_queue(work.partition)
        return queue, await self.runner.packing.work(queue, work)

    async def _read(
        self, queue: str, handle: Handle, *, when_ready: Wait = _do_nothing, when_idle: Wait = _do_nothing
    ) -> None:
        most = 1
        self.alone.suspect(queue)  # as long as it isn't known what a process before has left in it
        async with anyio.create_task_group() as leases:
            while not (self.drain.is_set() or self.is_closed or self.hops.is_over):
                await when_ready()
                taken = await leases.start(self._take, queue, handle, most)
                most = taken or most
                if not taken:
                    await when_idle()

    async def _take(
        self, queue: str, handle: Handle, most: int, *, task_status: TaskStatus[int] = anyio.TASK_STATUS_IGNORED
    ) -> None:
        """Handle the items of one lease; tells how many the next ones should be at most, 0 when none came."""
        has_gone_on = False

        def go_on(most: int) -> None:
            nonlocal has_gone_on
            has_gone_on = True
            task_status.started(most)

        async with AsyncExitStack() as apart:
            await apart.enter_async_context(self.alone.apart())
            await self._lease(queue, handle, most, go_on, apart.aclose)
        if not has_gone_on:
            await self.alone.over(_LOOK_SECONDS)
            go_on(0)

    async def _lease(self, queue: str, handle: Handle, most: int, go_on: GoOn, when_innocent: Wait) -> None:
        timeout = 0 if self.alone.is_called_for else _LOOK_SECONDS
        with suppress(DrainedError), self._in_hand(queue) as later_ones_end:
            self.hops.go_on()
            lots = self.post.store.queue.lease(queue, most, timeout=timeout, consumer=self.post.name, is_read=False)
            async with lots as lease:
                if self.alone.is_called_for and await _is_new(lease):
                    self.alone.trust(queue)
                    await when_innocent()
                if lease:
                    try:
                        await handle(lease, most, go_on)
                    except BaseException:
                        await later_ones_end()
                        raise

    @contextmanager
    def _in_hand(self, queue: str) -> Iterator[Callable[[], Awaitable[None]]]:
        """Have a lease in hand; gives what waits until those that were taken after it have ended.

        What is given back lies in front of all, so the last lease has to be given back first.
        """
        end, taken = anyio.Event(), self._taken.setdefault(queue, [])
        taken.append(end)

        async def later_ones_end() -> None:
            with anyio.CancelScope(shield=True):
                for each in taken[taken.index(end) + 1 :]:
                    await each.wait()

        try:
            yield later_ones_end
        finally:
            taken.remove(end)
            end.set()

    async def _handle(self, lease: Lease, head: NodeSpec | None, most: int, go_on: GoOn) -> None:
        batch = (OverlappingBatch if self.post.plan.flies else Batch)(self, lease, head)
        try:
            await batch.run(most, go_on)
        except StoppedError:
            await lease.give_back()  # without an error: it says nothing about the item
            raise


async def _is_new(lease: Lease) -> bool:
    """Whether nobody had any of its items before."""
    if not lease.is_fresh:
        await lease.open()
    return lease.is_fresh or all(item.attempt == 1 for item in lease)
