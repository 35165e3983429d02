"""The one rule of evaluation, without a server and without running anything."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from nodeflow.engine.core.evaluation import Absent, Branches, bind, settled
from nodeflow.graph import Branch, Graph, LogicalNode
from nodeflow.testing import run_graph


def numbers() -> Iterator[int]:
    yield 1


def double(n: int) -> int:
    return 2 * n


def add(a: int, b: int = 10) -> int:
    return a + b


def either(a: int = 1, b: int = 2) -> int:
    return a + b


def letters(word: Any) -> Iterator[str]:
    yield from word


class Sign(LogicalNode[int]):
    branches = ("positive", "other", "missing")

    def choose(self, n: int) -> str:
        return "positive" if n > 0 else "other"


def evaluate(graph: Graph, value: Any) -> dict[str, list[Any]]:
    """What each node gave for one item."""
    return dict(run_graph(graph, {"numbers": [value]}).values)


def test_a_node_runs_on_what_its_ports_are_wired_to() -> None:
    graph = Graph("g")
    n = graph.add(numbers)
    graph.add(add, graph.add(double, n), b=n)
    assert evaluate(graph, 3)["add"] == [9]


def test_an_optional_port_that_gets_nothing_has_its_default() -> None:
    graph = Graph("g")
    n = graph.add(numbers)
    sign = graph.add(Sign(), n)
    graph.add(add, n, b=sign.branch("other"))
    assert evaluate(graph, 5)["add"] == [15]


def test_a_node_whose_required_port_gets_nothing_is_skipped_and_so_is_what_follows() -> None:
    graph = Graph("g")
    sign = graph.add(Sign(), graph.add(numbers))
    graph.add(double, graph.add(double, sign.branch("other"), id="first"), id="second")
    outcomes = evaluate(graph, 5)
    assert outcomes["first"] == []
    assert outcomes["second"] == []


def test_a_node_with_optional_ports_only_needs_one_of_them() -> None:
    graph = Graph("g")
    n = graph.add(numbers)
    sign = graph.add(Sign(), n)
    graph.add(either, a=sign.branch("positive"), b=sign.branch("other"), id="one")
    graph.add(either, a=sign.branch("missing"), b=sign.branch("other"), id="none")
    outcomes = evaluate(graph, 5)
    assert outcomes["one"] == [7]
    assert outcomes["none"] == []


def test_none_is_a_value() -> None:
    graph = Graph("g")
    graph.add(lambda n: n is None, graph.add(numbers), id="is_none")
    assert evaluate(graph, None)["is_none"] == [True]


SOURCES = [("a", 0, None), ("b", 1, "left")]


@pytest.mark.parametrize(
    ("outcomes", "required", "expected"),
    [
        ([1, Branches({"left": 2})], {"a", "b"}, {"a": 1, "b": 2}),
        ([1, Branches({"right": 2})], {"a"}, {"a": 1}),
        ([1, Branches({"right": 2})], {"a", "b"}, Absent.SKIPPED),
        ([1, "no branches"], {"a"}, {"a": 1}),
        ([Branches({"left": 1}), Absent.SKIPPED], set(), Absent.SKIPPED),
        ([Absent.FAILED, Branches({"left": 2})], {"b"}, Absent.FAILED),
        ([Absent.FAILED, Absent.SKIPPED], {"a", "b"}, Absent.FAILED),
        ([Absent.FAILED, Absent.WAITING], set(), Absent.WAITING),
        ([Absent.WAITING, Branches({"left": 2})], set(), Absent.WAITING),
        ([None, Branches({"left": None})], {"a", "b"}, {"a": None, "b": None}),
    ],
)
def test_what_a_node_is_called_with_or_why_it_is_not(
    outcomes: list[Any], required: set[str], expected: dict[str, Any] | Absent
) -> None:
    assert bind(SOURCES, frozenset(required), outcomes) == expected


def test_what_is_downstream_of_a_fan_out_runs_once_for_each_value() -> None:
    graph = Graph("g")
    word = graph.add(numbers)
    letter = graph.add(letters, word)
    seen: list[tuple[str, str]] = []
    graph.add(lambda letter, word: seen.append((letter, word)), letter, word, id="note")
    evaluate(graph, "abc")
    assert seen == [("a", "abc"), ("b", "abc"), ("c", "abc")]


def test_the_children_of_a_fan_out_have_ids_of_their_own() -> None:
    graph = Graph("g")
    outer = graph.add(letters, graph.add(numbers), id="outer")
    graph.add(lambda letter, ctx: ctx.item_id, graph.add(letters, outer, id="inner"), id="ids")
    assert evaluate(graph, "ab")["ids"] == ["test.numbers.0.0.0.0", "test.numbers.0.0.1.0"]


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ("positive", {"positive": 7}),
        (["a", "b"], {"a": 7, "b": 7}),
        (Branch("a", "other value"), {"a": "other value"}),
        ([Branch("a", 1), "b"], {"a": 1, "b": 7}),
        ([], {}),
        (None, {}),
    ],
)
def test_what_a_logical_node_chooses(choice: Any, expected: dict[str, Any]) -> None:
    graph = Graph("g")
    graph.add(Sign(), graph.add(numbers))
    assert settled(graph.nodes["sign"], {"n": 7}, choice) == Branches(expected)


@pytest.mark.parametrize("choice", [3, True, [3], {5}, {"a": 1}])
def test_a_choice_that_is_no_branch_is_refused(choice: Any) -> None:
    graph = Graph("g")
    graph.add(Sign(), graph.add(numbers))
    with pytest.raises(TypeError, match="'sign' chose"):
        settled(graph.nodes["sign"], {"n": 7}, choice)


def test_only_logical_nodes_give_branches() -> None:
    graph = Graph("g")
    graph.add(double, graph.add(numbers))
    with pytest.raises(TypeError, match="only a LogicalNode chooses branches"):
        settled(graph.nodes["double"], {"n": 7}, Branch("a", 1))
