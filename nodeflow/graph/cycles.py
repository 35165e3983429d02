"""Cycles over loops: a loop that waits for its own end would never end."""

from __future__ import annotations

from collections.abc import Mapping

from nodeflow.graph.spec import NodeSpec


def closed_cycle(nodes: Mapping[str, NodeSpec], added: NodeSpec) -> tuple[str, ...] | None:
    """The cycle of loops that a further node closes, its first loop at the end once more; None if it closes none.

    Args:
        nodes: the nodes so far, by id.
        added: the node that is to be added.
    """
    sources = {nodes[edge.source].loop for edge in added.edges.values()} - {added.loop}
    if not sources:
        return None
    feeds: dict[str, set[str]] = {}
    for spec in nodes.values():
        for edge in spec.edges.values():
            feeds.setdefault(nodes[edge.source].loop, set()).add(spec.loop)
    for source in sorted(sources):
        if way := _way(feeds, added.loop, source):
            return (*way, added.loop)
    return None


def _way(feeds: Mapping[str, set[str]], start: str, end: str) -> tuple[str, ...] | None:
    """A way over loops from start to end, both included."""
    ways: list[tuple[str, ...]] = [(start,)]
    seen = {start}
    while ways:
        way = ways.pop()
        if way[-1] == end:
            return way
        ways += [(*way, after) for after in sorted(feeds.get(way[-1], set()) - seen)]
        seen |= feeds.get(way[-1], set())
    return None
