"""NodeValidator: finds all that is wrong with a graph before anything runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from nodeflow.errors import GraphInvalidError
from nodeflow.graph import Graph, Kind, NodeSpec, lineages
from postprocess.typefit import misfit

_NEVER_FED = "nothing feeds it: wire one of its ports to another node, or make it a ProducerNode"


class NodeValidator:
    """Collects all problems of a mapped graph and raises one error with a line for each."""

    def apply(self, graph: Graph) -> Graph:
        """The graph as it is.

        Raises:
            GraphInvalidError: there are problems.
        """
        problems = list(_problems(graph))
        if problems:
            raise GraphInvalidError(graph.name, problems)
        return graph


def _problems(graph: Graph) -> Iterator[str]:
    if not graph.nodes:
        yield f"{graph.location}: it has no nodes: add some with graph.add(…)"
    for check in (_unfed, _queue_ends, _shared_queues, _lonely_state, _unshared_producers, _unrelated_inputs, _types):
        yield from check(graph)


def _unfed(graph: Graph) -> Iterator[str]:
    for spec in graph.nodes.values():
        if not spec.is_head and not spec.edges:
            yield f"{spec.location}: node {spec.id!r}: {_NEVER_FED}"


def _queue_ends(graph: Graph) -> Iterator[str]:
    readers = Counter(edge.source for spec in _of(graph, Kind.READER) for edge in spec.edges.values())
    for spec in _of(graph, Kind.READER, Kind.WRITER):
        end = "reader" if spec.kind is Kind.READER else "writer"
        other = "writer" if spec.kind is Kind.READER else "reader"
        if not spec.target.queue:
            yield f"{spec.location}: {end} {spec.id!r} has neither a {other} nor the name of a queue: give it one"
        if readers[spec.id] > 1:
            yield f"{spec.location}: writer {spec.id!r} has {readers[spec.id]} readers: add a writer for each"
    for spec in _of(graph, Kind.READER):
        for edge in spec.edges.values():
            writer = graph.nodes[edge.source]
            if writer.loop == spec.loop:
                yield f"{spec.location}: reader {spec.id!r} is in the same loop as its writer: wire it directly"
            if writer.target.queue != spec.target.queue:
                yield (
                    f"{spec.location}: reader {spec.id!r} reads queue {spec.target.queue!r}, "
                    f"its writer {writer.id!r} writes to {writer.target.queue!r}: name one of them only"
                )


def _shared_queues(graph: Graph) -> Iterator[str]:
    for kind, does in ((Kind.WRITER, "written to"), (Kind.READER, "read")):
        users: dict[str, list[NodeSpec]] = {}
        for spec in _of(graph, kind):
            if spec.target.queue:
                users.setdefault(spec.target.queue, []).append(spec)
        for queue, specs in users.items():
            if len(specs) > 1:
                names = ", ".join(repr(spec.id) for spec in specs)
                yield f"{specs[-1].location}: queue {queue!r} is {does} by {names}: give each a name of its own"


def _lonely_state(graph: Graph) -> Iterator[str]:
    for spec in graph.nodes.values():
        processes = graph.loops[spec.loop].processes
        if spec.has_finish and processes > 1:
            yield (
                f"{spec.location}: node {spec.id!r} has a finish(), but loop {spec.loop!r} has {processes} processes "
                "and each would see a part of the items: put it into a loop with processes=1"
            )


def _unshared_producers(graph: Graph) -> Iterator[str]:
    for spec in _of(graph, Kind.PRODUCER):
        processes = graph.loops[spec.loop].processes
        if processes > 1:
            yield (
                f"{spec.location}: producer {spec.id!r} would yield the same values in each of the {processes} "
                f"processes of loop {spec.loop!r}: put it into a loop with processes=1"
            )


def _unrelated_inputs(graph: Graph) -> Iterator[str]:
    found, heads = lineages(graph.nodes), _heads(graph)
    for spec in graph.nodes.values():
        sources = ", ".join(repr(edge.source) for edge in spec.edges.values())
        if len(heads[spec.id]) > 1:
            yield (
                f"{spec.location}: node {spec.id!r} takes {sources}, which reach loop {spec.loop!r} apart from each "
                "other, as items of different heads: bring them together in one loop, or in one value"
            )
        elif found[spec.id] is None and all(found[edge.source] is not None for edge in spec.edges.values()):
            yield (
                f"{spec.location}: node {spec.id!r} takes {sources}, which come of different fan-outs: "
                "it can't be told which of their values belong together"
            )


def _heads(graph: Graph) -> Mapping[str, frozenset[str]]:
    """The heads within its own loop that each node's items come from."""
    heads: dict[str, frozenset[str]] = {}
    for spec in graph.nodes.values():
        within = [heads[edge.source] for edge in spec.edges.values() if graph.nodes[edge.source].loop == spec.loop]
        heads[spec.id] = frozenset({spec.id}) if spec.is_head else frozenset().union(*within)
    return heads


def _types(graph: Graph) -> Iterator[str]:
    for spec in graph.nodes.values():
        if spec.kind in (Kind.READER, Kind.WRITER):
            continue
        for port in spec.inputs:
            if problem := misfit(graph.nodes, spec, port):
                yield f"{spec.location}: {problem}"


def _of(graph: Graph, *kinds: Kind) -> Iterator[NodeSpec]:
    return (spec for spec in graph.nodes.values() if spec.kind in kinds)
