"""What a type checker knows of `graph.add`; checked by the project's mypy run and by test_add.py, and never run."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator
from functools import partial
from typing import Any, assert_type

from nodeflow import BlockingNode, Branch, Context, Graph, LogicalNode, NonBlockingNode, ProducerNode, node
from nodeflow.graph import Output
from nodes import QueueReader, QueueWriter


def plain(n: int) -> str:
    return str(n)


def nothing(n: int) -> None: ...


def many(n: int) -> list[str]:
    return [str(n)]


async def later(n: int) -> str:
    return str(n)


def each(n: int) -> Iterator[str]:
    yield str(n)


def each_sent(n: int) -> Generator[str, None, None]:
    yield str(n)


async def each_later(n: int) -> AsyncIterator[str]:
    yield str(n)


async def each_sent_later(n: int) -> AsyncGenerator[str, None]:
    yield str(n)


@node
def marked(n: int) -> str:
    return str(n)


@node(id="other")
async def named(n: int) -> str:
    return str(n)


class Callable:
    def __call__(self, n: int) -> str:
        return str(n)

    def method(self, n: int) -> str:
        return str(n)


class Numbers(ProducerNode[int]):
    def produce(self, ctx: Context) -> Iterator[int]:
        yield 1


class LaterNumbers(ProducerNode[int]):
    async def produce(self, ctx: Context) -> AsyncIterator[int]:
        yield 1


class Plain(BlockingNode):
    def execute(self, n: int, times: int = 1) -> str:
        return str(n)


class Nothing(BlockingNode):
    def execute(self, n: int) -> None: ...


class Later(BlockingNode):
    async def execute(self, n: int) -> str:
        return str(n)


class Each(BlockingNode):
    def execute(self, n: int) -> Iterator[str]:
        yield str(n)


class EachLater(BlockingNode):
    async def execute(self, n: int) -> AsyncIterator[str]:
        yield str(n)


class Send(NonBlockingNode):
    async def execute(self, n: int) -> list[str]:
        return [str(n)]


class Sign(LogicalNode[int]):
    def choose(self, n: int) -> str:
        return "negative" if n < 0 else "positive"


class Parse(LogicalNode[int | str]):
    async def choose(self, text: str) -> Branch[int] | Branch[str]:
        return Branch("number", int(text)) if text.isdigit() else Branch("text", text)


def functions(graph: Graph) -> None:
    n = graph.add(Numbers())
    assert_type(graph.add(plain, n), Output[str])
    assert_type(graph.add(nothing, n), Output[None])
    assert_type(graph.add(many, n), Output[list[str]])
    assert_type(graph.add(later, n), Output[str])
    assert_type(graph.add(each, n), Output[str])
    assert_type(graph.add(each_sent, n), Output[str])
    assert_type(graph.add(each_later, n), Output[str])
    assert_type(graph.add(each_sent_later, n), Output[str])
    assert_type(graph.add(marked, n=n, id="marked"), Output[str])
    assert_type(graph.add(named, n), Output[str])
    assert_type(graph.add(len, n), Output[int])
    assert_type(graph.add(partial(plain), n), Output[str])
    assert_type(graph.add(partial(later), n), Output[str])
    assert_type(graph.add(Callable(), n), Output[str])
    assert_type(graph.add(Callable().method, n), Output[str])


def instances(graph: Graph) -> None:
    n = graph.add(Numbers())
    assert_type(n, Output[int])
    assert_type(graph.add(LaterNumbers()), Output[int])
    assert_type(graph.add(Plain(), n, times=2), Output[str])
    assert_type(graph.add(Nothing(), n), Output[None])
    assert_type(graph.add(Later(), n), Output[str])
    assert_type(graph.add(Each(), n), Output[str])
    assert_type(graph.add(EachLater(), n), Output[str])
    assert_type(graph.add(Send(), n), Output[list[str]])
    assert_type(graph.add(Sign(), n), Output[int])
    assert_type(graph.add(Sign(), n).branch("negative"), Output[int])
    assert_type(graph.add(Parse(), n).branch("number"), Output[int | str])
    assert_type(graph.add(QueueReader(), graph.add(QueueWriter(), n)), Output[Any])


def marked_functions_stay_functions() -> None:
    assert_type(marked(1), str)
