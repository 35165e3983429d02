"""The one rule of evaluation, without a server and without running anything."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from nodeflow.engine.evaluation import Absent, Branches, Evaluation, Outcome, Value, bind, settled
from nodeflow.engine.plan import plan_loop
from nodeflow.graph import Branch, Graph, LogicalNode


def numbers() -> Iterator[int]:
    yield 1


def double(n: int) -> int:
    return 2 * n


def add(a: int, b: int = 10) -> int:
    return a + b


def either(a: int = 1, b: int = 2) -> int:
    return a + b


def letters(word: str) -> Iterator[str]:
    yield from word


class Sign(LogicalNode[int]):
    def choose(self, n: int) -> str:
        return "positive" if n > 0 else "other"


def walk(evaluation: Evaluation) -> dict[str, Outcome]:
    """Run every node that becomes ready, fan-outs depth first; what each node gave last."""
    while task := evaluation.next():
        result = task.spec.function(**task.arguments)
        if not task.spec.fans_out:
            evaluation.done(task, result)
            continue
        for number, value in enumerate(result):
            walk(evaluation.child(task, number, value))
    return evaluation.outcomes


def evaluate(graph: Graph, value: Any) -> dict[str, Outcome]:
    plan = plan_loop(graph, "main")
    head = plan.heads[0].id
    return walk(Evaluation(plan.stages[head], "item", {head: Value(value)}))


def test_a_node_runs_on_what_its_ports_are_wired_to() -> None:
    graph = Graph("g")
    n = graph.add(numbers)
    graph.add(add, graph.add(double, n), b=n)
    assert evaluate(graph, 3)["add"] == Value(9)


def test_an_optional_port_that_gets_nothing_has_its_default() -> None:
    graph = Graph("g")
    n = graph.add(numbers)
    sign = graph.add(Sign(), n)
    graph.add(add, n, b=sign.branch("other"))
    assert evaluate(graph, 5)["add"] == Value(15)


def test_a_node_whose_required_port_gets_nothing_is_skipped_and_so_is_what_follows() -> None:
    graph = Graph("g")
    sign = graph.add(Sign(), graph.add(numbers))
    graph.add(double, graph.add(double, sign.branch("other"), id="first"), id="second")
    outcomes = evaluate(graph, 5)
    assert outcomes["first"] is Absent.SKIPPED
    assert outcomes["second"] is Absent.SKIPPED


def test_a_node_with_optional_ports_only_needs_one_of_them() -> None:
    graph = Graph("g")
    n = graph.add(numbers)
    sign = graph.add(Sign(), n)
    graph.add(either, a=sign.branch("positive"), b=sign.branch("other"), id="one")
    graph.add(either, a=sign.branch("missing"), b=sign.branch("other"), id="none")
    outcomes = evaluate(graph, 5)
    assert outcomes["one"] == Value(7)
    assert outcomes["none"] is Absent.SKIPPED


def test_none_is_a_value() -> None:
    graph = Graph("g")
    graph.add(lambda n: n is None, graph.add(numbers), id="is_none")
    assert evaluate(graph, None)["is_none"] == Value(True)


def test_what_follows_a_node_that_failed_does_not_run_even_where_its_port_is_optional() -> None:
    graph = Graph("g")
    n = graph.add(numbers)
    broken = graph.add(double, n)
    graph.add(add, n, b=broken)
    assert bind(graph.nodes["add"], {"numbers": Value(1), "double": Absent.FAILED}) is Absent.FAILED


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
    graph.add(letters, graph.add(letters, graph.add(numbers), id="outer"), id="inner")
    plan = plan_loop(graph, "main")
    evaluation = Evaluation(plan.stages["numbers"], "item", {"numbers": Value("ab")})
    task = evaluation.next()
    assert task is not None
    child = evaluation.child(task, 1, "b")
    inner = child.next()
    assert inner is not None
    assert (child.item_id, child.child(inner, 0, "b").item_id) == ("item.1", "item.1.0")


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
