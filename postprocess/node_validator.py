"""NodeValidator: finds all that is wrong with a graph before anything runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any

from nodeflow.errors import GraphInvalidError
from nodeflow.graph import (
    Constant,
    Edge,
    Graph,
    Kind,
    Lineage,
    NodeSpec,
    below,
    entries_of,
    lineages,
    origin,
    said_branches,
)
from postprocess.hints import gives, members, shown, takes
from postprocess.typefit import fits
from postprocess.valuefit import holds


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
    for check in _CHECKS:
        yield from check(graph)


def _empty_loops(graph: Graph) -> Iterator[str]:
    used = {spec.loop for spec in graph.nodes.values()}
    for loop in graph.loops.values():
        if loop.name not in used:
            yield f"{loop.location}: loop {loop.name!r} has no nodes: add some within `with graph.loop({loop.name!r}):`"


def _unfed(graph: Graph) -> Iterator[str]:
    for spec in graph.nodes.values():
        if not spec.is_head and not spec.edges:
            yield (
                f"{spec.location}: node {spec.id!r}: nothing feeds it: wire one of its ports to another node, "
                "or make it a ProducerNode"
            )


def _queue_ends(graph: Graph) -> Iterator[str]:
    read = {edge.source for spec in _of(graph, Kind.READER) for edge in spec.edges.values()}
    written = {spec.target.queue: spec for spec in _of(graph, Kind.WRITER)}
    for spec in _of(graph, Kind.WRITER):
        if not spec.target.queue and spec.id not in read:
            yield f"{spec.location}: writer {spec.id!r} has neither a reader nor the name of a queue: give it one"
    for spec in _of(graph, Kind.READER):
        if spec.edges:
            yield from _pair(spec, graph.nodes[next(iter(spec.edges.values())).source])
        elif not spec.target.queue:
            yield f"{spec.location}: reader {spec.id!r} has neither a writer nor the name of a queue: give it one"
        elif writer := written.get(spec.target.queue):
            yield (
                f"{spec.location}: reader {spec.id!r} isn't wired to {writer.id!r}, which writes to its queue "
                f"{spec.target.queue!r}, so it would wait for ever: give it what adding that writer returned"
            )


def _pair(reader: NodeSpec, writer: NodeSpec) -> Iterator[str]:
    if writer.loop == reader.loop:
        yield (
            f"{reader.location}: reader {reader.id!r} is in the same loop as its writer {writer.id!r}: "
            "leave both out and wire the nodes directly"
        )
    if writer.target.queue != reader.target.queue:
        yield (
            f"{reader.location}: reader {reader.id!r} reads queue {reader.target.queue!r}, "
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
        loop = graph.loops[spec.loop]
        if loop.processes == 1 or loop.by is not None:
            continue
        if what := "has a finish()" if spec.has_finish else "uses ctx.state" if spec.uses_state else "":
            yield (
                f"{spec.location}: node {spec.id!r} {what}, but loop {spec.loop!r} has {loop.processes} "
                "processes and each would see a part of the items: give the loop processes=1, or by= to divide them by "
                "a key"
            )


def _undivided(graph: Graph) -> Iterator[str]:
    entries = entries_of(graph.nodes.values())
    for spec in graph.nodes.values():
        if graph.loops[spec.loop].by is None:
            continue
        if spec.kind is Kind.PRODUCER:
            yield (
                f"{spec.location}: producer {spec.id!r} is in loop {spec.loop!r}, whose by= divides what comes into "
                "it: put it into a loop of its own"
            )
        elif spec.kind is Kind.COLLECT or (not spec.is_head and entries[spec.id] == spec.id):
            yield (
                f"{spec.location}: node {spec.id!r} brings values together in loop {spec.loop!r}, whose by= divides "
                "what comes into it, so that they might lie in several processes: put it into another loop"
            )


def _unshared_producers(graph: Graph) -> Iterator[str]:
    for spec in _of(graph, Kind.PRODUCER):
        processes = graph.loops[spec.loop].processes
        if processes > 1 and not spec.options.shardable:
            yield (
                f"{spec.location}: producer {spec.id!r} would yield the same values in each of the {processes} "
                f"processes of loop {spec.loop!r}: put it into a loop with processes=1, or let it give its part of "
                "them, ctx.shard of ctx.shards, and mark it with @node(shardable=True)"
            )


def _unrelated_inputs(graph: Graph) -> Iterator[str]:
    ways, entries = lineages(graph.nodes), entries_of(graph.nodes.values())
    for spec in graph.nodes.values():
        incoming = {edge.source: ways[edge.source] for edge in spec.edges.values()}
        if None in incoming.values() or len(incoming) < 2:
            continue
        if why := _unrelated(graph, spec, ways, entries):
            sources = ", ".join(dict.fromkeys(repr(origin(graph.nodes, edge).id) for edge in spec.edges.values()))
            yield f"{spec.location}: node {spec.id!r} takes {sources}, whose items {why}"


def _unrelated(
    graph: Graph, spec: NodeSpec, ways: Mapping[str, Lineage | None], entries: Mapping[str, str]
) -> str | None:
    """Why what a node takes can't be brought together item by item."""
    if len({(ways[edge.source] or ())[:1] for edge in spec.edges.values()}) > 1:
        return "begin at different heads, so nothing says which belong together: let one producer yield them together"
    if ways[spec.id] is None:
        return "come of different fan-outs, so nothing says which belong together: fan out once, for both"
    depths: dict[str, int] = {}
    for edge in spec.edges.values():
        entry = entries[edge.source]
        depths[entry] = max(depths.get(entry, 0), len(below(graph.nodes[edge.source], ways) or ()))
    if len(set(depths.values())) > 1:
        return (
            f"come into loop {spec.loop!r} by different queues and stand below different fan-outs: "
            "gather the inner ones with nodes.Collect, or give the outer value to the inner ones before"
        )
    return None


