"""Graphs for the tests of the passes: written out, and random."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from hypothesis import strategies as st

from nodeflow import Graph, LogicalNode
from nodeflow.errors import GraphError
from nodeflow.graph import Output
from nodes import QueueReader, QueueWriter


def one() -> int:
    return 1


def same(n: Any) -> Any:
    return n


def three(a: Any, b: Any = None, c: Any = None) -> Any:
    return a, b, c


def split(n: int) -> Iterator[int]:
    yield from range(n)


class Sign(LogicalNode[int]):
    def choose(self, n: int) -> str:
        return "negative" if n < 0 else "positive"


IDS = ["a", "b", "a_b", "b_a", "queue_a_b", "queue_a_b_writer", "queue_a_b_2"]
QUEUES = [None, None, "queue_a_b", "queue_a_b_2", "jobs"]


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """Graphs over up to four loops, with branches, writer/reader pairs by hand and names that like to clash."""
    graph = Graph("random")
    outputs: list[Output[Any]] = []
    for _ in range(draw(st.integers(1, 12))):
        # what would close a cycle, or take an id twice, is left out
        with suppress(GraphError), graph.loop(draw(st.sampled_from("wxyz"))):
            outputs.append(_added(draw, graph, outputs))
    return graph


def _added(draw: st.DrawFn, graph: Graph, outputs: list[Output[Any]]) -> Output[Any]:
    given = draw(st.sampled_from([None, *IDS]))
    writers = [each for each in outputs if isinstance(graph.nodes[each.node].target, QueueWriter)]
    values = [each for each in outputs if each not in writers]
    kind = draw(st.sampled_from(["one", "three", "sign", "split", "writer", "reader"]))
    if kind == "reader" and writers:
        return graph.add(QueueReader(draw(st.sampled_from(QUEUES))), draw(st.sampled_from(writers)), id=given)
    if kind in ("one", "reader") or not values:
        return graph.add(one, id=given)
    chosen = [_branch(draw, draw(st.sampled_from(values))) for _ in range(draw(st.integers(1, 3)))]
    if kind == "three":
        return graph.add(three, *chosen, id=given)
    if kind == "writer":
        return graph.add(QueueWriter(draw(st.sampled_from(QUEUES))), chosen[0], id=given)
    return graph.add(Sign() if kind == "sign" else split, chosen[0], id=given)


def _branch(draw: st.DrawFn, output: Output[Any]) -> Output[Any]:
    if not isinstance(output.graph.nodes[output.node].target, LogicalNode):
        return output
    return output.branch(draw(st.sampled_from(["negative", "positive"])))
