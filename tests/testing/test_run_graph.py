"""A whole graph in one process: joins, gathering, failures and branches, by the one rule of evaluation."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import pytest

from nodeflow.errors import GraphInvalidError, JobError, UsageError
from nodeflow.graph import BlockingNode, Branch, Context, Graph, LogicalNode, Retry, node, said_branches
from nodeflow.testing import run_graph
from nodes import Collect, FirstOf, QueueReader, QueueWriter


def numbers() -> Iterator[int]:
    yield from range(6)


def upto(n: int) -> Iterator[int]:
    yield from range(n)


class Parity(LogicalNode[int]):
    def choose(self, n: int) -> Literal["even", "odd"]:
        return "even" if n % 2 == 0 else "odd"


def small_and_many() -> Graph:
    """A fan-out over three loops, whose children are gathered and joined with what they came of."""
    graph = Graph("g")
    with graph.loop("a"):
        n = graph.add(numbers)
        many = graph.add(upto, n)
    with graph.loop("b", processes=2):
        tenfold = graph.add(lambda k: 10 * k, many, id="tenfold")
    with graph.loop("c"):
        gathered = graph.add(Collect(), tenfold)
        graph.add(lambda n, found: [n, found], n, gathered, id="pair")
    return graph


def test_all_children_of_one_parent_are_gathered_and_joined_over_loops() -> None:
    assert run_graph(small_and_many())["pair"] == [[n, [10 * k for k in range(n)]] for n in range(6)]


def test_inputs_take_the_place_of_what_a_producer_gives() -> None:
    run = run_graph(small_and_many(), {"numbers": [2]})
    assert run["pair"] == [[2, [0, 10]]]
    assert run["numbers"] == [2]


def test_inputs_and_outputs_of_queues_that_other_programs_use() -> None:
    graph = Graph("g")
    graph.add(QueueWriter("results"), graph.add(lambda n: n + 1, graph.add(QueueReader("jobs"), id="jobs")))
    assert run_graph(graph, {"jobs": [1, 2]}).pushed == {"results": [2, 3]}
    assert run_graph(graph).pushed == {}


def test_inputs_for_a_node_that_takes_none_are_refused() -> None:
    with pytest.raises(UsageError, match="can't feed 'tenfold': it takes values for numbers"):
        run_graph(small_and_many(), {"tenfold": [1]})


async def test_it_also_runs_where_an_event_loop_does() -> None:
    assert len(run_graph(small_and_many())["pair"]) == 6


def test_what_was_skipped_is_left_out_and_a_skipped_parent_gathers_nothing() -> None:
    graph = Graph("g")
    with graph.loop("a"):
        n = graph.add(numbers)
        parity = graph.add(Parity(), n)
        many = graph.add(upto, parity.branch("odd"))
    with graph.loop("b"):
        sort = graph.add(Parity(), many, id="sort")
        even = graph.add(lambda k: k, sort.branch("even"), id="even")
    with graph.loop("c"):
        gathered = graph.add(Collect(), even)

        def pair(n: int, found: list[int] | None = None) -> Any:
            return [n, found]

        graph.add(pair, n, gathered)
    found = [[0, None], [1, [0]], [2, None], [3, [0, 2]], [4, None], [5, [0, 2, 4]]]
    assert sorted(run_graph(graph)["pair"], key=str) == found


def test_arrays_go_through_joins() -> None:
    graph = Graph("g")
    with graph.loop("a"):
        n = graph.add(numbers)
        array = graph.add(lambda n: np.arange(n), n, id="array")
        many = graph.add(upto, n)
    with graph.loop("b"):
        arrays = graph.add(lambda k: np.ones(k), many, id="arrays")
    with graph.loop("c"):
        found = graph.add(Collect(), arrays)
        graph.add(lambda a, found: [a.size, sum(each.sum() for each in found)], array, found, id="sizes")
    assert run_graph(graph)["sizes"] == [[n, n * (n - 1) // 2] for n in range(6)]


def test_nested_fan_outs_are_gathered_one_after_the_other() -> None:
    graph = Graph("g")
    with graph.loop("a"):
        outer = graph.add(upto, graph.add(numbers), id="outer")
    with graph.loop("b"):
        inner = graph.add(upto, outer, id="inner")
    with graph.loop("c"):
        within = graph.add(Collect(), inner, id="within")
    with graph.loop("d"):
        graph.add(Collect(), within, id="all")
    assert run_graph(graph)["all"] == [[list(range(k)) for k in range(n)] for n in range(6)]


def test_a_fan_out_may_be_gathered_in_its_own_loop() -> None:
    graph = Graph("g")
    n = graph.add(numbers)
    graph.add(lambda n, found: [n, found], n, graph.add(Collect(), graph.add(upto, n)), id="pair")
    assert run_graph(graph)["pair"] == [[n, list(range(n))] for n in range(6)]


def test_whichever_branch_was_taken_goes_on() -> None:
    graph = Graph("g")
    with graph.loop("a"):
        parity = graph.add(Parity(), graph.add(numbers))
    with graph.loop("b"):
        even = graph.add(lambda n: f"even {n}", parity.branch("even"), id="even")
    with graph.loop("c"):
        odd = graph.add(lambda n: f"odd {n}", parity.branch("odd"), id="odd")
    with graph.loop("d"):
        graph.add(FirstOf(), even, odd)
    assert sorted(run_graph(graph)["first_of"]) == [f"{'odd' if n % 2 else 'even'} {n}" for n in (0, 2, 4, 1, 3, 5)]


def failing(**options: Any) -> Graph:
    graph = Graph("g")

    @node(id="fragile", **options)
    def fragile(k: int, ctx: Context) -> int:
        if k == 3 and ctx.attempt < 3:
            raise ValueError(f"attempt {ctx.attempt}")
        return k

    with graph.loop("a"):
        n = graph.add(numbers)
        many = graph.add(upto, n)
    with graph.loop("b"):
        result = graph.add(fragile, many)
        if options.get("on_error") == "broken":
            graph.add(lambda error: [error["item"], error["error"]["message"]], result.branch("broken"), id="errors")
    with graph.loop("c"):
        missing = options.pop("missing", "wait")
        graph.add(lambda n, found: [n, found], n, graph.add(Collect(missing), result), id="pair")
    return graph


WHOLE = [[n, list(range(n))] for n in range(6)]


def test_what_is_tried_again_is_in_its_place() -> None:
    run = run_graph(failing(retry=Retry(times=2, backoff=60)))
    assert sorted(run["pair"]) == WHOLE
    assert run.failed == []


def test_a_dead_part_holds_its_parent_back_and_no_other() -> None:
    run = run_graph(failing(retry=Retry(times=1)))
    assert sorted(run["pair"]) == WHOLE[:4]
    assert [(letter["item"], letter["attempt"]) for letter in run.failed] == [
        ("test.numbers.0.4.3", 2),
        ("test.numbers.0.5.3", 2),
    ]
    assert run.failed[0]["error"]["message"] == "attempt 2"
    assert run.failed[0]["input"] == {"k": 3}


def test_a_finish_that_fails_is_tried_as_often_as_its_node_says() -> None:
    class Total(BlockingNode):
        def execute(self, n: int) -> None: ...

        def finish(self, ctx: Context) -> None:
            raise ValueError("never")

    graph = Graph("g")
    graph.add(node(retry=Retry(times=3))(Total)(), graph.add(numbers))
    (letter,) = run_graph(graph).failed
    assert (letter["node"], letter["attempt"]) == ("total", 4)


def test_a_fan_out_that_fails_sooner_when_it_is_tried_again_gives_no_value_twice() -> None:
    @node(retry=Retry(times=2), on_error="skip")
    def fragile(n: int, ctx: Context) -> Iterator[int]:
        if ctx.attempt == 2:
            raise ValueError("at once")
        yield from range(4 if ctx.attempt == 1 else 7)
        raise ValueError("at last")

    graph = Graph("g")
    with graph.loop("a"):
        many = graph.add(fragile, graph.add(lambda: 1, id="n"))
    with graph.loop("b"):
        graph.add(Collect(), graph.add(lambda k: k, many, id="same"))
    run = run_graph(graph)
    assert run["same"] == list(range(7))
    assert run["collect"] == [list(range(7))]


def test_retries_are_for_the_exceptions_that_they_name() -> None:
    assert len(run_graph(failing(retry=Retry(times=5, on=(KeyError,)))).failed) == 2
    assert len(run_graph(failing(retry=Retry(times=5, on=LookupError))).failed) == 2
    assert run_graph(failing(retry=Retry(times=5, on=(KeyError, ValueError)))).failed == []


def test_what_is_skipped_on_an_error_is_left_out() -> None:
    run = run_graph(failing(on_error="skip"))
    assert sorted(run["pair"]) == [[n, [k for k in range(n) if k != 3]] for n in range(6)]
    assert run.failed == []


def test_errors_may_go_on_on_a_branch() -> None:
    run = run_graph(failing(on_error="broken"))
    assert run["errors"] == [["test.numbers.0.4.3", "attempt 1"], ["test.numbers.0.5.3", "attempt 1"]]
    assert run.failed == []
    assert run["fragile"].count(3) == 0


def test_errors_may_go_on_in_another_loop_without_what_went_well() -> None:
    graph = Graph("g")
    with graph.loop("a"):
        result = graph.add(node(on_error="broken")(lambda n: 1 // n), graph.add(numbers), id="fragile")
    with graph.loop("b"):
        graph.add(lambda error: error["error"]["type"], result.branch("broken"), id="errors")
    with graph.loop("c"):
        either = graph.add(FirstOf(), result, result.branch("broken"))
        graph.add(lambda one: isinstance(one, dict), either, id="is_error")
    run = run_graph(graph)
    assert run["errors"] == ["ZeroDivisionError"]
    assert run["is_error"] == [True, False, False, False, False, False]
    assert len(run["queue_fragile_errors_reader"]) == 1


def test_a_node_may_stop_the_job() -> None:
    with pytest.raises(JobError, match=r"node 'fragile' stopped the job on item test\.numbers\.0\.4\.3"):
        run_graph(failing(on_error="stop"))


def test_a_gathering_may_go_on_without_what_is_dead() -> None:
    graph = Graph("g")
    with graph.loop("a"):
        many = graph.add(upto, graph.add(numbers))
    with graph.loop("b"):
        result = graph.add(lambda k: 1 // (k - 3) and k, many, id="fragile")
    with graph.loop("c"):
        graph.add(Collect(missing="skip"), result)
    assert sorted(map(len, run_graph(graph)["collect"])) == [0, 1, 2, 3, 3, 4]


def test_what_finishes_gives_its_last_values_upstream_first() -> None:
    class Last(BlockingNode):
        def execute(self, n: int) -> Iterator[int]:
            self.last = n
            yield n

        def finish(self, ctx: Context) -> int:
            return self.last + 100

    graph = Graph("g")
    with graph.loop("a"):
        first = graph.add(Last(), graph.add(numbers))
        graph.add(Last(), first, id="second")
    assert run_graph(graph)["second"] == [0, 1, 2, 3, 4, 5, 105, 205]


def test_two_nodes_that_fail_together_are_one_dead_letter_when_something_needs_both() -> None:
    graph = Graph("g")
    n = graph.add(numbers)
    left = graph.add(lambda n: 1 // (n - 3), n, id="left")
    right = graph.add(lambda n: 1 // (n - 3), n, id="right")
    graph.add(lambda a, b: a + b, left, right, id="both")
    graph.add(lambda n: 1 // (n - 4), n, id="apart")
    run = run_graph(graph)
    assert [letter["node"] for letter in run.failed] == ["left", "apart"]
    assert len(run["both"]) == 5


def test_a_value_that_cannot_travel_fails_its_node_with_the_queue_named() -> None:
    graph = Graph("g")
    with graph.loop("a"):
        made = graph.add(lambda n: object(), graph.add(numbers), id="made")
    with graph.loop("b"):
        graph.add(lambda o: o, made, id="sink")
    run = run_graph(graph, {"numbers": [1]})
    assert "so it can't go to queue 'queue_made_sink'" in run.failed[0]["error"]["message"]
    assert run["sink"] == []


def test_a_branch_of_its_own_value() -> None:
    class Sized(LogicalNode[int]):
        def choose(self, n: int) -> list[Branch[int] | str]:
            return ["plain", Branch("double", 2 * n)]

    graph = Graph("g")
    with graph.loop("a"):
        sized = graph.add(Sized(), graph.add(numbers))
    with graph.loop("b"):
        graph.add(lambda a, b: a + b, sized.branch("plain"), sized.branch("double"), id="sum")
    assert run_graph(graph)["sum"] == [0, 3, 6, 9, 12, 15]


def test_a_branch_that_nobody_takes_and_that_was_not_announced_is_a_mistake() -> None:
    class Sized(LogicalNode[int]):
        def choose(self, n: int) -> Any:
            return "large" if n > 3 else "smal"

    graph = Graph("g")
    sized = graph.add(Sized(), graph.add(numbers))
    graph.add(lambda n: n, sized.branch("large"), id="large")
    graph.add(lambda n: n, sized.branch("small"), id="small")
    run = run_graph(graph)
    assert run["large"] == [4, 5]
    assert [letter["item"] for letter in run.failed] == [f"test.numbers.0.{n}" for n in range(4)]
    assert "'sized' chose the branch 'smal', which it doesn't have: its branches are 'large', 'small'" in str(
        run.failed
    )


class Size(enum.Enum):
    SMALL = "small"
    LARGE = 3


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (Literal["a", "b"], {"a", "b"}),
        (Literal["a", "b"] | None, {"a", "b"}),
        (list[Literal["a"]] | Literal["b"], {"a", "b"}),
        (tuple[Literal["a"], ...], {"a"}),
        (Size, {"small", "LARGE"}),
        (Literal[Size.SMALL], {"small"}),
        (str, None),
        (Branch[int], None),
        (Literal["a"] | Branch[int], None),
        (Any, None),
        ("no such name", None),
    ],
)
def test_what_a_logical_node_says_that_it_chooses(choice: Any, expected: set[str] | None) -> None:
    class Choose(LogicalNode[int]):
        def choose(self, n: int) -> Any:
            return None

    Choose.choose.__annotations__["return"] = choice
    assert said_branches(Choose()) == expected


def test_members_of_an_enum_are_branches() -> None:
    class Sized(LogicalNode[int]):
        branches = ("small", "LARGE")

        def choose(self, n: int) -> Any:
            return Size.LARGE if n > 3 else Size.SMALL

    graph = Graph("g")
    graph.add(lambda n: n, graph.add(Sized(), graph.add(numbers)).branch("LARGE"), id="large")
    assert run_graph(graph)["large"] == [4, 5]


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        (lambda graph: graph.add(Collect(), graph.add(numbers)), "no node before it fans out"),
        (lambda graph: _at_two_depths(graph), "stand below different fan-outs"),
    ],
)
def test_what_cannot_be_brought_together_is_refused(wrong: Any, why: str) -> None:
    graph = Graph("g")
    wrong(graph)
    with pytest.raises(GraphInvalidError, match=why):
        run_graph(graph)


def _at_two_depths(graph: Graph) -> None:
    with graph.loop("a"):
        n = graph.add(numbers)
        many = graph.add(upto, n)
    with graph.loop("b"):
        graph.add(lambda n, k: n + k, n, many, id="sum")
