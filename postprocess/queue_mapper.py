"""QueueMapper: cuts a graph at the borders of its loops and names the queues between them."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator

from attrs import evolve, frozen

from nodeflow.graph import Edge, Graph, Kind, NodeSpec, Port, QueueHead, QueueTail
from nodes import QueueReader, QueueWriter


@frozen
class _Channel:
    """What connects a source node to a loop that takes its values."""

    queue: str
    source: str
    writer: NodeSpec
    reader: NodeSpec


class QueueMapper:
    """Puts a `QueueWriter` and a `QueueReader` wherever an edge crosses from one loop into another.

    There is one channel for each pair of source node and target loop, whatever branches and however many
    targets it has there, named `queue_{source id}_{target id}` after the first of those targets. A pair
    that was written by hand is named in the same way; a name given by hand stays. Of two channels that
    would have the same name the later one gets `_2`, `_3`, … at its end.
    """

    def apply(self, graph: Graph) -> Graph:
        """The graph with a writer and a reader for each channel; each queue has a name."""
        graph = self._name_pairs(graph)
        taken = {spec.target.queue for spec in graph.nodes.values() if spec.kind in (Kind.READER, Kind.WRITER)}
        channels: dict[tuple[str, str], _Channel] = {}
        for target, edge in _crossing(graph):
            if (edge.source, target.loop) not in channels:
                queue = _free(f"queue_{edge.source}_{target.id}", taken)
                channels[edge.source, target.loop] = _channel(graph, queue, edge.source, target)
        return graph.with_nodes(_rewired(graph, channels)) if channels else graph

    def _name_pairs(self, graph: Graph) -> Graph:
        queues = dict(_names_of_pairs(graph))
        return graph.with_nodes(
            evolve(spec, target=_named(spec.target, queues[spec.id])) if spec.id in queues else spec
            for spec in graph.nodes.values()
        )


def _crossing(graph: Graph) -> Iterator[tuple[NodeSpec, Edge]]:
    for spec in graph.nodes.values():
        for edge in spec.edges.values():
            source = graph.nodes[edge.source]
            if source.loop != spec.loop and source.kind is not Kind.WRITER:
                yield spec, edge


def _names_of_pairs(graph: Graph) -> Iterator[tuple[str, str]]:
    """The name of the queue of each reader and writer that was wired by hand and lacks one."""
    taken = {spec.target.queue for spec in graph.nodes.values() if spec.kind in (Kind.READER, Kind.WRITER)}
    for reader in graph.nodes.values():
        if reader.kind is not Kind.READER or not reader.edges:
            continue
        writer = graph.nodes[next(iter(reader.edges.values())).source]
        given = reader.target.queue or writer.target.queue
        if reader.target.queue and writer.target.queue:
            continue
        if not given:
            target = next((spec.id for spec in graph.nodes.values() if _takes(spec, reader)), reader.id)
            source = next(iter(writer.edges.values())).source
            given = _free(f"queue_{source}_{target}", taken)
        yield writer.id, given
        yield reader.id, given


def _takes(spec: NodeSpec, source: NodeSpec) -> bool:
    return any(edge.source == source.id for edge in spec.edges.values())


def _named(end: QueueHead | QueueTail, queue: str) -> QueueHead | QueueTail:
    named = copy.copy(end)
    named.queue = queue
    return named


def _free(wanted: str, taken: set[str | None]) -> str:
    number, found = 1, wanted
    while found in taken:
        number += 1
        found = f"{wanted}_{number}"
    taken.add(found)
    return found


def _channel(graph: Graph, queue: str, source: str, target: NodeSpec) -> _Channel:
    taken: set[str | None] = set(graph.nodes)
    writer_id, reader_id = _free(f"{queue}_writer", taken), _free(f"{queue}_reader", taken)
    writer = NodeSpec(
        id=writer_id,
        target=QueueWriter(queue),
        kind=Kind.WRITER,
        loop=graph.nodes[source].loop,
        ports=(Port("value"),),
        inputs={"value": Edge(source)},
        location=target.location,
    )
    reader = NodeSpec(
        id=reader_id,
        target=QueueReader(queue),
        kind=Kind.READER,
        loop=target.loop,
        ports=(Port("channel", required=False),),
        inputs={"channel": Edge(writer_id)},
        location=target.location,
    )
    return _Channel(queue, source, writer, reader)


def _rewired(graph: Graph, channels: dict[tuple[str, str], _Channel]) -> Iterable[NodeSpec]:
    """All nodes, each reader just before its first target and each writer just behind its source."""
    read: set[str] = set()
    for spec in graph.nodes.values():
        inputs = dict(spec.inputs)
        for port, edge in spec.edges.items():
            channel = channels.get((edge.source, spec.loop))
            if channel is None:
                continue
            inputs[port] = Edge(channel.reader.id, edge.branch)
            if channel.reader.id not in read:
                read.add(channel.reader.id)
                yield channel.reader
        yield evolve(spec, inputs=inputs)
        yield from (channel.writer for channel in channels.values() if channel.source == spec.id)
