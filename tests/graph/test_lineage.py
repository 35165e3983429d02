"""A lineage is the head of a node's items and the fan-outs that they went through."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from nodeflow import Graph
from nodeflow.graph import Output, lineages
from postprocess import QueueMapper


def one() -> int:
    return 1


def same(n: int) -> int:
    return n


def pair(a: int, b: int, c: int = 0) -> int:
    return a + b + c


def split(n: int) -> Iterator[int]:
    yield from range(n)


def numbers() -> Iterator[int]:
    yield from range(3)


@pytest.fixture
def graph() -> Graph:
    return Graph("test")


def lineage(output: Output[object]) -> tuple[str, ...] | None:
    return lineages(output.graph.nodes)[output.node]


def test_a_head_begins_its_own(graph: Graph) -> None:
    assert lineage(graph.add(one)) == ("one",)


def test_a_producer_that_yields_doesnt_stand_below_itself(graph: Graph) -> None:
    assert lineage(graph.add(same, graph.add(numbers))) == ("numbers",)


def test_each_fan_out_stands_in_it_outermost_first(graph: Graph) -> None:
    outer = graph.add(split, graph.add(one), id="outer")
    inner = graph.add(split, outer, id="inner")
    assert lineage(outer) == ("one",)
    assert lineage(inner) == ("one", "outer")
    assert lineage(graph.add(same, inner)) == ("one", "outer", "inner")


def test_ways_that_part_and_meet_have_one(graph: Graph) -> None:
    start = graph.add(one)
    assert lineage(graph.add(pair, graph.add(same, start), graph.add(same, start))) == ("one",)


def test_an_outer_value_goes_with_each_inner_one(graph: Graph) -> None:
    start = graph.add(one)
    each = graph.add(split, graph.add(split, start, id="outer"), id="inner")
    assert lineage(graph.add(pair, start, each)) == ("one", "outer", "inner")
    assert lineage(graph.add(pair, each, start)) == ("one", "outer", "inner")


def test_two_heads_have_none_together(graph: Graph) -> None:
    together = graph.add(pair, graph.add(one), graph.add(one))
    assert lineage(together) is None
    assert lineage(graph.add(same, together)) is None


def test_two_fan_outs_have_none_together(graph: Graph) -> None:
    start = graph.add(one)
    assert lineage(graph.add(pair, graph.add(split, start), graph.add(split, start))) is None
    assert lineage(graph.add(pair, start, graph.add(split, start), graph.add(split, start))) is None


def test_it_goes_on_through_a_channel(graph: Graph) -> None:
    each = graph.add(split, graph.add(one))
    with graph.loop("far"):
        graph.add(same, each)
    assert lineages(QueueMapper().apply(graph).nodes)["same"] == ("one", "split")
