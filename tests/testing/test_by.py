"""Loops with `by=`: items of one key in order, what nodes remember by partition, and what can't be divided."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, cast
from zlib import crc32

import pytest
from attrs import frozen

from nodeflow.engine import FlowEngine
from nodeflow.engine.core.partitioning import Partitioning, partition_of
from nodeflow.errors import GraphError, GraphInvalidError, KeyMissingError, NodeFailedError
from nodeflow.graph import PARTITIONS, BlockingNode, Branch, Context, Graph, LogicalNode, Loop, Retry, node
from nodeflow.storage import DataStore
from nodeflow.testing import run_graph
from nodes import Collect, FirstOf, QueueReader, QueueWriter


@frozen
class Event:
    """Something that a user did."""

    user: str
    n: int


def events() -> Iterator[dict[str, Any]]:
    for n in range(60):
        yield {"user": f"user{n % 7}", "n": n}


@node(retry=Retry(times=2, backoff=0.01))
class Count(BlockingNode):
    """How many events each user has had so far, and at the end."""

    def execute(self, event: dict[str, Any], ctx: Context) -> list[Any]:
        if event["n"] % 11 == 5 and ctx.attempt <= 2:
            raise OSError("not yet")
        ctx.state[event["user"]] = ctx.state.get(event["user"], 0) + 1
        return [event["user"], event["n"], ctx.state[event["user"]]]

    def finish(self, ctx: Context) -> Iterator[list[Any]]:
        for user, count in ctx.state.items():
            yield [user, "all", count]


def counted(name: str = "g", **options: Any) -> Graph:
    graph = Graph(name)
    made = graph.add(events)
    with graph.loop("count", **options):
        count = graph.add(Count(), made)
    with graph.loop("out"):
        graph.add(QueueWriter("out"), count)
    return graph


def by_user(values: list[Any]) -> dict[str, list[Any]]:
    """The values in the order in which they came, by user."""
    found: dict[str, list[Any]] = {}
    for user, *rest in values:
        found.setdefault(user, []).append(rest)
    return found


EXPECTED = {
    f"user{user}": [
        *([n, place + 1] for place, n in enumerate(range(user, 60, 7))),
        ["all", len(range(user, 60, 7))],
    ]
    for user in range(7)
}


@pytest.mark.parametrize("by", ["user", lambda event: event["user"]])
@pytest.mark.parametrize("processes", [1, 3])
def test_items_of_one_key_stay_in_order_and_what_is_remembered_is_theirs(processes: int, by: Any) -> None:
    run = run_graph(counted(processes=processes, by=by))
    assert by_user(run.pushed["out"]) == EXPECTED
    assert not run.failed


async def test_a_step_remembers_by_partition_too(store: DataStore, token: str) -> None:
    async with FlowEngine(counted(token, processes=3, by="user"), store) as engine:
        step = await engine.step("queue_writer", items="all")
        assert sorted(by_user(step.values).items()) == sorted(EXPECTED.items())
        output = await engine.output("count")
        assert output is not None
        assert {item.partition for item in output.items or () if ":finish" not in item.id} == {
            partition_of(f'"user{n}"') for n in range(7)
        }
        assert len({item.partition for item in output.items or ()}) > 1
    async with FlowEngine(counted(token, processes=2, by="n"), store) as engine:
        assert (await engine.status())["count"].why == ("configuration changed",)


async def test_a_step_says_which_value_has_no_key(store: DataStore, token: str) -> None:
    async with FlowEngine(counted(token, by="usr"), store) as engine:
        with pytest.raises(NodeFailedError, match="takes items by='usr', which gives no key for"):
            await engine.step("count")


def test_each_partition_finishes_for_itself() -> None:
    class Last(BlockingNode):
        def execute(self, event: dict[str, Any]) -> Iterator[Any]:
            yield from ()

        def finish(self, ctx: Context) -> int:
            return len(ctx.state)

    graph = Graph("g")
    made = graph.add(events)
    with graph.loop("last", by="user"):
        graph.add(Last(), made, id="last")
    assert run_graph(graph)["last"] == [0] * PARTITIONS


def test_keys_are_fields_attributes_or_what_a_function_gives() -> None:
    def key(by: Any, value: Any) -> tuple[str, int]:
        return Partitioning("l", by, 4).key(value)

    assert key("user", {"user": "bob"}) == key("user", Event("bob", 1)) == ('"bob"', crc32(b'"bob"') % 64)
    assert key(lambda value: (value % 3, None), 7)[0].endswith("[1,null]}}")
    assert key(len, "four") == ("4", partition_of("4"))
    assert key(str, 4) != key(len, "four")


@pytest.mark.parametrize(
    ("by", "value", "why"),
    [
        (
            "user",
            {"usr": 1},
            r"loop 'l' takes items by='user', which gives no key for \{'usr': 1\} \(KeyError: 'user'\)",
        ),
        ("user", 5, "AttributeError: 'int' object has no attribute 'user'"),
        (lambda value: 1 / 0, 5, r"by=.*<lambda>, which gives no key for 5 \(ZeroDivisionError"),
        (lambda value: object(), 5, "object"),
        (lambda value: {}, 5, "a mapping is no key"),
        ("user", {"usr": "x" * 1000}, "x…"),
    ],
)
def test_a_value_without_a_key_is_shown(by: Any, value: Any, why: str) -> None:
    with pytest.raises(KeyMissingError, match=why):
        Partitioning("l", by, 4).key(value)


def test_a_value_without_a_key_fails_the_node_that_gave_it() -> None:
    graph = Graph("g")
    made = graph.add(lambda n: {"n": n} if n else {}, graph.add(QueueReader("jobs"), id="jobs"), id="made")
    with graph.loop("count", by="n"):
        graph.add(lambda value: value, made, id="taken")
    run = run_graph(graph, {"jobs": [0, 1]})
    assert run["taken"] == [{"n": 1}]
    (letter,) = run.failed
    assert letter["node"] == "made"
    assert letter["error"]["type"] == "KeyMissingError"


def test_branches_go_where_their_key_is() -> None:
    class Choose(LogicalNode[Any]):
        branches = ("a", "b")

        def choose(self, n: int) -> Any:
            return [Branch("a", n), Branch("b", n + (n == 3))] if n else None

    graph = Graph("g")
    chosen = graph.add(Choose(), graph.add(QueueReader("jobs"), id="jobs"))
    with graph.loop("count", processes=2, by=lambda n: n):
        graph.add(lambda n: n, chosen.branch("a"), id="a")
        graph.add(lambda n: n, chosen.branch("b"), id="b")
    run = run_graph(graph, {"jobs": [0, 1, 2, 3]})
    assert sorted(run["a"]) == sorted(run["b"]) == [1, 2]
    (letter,) = run.failed
    assert "an item has one key, but its branches have 3 and 4" in letter["error"]["message"]


def test_items_of_other_programs_are_divided_too() -> None:
    graph = Graph("g")
    with graph.loop("count", processes=3, by="user"):
        count = graph.add(Count(), graph.add(QueueReader("jobs"), id="jobs"))
    with graph.loop("out"):
        graph.add(QueueWriter("out"), count)
    run = run_graph(graph, {"jobs": events()})
    assert by_user(run.pushed["out"]) == EXPECTED
    assert set(run.pushed) == {"out"}


WRONG: dict[str, tuple[Callable[[Graph], object], str]] = {
    "number": (
        lambda graph: graph.loop("l", by=cast("str", 5)),
        "by= is the name of a field, or a function of a value, not 5",
    ),
    "empty": (lambda graph: graph.loop("l", by=""), "by= is the name of a field"),
    "many": (lambda graph: graph.loop("l", 65, by="x"), "by= divides items into 64 parts"),
    "other": (lambda graph: (graph.loop("l", by="x"), graph.loop("l", by="y")), "loop 'l' has by='x' since"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_wrong_options_are_refused_where_they_are_said(wrong: str) -> None:
    use, why = WRONG[wrong]
    with pytest.raises(GraphError, match=why):
        use(Graph("g"))


def test_a_loop_is_opened_again_as_it_is() -> None:
    graph = Graph("g")
    with graph.loop("l", 2, by="x") as first, pytest.raises(GraphError), graph.loop("l"):
        pass
    with graph.loop("l") as again:
        assert again == first == Loop("l", 2, by="x")
    with graph.loop("l", 2, by="x") as again:
        assert again == first
    assert '"by": "x"' in graph.to_json()


def test_what_may_lie_in_several_processes_is_refused() -> None:
    graph = Graph("g")
    made = graph.add(lambda n: n, graph.add(events), id="one")
    other = graph.add(lambda n: n, made, id="two")
    with graph.loop("by", by="user"):
        graph.add(events, id="inside")
        graph.add(FirstOf(), made, other, id="either")
        graph.add(Collect(), graph.add(Count(), made))
    with pytest.raises(GraphInvalidError) as caught:
        run_graph(graph)
    text = str(caught.value)
    assert "producer 'inside' is in loop 'by', whose by= divides what comes into it" in text
    assert "node 'either' brings values together in loop 'by'" in text
    assert "node 'collect' brings values together in loop 'by'" in text
