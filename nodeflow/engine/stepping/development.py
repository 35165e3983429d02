"""Development mode: what is kept, what it is worth, what a step would run, and the step itself."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from difflib import get_close_matches
from typing import Any, Literal

import anyio
from attrs import evolve, field, frozen

from nodeflow.engine.calls.arguments import blamed
from nodeflow.engine.core.evaluation import Absent
from nodeflow.engine.stepping.kept import KeptItem, KeptOutput, Sample, changed, growing_key, output_key, value_of
from nodeflow.engine.stepping.recording import ALIVE_SECONDS, FEW_ITEMS, items_of, recorded, split_lines
from nodeflow.engine.stepping.samples import in_words
from nodeflow.engine.stepping.status import NodeStatus, State, statuses
from nodeflow.engine.stepping.step import Stepper
from nodeflow.errors import BlobError, BlobMissingError, BlobStoreError, JobError, PayloadError, UsageError
from nodeflow.graph import Graph, NodeSpec
from nodeflow.storage import DataStore
from nodeflow.values import RefValue, decode

_PATIENCE_SECONDS = 60.0
"""How long a step that is followed may give nothing, before it is taken for dead."""


@frozen
class PlannedRun:
    """A node that a step runs, and why."""

    node: str
    why: str


@frozen(kw_only=True)
class StepPlan:
    """What a step runs, in order, the node itself last.

    Args:
        runs: the nodes.
        notes: which stale outputs it runs on.
    """

    runs: tuple[PlannedRun, ...]
    notes: tuple[str, ...] = ()


@frozen(kw_only=True)
class Wanted:
    """How a step shall be run.

    Args:
        items: how many values of each producer and fan-out to take; "all" for all; None takes 1 of those that are run,
            as many as before of those that are run because they are stale, and all that is kept of the nodes before.
        refresh: run nodes before it whose output is stale, too.

    Raises:
        UsageError: `items` is something else.
    """

    items: int | Literal["all"] | None = field(default=None)
    refresh: bool = False

    @items.validator
    def _is_count(self, attribute: object, value: object) -> None:
        if value is not None and value != "all" and (type(value) is not int or value < 1):
            raise UsageError(f"items must be a whole number from 1 on, or 'all', not {value!r}")

    def limit(self, node: str, before: KeptOutput | None) -> int | None:
        """How many values to take of a producer or fan-out that is run; None takes all.

        Args:
            node: the node.
            before: its stale output that shall be refreshed; None where there is none.
        """
        if self.items is None and before is not None and not before.reason:
            return before.sample.get(node)
        return None if self.items == "all" else self.items or 1

    @property
    def most(self) -> int | None:
        """How many values of each producer and fan-out to take of what is kept; None takes all."""
        return None if self.items == "all" else self.items

    def more_than(self, sample: Sample) -> bool:
        """Whether a kept sample is too small."""
        return self.items is not None and any(self.items == "all" or self.items > each for each in sample.values())


@frozen(kw_only=True)
class StepResult:
    """What came of a step.

    Args:
        node: the node that was stepped.
        items: what it gave, in order.
        plan: what was run, and why.
        sample: how many values of which producers and fan-outs were taken, where there may be more; empty for all.
        seconds: how long the node took.
        not_kept: why outputs could not be kept, by node: its own, or that of a node that was run first.
    """

    node: str
    items: tuple[KeptItem, ...]
    plan: StepPlan
    sample: Sample
    seconds: float
    not_kept: Mapping[str, str] = field(factory=dict)

    @property
    def values(self) -> list[Any]:
        """The values that it gave, skipped items left out; of a logical node, a dict by branch for each item."""
        return [value_of(item) for item in self.items if not isinstance(item.outcome, Absent)]


@frozen
class Development:
    """A graph in development mode.

    Args:
        graph: the graph as it was written.
        finished: the graph as it runs in production.
        store: the store, below the graph's prefix.
        ttl: how long outputs are kept, in seconds.
    """

    graph: Graph
    finished: Graph
    store: DataStore
    ttl: float

    async def kept(self, node: str) -> KeptOutput | None:
        """The kept output of a node, or None.

        Raises:
            UsageError: the graph has no such node.
        """
        self._check(node)
        found = await self._kept(node)
        if found is None or found.reason:
            return found
        try:
            found = await _with_items(found)
            return evolve(found, items=[await changed(item, _read) for item in found.items or () if not item.is_sign])
        except (BlobError, BlobStoreError) as error:
            raise blamed(error, node, "") from None

    async def follow(self, node: str) -> AsyncGenerator[KeptItem, None]:
        """The items of a node from the first on, those too that a step which is under way still gives.

        Raises:
            UsageError: the graph has no such node, or nothing is kept of it.
            JobError: the step failed meanwhile.
        """
        self._check(node)
        growing = await self.store.cache.get(growing_key(node))
        if growing is None:
            found = await self.kept(node)
            if found is None or found.items is None:
                raise UsageError(
                    f"nothing is kept of {node!r}, and no step of it has given more than {FEW_ITEMS} values or 1 MiB "
                    "so far, from where on it can be followed"
                )
            for item in found.items:
                yield item
            return
        try:
            async with aclosing(self.store.blobs.follow(growing, patience=_PATIENCE_SECONDS)) as parts:
                async for line in split_lines(parts):
                    item = KeptItem.from_data(decode(line, self.store.blobs))
                    if not item.is_sign:
                        yield await changed(item, _read)
        except BlobMissingError as error:
            raise JobError(f"the step of {node!r} ended before its end, and what it gave is gone: {error}") from error

    async def status(self) -> dict[str, NodeStatus]:
        """What the kept output of each node is worth."""
        return statuses(self.graph, await self._all_kept())

    async def plan(self, node: str, wanted: Wanted) -> StepPlan:
        """What a step would run; nothing is run.

        Raises:
            UsageError: the graph has no such node.
        """
        self._check(node)
        return plan_step(self.graph, await self._all_kept(), node, wanted)

    async def step(self, node: str, wanted: Wanted) -> StepResult:
        """Run a node on the kept output of the nodes before it, and keep its own.

        Raises:
            UsageError: the graph has no such node.
            NodeFailedError: a node raised; what was kept of it stays.
            NoneReturnedError: a node gave None, though it is annotated to give something else; the same.
        """
        self._check(node)
        kept = await self._all_kept()
        plan = plan_step(self.graph, kept, node, wanted)
        not_kept = {}
        for run in plan.runs:
            spec = self.graph.nodes[run.node]
            for source in {edge.source for edge in spec.edges.values()}:
                kept[source] = await _with_items(kept[source])
            limit = wanted.limit(run.node, kept.get(run.node) if run.node != node else None)
            output = await self._run(Stepper(self.graph, self.finished, limit, wanted.most), spec, kept)
            kept[run.node] = output
            if output.reason:
                not_kept[run.node] = output.reason
        return StepResult(
            node=node,
            items=tuple([await changed(item, _read) for item in output.items or () if not item.is_sign]),
            plan=plan,
            sample=output.sample,
            seconds=output.seconds,
            not_kept=not_kept,
        )

    async def _run(self, stepper: Stepper, spec: NodeSpec, kept: Mapping[str, KeptOutput]) -> KeptOutput:
        """Run a node and keep its output, much of it while it is made."""
        growing = growing_key(spec.id)

        async def announce(blob: str) -> None:
            await self.store.cache.set(growing, blob, ttl=ALIVE_SECONDS)

        try:
            async with recorded(self.store, announce, spec) as recorder:
                output = await stepper.run(spec, kept, recorder)
                await self.store.cache.set(output_key(spec.id), output.to_data(), ttl=self.ttl)
        except BlobStoreError as error:
            raise blamed(error, spec.id, "") from None
        finally:
            with anyio.CancelScope(shield=True):
                await self.store.cache.delete(growing)
        return output

    async def _kept(self, node: str) -> KeptOutput | None:
        try:
            data = await self.store.cache.get(output_key(node))
        except PayloadError as error:  # as when its key is not here: the node can be stepped again
            return KeptOutput.unreadable(str(error))
        try:
            return None if data is None else KeptOutput.from_data(data)
        except (LookupError, TypeError):
            return KeptOutput.unreadable("another version of nodeflow has kept it")

    async def _all_kept(self) -> dict[str, KeptOutput]:
        found = {node: await self._kept(node) for node in self.graph.nodes}
        return {node: output for node, output in found.items() if output is not None}

    def _check(self, node: str) -> None:
        if node not in self.graph.nodes:
            known = ", ".join(self.graph.nodes) or "none"
            close = get_close_matches(node, self.graph.nodes, 1)
            hint = f"did you mean {close[0]!r}? " if close else ""
            raise UsageError(f"graph {self.graph.name!r} has no node {node!r}: {hint}its nodes are {known}")


async def _with_items(output: KeptOutput) -> KeptOutput:
    if output.items is not None or output.stream is None:
        return output
    return evolve(output, items=await items_of(output.stream))


async def _read(value: Any) -> Any:
    return await value.read() if isinstance(value, RefValue) else value


def plan_step(graph: Graph, kept: Mapping[str, KeptOutput], node: str, wanted: Wanted) -> StepPlan:
    """What a step of a node would run, given what is kept.

    Args:
        graph: the graph as it was written.
        kept: the kept outputs by node.
        node: the node to step.
        wanted: how it shall be run.
    """
    worth = statuses(graph, kept)
    reasons: dict[str, str] = {}
    notes = []
    needed = {node}
    for spec in reversed(list(graph.nodes.values())):
        if spec.id not in needed:
            continue
        reason = "asked for" if spec.id == node else _why_run(worth[spec.id], wanted)
        if reason:
            reasons[spec.id] = reason
            needed |= {edge.source for edge in spec.edges.values()}
        elif worth[spec.id].state is State.STALE:
            notes.append(f"the kept output of {spec.id} is stale ({', '.join(worth[spec.id].why)})")
    runs = [PlannedRun(each, reasons[each]) for each in graph.nodes if each in reasons]
    return StepPlan(runs=tuple(runs), notes=tuple(reversed(notes)))


def _why_run(status: NodeStatus, wanted: Wanted) -> str:
    """Why a node before the one that is stepped has to run first; empty when its kept output serves."""
    if status.state is State.MISSING:
        return "its output is missing"
    if status.state is State.NOT_KEPT:
        return f"its output is not kept: {', '.join(status.why)}"
    if wanted.more_than(status.sample):
        return f"its kept output is a sample: {in_words(status.sample)}"
    if status.state is State.STALE and wanted.refresh:
        return ", ".join(status.why)
    return ""
