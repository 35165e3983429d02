"""What one process needs to know of its loop, read off the finished graph."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property

from attrs import frozen

from nodeflow.engine.core.partitioning import Partitioning, slot_queue
from nodeflow.engine.core.results import loop_queue
from nodeflow.engine.core.stages import Channel, Entry, FanOut, Join, Part, Stage, Step, Write
from nodeflow.graph import Graph, Kind, Loop, NodeSpec, below, entries_of, known_branches, lineages


@frozen(eq=False)
class LoopPlan:
    """One loop of a finished graph.

    Args:
        graph: the graph's name.
        loop: the loop.
        nodes: its nodes by id, each behind those that it takes from.
        entries: where items come in: heads, joins and those that collect, by node.
        entry_of: the entry by which what a node runs on comes in, by node.
        channels: the channels of the whole graph, by queue.
        levels: the fan-outs that each node stands below, behind its entry.
    """

    graph: str
    loop: Loop
    nodes: Mapping[str, NodeSpec]
    entries: Mapping[str, Entry]
    entry_of: Mapping[str, str]
    channels: Mapping[str, Channel]
    levels: Mapping[str, tuple[str, ...]]

    @property
    def heads(self) -> list[NodeSpec]:
        """The nodes that feed the loop."""
        return [spec for spec in self.nodes.values() if spec.is_head]

    @cached_property
    def partitioning(self) -> Partitioning | None:
        """How its processes share its items; None when any takes any."""
        return Partitioning.of(self.loop)

    @cached_property
    def own_queues(self) -> list[str]:
        """The queues of the work that it has left for later, one for each process where these have their own."""
        name = loop_queue(self.loop.name)
        return [name] if self.partitioning is None else self.partitioning.queues(name)

    def queue_of(self, reader: NodeSpec, slot: int) -> str:
        """The queue from which the process of a slot takes a reader's items."""
        name = str(reader.target.queue)
        return name if self.partitioning is None else slot_queue(name, slot)

    def own_queue(self, partition: int) -> str:
        """The queue of the work that it has left for later in a partition."""
        return self.own_queues[partition % len(self.own_queues)]

    @property
    def readers(self) -> list[NodeSpec]:
        """The nodes by which items of queues come into the loop."""
        return [spec for spec in self.nodes.values() if spec.kind is Kind.READER]

    @cached_property
    def foreign(self) -> list[NodeSpec]:
        """The readers of queues that other programs fill."""
        return [spec for spec in self.readers if str(spec.target.queue) not in self.channels]

    @property
    def sources(self) -> list[Channel]:
        """The channels that the loop reads."""
        return [channel for channel in self.channels.values() if channel.target_loop == self.loop.name]

    def source(self, node: str) -> NodeSpec:
        """The node that gave what a node of the loop gives: of a reader the one in another loop."""
        spec = self.nodes[node]
        channel = self.channels.get(str(spec.target.queue)) if spec.kind is Kind.READER else None
        return spec if channel is None else channel.source

    @cached_property
    def flies(self) -> bool:
        """Whether it goes on while a node that doesn't block is at an item."""
        return any(spec.kind is Kind.NON_BLOCKING for spec in self.nodes.values())

    @property
    def finishers(self) -> list[NodeSpec]:
        """The nodes that have something to do when the loop's input is used up, upstream first."""
        return [spec for spec in self.nodes.values() if spec.has_finish]


def channels_of(graph: Graph) -> dict[str, Channel]:
    """The channels of a finished graph, by queue."""
    found = {}
    gathering = before_gathering(graph)
    for reader in graph.nodes.values():
        if reader.kind is not Kind.READER or not reader.edges:
            continue
        writer = graph.nodes[next(iter(reader.edges.values())).source]
        edge = next(iter(writer.edges.values()))
        source = graph.nodes[edge.source]
        taken = {
            edge.branch for spec in graph.nodes.values() for edge in spec.edges.values() if edge.source == reader.id
        }
        named = frozenset(branch for branch in taken if branch is not None)
        whole = edge.branch is None and (source.kind is Kind.LOGICAL or bool(named))
        queue = str(reader.target.queue)
        found[queue] = Channel(
            queue,
            writer.loop,
            reader.loop,
            named if whole else None,
            source,
            not named or None in taken,
            reader.id in gathering,
            Partitioning.of(graph.loops[reader.loop]),
        )
    return found


def writes_of(nodes: Mapping[str, NodeSpec], channels: Mapping[str, Channel], source: str) -> Iterator[Write]:
    """The queues into which what a node of a finished graph gives goes."""
    for writer in nodes.values():
        for edge in writer.edges.values() if writer.kind is Kind.WRITER else ():
            if edge.source == source:
                queue = str(writer.target.queue)
                yield Write(writer, queue, edge.branch, channels.get(queue))


def before_gathering(graph: Graph) -> set[str]:
    """The nodes of a finished graph behind which there is a join or a `Collect`."""
    found: set[str] = set()
    entry_of = entries_of(graph.nodes.values())
    for spec in reversed(list(graph.nodes.values())):
        if spec.id in found or _gathers(spec, entry_of):
            found |= {edge.source for edge in spec.edges.values()}
    return found


