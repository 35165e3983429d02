"""Mistakes that are easily made: each is an error that says what was wrong, and where."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, cast

import pytest

from nodeflow.errors import GraphError, UsageError
from nodeflow.graph import Context, Graph, LogicalNode, ProducerNode
from nodeflow.testing import run_graph


def numbers() -> Iterator[int]:
    yield from range(6)


def upto(n: int) -> Iterator[int]:
    yield from range(n)


class Forgets(LogicalNode[int]):
    def choose(self, n: int) -> Literal["even", "odd"]:  # type: ignore[return]  # noqa: RET503 - the mistake
        if n % 2:
            return "odd"


class May(LogicalNode[int]):
    def choose(self, n: int) -> Literal["odd"] | None:
        return "odd" if n % 2 else None


def test_a_choice_that_was_forgotten_fails_its_item_where_one_was_promised() -> None:
    graph = Graph("g")
    n = graph.add(numbers)
    graph.add(upto, graph.add(Forgets(), n).branch("odd"), id="forgets_odd")
    graph.add(upto, graph.add(May(), n).branch("odd"), id="may_odd")
    run = run_graph(graph)
    assert [letter["error"]["message"].partition(",")[0] for letter in run.failed] == ["'forgets' chose None"] * 3
    assert run["forgets_odd"] == run["may_odd"]
    assert "event loop" not in run.failed[0]["error"]["traceback"]


def test_an_unknown_node_is_named_with_those_that_there_are() -> None:
    graph = Graph("g")
    graph.add(numbers)
    with pytest.raises(KeyError, match="no node 'nmbers'; its nodes are 'numbers'"):
        run_graph(graph)["nmbers"]


class Empty(ProducerNode[int]):
    def produce(self, ctx: Context) -> Iterator[int]:
        return None  # type: ignore[return-value]


def test_a_producer_that_gives_nothing_to_go_through_is_named() -> None:
    graph = Graph("g")
    graph.add(Empty())
    with pytest.raises(TypeError, match=r"produce\(\) of node 'empty' \(.*\) gave NoneType: `yield` values"):
        run_graph(graph)


def test_what_is_no_graph_and_what_are_no_values_is_said() -> None:
    with pytest.raises(UsageError, match=r"takes a Graph, not 'flow\.py'"):
        run_graph(cast("Graph", "flow.py"))
    graph = Graph("g")
    graph.add(lambda: 1, id="one")
    for values in (3, "abc", {"a": 1}):
        with pytest.raises(UsageError, match=r"inputs\['one'\] must be a list of values"):
            run_graph(graph, cast("Any", {"one": values}))


def test_an_output_cannot_be_unpacked() -> None:
    graph = Graph("g")
    with pytest.raises(GraphError, match="'both' has one output, which can't be unpacked"):
        _, _ = graph.add(lambda: (1, 2), id="both")
