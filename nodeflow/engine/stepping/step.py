"""Development mode: runs one node over all the kept items of the nodes before it."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import aclosing, contextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Any

import anyio.lowlevel
from attrs import evolve, frozen

from nodeflow.engine.calls.arguments import Reads, readable
from nodeflow.engine.calls.invoke import Nodes
from nodeflow.engine.calls.returned import check_returned
from nodeflow.engine.calls.state import States
from nodeflow.engine.core.endings import StoppedError
from nodeflow.engine.core.evaluation import Absent, Outcome, bind, on_branch
from nodeflow.engine.core.failures import is_nodes_own
from nodeflow.engine.core.marks import finish_item
from nodeflow.engine.core.plan import channels_of, writes_of
from nodeflow.engine.core.traces import safe_text, user_trace
from nodeflow.engine.stepping.attempts import Attempts
from nodeflow.engine.stepping.kept import NO_CHILD, KeptItem, KeptOutput
from nodeflow.engine.stepping.partitions import Partitions
from nodeflow.engine.stepping.recording import Recorder
from nodeflow.engine.stepping.samples import taken
from nodeflow.engine.stepping.status import fingerprint_of, input_digests
from nodeflow.errors import (
    BlobStoreError,
    GraphError,
    InputChangedError,
    NodeFailedError,
    NoneReturnedError,
    PayloadError,
    StorageError,
    UsageError,
)
from nodeflow.graph import Context, Graph, Kind, Lineage, NodeSpec, known_branches, lineages
from nodeflow.values import RefValue
from nodeflow.values.codec import prepare

_SHOWN = 200


@frozen
class Stepper:
    """Runs single nodes of a graph.

    Args:
        graph: the graph as it was written.
        finished: the graph as it runs in production.
        limit: how many values to take of a producer or fan-out that is run; None takes all.
        most: how many values of each producer and fan-out to take of what is kept; None takes all.
    """

    graph: Graph
    finished: Graph
    limit: int | None
    most: int | None = None

    async def run(self, spec: NodeSpec, kept: Mapping[str, KeptOutput], recorder: Recorder) -> KeptOutput:
        """Run a node from an empty state, `finish` included.

        Args:
            spec: the node.
            kept: the outputs of all nodes that it takes from, read.
            recorder: what keeps the items.

        Raises:
            NodeFailedError: it raised, with the traceback from the user's own frame on.
            InputChangedError: it changed a value that it was given.
            NoneReturnedError: it gave None, though it is annotated to give something else.
        """
        if spec.kind is Kind.READER and not spec.edges:
            raise UsageError(
                f"node {spec.id!r} reads queue {spec.target.queue!r}, which other programs fill: it can't be stepped. "
                "To step what follows, wire that to a function that gives samples"
            )
        start = time.monotonic()
        inputs, sample = taken(self.graph, spec, kept, self.most)
        if await self._recorded(spec, inputs, recorder) and self.limit is not None:
            sample[spec.id] = self.limit
        stream = await recorder.finish()
        return KeptOutput(
            fingerprint=fingerprint_of(spec, self.graph),
            inputs=input_digests(spec, {node: output.digest for node, output in kept.items()}),
            items=recorder.items,
            stream=stream,
            count=sum(not item.is_sign for item in recorder.items),
            sample=sample,
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
            with _failures(spec, ""):
                context = Context(graph=self.graph.name, node=spec.id, loop=spec.loop)
                async with Nodes([spec], context, States.of_loop(self.graph.loops[spec.loop])) as nodes:
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
        attempts = self._attempts(spec, nodes)
        if spec.kind is Kind.PRODUCER:
            limit = self.limit if spec.fans_out else None
            values = attempts.outcomes(spec.id, {}, lambda _: nodes.produce(spec))
            async for item in _numbered(spec, spec.id, {}, values, limit):
                if item is not None:
                    check_returned(spec, item.id, item.outcome)
                yield item
        if spec.kind is Kind.COLLECT:
            for item in _gathered(self.graph, spec, kept):
                is_there = isinstance(item.outcome, list)
                yield KeptItem(item.id, [await _value(each) for each in item.outcome]) if is_there else item
            return
        loop = self.graph.loops[spec.loop]
        partitions = Partitions.of(self.graph, spec, kept)
        for item_id, outcomes in _joined(self.graph, spec, kept):
            with _failures(spec, item_id):
                nodes.partition = await partitions.of_item(item_id, outcomes)
            async for item in self._handled(attempts, item_id, outcomes):
                yield item and evolve(item, partition=nodes.partition)
        for partition in range(loop.partitions if spec.has_finish else 0):
            nodes.partition = partition
            finish = finish_item(spec.id, partition, loop)
            values = attempts.outcomes(finish, {}, lambda attempt: nodes.finish(spec, attempt))
            async for item in _numbered(spec, finish, {}, values, None):
                yield item and evolve(item, partition=partition)

    def _attempts(self, spec: NodeSpec, nodes: Nodes) -> Attempts:
        writes = writes_of(self.finished.nodes, channels_of(self.finished), spec.id)
        branches = known_branches(self.graph.nodes, spec) if spec.kind is Kind.LOGICAL else frozenset()
        return Attempts(spec, nodes, tuple(writes), branches)

    async def _handled(
        self, attempts: Attempts, item_id: str, outcomes: Mapping[str, Outcome]
    ) -> AsyncIterator[KeptItem | None]:
        """What the node gives for one item."""
        spec = attempts.spec
        places = {source: place for place, source in enumerate(outcomes)}
        found = list(outcomes.values())
        if spec.kind in (Kind.READER, Kind.WRITER):
            (edge,) = spec.edges.values()
            outcome = found[places[edge.source]]
            yield KeptItem(item_id, outcome if edge.branch is None else on_branch(outcome, edge.branch))
            return
        sources = [(port, places[edge.source], edge.branch) for port, edge in spec.edges.items()]
        bound = bind(sources, spec.required, found)
        if isinstance(bound, Absent):
            yield KeptItem(item_id, bound)
            return
        with _failures(spec, item_id, bound):
            ready = await readable(spec, bound, Reads(found), self.graph.nodes.__getitem__, item=item_id)
        if isinstance(ready, Absent):
            yield KeptItem(item_id, ready)
            return
        given, arguments = ready
        before = _state(arguments)
        if spec.fans_out:
            is_childless, start = True, partial(attempts.nodes.fan_out, spec, arguments, item_id)
            values = attempts.outcomes(item_id, given, start)
            async for item in _numbered(spec, item_id, arguments, values, self.limit):
                is_childless = False
                yield item
            if is_childless:
                yield KeptItem(f"{item_id}.{NO_CHILD}", Absent.SKIPPED)
        else:
            with _failures(spec, item_id, arguments):
                outcome = await attempts.outcome(item_id, given, arguments)
            check_returned(spec, item_id, outcome)
            yield KeptItem(item_id, outcome)
        if before is not None and _state(arguments) != before:
            raise InputChangedError(spec.id, item_id)


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


async def _numbered(
    spec: NodeSpec, item_id: str, arguments: Mapping[str, Any], values: AsyncGenerator[Outcome, None], limit: int | None
) -> AsyncIterator[KeptItem | None]:
    """The values of a generator as items; None at the end when it was cut at the limit."""
    number = 0
    async with aclosing(values):
        while number != limit:
            with _failures(spec, f"{item_id}.{number}", arguments):
                try:
                    outcome = await anext(values)
                except StopAsyncIteration:
                    return
            yield KeptItem(f"{item_id}.{number}", outcome)
            number += 1
    yield None


@contextmanager
def _failures(spec: NodeSpec, item_id: str, arguments: Mapping[str, Any] | None = None) -> Iterator[None]:
    try:
        yield
    except (NodeFailedError, InputChangedError, NoneReturnedError):
        raise
    except (GraphError, UsageError, BlobStoreError, _NotRecordedError):
        raise
    except BaseException as error:
        if not is_nodes_own(error):
            raise
        if isinstance(error, StoppedError) and error.__cause__ is not None:
            error = error.__cause__
        given = ", ".join(f"{port} = {_shown(value)}" for port, value in (arguments or {}).items())
        raise NodeFailedError(spec.id, item_id, user_trace(error), given) from error


def _joined(graph: Graph, spec: NodeSpec, kept: Mapping[str, KeptOutput]) -> Iterator[tuple[str, dict[str, Outcome]]]:
    """The items that a node runs on, each with what the nodes before it gave for it.

    The ids of the source that stands below the most fan-outs count; a value of an outer item goes with
    each of its inner ones, and with none where a fan-out gave none.
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


