"""Lineage: which head and which fan-outs the items of a node come from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from nodeflow.graph.roles import Kind
from nodeflow.graph.spec import NodeSpec

Lineage = tuple[str, ...]
"""The head that an item began at, then the nodes that fanned it out, outermost first."""


def lineages(nodes: Mapping[str, NodeSpec]) -> dict[str, Lineage | None]:
    """The lineage of each node; None where its inputs can't be brought together item by item.

    Args:
        nodes: by id, each behind those whose output it takes.

    Returns:
        the lineages by id. Inputs fit together when the lineage of each begins the longest one: then a value
        of an outer item goes with each of the inner ones.
    """
    found: dict[str, Lineage | None] = {}
    for spec in nodes.values():
        incoming = {below(nodes[edge.source], found) for edge in spec.edges.values()}
        if not incoming:
            found[spec.id] = (spec.id,)
            continue
        ways = [way for way in incoming if way is not None]
        longest = max(ways, key=len, default=())
        fits = len(ways) == len(incoming) and all(longest[: len(way)] == way for way in ways)
        found[spec.id] = (longest[:-1] if spec.kind is Kind.COLLECT else longest) if fits else None
    return found


def below(source: NodeSpec, found: Mapping[str, Lineage | None]) -> Lineage | None:
    """The lineage of what takes from a node."""
    lineage = found[source.id]
    if lineage is None or not source.fans_out or source.kind is Kind.PRODUCER:
        return lineage
    return (*lineage, source.id)


def entries_of(nodes: Iterable[NodeSpec]) -> dict[str, str]:
    """The entry by which what a node runs on comes into its loop, for each node of a mapped graph.

    Args:
        nodes: all nodes of the graph, each behind those that it takes from.
    """
    found: dict[str, str] = {}
    for spec in nodes:
        before = {found[edge.source] for edge in spec.edges.values()}
        is_own = spec.is_head or spec.kind is Kind.COLLECT or len(before) != 1
        found[spec.id] = spec.id if is_own else next(iter(before))
    return found
