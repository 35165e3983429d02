"""What a step does with errors, of generators too, and with what can't be sent or kept: as a run does."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from nodeflow.engine import FlowEngine
from nodeflow.errors import NodeFailedError
from nodeflow.graph import BlockingNode, Context, Graph, Retry, node
from nodeflow.storage import DataStore
from nodeflow.testing import run_graph


def numbers() -> Iterator[int]:
    yield from range(3)


class Spread(BlockingNode):
    """Remembers what it gave, pushes nothing, and raises on 1 until it was called so often."""

    def __init__(self, failures: int) -> None:
        self.left = failures

    def execute(self, n: int, ctx: Context) -> Iterator[list[int]]:
        for k in range(3):
            if (n, k) == (1, 2) and self.left:
                self.left -= 1
                raise OSError("not yet")
            ctx.state[n] = ctx.state.get(n, 0) + 1
            yield [n, k, ctx.state[n]]

    def finish(self, ctx: Context) -> Iterator[list[Any]]:
        yield ["counts", *(ctx.state.get(n) for n in range(3))]


def spread(failures: int, **options: Any) -> Graph:
    graph = Graph("spread")
    graph.add(node(**options)(Spread)(failures), graph.add(numbers), id="spread")
    return graph


async def stepped(graph: Graph, store: DataStore, token: str) -> list[Any]:
    graph.name = token
    engine = FlowEngine(graph, store)
    await engine.step("spread", items="all", refresh=True)
    output = await engine.output("spread")
    assert output is not None
    return [item.outcome for item in output.items or ()]


@pytest.mark.parametrize("failures", [0, 1, 2])
async def test_a_generator_is_tried_again_and_its_first_values_are_dropped(
    store: DataStore, token: str, failures: int
) -> None:
    options = {"retry": Retry(times=2, backoff=0.0)}
    found = await stepped(spread(failures, **options), store, token)
    assert sorted(found, key=repr) == sorted(run_graph(spread(failures, **options))["spread"], key=repr)
    assert ["counts", 3, 3, 3] in found


async def test_a_generator_that_is_skipped_keeps_the_values_before_its_error(store: DataStore, token: str) -> None:
    found = await stepped(spread(9, on_error="skip"), store, token)
    assert found == run_graph(spread(9, on_error="skip"))["spread"]
    assert [each[:2] for each in found[:-1]] == [[n, k] for n in range(3) for k in range(3) if (n, k) != (1, 2)]
    assert found[-1] == ["counts", 3, None, 3]


async def test_a_generator_that_is_tried_too_often_ends_the_step(store: DataStore, token: str) -> None:
    with pytest.raises(NodeFailedError, match="not yet"):
        await stepped(spread(3, retry=Retry(times=2, backoff=0.0)), store, token)


async def test_finish_knows_which_attempt_it_is(store: DataStore, token: str) -> None:
    @node(retry=Retry(times=2, backoff=0.0))
    class Tells(BlockingNode):
        def execute(self, n: int) -> int:
            return n

        def finish(self, ctx: Context) -> Iterator[int]:
            yield -10
            if ctx.attempt < 3:
                raise OSError("not yet")
            yield -ctx.attempt

    graph = Graph(token)
    graph.add(Tells(), graph.add(numbers), id="tells")
    assert run_graph(graph)["tells"] == [0, 1, 2, -10, -3]
    assert (await FlowEngine(graph, store).step("tells", items="all")).values == [0, 1, 2, -10, -3]


class Stays(int):
    """A number that stays within its loop."""


@node(on_error="skip")
def whole(n: int) -> int:
    return Stays(n) if n == 1 else n


@node(on_error="skip")
def several(n: int) -> Iterator[int]:
    yield from (n, Stays(n) if n == 1 else n, -n)


@node(on_error="skip")
def remembering(n: int, ctx: Context) -> int:
    ctx.state["last"] = whole(n)
    return n


@node(on_error="skip")
def all_of_them() -> Iterator[int]:
    yield from (0, Stays(1), 2)


@node(retry=Retry(times=1, backoff=0.0))
def at_first(n: int, ctx: Context) -> int:
    return whole(n) if ctx.attempt == 1 else n


@node(on_error="failed")
def told(n: int) -> int:
    return whole(n)


def to_another_loop(target: Any, by: Any = None) -> Graph:
    """A graph of which the values of a node are taken in its own loop and in another one."""
    graph = Graph("unsent")
    with graph.loop("here"):
        given = graph.add(target, *([] if target is all_of_them else [graph.add(numbers)]), id="given")
        graph.add(lambda n: type(n).__name__, given, id="beside")
    with graph.loop("there", by=by):
        graph.add(lambda n: n, given, id="taken")
        if target is told:
            graph.add(lambda error: error["error"]["type"], given.branch("failed"), id="tell")
    return graph


@pytest.mark.parametrize("target", [whole, several, remembering, all_of_them, at_first, told])
async def test_what_cannot_be_sent_or_kept_counts_as_an_error_of_its_node(
    store: DataStore, token: str, target: Any
) -> None:
    graph = to_another_loop(target)
    found = run_graph(graph)
    assert not found.failed
    graph.name = token
    engine = FlowEngine(graph, store)
    for taker in ("beside", "taken", *(["tell"] if target is told else [])):
        assert sorted((await engine.step(taker, items="all")).values) == sorted(found[taker])


async def test_what_has_no_key_for_the_loop_behind_is_an_error_of_its_giver(store: DataStore, token: str) -> None:
    @node(on_error="skip")
    def user(n: int) -> dict[str, int]:
        return {"user": n} if n else {}

    graph = to_another_loop(user, by="user")
    graph.name = token
    assert (await FlowEngine(graph, store).step("taken", items="all")).values == [{"user": 1}, {"user": 2}]


async def test_what_cannot_be_sent_ends_the_step_and_says_where_it_should_go(store: DataStore, token: str) -> None:
    graph = to_another_loop(lambda n: whole(n))
    graph.name = token
    with pytest.raises(NodeFailedError, match="so it can't go to queue 'queue_given_taken'"):
        await FlowEngine(graph, store).step("given", items="all")
