"""Runs a whole graph in one process, in milliseconds, without a server; with the results that its processes give."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import anyio
from attrs import define, field, frozen

from nodeflow.engine.calls.invoke import Nodes
from nodeflow.engine.calls.returned import check_returned
from nodeflow.engine.calls.state import States
from nodeflow.engine.core.marks import finishers
from nodeflow.engine.core.plan import LoopPlan, plan_loop
from nodeflow.engine.core.refusals import RefusedError
from nodeflow.engine.core.results import Results, loop_queue, shown_letter
from nodeflow.engine.core.work import Work
from nodeflow.engine.loops.intake import Intake
from nodeflow.engine.passes import finished
from nodeflow.engine.way.packing import Packing, addressed
from nodeflow.engine.way.runner import Runner
from nodeflow.errors import UsageError
from nodeflow.graph import Context, Graph, Kind, NodeSpec, declare_types
from nodeflow.storage import Item
from nodeflow.testing.memory import MemoryStore, Records
from nodeflow.values import decode

_JOB = "test"


@frozen
class GraphRun:
    """What came of running a graph.

    Args:
        values: what each node gave, in order; what a logical node gave is a dict by branch.
        failed: the dead letters, as `engine.dead_letters()` gives them.
        pushed: what was pushed to queues that other programs read, by queue.
    """

    values: Mapping[str, list[Any]]
    failed: list[dict[str, Any]]
    pushed: Mapping[str, list[Any]]

    def __getitem__(self, node: str) -> list[Any]:
        """What a node gave, in order.

        Raises:
            KeyError: the graph has no such node; with those that it has.
        """
        if node not in self.values:
            raise KeyError(f"the graph has no node {node!r}; its nodes are {', '.join(map(repr, self.values))}")
        return self.values[node]


def run_graph(graph: Graph, inputs: Mapping[str, Iterable[Any]] | None = None) -> GraphRun:
    """Run a whole graph in this process, without a server, to the end of its input.

    Loops run one after the other, each with one process; retries don't wait for their time.

    Args:
        graph: the graph.
        inputs: values by node: instead of what a producer would give, or as the items of a `QueueReader`.

    Returns:
        what came of it; nodes that raised are in `failed`.

    Raises:
        GraphInvalidError: the graph has problems, with all of them.
        UsageError: `graph` is none; or `inputs` names a node that has inputs of its own or none of the graph, or has
            no list of values for it.
        StoppedError: a node raised that shall stop the job.
        NoneReturnedError: a node gave None, though it is annotated to give something else.
    """
    if not isinstance(graph, Graph):
        raise UsageError(f"run_graph takes a Graph, not {graph!r}: import the one of your file")
    run = _Run(finished(graph), {node: _values(node, values) for node, values in (inputs or {}).items()})
    declare_types(graph)
    if not _is_in_event_loop():  # outside of the `except`, so that errors of nodes don't name what is caught there
        return anyio.run(run.whole)
    with ThreadPoolExecutor(1) as elsewhere:  # a running event loop can't run another one
        return elsewhere.submit(anyio.run, run.whole).result()


def _values(node: str, values: Any) -> list[Any]:
    if isinstance(values, str | bytes | Mapping) or not isinstance(values, Iterable):
        raise UsageError(f"inputs[{node!r}] must be a list of values, or the like, not {values!r}")
    return list(values)


def _is_in_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


@define
class _Run:
    graph: Graph
    inputs: dict[str, list[Any]]
    store: MemoryStore = field(factory=MemoryStore)
    values: dict[str, list[Any]] = field(factory=dict)
    failed: list[dict[str, Any]] = field(factory=list)
    queues: dict[str, deque[Any]] = field(factory=dict)
    records: Records = field(factory=Records)
    plan: LoopPlan = field(init=False)
    runner: Runner = field(init=False)
    intake: Intake = field(init=False)

    async def whole(self) -> GraphRun:
        """All loops, each behind those that it takes from."""
        self._check_inputs()
        self.values = {spec.id: [] for spec in self.graph.nodes.values() if spec.kind is not Kind.WRITER}
        plans = {spec.loop: plan_loop(self.graph, spec.loop) for spec in self.graph.nodes.values()}
        done: set[str] = set()
        while len(done) < len(plans):
            plan = next(
                plan
                for plan in plans.values()
                if plan.loop.name not in done and all(channel.source_loop in done for channel in plan.sources)
            )
            await self._loop(plan)
            done.add(plan.loop.name)
        own = {queue for channel in plan.channels.values() for queue in channel.queues}
        for plan in plans.values():
            slots = range(plan.loop.processes)
            own |= {*plan.own_queues, *(plan.queue_of(head, slot) for head in plan.readers for slot in slots)}
        pushed = {queue: list(items) for queue, items in self.queues.items() if queue not in own}
        return GraphRun(self.values, self.failed, pushed)

    async def _loop(self, plan: LoopPlan) -> None:
        context = Context(graph=plan.graph, node="", loop=plan.loop.name, job=_JOB, slot=f"{plan.loop.name}/0")
        async with Nodes(plan.nodes.values(), context, States.of_loop(plan.loop)) as nodes:
            packing = Packing(self.store, plan.loop.name, _JOB)
            self.plan, self.intake = plan, Intake(plan, self.records, _JOB)
            self.runner = Runner(plan, nodes, packing, _JOB, self._note)
            for head in plan.heads:
                await (self._produce(head, nodes) if head.kind is Kind.PRODUCER else self._read(head))
            await self._work()
            for works in finishers(plan, _JOB):
                for work in works:
                    await self._run(work)
                await self._work()

    async def _produce(self, head: NodeSpec, nodes: Nodes) -> None:
        number = 0
        given = self.inputs.get(head.id)
        async for value in nodes.produce(head) if given is None else _each(given):
            await self._run(Work(item=f"{_JOB}.{head.id}.0.{number}", entry=head.id, kept={head.id: value}))
            number += 1

    async def _read(self, head: NodeSpec) -> None:
        if head in self.plan.foreign:
            await self._push(str(head.target.queue), self.inputs.get(head.id, []))
        for slot in range(self.plan.loop.processes):
            await self._through(head, self.queues.get(self.plan.queue_of(head, slot), deque()))

    async def _push(self, queue: str, values: Iterable[Any]) -> None:
        """Put into a queue what other programs would."""
        for number, value in enumerate(values):
            name, content = queue, value
            if self.plan.partitioning is not None:
                name, content = await addressed(
                    self.plan.partitioning, queue, {"id": f"{queue}.{number}", "value": value}
                )
            self.queues.setdefault(name, deque()).append(content)

    async def _through(self, head: NodeSpec, items: deque[Any]) -> None:
        number = 0
        while items:
            await self._run(self.intake.of_channel(head, Item(f"{head.target.queue}.{number}", items.popleft())))
            number += 1

    async def _work(self) -> None:
        """Do what the loop has left for later, until nothing is."""
        for queue in self.plan.own_queues:
            waiting = self.queues.setdefault(queue, deque())
            while waiting:
                results = Results()
                try:
                    work = await self.intake.of_loop(Item("", waiting.popleft()), results)
                except RefusedError as error:
                    raise AssertionError(str(error)) from error
                await self.runner.run(work, results)
                self._deliver(results)

    async def _run(self, work: Work) -> None:
        results = Results()
        await self.runner.run(work, results)
        self._deliver(results)
        if work.key:  # what comes behind it waits for its retries
            await self._work()

    def _deliver(self, results: Results) -> None:
        for queue, lot in results.pushes.items():
            self.queues.setdefault(queue, deque()).extend(map(decode, lot))
        for queue, later in results.later.items():
            self.queues.setdefault(queue, deque()).extend(decode(data) for _, data in later)
        self.failed += [shown_letter(decode(data)) for data in results.dead]
        for given in results.given:
            for notice in self.records.put(given):
                self.queues.setdefault(loop_queue(given.join.loop), deque()).append(notice)

    def _note(self, node: str, item: str, outcome: Any) -> None:
        if node not in self.inputs and f".{node}:finish" not in item:
            check_returned(self.graph.nodes[node], item, outcome)
        values = self.store.shown(outcome)
        self.values[node] += values

    def _check_inputs(self) -> None:
        fed = [spec.id for spec in self.graph.nodes.values() if spec.kind is Kind.PRODUCER]
        fed += [spec.id for spec in self.graph.nodes.values() if spec.kind is Kind.READER and not spec.edges]
        if unknown := [node for node in self.inputs if node not in fed]:
            raise UsageError(f"inputs= can't feed {unknown[0]!r}: it takes values for {', '.join(fed) or 'no node'}")


async def _each(values: Iterable[Any]) -> Any:
    for value in values:
        yield value
