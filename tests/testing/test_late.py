"""What stands below a generator and takes something from above it too, when that comes late: all of it, and once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from nodeflow.graph import BlockingNode, Context, Graph, Retry, node
from nodeflow.testing import run_graph
from nodes import Collect


def heads() -> Iterator[int]:
    yield from (1, 2)


def some(n: int) -> Iterator[int]:
    yield from range(10 * n, 10 * n + 3)


def said(n: int) -> str:
    return f"q{n}"


def both(outer: int, inner: Any) -> tuple[int, Any]:
    return outer, inner


def failing_at_first(times: int = 1, **options: Any) -> Callable[[int], int]:
    """A node that raises at the first attempts of each item."""
    seen: dict[int, int] = {}

    @node(retry=Retry(times=2, backoff=0.0), id="late", **options)
    def late(n: int) -> int:
        seen[n] = seen.get(n, 0) + 1
        if seen[n] <= times:
            raise OSError("not yet")
        return 100 * n

    return late


def pairs(late: Any, *, between: bool, inner: Any = some) -> Graph:
    """A node that takes what comes late, and the values of a generator, maybe by way of another node."""
    graph = Graph("late")
    n = graph.add(heads)
    outer, given = graph.add(late, n), graph.add(inner, n, id="inner")
    graph.add(both, outer, graph.add(said, given) if between else given)
    return graph


@pytest.mark.parametrize("between", [True, False])
def test_all_pairs_are_there_when_the_outer_value_comes_late(between: bool) -> None:
    found = run_graph(pairs(failing_at_first(), between=between))
    inner = [said(k) if between else k for n in (1, 2) for k in some(n)]
    assert found["both"] == [(100, value) for value in inner[:3]] + [(200, value) for value in inner[3:]]
    assert found["inner"] == [*some(1), *some(2)]


def test_a_generator_that_is_waited_with_remembers_and_pushes_once() -> None:
    class Counted(BlockingNode):
        def execute(self, n: int, ctx: Context) -> Iterator[int]:
            ctx.push("side", n)
            for k in some(n):
                ctx.state["count"] = ctx.state.get("count", 0) + 1
                yield k

        def finish(self, ctx: Context) -> Iterator[int]:
            yield ctx.state["count"]

    found = run_graph(pairs(failing_at_first(), between=True, inner=Counted()))
    assert found["inner"] == [*some(1), *some(2), 6]
    assert found.pushed == {"side": [1, 2]}


def test_a_generator_that_raises_too_goes_on_where_it_was() -> None:
    calls = []

    @node(retry=Retry(times=5, backoff=0.0))
    def inner(n: int) -> Iterator[int]:
        calls.append(n)
        first, *others = some(n)
        yield first
        if calls.count(n) < 3:
            raise OSError("not yet")
        yield from others

    found = run_graph(pairs(failing_at_first(), between=False, inner=inner))
    assert sorted(found["inner"]) == [*some(1), *some(2)]
    assert sorted(found["both"]) == [(100 * n, k) for n in (1, 2) for k in some(n)]


@pytest.mark.parametrize("default", [True, False])
def test_what_never_comes_is_skipped_below_too(default: bool) -> None:
    def either(inner: int, outer: int | None = None) -> tuple[int | None, int]:
        return outer, inner

    graph = Graph("late")
    with graph.loop("a"):
        n = graph.add(heads)
        outer, given = graph.add(failing_at_first(9, on_error="skip"), n), graph.add(some, n)
        paired = graph.add(either, given, outer=outer) if default else graph.add(both, outer, given)
    with graph.loop("b"):
        graph.add(Collect(), paired)
    found = run_graph(graph)
    assert found["collect"] == ([[(None, k) for k in some(n)] for n in (1, 2)] if default else [[], []])


def test_what_stands_two_generators_below_waits_too() -> None:
    graph = Graph("late")
    n = graph.add(heads)
    outer, deep = graph.add(failing_at_first(), n), graph.add(some, graph.add(some, n), id="deep")
    graph.add(both, outer, graph.add(said, deep))
    assert sorted(run_graph(graph)["both"]) == [
        (100 * n, said(k)) for n in (1, 2) for middle in some(n) for k in some(middle)
    ]
