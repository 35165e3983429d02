"""Which node a value comes from, behind the writers and readers that it travels through."""

from __future__ import annotations

from collections.abc import Mapping

from nodeflow.graph import Edge, Kind, NodeSpec


def origin(nodes: Mapping[str, NodeSpec], edge: Edge) -> NodeSpec:
    """The node whose values arrive on an edge; the writer or reader where the way ends at one.

    Args:
        nodes: all nodes of the graph.
        edge: the edge.
    """
    spec = nodes[edge.source]
    while spec.kind in (Kind.READER, Kind.WRITER) and spec.edges:
        spec = nodes[next(iter(spec.edges.values())).source]
    return spec
