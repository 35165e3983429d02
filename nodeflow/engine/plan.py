"""What one process needs to know of its loop, read off the finished graph."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import frozen

from nodeflow.engine.evaluation import Stages
from nodeflow.graph import Graph, Kind, NodeSpec, lineages


@frozen
class Channel:
    """A queue from one loop to another.

    Args:
        queue: its name.
        source_loop: whose done mark closes it.
        target_loop: who reads it.
        branches: the branches of a logical source that the target loop takes; None for what has no branches.
        source: the node whose output goes through it.
    """

    queue: str
    source_loop: str
    target_loop: str
    branches: frozenset[str] | None
    source: NodeSpec


@frozen
class LoopPlan:
    """One loop of a finished graph.

    Args:
        graph: the graph's name.
        loop: the loop's name.
        nodes: its nodes by id, each behind those that it takes from.
        stages: for each head, and each node that may give something when it finishes, what stands behind it.
        channels: the channels of the whole graph, by queue.
    """

    graph: str
    loop: str
    nodes: Mapping[str, NodeSpec]
    stages: Mapping[str, Stages]
    channels: Mapping[str, Channel]

    @property
    def heads(self) -> list[NodeSpec]:
        """The nodes that feed the loop."""
        return [spec for spec in self.nodes.values() if spec.is_head]

    def source(self, node: str) -> NodeSpec:
        """The node that gave what a node of the loop gives: of a reader the one in another loop."""
        spec = self.nodes[node]
        channel = self.channels.get(str(spec.target.queue)) if spec.kind is Kind.READER else None
        return spec if channel is None else channel.source

    @property
    def finishers(self) -> list[NodeSpec]:
        """The nodes that have something to do when the loop's input is used up, upstream first."""
        return [spec for spec in self.nodes.values() if spec.has_finish]


def closed_mark(loop: str) -> str:
    """The done mark of a loop in its job's ledger."""
    return f"closed:{loop}"


def finish_mark(loop: str) -> str:
    """The mark that the process of a loop sets which lets its nodes finish, in its job's ledger."""
    return f"finish:{loop}"


def channels_of(graph: Graph) -> dict[str, Channel]:
    """The channels of a finished graph, by queue."""
    found = {}
    for reader in graph.nodes.values():
        if reader.kind is not Kind.READER or not reader.edges:
            continue
        writer = graph.nodes[next(iter(reader.edges.values())).source]
        edge = next(iter(writer.edges.values()))
        whole = edge.branch is None and graph.nodes[edge.source].kind is Kind.LOGICAL
        taken = {
            edge.branch
            for spec in graph.nodes.values()
            for edge in spec.edges.values()
            if edge.source == reader.id and edge.branch is not None
        }
        queue = str(reader.target.queue)
        found[queue] = Channel(
            queue, writer.loop, reader.loop, frozenset(taken) if whole else None, graph.nodes[edge.source]
        )
    return found


def plan_loop(graph: Graph, loop: str) -> LoopPlan:
    """The plan of one loop of a finished graph."""
    nodes = {spec.id: spec for spec in graph.nodes.values() if spec.loop == loop}
    found = lineages(graph.nodes)
    sources = [spec for spec in nodes.values() if spec.is_head or spec.has_finish]
    stages = {spec.id: _stages(nodes, spec, {key: way or () for key, way in found.items()}) for spec in sources}
    return LoopPlan(graph.name, loop, nodes, stages, channels_of(graph))


def _stages(nodes: Mapping[str, NodeSpec], start: NodeSpec, found: Mapping[str, tuple[str, ...]]) -> Stages:
    behind = {start.id}
    stages: dict[tuple[str, ...], list[NodeSpec]] = {}
    depth = len(found[start.id])
    for spec in nodes.values():
        if spec.id not in behind and any(edge.source in behind for edge in spec.edges.values()):
            behind.add(spec.id)
            stages.setdefault(tuple(way for way in found[spec.id][depth:] if way != start.id), []).append(spec)
    return {level: tuple(specs) for level, specs in stages.items()}
