"""Samples: of which producers and fan-outs not all values were taken, and which kept items that leaves."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping

from attrs import evolve

from nodeflow.engine.stepping.kept import NO_CHILD, KeptOutput, Sample
from nodeflow.graph import Graph, Lineage, NodeSpec, below, lineages


def in_words(sample: Sample) -> str:
    """What is kept of which nodes, as in `the first 3 of numbers`."""
    return ", ".join(f"the first {count} of {node}" for node, count in sample.items())


def merged(samples: Iterable[Sample]) -> dict[str, int]:
    """What several samples have in common."""
    found: dict[str, int] = {}
    for sample in samples:
        for node, count in sample.items():
            found[node] = min(count, found.get(node, count))
    return found


def taken(
    graph: Graph, spec: NodeSpec, kept: Mapping[str, KeptOutput], most: int | None
) -> tuple[dict[str, KeptOutput], dict[str, int]]:
    """What a node takes of the kept outputs before it, and of what that is a sample.

    Args:
        graph: the graph.
        spec: the node.
        kept: the outputs of all nodes that it takes from, read.
        most: how many values of each producer and fan-out to take at most; None takes all that their samples share.
    """
    found = lineages(graph.nodes)
    ways = {each.id: below(each, found) or () for each in graph.nodes.values()}
    items = {edge.source: kept[edge.source].items or () for edge in spec.edges.values()}
    sample = merged(kept[source].sample for source in items)
    if most is not None:
        each = [pair for source in items for item in items[source] for pair in _numbers(item.id, source, ways)]
        sample = merged([sample, {node: most for node, number in each if number >= most}])
    if not sample:
        return dict(kept), sample

    def is_left(source: str, item: str) -> bool:
        return all(number < sample.get(node, math.inf) for node, number in _numbers(item, source, ways))

    left = {source: [item for item in items[source] if is_left(source, item.id)] for source in items}
    return {source: evolve(kept[source], items=left[source]) for source in items}, sample


def _numbers(item: str, source: str, ways: Mapping[str, Lineage]) -> Iterator[tuple[str, int]]:
    """The producer and the fan-outs that an item of a source comes from, each with its value's number."""
    head, *parts = item.split(".")
    node, is_finish, _ = head.partition(":")
    way = ways[source]
    if is_finish:
        way, parts = way[len(ways[node]) :], parts[1:]
    return ((node, int(part)) for node, part in zip(way, parts, strict=False) if part != NO_CHILD)
