"""What waits when nodes have failed on an item, so that a dead letter can't just be removed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from nodeflow.engine.passes import finished
from nodeflow.engine.plan import waits_for
from nodeflow.graph import Graph
from nodes import Collect


def numbers() -> Iterator[int]:
    yield 1


def upto(n: int) -> Iterator[int]:
    yield from range(n)


def same(n: int) -> int:
    return n


def pair(n: int, found: list[int]) -> int:
    return n + len(found)


def gathering(missing: str) -> Graph:
    """A fan-out whose values are gathered, which goes together with what it came from."""
    graph = Graph("g")
    with graph.loop("a"):
        n = graph.add(numbers)
        many = graph.add(upto, graph.add(same, n, id="before"))
    with graph.loop("b"):
        each = graph.add(same, many, id="each")
        graph.add(same, n, id="aside")
    with graph.loop("c"):
        graph.add(same, graph.add(pair, n, graph.add(Collect(missing), each)), id="behind")
    return finished(graph)


@pytest.mark.parametrize(
    ("node", "waits"),
    [
        ("before", {"wait", "skip"}),
        ("upto", {"wait", "skip"}),  # nobody says how many there are
        ("each", {"wait"}),
        ("collect", {"wait", "skip"}),
        ("aside", set()),
        ("pair", set()),
        ("behind", set()),
    ],
)
@pytest.mark.parametrize("missing", ["wait", "skip"])
def test_what_waits_when_a_node_has_failed(node: str, waits: set[str], missing: str) -> None:
    assert waits_for(gathering(missing), [node]) == (missing in waits)