def _gathered(graph: Graph, spec: NodeSpec, kept: Mapping[str, KeptOutput]) -> Iterator[KeptItem]:
    """For each parent what came of its children, in order; nothing for a parent that the fan-out skipped."""
    (edge,) = spec.edges.values()
    depth = _depth(graph.nodes[edge.source], lineages(graph.nodes))
    found: dict[str, Outcome] = {}
    for item in kept[edge.source].items or ():
        if item.id.count(".") < depth and ":" not in item.id:
            found[item.id] = Absent.SKIPPED
            continue
        values = found.setdefault(item.id.rpartition(".")[0], [])
        outcome = on_branch(item.outcome, edge.branch)
        if not isinstance(outcome, Absent):
            values.append(outcome)
    for parent, gathered in found.items():
        yield KeptItem(parent, gathered)


async def _value(value: Any) -> Any:
    return await value.read() if isinstance(value, RefValue) else value


def _depth(source: NodeSpec, found: Mapping[str, Lineage | None]) -> int:
    return len(found[source.id] or ()) + (source.fans_out and source.kind is not Kind.PRODUCER)


def _outer(item_id: str, levels: int) -> str:
    """The item that one comes from, so many fan-outs above it; empty for what says that there is no child."""
    if not levels:
        return item_id
    parent, *numbers = item_id.rsplit(".", levels)
    return "" if NO_CHILD in numbers else parent


def _state(arguments: Mapping[str, Any]) -> object:
    """What a node is called with, so that it can be seen whether it changed that; None where that can't be told."""
    values = {port: value for port, value in arguments.items() if not isinstance(value, RefValue)}
    try:
        data = prepare(values)
        return data if isinstance(data, bytes) else (data.json, [each.digest() for each in data.attachments])
    except PayloadError:
        return None


def _shown(value: object) -> str:
    text = safe_text(repr, value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