def waits_for(graph: Graph, nodes: Iterable[str]) -> bool:
    """Whether there is a join or a `Collect` in a finished graph that waits when these nodes have failed on an item."""
    entry_of, lineage_of = entries_of(graph.nodes.values()), lineages(graph.nodes)
    failed = set(nodes)
    for spec in graph.nodes.values():
        sources = [edge.source for edge in spec.edges.values()]
        if failed.isdisjoint(sources):
            continue
        if not _gathers(spec, entry_of):
            failed.add(spec.id)
        elif spec.kind is not Kind.COLLECT or spec.target.missing != "skip":
            return True
        elif not failed.isdisjoint((below(graph.nodes[sources[0]], lineage_of) or ())[-1:]):
            return True  # nobody says how many there are
    return False


def _gathers(spec: NodeSpec, entry_of: Mapping[str, str]) -> bool:
    return spec.kind is Kind.COLLECT or (not spec.is_head and entry_of[spec.id] == spec.id)


def plan_loop(graph: Graph, loop: str) -> LoopPlan:
    """The plan of one loop of a finished graph."""
    planner = _Planner(graph, loop)
    return LoopPlan(
        graph.name,
        graph.loops[loop],
        planner.nodes,
        {node: planner.entry(node) for node in planner.nodes if planner.entry_of[node] == node},
        planner.entry_of,
        planner.channels,
        {node: planner.level(node) for node in planner.nodes},
    )


class _Planner:
    def __init__(self, graph: Graph, loop: str) -> None:
        self.graph = graph
        self.nodes = {spec.id: spec for spec in graph.nodes.values() if spec.loop == loop}
        self.channels = channels_of(graph)
        self.entry_of = entries_of(graph.nodes.values())
        self.lineages = {node: lineage or () for node, lineage in lineages(graph.nodes).items()}
        self.places: Mapping[str, int] = {}

    def level(self, node: str) -> tuple[str, ...]:
        """The fan-outs behind its entry that a node stands below."""
        return self.lineages[node][len(self.lineages[self.entry_of[node]]) :]

    def entry(self, node: str) -> Entry:
        """An entry and what stands behind it."""
        spec = self.nodes[node]
        behind = [each for each in self.nodes.values() if self.entry_of[each.id] == node and each.id != node]
        is_given = spec.is_head or spec.kind is Kind.COLLECT
        known = [node] if is_given else [edge.source for edge in spec.edges.values()]
        own = [each for each in behind if each.kind is not Kind.WRITER]
        if not is_given:
            own.insert(0, spec)
        self.places = {each: place for place, each in enumerate(dict.fromkeys([*known, *(each.id for each in own)]))}
        return Entry(spec, self.places, self._step(spec) if is_given else None, self._stage((), own, node))

    def _stage(self, level: tuple[str, ...], own: list[NodeSpec], entry: str) -> Stage:
        here = [spec for spec in own if self.level(spec.id) == level]
        return Stage(
            level,
            tuple(self._step(spec) for spec in here if not spec.fans_out),
            tuple(self._parts(level, entry)),
            tuple(
                FanOut(self._step(spec), self._stage((*level, spec.id), own, entry)) for spec in here if spec.fans_out
            ),
        )

    def _step(self, spec: NodeSpec) -> Step:
        is_known = spec.is_head or spec.kind is Kind.COLLECT
        edges = {} if is_known else spec.edges
        return Step(
            spec,
            self.places[spec.id],
            tuple((port, self.places[edge.source], edge.branch) for port, edge in edges.items()),
            tuple(writes_of(self.nodes, self.channels, spec.id)),
            tuple(self._closed_by(spec)),
            known_branches(self.graph.nodes, spec) if spec.kind is Kind.LOGICAL else frozenset(),
        )

    def _closed_by(self, spec: NodeSpec) -> Iterator[Join]:
        """The records of those, in any loop, that gather the values of a generator."""
        for each in self.graph.nodes.values() if spec.fans_out else ():
            if each.kind is Kind.COLLECT:
                (edge,) = each.edges.values()
                if self._below(edge.source)[-1:] == (spec.id,):
                    yield self._join(each)

    def _below(self, source: str) -> tuple[str, ...]:
        spec = self.graph.nodes[source]
        own = (source,) if spec.fans_out and spec.kind is not Kind.PRODUCER else ()
        return (*self.lineages[source], *own)

    def _join(self, spec: NodeSpec) -> Join:
        if spec.kind is Kind.COLLECT:
            return Join(spec.id, spec.loop, None, takes_dead=spec.target.missing == "skip")
        return Join(spec.id, spec.loop, len({self.entry_of[edge.source] for edge in spec.edges.values()}))

    def _parts(self, level: tuple[str, ...], entry: str) -> Iterator[Part]:
        """What goes from a stage to joins."""
        for spec in self.nodes.values():
            sources = [edge.source for edge in spec.edges.values() if self.entry_of[edge.source] == entry]
            is_join = spec.kind is not Kind.WRITER and not spec.is_head and self.entry_of[spec.id] == spec.id
            if not sources or not is_join or max(map(self._depth, sources)) != len(level):
                continue
            if any(self._below_entry(source) == level for source in sources):
                found = tuple((source, self.places[source]) for source in dict.fromkeys(sources))
                yield Part(self._join(spec), None if spec.kind is Kind.COLLECT else entry, found)

    def _depth(self, source: str) -> int:
        return len(self._below_entry(source))

    def _below_entry(self, source: str) -> tuple[str, ...]:
        return self._below(source)[len(self.lineages[self.entry_of[source]]) :]
