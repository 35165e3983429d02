"""Development mode: runs one node over all the kept items of the nodes before it."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import aclosing, contextmanager
from datetime import UTC, datetime
from typing import Any

import anyio.lowlevel
from attrs import frozen

from nodeflow.engine.arguments import ready
from nodeflow.engine.evaluation import Absent, Evaluation, Outcome, Task, Value, bind, settled
from nodeflow.engine.invoke import Nodes
from nodeflow.engine.kept import KeptItem, KeptOutput
from nodeflow.engine.recording import Recorder
from nodeflow.engine.runner import Failure
from nodeflow.engine.status import input_digests
from nodeflow.engine.traces import safe_text, user_trace
from nodeflow.errors import (
    BlobStoreError,
    GraphError,
    InputChangedError,
    NodeFailedError,
    PayloadError,
    StorageError,
    UsageError,
)
from nodeflow.graph import Context, Graph, Kind, Lineage, NodeSpec, fingerprint, lineages
from nodeflow.values import RefValue
from nodeflow.values.codec import prepare

_SHOWN = 200


@frozen
class Stepper:
    """Runs single nodes of a graph.

    Args:
        graph: the graph as it was written.
        limit: how many values of each producer or fan-out to take; None takes all.
    """

    graph: Graph
    limit: int | None

    async def run(self, spec: NodeSpec, kept: Mapping[str, KeptOutput], recorder: Recorder) -> KeptOutput:
        """Run a node from an empty state, `finish` included.

        Args:
            spec: the node.
            kept: the outputs of all nodes that it takes from, read.
            recorder: what keeps the items.

        Raises:
            NodeFailedError: it raised, with the traceback from the user's own frame on.
            InputChangedError: it changed a value that it was given.
        """
        if spec.kind is Kind.READER and not spec.edges:
            raise UsageError(
                f"node {spec.id!r} reads queue {spec.target.queue!r}, which other programs fill: it can't be stepped. "
                "To step what follows, wire that to a function that gives samples"
            )
        start = time.monotonic()
        cut = await self._recorded(spec, kept, recorder)
        stream = await recorder.finish()
        return KeptOutput(
            fingerprint=fingerprint(spec.target, spec.constants),
            inputs=input_digests(spec, {node: output.digest for node, output in kept.items()}),
            items=recorder.items,
            stream=stream,
            count=len(recorder.items),
            sample=_sample(spec, kept, self.limit if cut else None),
            at=datetime.now(UTC),
            seconds=time.monotonic() - start,
            reason=recorder.reason,
            digest=recorder.digest,
            size=recorder.size,
        )

    async def _recorded(self, spec: NodeSpec, kept: Mapping[str, KeptOutput], recorder: Recorder) -> bool:
        """Record what the node gives; whether it might give more."""
        cut = False
        try:
            with _failures(Task(spec, "", {})):
                async with Nodes([spec], Context(graph=self.graph.name, node=spec.id, loop=spec.loop)) as nodes:
                    async for item in self._items(spec, nodes, kept):
                        if item is None:
                            cut = True
                        else:
                            await _record(recorder, item)
                        await anyio.lowlevel.checkpoint()  # Ctrl-C ends a step of nodes that never await, too
        except _NotRecordedError as failure:
            raise failure.error from None
        return cut

    async def _items(
        self, spec: NodeSpec, nodes: Nodes, kept: Mapping[str, KeptOutput]
    ) -> AsyncIterator[KeptItem | None]:
        """What the node gives; None says that it might give more."""
        if spec.kind is Kind.PRODUCER:
            async for item in _numbered(Task(spec, spec.id, {}), nodes.produce(spec), self.limit):
                yield item
        for item_id, outcomes in _joined(self.graph, spec, kept):
            async for item in self._handled(spec, Evaluation({}, item_id, outcomes), nodes):
                yield item
        task = Task(spec, f"{spec.id}:finish", {})
        if spec.has_finish:
            async for item in _numbered(task, nodes.finish(spec), None):
                yield item

    async def _handled(self, spec: NodeSpec, evaluation: Evaluation, nodes: Nodes) -> AsyncIterator[KeptItem | None]:
        """What the node gives for one item."""
        arguments = bind(spec, evaluation.outcomes)
        if isinstance(arguments, Absent):
            yield KeptItem(evaluation.item_id, arguments)
            return
        task = Task(spec, evaluation.item_id, arguments)
        if spec.kind in (Kind.READER, Kind.WRITER):
            outcome = next(iter(arguments.values()))
            yield KeptItem(task.item_id, outcome if spec.kind is Kind.WRITER else Value(outcome))
            return
        with _failures(task):
            found = await ready(evaluation, task, self.graph.nodes.__getitem__)
        if found is None:
            yield KeptItem(task.item_id, Absent.SKIPPED)
            return
        task, call = found
        before = _state(call)
        if spec.fans_out:
            async for item in _numbered(call, nodes.fan_out(call), self.limit):
                yield item
        else:
            with _failures(call):
                outcome = settled(spec, task.arguments, await nodes.call(call))
            yield KeptItem(task.item_id, outcome)
        if before is not None and _state(call) != before:
            raise InputChangedError(spec.id, task.item_id)


class _NotRecordedError(Exception):
    """What a node gave could not be kept, which is no failure of the node."""

    def __init__(self, error: StorageError) -> None:
        super().__init__(error)
        self.error = error


async def _record(recorder: Recorder, item: KeptItem) -> None:
    try:
        await recorder.add(item)
    except StorageError as error:
        raise _NotRecordedError(error) from error


async def _numbered(task: Task, values: AsyncGenerator[Any, None], limit: int | None) -> AsyncIterator[KeptItem | None]:
    """The values of a generator as items; None at the end when it was cut at the limit."""
    number = 0
    async with aclosing(values):
        while number != limit:
            with _failures(Task(task.spec, f"{task.item_id}.{number}", task.arguments)):
                try:
                    value = await anext(values)
                except StopAsyncIteration:
                    return
                outcome = settled(task.spec, task.arguments, value)
            yield KeptItem(f"{task.item_id}.{number}", outcome)
            number += 1
    yield None


@contextmanager
def _failures(task: Task) -> Iterator[None]:
    try:
        yield
    except (NodeFailedError, InputChangedError, GraphError, UsageError, BlobStoreError, _NotRecordedError):
        raise
    except Failure as error:
        given = ", ".join(f"{port} = {_shown(value)}" for port, value in task.arguments.items())
        raise NodeFailedError(task.spec.id, task.item_id, user_trace(error), given) from error


def _joined(graph: Graph, spec: NodeSpec, kept: Mapping[str, KeptOutput]) -> Iterator[tuple[str, dict[str, Outcome]]]:
    """The items that a node runs on, each with what the nodes before it gave for it.

    The ids of the source that stands below the most fan-outs count; a value of an outer item goes with
    each of its inner ones.
    """
    taken = {edge.source for edge in spec.edges.values()}
    sources = [source for source in graph.nodes if source in taken]
    found = lineages(graph.nodes)
    depths = {source: _depth(graph.nodes[source], found) for source in sources}
    outcomes = {source: {item.id: item.outcome for item in kept[source].items or ()} for source in sources}
    deepest = max(depths.values(), default=0)
    ids = dict.fromkeys(item_id for source in outcomes if depths[source] == deepest for item_id in outcomes[source])
    for item_id in ids:
        yield (
            item_id,
            {
                source: outcomes[source].get(_outer(item_id, deepest - depths[source]), Absent.SKIPPED)
                for source in sources
            },
        )


def _depth(source: NodeSpec, found: Mapping[str, Lineage | None]) -> int:
    return len(found[source.id] or ()) + (source.fans_out and source.kind is not Kind.PRODUCER)


def _outer(item_id: str, levels: int) -> str:
    return item_id.rsplit(".", levels)[0] if levels else item_id


def _sample(spec: NodeSpec, kept: Mapping[str, KeptOutput], own: int | None) -> int | None:
    samples = [own, *(kept[edge.source].sample for edge in spec.edges.values())]
    return min((sample for sample in samples if sample is not None), default=None)


def _state(call: Task) -> object:
    """What a node was called with, so that it can be seen whether it changed that; None where that can't be told."""
    values = {port: value for port, value in call.arguments.items() if not isinstance(value, RefValue)}
    try:
        data = prepare(values)
        return data if isinstance(data, bytes) else (data.json, [each.digest() for each in data.attachments])
    except PayloadError:
        return None


def _shown(value: object) -> str:
    text = safe_text(repr, value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
