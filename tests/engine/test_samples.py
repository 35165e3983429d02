"""Development mode: how many values a step takes, of what is run and of what is kept, and what it says of that."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from nodeflow.engine import FlowEngine
from nodeflow.graph import BlockingNode, Graph
from nodeflow.storage import DataStore
from nodes import Collect


def numbers() -> Iterator[int]:
    yield from range(10)


def double(n: int) -> int:
    return 2 * n


def spread(n: int) -> Iterator[int]:
    yield from range(100 * n, 100 * n + 5)


@pytest.fixture
def graph(token: str) -> Graph:
    """Numbers, their doubles, five values of each of these, and what is done with one of them."""
    graph = Graph(token)
    graph.add(double, graph.add(spread, graph.add(double, graph.add(numbers))), id="last")
    return graph


@pytest.fixture
def engine(graph: Graph, store: DataStore) -> FlowEngine:
    return FlowEngine(graph, store)


@pytest.mark.parametrize(
    ("items", "count", "sample"),
    [(None, 1, {"numbers": 1}), (2, 2, {"numbers": 2}), ("all", 10, {}), (11, 10, {})],
)
async def test_a_producer_keeps_a_sample(engine: FlowEngine, items: Any, count: int, sample: dict[str, int]) -> None:
    result = await engine.step("numbers", items=items)
    assert (result.values, result.sample) == (list(range(count)), sample)


async def test_what_is_missing_before_a_node_is_made_with_as_many(engine: FlowEngine) -> None:
    result = await engine.step("double", items=3)
    assert (result.values, result.sample) == ([0, 2, 4], {"numbers": 3})


async def test_fewer_than_are_kept_are_taken_of_these_and_the_others_stay(engine: FlowEngine) -> None:
    await engine.step("numbers", items="all")
    result = await engine.step("double", items=3)
    assert (result.values, result.sample) == ([0, 2, 4], {"numbers": 3})
    assert [run.node for run in result.plan.runs] == ["double"]
    status = await engine.status()
    assert (status["numbers"].items, status["numbers"].sample) == (10, {})
    assert (status["double"].state, status["double"].sample) == ("fresh", {"numbers": 3})


async def test_without_a_number_all_that_is_kept_is_taken(engine: FlowEngine) -> None:
    await engine.step("numbers", items="all")
    result = await engine.step("double")
    assert (len(result.values), result.sample) == (10, {})


@pytest.mark.parametrize(("items", "count", "sample"), [(5, 5, {"numbers": 5}), ("all", 10, {})])
async def test_a_kept_sample_that_is_too_small_is_made_anew(
    engine: FlowEngine, items: Any, count: int, sample: dict[str, int]
) -> None:
    await engine.step("double", items=3)
    result = await engine.step("double", items=items)
    assert (len(result.values), result.sample) == (count, sample)
    assert [(run.node, run.why) for run in result.plan.runs] == [
        ("numbers", "its kept output is a sample: the first 3 of numbers"),
        ("double", "asked for"),
    ]


async def test_a_larger_sample_is_made_from_where_the_smaller_one_begins(engine: FlowEngine) -> None:
    await engine.step("numbers", items="all")
    await engine.step("double", items=2)
    result = await engine.step("spread", items=3)
    assert [run.node for run in result.plan.runs] == ["double", "spread"]
    assert result.sample == {"numbers": 3, "spread": 3}


async def test_the_number_is_that_of_producers_and_of_fan_outs(engine: FlowEngine) -> None:
    await engine.step("double", items="all")
    result = await engine.step("spread", items=2)
    assert (result.values, result.sample) == ([0, 1, 200, 201], {"numbers": 2, "spread": 2})
    assert (await engine.step("last")).sample == {"numbers": 2, "spread": 2}


async def test_fewer_of_a_kept_fan_out_are_taken_for_each_of_its_items(engine: FlowEngine) -> None:
    await engine.step("spread", items="all")
    result = await engine.step("last", items=2)
    assert [item.id for item in result.items] == ["numbers.0.0", "numbers.0.1", "numbers.1.0", "numbers.1.1"]
    assert result.sample == {"numbers": 2, "spread": 2}


async def test_a_sample_says_which_node_gave_how_many(engine: FlowEngine) -> None:
    await engine.step("double", items="all")
    result = await engine.step("spread")
    assert (len(result.items), result.sample) == (10, {"spread": 1})
    await engine.step("numbers", items=4)
    await engine.step("double")
    assert (await engine.step("spread")).sample == {"numbers": 4, "spread": 1}


async def test_a_function_that_gives_one_value_is_no_sample(token: str, store: DataStore) -> None:
    graph = Graph(token)
    graph.add(double, graph.add(lambda: 21, id="one"))
    engine = FlowEngine(graph, store)
    assert (await engine.step("double")).sample == {}
    assert [run.node for run in (await engine.step("double", items="all")).plan.runs] == ["double"]


async def test_of_samples_of_different_size_a_node_takes_what_they_share(token: str, store: DataStore) -> None:
    graph = Graph(token)
    n = graph.add(numbers)
    graph.add(lambda n, twice: (n, twice), n, graph.add(double, n), id="pair")
    engine = FlowEngine(graph, store)
    await engine.step("numbers", items="all")
    await engine.step("double", items=2)
    result = await engine.step("pair")
    assert (result.values, result.sample) == ([(0, 0), (1, 2)], {"numbers": 2})


async def test_children_of_a_sample_are_gathered(token: str, store: DataStore) -> None:
    graph = Graph(token)
    graph.add(Collect(), graph.add(spread, graph.add(numbers)))
    engine = FlowEngine(graph, store)
    await engine.step("spread", items="all")
    assert (await engine.step("collect", items=2)).values == [[0, 1], [100, 101]]


class Total(BlockingNode):
    """Gives, at the end, as many values as items came."""

    def __init__(self) -> None:
        self.count = 0

    def execute(self, n: int) -> Iterator[int]:
        self.count += 1
        yield from ()

    def finish(self, ctx: Any) -> Iterator[int]:
        yield from range(self.count)


async def test_what_a_node_gives_at_its_end_is_no_fan_out_but_what_fans_out_below_it(
    token: str, store: DataStore
) -> None:
    graph = Graph(token)
    graph.add(double, graph.add(spread, graph.add(Total(), graph.add(numbers))))
    engine = FlowEngine(graph, store)
    await engine.step("spread", items=3)
    result = await engine.step("double", items=1)
    assert [item.id for item in result.items] == [f"total:finish.{number}.0" for number in range(3)]
