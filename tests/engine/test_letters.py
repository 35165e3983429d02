"""What waits when nodes have failed on an item, so that a dead letter can't just be removed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from nodeflow.engine.core.plan import plan_loop, waits_for
from nodeflow.engine.core.results import shown_letter
from nodeflow.engine.passes import finished
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


@pytest.mark.parametrize(
    ("loop", "run", "called"),
    [
        ("a", [], ["before", "upto"]),
        ("a", ["before"], ["before", "upto"]),
        ("a", ["upto"], ["upto"]),
        ("b", [], ["each"]),
        ("c", [], ["pair", "behind"]),
    ],
)
def test_in_which_nodes_a_process_may_have_died(loop: str, run: list[str], called: list[str]) -> None:
    entries = plan_loop(gathering("wait"), loop).entries.values()
    assert called in [entry.called(run) for entry in entries if set(run) <= set(entry.places)]


@pytest.mark.parametrize(
    ("kept", "shown"),
    [
        ({"queue_numbers_aside_reader": {"value": 5}}, {"numbers": 5}),
        ({"queue_upto_each_reader": {"branches": {"small": 1}}}, {"upto": {"small": 1}}),
        ({"queue_numbers_aside_reader": {"value": 5}, "queue_upto_each_reader": {"absent": "skipped"}}, {"numbers": 5}),
        ({"gone": {"value": 5}}, {"gone": 5}),
    ],
)
def test_what_came_into_the_loop_is_shown_by_the_node_that_gave_it(kept: dict[str, Any], shown: dict[str, Any]) -> None:
    letter = {"run": [], "kept": kept, "item": "1", "node": "each", "loop": "b", "job": "j", "at": "", "error": {}}
    assert shown_letter(letter, nodes=gathering("wait").nodes)["input"] == shown
