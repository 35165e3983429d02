"""One process of a loop at work: its heads take in items until their input is used up or it is told to drain."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import anyio
import anyio.lowlevel
from attrs import define, field, frozen

from nodeflow.engine.evaluation import Outcome, Value
from nodeflow.engine.invoke import Nodes
from nodeflow.engine.outbox import HOP_BYTES, Outbox
from nodeflow.engine.packing import Packing
from nodeflow.engine.plan import LoopPlan, closed_mark, finish_mark
from nodeflow.engine.results import Results, dead_queue, is_enveloped, received
from nodeflow.engine.runner import Runner
from nodeflow.graph import Context, Kind, NodeSpec
from nodeflow.storage import DataStore, Lease

_LOOK_SECONDS = 0.1
"""How often a reader whose queue is empty looks whether it is used up, or whether to drain."""

_LEASE_SECONDS = 0.1
"""How much work a lease should hold: enough to fill a hop, little enough for others to get their share."""

_MOST_LEASED = 500


@frozen
class Post:
    """Where a process works.

    Args:
        plan: its loop.
        store: the store, below the graph's prefix.
        job: the job's id.
        slot: which process of the loop it is, as in `parse/1`.
    """

    plan: LoopPlan
    store: DataStore
    job: str
    slot: str


async def run_loop(post: Post, drain: anyio.Event) -> bool:
    """Run a process's part of a loop until its input is used up, or until it is told to drain.

    The process that finds the input used up first lets the nodes finish and sets the loop's done mark.

    Args:
        post: where it works.
        drain: when set, heads stop, what is in hand is finished and the rest given back.

    Returns:
        whether the input is used up.
    """
    plan = post.plan
    context = Context(graph=plan.graph, node="", loop=plan.loop, job=post.job, slot=post.slot)
    async with Nodes(plan.nodes.values(), context) as nodes:
        packing = Packing(post.store, plan.channels, plan.loop, post.job)
        worker = _Worker(post, Runner(plan, nodes, packing), drain)
        async with anyio.create_task_group() as tasks:
            for head in plan.heads:
                tasks.start_soon(worker.produce if head.kind is Kind.PRODUCER else worker.read, head)
        is_used_up = worker.ended == {head.id for head in plan.heads}
        if is_used_up:
            await worker.finish()
    return is_used_up


@define
class _Worker:
    post: Post
    runner: Runner
    drain: anyio.Event
    ended: set[str] = field(factory=set, init=False)
    _most: int = field(default=1, init=False)

    async def produce(self, head: NodeSpec) -> None:
        """Take a producer's values through the loop, and commit whatever has come of them meanwhile."""
        async with anyio.create_task_group() as tasks:
            outbox = Outbox(self._commit)
            tasks.start_soon(outbox.run)
            async with anyio.create_task_group() as pulling:
                pulling.start_soon(self._cancel_on_drain, pulling.cancel_scope)
                await self._produce_into(head, outbox)
                pulling.cancel_scope.cancel()
            outbox.close()

    async def _cancel_on_drain(self, scope: anyio.CancelScope) -> None:
        await self.drain.wait()
        scope.cancel()

    async def _produce_into(self, head: NodeSpec, outbox: Outbox) -> None:
        async with aclosing(self.runner.nodes.produce(head)) as values:
            position = 0
            async for value in _named(head, values):
                item_id = f"{self.post.job}.{head.id}.0.{position}"
                with anyio.CancelScope(shield=True):
                    await outbox.put(await self.runner.run(head, item_id, Value(value)))
                position += 1
                if outbox.is_due:
                    await anyio.lowlevel.checkpoint()
            self.ended.add(head.id)

    async def read(self, head: NodeSpec) -> None:
        """Lease items, take them through the loop and commit, until the queue has no more to give."""
        queue = str(head.target.queue)
        channel = self.post.plan.channels.get(queue)
        ledger = self.post.store.ledger(self.post.job)
        while not self.drain.is_set():
            leasing = self.post.store.queue.lease(queue, self._most, timeout=_LOOK_SECONDS, consumer=self.post.slot)
            async with leasing as lease:
                if lease:
                    await self._handle(head, lease, enveloped=channel is not None)
                    continue
            if channel and await ledger.used_up(queue, closed_mark(channel.source_loop)):
                self.ended.add(head.id)
                return

    async def _handle(self, head: NodeSpec, lease: Lease, *, enveloped: bool) -> None:
        start = time.monotonic()
        results = Results()
        for item in lease:
            if enveloped and not is_enveloped(item.value):
                await lease.dead_letter(item, "not an item as this graph's loops write them: another program pushed it")
                continue
            outcome: Outcome = received(item.value) if enveloped else Value(item.value)
            item_id = item.value["id"] if enveloped else item.id
            results.add(await self.runner.run(head, item_id, outcome, item.attempt))
        if lease.is_open:
            await self._commit(results, lease)
        seconds, size = time.monotonic() - start, max(1, results.size)
        fitting = len(lease) * min(_LEASE_SECONDS / seconds, HOP_BYTES / size)
        self._most = max(1, min(_MOST_LEASED, round(fitting), 2 * self._most))

    async def finish(self) -> None:
        """Let the nodes finish and close the loop's channels, in one hop; only one process of a loop does."""
        if not await self.post.store.ledger(self.post.job).claim(finish_mark(self.post.plan.loop)):
            return
        results = Results()
        for spec in self.post.plan.finishers:
            results.add(await self.runner.finish(spec))
        results.count(closed_mark(self.post.plan.loop))
        await self._commit(results)

    async def _commit(self, results: Results, lease: Lease | None = None) -> None:
        dead = {dead_queue(self.post.plan.loop): results.dead} if results.dead else {}
        commit = lease.commit if lease else self.post.store.queue.commit
        await commit(pushes=results.pushes, dead=dead, counts=results.counts, job=self.post.job)


async def _named(head: NodeSpec, values: AsyncGenerator[Any, None]) -> AsyncGenerator[Any, None]:
    """The values of a producer; an error of its own says which one it was."""
    try:
        async for value in values:
            yield value
    except Exception as error:
        error.add_note(f"raised by the producer {head.id!r}, so its values have no end that others could wait for")
        raise
