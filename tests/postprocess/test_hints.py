"""What the annotations of a node say of its ports and of what it gives, and edges that don't fit them."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable, Generator, Iterable, Iterator
from typing import Any, Generic, TypeVar

import pytest

from nodeflow import BlockingNode, Branch, Context, Graph, LogicalNode, ProducerNode
from nodeflow.errors import GraphInvalidError
from nodeflow.graph import NodeSpec, Output
from nodes import QueueReader, QueueWriter
from postprocess import NodeValidator, QueueMapper, apply_passes
from postprocess.hints import gives, takes

T = TypeVar("T")
S = TypeVar("S")


def plain(n: int) -> str:
    return str(n)


async def later(n: int) -> str:
    return str(n)


def each(n: int) -> Iterator[str]:
    yield str(n)


def each_sent(n: int) -> Generator[str, None, None]:
    yield str(n)


def each_of_any(n: int) -> Iterator:  # type: ignore[type-arg]
    yield n


async def each_later(n: int) -> AsyncIterator[str]:
    yield str(n)


def bare(n):  # type: ignore[no-untyped-def]
    return n


def forward(n: int) -> Missing:  # type: ignore[name-defined]  # noqa: F821
    return n


def traced(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


class Calls:
    def __call__(self, n: int) -> str:
        return str(n)

    def method(self, n: int) -> str:
        return str(n)


class Execute(BlockingNode):
    def execute(self, n: int) -> str:
        return str(n)


class ExecuteEach(BlockingNode):
    async def execute(self, n: int) -> AsyncIterator[str]:
        yield str(n)


FUNCTIONS = [
    *(plain, later, each, each_sent, each_later, traced(plain), functools.partial(plain)),
    *(Calls(), Calls().method, Execute(), ExecuteEach(), functools.lru_cache(plain)),
]


def spec_of(target: Any, *inputs: Any) -> NodeSpec:
    graph = Graph("test")
    return graph.nodes[graph.add(target, *inputs, id="node").node]


@pytest.mark.parametrize("target", FUNCTIONS, ids=lambda target: getattr(target, "__qualname__", type(target).__name__))
def test_annotations_are_read_however_the_node_is_written(target: Any) -> None:
    assert takes(spec_of(target, 1), "n") is int
    assert gives(spec_of(target, 1)) is str


@pytest.mark.parametrize("target", [bare, forward, each_of_any, len, str.upper, lambda n: n])
def test_what_isnt_said_or_cant_be_resolved_is_any(target: Any) -> None:
    assert gives(spec_of(target, 1)) is Any


def test_a_port_without_an_annotation_takes_any() -> None:
    assert takes(spec_of(bare, 1), "n") is Any


class Declared(ProducerNode[int]):
    def produce(self, ctx: Context) -> Any:
        yield 1


class Annotated(ProducerNode):  # type: ignore[type-arg]
    def produce(self, ctx: Context) -> Iterator[int]:
        yield 1


class Listed(ProducerNode):  # type: ignore[type-arg]
    async def produce(self, ctx: Context) -> list[int]:
        return [1]


class Repeat(ProducerNode[T]):
    def produce(self, ctx: Context) -> Iterable[T]:
        return []


class Ints(Repeat[int]): ...


class Swapped(Repeat[S], Generic[T, S]): ...


class MoreInts(Swapped[str, int]): ...


class Deep(MoreInts): ...


@pytest.mark.parametrize("producer", [Declared(), Annotated(), Listed(), Ints(), MoreInts(), Deep()])
def test_a_producer_gives_its_t_or_else_what_produce_yields(producer: Any) -> None:
    assert gives(spec_of(producer)) is int


def test_a_producer_whose_t_isnt_known_gives_any() -> None:
    assert gives(spec_of(Repeat[int]())) is Any


class Lists(ProducerNode[list[int]]):
    def produce(self, ctx: Context) -> Iterator[list[int]]:
        yield [1]


class Parse(LogicalNode[list[int] | str]):
    def choose(self, n: Any) -> Branch[Any]:
        return Branch("a", n)


def takes_list(n: list[int]) -> None: ...


def takes_text(n: str) -> None: ...


def takes_optional(n: float | None = None) -> None: ...


def takes_bytes(n: bytes) -> None: ...


def problems(build: Callable[[Graph], object]) -> tuple[str, ...]:
    graph = Graph("test")
    build(graph)
    try:
        apply_passes(graph, [QueueMapper(), NodeValidator()])
    except GraphInvalidError as error:
        return error.problems
    return ()


def far(graph: Graph, target: Any, source: Output[Any]) -> None:
    with graph.loop("far"):
        graph.add(target, source)


def by_hand(graph: Graph, target: Any, source: Output[Any]) -> None:
    writer = graph.add(QueueWriter(), source)
    with graph.loop("far"):
        graph.add(target, graph.add(QueueReader(), writer))


def near(graph: Graph, target: Any, source: Output[Any]) -> None:
    graph.add(target, source)


@pytest.mark.parametrize("wire", [near, far, by_hand])
def test_an_edge_is_checked_through_queues_too(wire: Callable[[Graph, Any, Output[Any]], None]) -> None:
    assert problems(lambda graph: wire(graph, takes_list, graph.add(Lists()))) == ()
    (problem,) = problems(lambda graph: wire(graph, takes_text, graph.add(Lists())))
    assert "takes_text.n expects str, lists gives list[int]" in problem


@pytest.mark.parametrize("wire", [near, far])
def test_one_branch_of_a_logical_node_has_to_fit_one_of_its_types(
    wire: Callable[[Graph, Any, Output[Any]], None],
) -> None:
    def build(target: Any) -> Callable[[Graph], None]:
        return lambda graph: wire(graph, target, graph.add(Parse(), graph.add(Lists())).branch("a"))

    assert problems(build(takes_list)) == problems(build(takes_text)) == ()
    (problem,) = problems(build(takes_bytes))
    assert "takes_bytes.n expects bytes, parse gives list[int] | str" in problem


def test_each_value_of_a_fan_out_is_checked() -> None:
    assert problems(lambda graph: graph.add(takes_text, graph.add(each, 1))) == ()
    (problem,) = problems(lambda graph: graph.add(takes_bytes, graph.add(each_later, 1)))
    assert "takes_bytes.n expects bytes, each_later gives str" in problem


def test_an_optional_port_takes_its_type_or_none() -> None:
    assert problems(lambda graph: graph.add(takes_optional, graph.add(len, "a"))) == ()
    assert problems(lambda graph: graph.add(takes_optional, graph.add(Declared()))) == ()
    (problem,) = problems(lambda graph: graph.add(takes_optional, graph.add(plain, 1)))
    assert "takes_optional.n expects float | None, plain gives str" in problem
