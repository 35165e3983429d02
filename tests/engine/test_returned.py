"""A forgotten return is an error of the node that forgot it, in development mode and in tests of the user's."""

from __future__ import annotations

import functools
import typing
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Protocol, TypeVar

import pytest

from nodeflow.engine import FlowEngine
from nodeflow.errors import NoneReturnedError
from nodeflow.graph import BlockingNode, Context, Graph, NonBlockingNode, Retry, node
from nodeflow.storage import DataStore
from nodeflow.testing import run_graph

T = TypeVar("T")
Run = Callable[[Graph], Awaitable[list[Any]]]


class HasText(Protocol):
    text: str


def numbers() -> Iterator[int]:
    yield from range(2)


def forgets(n: int) -> str:
    return None  # type: ignore[return-value]


async def forgets_later(n: int) -> list[str]:
    return None  # type: ignore[return-value]


def forgets_to_yield(n: int) -> Iterator[str]:
    return None  # type: ignore[return-value]


def promises(n: int) -> Awaitable[int]:
    return forgets_later(n)  # type: ignore[return-value]


class Forgets(BlockingNode):
    def execute(self, n: int) -> int:
        return None  # type: ignore[return-value]


class ForgetsMeanwhile(NonBlockingNode):
    async def execute(self, n: int) -> int:
        return None  # type: ignore[return-value]


@functools.cache
def wrapped(n: int) -> str:
    return None  # type: ignore[return-value]


def head() -> int:
    return None  # type: ignore[return-value]


def bare(n):  # type: ignore[no-untyped-def]
    return None


def may(n: int) -> str | None:
    return None


def never_gives(n: int) -> None:
    return None


def anything(n: int) -> Any:
    return None


def objects(n: int) -> object:
    return None


def variable(n: T) -> T:
    return None  # type: ignore[return-value]


def literal(n: int) -> typing.Literal["a", None]:
    return None


def protocol(n: int) -> HasText:
    return None  # type: ignore[return-value]


def unknown(n: int) -> Missing:  # type: ignore[name-defined]  # noqa: F821
    return None


def later(n: int) -> Awaitable[int | None]:
    return may_later(n)


async def may_later(n: int) -> int | None:
    return None


class Ends(BlockingNode):
    def execute(self, n: int) -> int:
        return n

    def finish(self, ctx: Context) -> Iterator[Any]:
        yield None


@pytest.fixture(params=["step", "run_graph"])
def run(request: pytest.FixtureRequest, store: DataStore) -> Run:
    """Gives the values of a graph's last node, in development mode or in a test of the user's."""

    async def step(graph: Graph) -> list[Any]:
        return (await FlowEngine(graph, store).step(list(graph.nodes)[-1], items="all")).values

    async def run_in_memory(graph: Graph) -> list[Any]:
        found = run_graph(graph)
        assert found.failed == []
        return found[list(graph.nodes)[-1]]

    return step if request.param == "step" else run_in_memory


@pytest.mark.parametrize(
    ("target", "function", "annotation"),
    [
        (forgets, "forgets()", "str"),
        (forgets_later, "forgets_later()", "list[str]"),
        (forgets_to_yield, "forgets_to_yield()", "Iterator[str]"),
        (promises, "promises()", "int"),
        (Forgets(), "Forgets.execute()", "int"),
        (ForgetsMeanwhile(), "ForgetsMeanwhile.execute()", "int"),
        (wrapped, "wrapped()", "str"),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
async def test_none_from_a_node_that_promised_something_else_names_it(
    token: str, run: Run, target: Any, function: str, annotation: str
) -> None:
    graph = Graph(token)
    graph.add(len, graph.add(target, graph.add(numbers), id="it"), id="last")
    with pytest.raises(NoneReturnedError) as caught:
        await run(graph)
    error = caught.value
    assert error.node == "it"
    assert error.item.endswith(("numbers.0", "numbers.0.0"))
    assert f"but {function} at " in str(error)
    assert "test_returned.py:" in str(error)
    assert error.annotation.endswith(annotation)


async def test_a_head_that_promised_a_value_is_named(token: str, run: Run) -> None:
    graph = Graph(token)
    graph.add(head)
    with pytest.raises(NoneReturnedError, match=r"node 'head' gave None on item .*head.* annotated `-> int`"):
        await run(graph)


@pytest.mark.parametrize(
    "target", [bare, may, never_gives, anything, objects, variable, literal, protocol, unknown, later, may_later]
)
async def test_none_is_a_value_where_nothing_else_was_promised(token: str, run: Run, target: Any) -> None:
    graph = Graph(token)
    graph.add(target, graph.add(numbers))
    assert await run(graph) == [None, None]


async def test_what_a_node_gives_at_its_end_is_not_what_its_execute_promised(token: str, run: Run) -> None:
    graph = Graph(token)
    graph.add(Ends(), graph.add(numbers))
    assert await run(graph) == [0, 1, None]


async def test_it_is_not_tried_again(token: str, run: Run) -> None:
    calls = []

    @node(retry=Retry(times=3, backoff=0.0), on_error="skip")
    def forgetful(n: int) -> int:
        calls.append(n)
        return None  # type: ignore[return-value]

    graph = Graph(token)
    graph.add(forgetful, graph.add(numbers))
    with pytest.raises(NoneReturnedError):
        await run(graph)
    assert calls == [0]


def test_values_that_a_test_gives_instead_of_a_head_are_its_own() -> None:
    graph = Graph("test")
    graph.add(head)
    assert run_graph(graph, {"head": [None]})["head"] == [None]