def _gathering(graph: Graph) -> Iterator[str]:
    ways = lineages(graph.nodes)
    for spec in _of(graph, Kind.COLLECT):
        (edge,) = spec.edges.values() or [Edge("")]
        way = below(graph.nodes[edge.source], ways) if edge.source else None
        if way is not None and len(way) < 2:
            yield (
                f"{spec.location}: node {spec.id!r} gathers what comes of {origin(graph.nodes, edge).id!r}, but no "
                "node before it fans out: to gather all that a producer gives, write a node with a finish()"
            )


def _misspelled_branches(graph: Graph) -> Iterator[str]:
    for spec in graph.nodes.values():
        for port, edge in spec.edges.items():
            giver = origin(graph.nodes, edge)
            said = said_branches(giver.target) if edge.branch is not None else None
            if said is not None and edge.branch not in said:
                close = get_close_matches(str(edge.branch), said, 1)
                hint = f"did you mean {close[0]!r}?" if close else f"it chooses {', '.join(map(repr, sorted(said)))}"
                yield f"{spec.location}: {spec.id}.{port} takes the branch {edge.branch!r} of {giver.id!r}: {hint}"


def _error_branches(graph: Graph) -> Iterator[str]:
    edges = [edge for spec in graph.nodes.values() for edge in spec.edges.values()]
    taken = {(origin(graph.nodes, edge).id, edge.branch) for edge in edges}
    for spec in graph.nodes.values():
        branch = spec.options.error_branch
        if branch is None:
            continue
        if spec.fans_out:
            yield (
                f"{spec.location}: node {spec.id!r} is a generator, whose values may have gone on before its error: "
                "its on_error must be 'dead_letter', 'skip' or 'stop'"
            )
        elif (spec.id, branch) not in taken:
            yield (
                f"{spec.location}: node {spec.id!r} has on_error={branch!r}, a branch that no node takes: wire one to "
                f".branch({branch!r}), or say 'dead_letter', 'skip' or 'stop'"
            )


def _types(graph: Graph) -> Iterator[str]:
    for spec in graph.nodes.values():
        if spec.kind in (Kind.READER, Kind.WRITER):
            continue
        for port, source in spec.inputs.items():
            if problem := _misfit(graph, source, takes(spec, port)):
                yield (
                    f"{spec.location}: {spec.id}.{port} expects {shown(takes(spec, port))}, {problem}: "
                    "change one of them, or put a node between them"
                )


def _misfit(graph: Graph, source: Edge | Constant, wanted: Any) -> str | None:
    if isinstance(source, Constant):
        return None if holds(source.value, wanted) else f"the constant is {source.value!r}"
    giver = origin(graph.nodes, source)
    given = gives(giver)
    if giver.kind is not Kind.LOGICAL and source.branch is not None:
        given = dict[str, Any]  # the record of an error
    # The type of a logical node is that of all its branches together, so one of its members has to fit.
    each_given = members(given) if giver.kind is Kind.LOGICAL else (given,)
    return None if any(fits(each, wanted) for each in each_given) else f"{giver.id} gives {shown(given)}"


def _of(graph: Graph, *kinds: Kind) -> Iterator[NodeSpec]:
    return (spec for spec in graph.nodes.values() if spec.kind in kinds)


_CHECKS = (
    _empty_loops,
    _unfed,
    _queue_ends,
    _shared_queues,
    _lonely_state,
    _undivided,
    _unshared_producers,
    _unrelated_inputs,
    _gathering,
    _error_branches,
    _misspelled_branches,
    _types,
)
