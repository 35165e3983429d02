"""Loops: which nodes are in which, opening, re-opening, and no cycles over them."""

from __future__ import annotations

from typing import Any

import pytest

from nodeflow import Graph
from nodeflow.errors import GraphError
from nodeflow.graph import Location, Loop
from nodes import QueueReader, QueueWriter
from tests.graph.refused import refused, state


def one() -> int:
    return 1


def same(n: int) -> int:
    return n


def loops_of(graph: Graph) -> dict[str, str]:
    return {spec.id: spec.loop for spec in graph.nodes.values()}


def test_a_node_outside_of_all_loops_is_in_main() -> None:
    graph = Graph("test")
    graph.add(one)
    assert loops_of(graph) == {"one": "main"}
    assert graph.loops == {"main": Loop("main", 1)}


def test_nodes_are_in_the_loop_that_is_open() -> None:
    graph = Graph("test")
    with graph.loop("find"):
        found = graph.add(one)
    with graph.loop("parse", processes=2) as parse:
        graph.add(same, found)
    graph.add(same, found)
    assert loops_of(graph) == {"one": "find", "same": "parse", "same_2": "main"}
    assert parse == Loop("parse", 2)
    assert list(graph.loops.values()) == [Loop("find", 1), Loop("parse", 2), Loop("main", 1)]


def test_a_loop_is_reopened_by_its_name() -> None:
    graph = Graph("test")
    with graph.loop("work", processes=3):
        graph.add(one)
    with graph.loop("work"):
        graph.add(one)
    with graph.loop("work", processes=3):
        graph.add(one)
    assert set(loops_of(graph).values()) == {"work"}
    assert graph.loops == {"work": Loop("work", 3)}


def test_main_can_be_opened_by_its_name() -> None:
    graph = Graph("test")
    with graph.loop("main", processes=2):
        graph.add(one, id="within")
    graph.add(one, id="without")
    assert loops_of(graph) == {"within": "main", "without": "main"}
    assert graph.loops == {"main": Loop("main", 2)}


def test_other_processes_are_refused_with_the_line_that_said_them_first() -> None:
    graph = Graph("test")
    with graph.loop("work", processes=3):
        graph.add(one)
    before = state(graph)
    line = test_other_processes_are_refused_with_the_line_that_said_them_first.__code__.co_firstlineno + 2
    said = f"'work' has processes=3 since {Location(__file__, line)}: say processes=1 there"
    refused(lambda: graph.loop("work", processes=1), said)
    assert state(graph) == before


@pytest.mark.parametrize("processes", [0, -1, True, 1.0, "2"])
def test_processes_are_a_whole_number_from_1_on(processes: Any) -> None:
    graph = Graph("test")
    refused(lambda: graph.loop("work", processes=processes), "processes must be a whole number", repr(processes))
    assert graph.loops == {}


@pytest.mark.parametrize("name", ["", "a b", "a{b}", "-a", "größe", "a\n", None, 3])
def test_a_loop_name_can_stand_in_a_key(name: Any) -> None:
    graph = Graph("test")
    refused(lambda: graph.loop(name), f"loop name {name!r}", "letters")
    assert graph.loops == {}


def test_loops_do_not_nest() -> None:
    graph = Graph("test")
    with graph.loop("outer"):
        refused(lambda: graph.loop("inner"), "'inner' can't be opened within loop 'outer'")
        refused(lambda: graph.loop("outer"), "'outer' can't be opened within loop 'outer'")
        graph.add(one)
    assert loops_of(graph) == {"one": "outer"}
    assert list(graph.loops) == ["outer"]


def test_a_loop_that_was_made_before_does_not_nest_either() -> None:
    graph = Graph("test")
    early = graph.loop("early")
    with graph.loop("late"), pytest.raises(GraphError, match="'early' can't be opened within loop 'late'"):
        early.__enter__()


def test_loops_of_two_graphs_may_be_open_at_once() -> None:
    first, second = Graph("first"), Graph("second")
    with first.loop("a"), second.loop("b"):
        first.add(one)
        second.add(one)
    assert (loops_of(first), loops_of(second)) == ({"one": "a"}, {"one": "b"})


def test_an_exception_closes_the_loop() -> None:
    graph = Graph("test")
    with pytest.raises(ZeroDivisionError), graph.loop("broken"):
        _ = 1 // 0
    graph.add(one)
    assert loops_of(graph) == {"one": "main"}


def test_ids_are_unique_over_all_loops() -> None:
    graph = Graph("test")
    with graph.loop("a"):
        graph.add(one)
    with graph.loop("b"):
        graph.add(one)
    assert loops_of(graph) == {"one": "a", "one_2": "b"}


def test_a_cycle_over_loops_is_refused_at_the_line_that_closes_it() -> None:
    graph = Graph("test")
    with graph.loop("a"):
        first = graph.add(one)
    with graph.loop("b"):
        second = graph.add(same, first)
    with graph.loop("c"):
        third = graph.add(same, second)
    before = state(graph)
    with graph.loop("a"):
        refused(lambda: graph.add(same, third, id="last"), "'last'", "a → b → c → a", "a loop of its own")
    assert state(graph) == before


def test_a_cycle_over_a_queue_of_ones_own_is_refused() -> None:
    graph = Graph("test")
    with graph.loop("a"):
        first = graph.add(one)
    with graph.loop("b"):
        writer = graph.add(QueueWriter(), first)
    with graph.loop("a"):
        refused(lambda: graph.add(QueueReader(), writer), "a → b → a")


def test_a_diamond_over_loops_is_no_cycle() -> None:
    graph = Graph("test")
    with graph.loop("a"):
        first = graph.add(one)
    with graph.loop("b"):
        left = graph.add(same, first)
    with graph.loop("c"):
        right = graph.add(same, first)
        graph.add(max_of, left, right)
    with graph.loop("b"):
        graph.add(same, first)
    assert list(graph.loops) == ["a", "b", "c"]


def max_of(a: int, b: int) -> int:
    return max(a, b)


@pytest.mark.parametrize(
    ("memory", "size"),
    [("1GB", 10**9), ("1.5 GB", 1_500_000_000), ("512MiB", 512 << 20), ("64kB", 64_000), ("100B", 100), (4096, 4096)],
)
def test_the_memory_of_a_loop(memory: str | int, size: int) -> None:
    graph = Graph("test")
    with graph.loop("a", memory=memory):
        graph.add(one)
    with graph.loop("a"):
        pass
    assert graph.loops["a"].memory == size


@pytest.mark.parametrize("memory", ["1", "much", "1gb", "0GB", 0, -1, True, 1.5, "1 GB more"])
def test_what_is_no_size_is_refused(memory: object) -> None:
    refused(lambda: Graph("test").loop("a", memory=memory), "memory of loop 'a'", "is no size")  # type: ignore[arg-type] # the test


def test_another_memory_is_refused() -> None:
    graph = Graph("test")
    with graph.loop("a", memory="1GB"):
        graph.add(one)
    refused(lambda: graph.loop("a", memory="2GB"), "loop 'a' has memory=1000000000 since")
