"""Options of `@node(…)` that a node of its kind would pass over in silence are refused where it is added."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from nodeflow import BlockingNode, Context, Graph, LogicalNode, NonBlockingNode, ProducerNode, Retry, node
from tests.graph.refused import refused


def plain(n: int) -> int:
    return n


def head() -> Iterator[int]:
    yield 1


class Numbers(ProducerNode[int]):
    def produce(self, ctx: Context) -> Iterator[int]:
        yield 1


class Finishes(Numbers):
    def finish(self, ctx: Context) -> int:
        return 1


class Blocks(BlockingNode):
    def execute(self, n: int) -> int:
        return n


class Overlaps(NonBlockingNode):
    async def execute(self, n: int) -> int:
        return n


class Yields(NonBlockingNode):
    async def execute(self, n: int) -> AsyncIterator[int]:
        yield n


class Chooses(LogicalNode[int]):
    def choose(self, n: int) -> str:
        return "a"


def marked(target: Any, **options: Any) -> Any:
    """A function, or an instance of a class, with options that only it has."""
    if isinstance(target, type):
        return node(**options)(type(target.__name__, (target,), {}))()
    return node(**options)(lambda: 1) if target is head else node(**options)(lambda n: n)


OVERLAPPING = ["which only a NonBlockingNode heeds", "async def execute"]
GENERATOR = ["its execute() is a generator", "return a list"]
PRODUCING = ["which only a producer heeds", "leave it out"]
RETRIED = ["a producer that raises is started again", "catch in the producer"]
REFUSED = [
    *[(target, {"max_in_flight": 16}, OVERLAPPING) for target in (plain, Blocks, Chooses, Numbers, head)],
    *[(target, {"ordered": True}, OVERLAPPING) for target in (plain, Blocks, Numbers)],
    (Yields, {"max_in_flight": 3}, GENERATOR),
    (Yields, {"ordered": False}, GENERATOR),
    *[(target, {"live": True}, PRODUCING) for target in (plain, Blocks, Overlaps, Chooses)],
    *[(target, {"shardable": True}, PRODUCING) for target in (plain, Blocks)],
    *[(target, {"retry": Retry()}, RETRIED) for target in (Numbers, head)],
]
HEEDED = [
    (Overlaps, {"max_in_flight": 3, "ordered": False}),
    (Numbers, {"live": True, "shardable": True}),
    (head, {"live": True, "shardable": True}),
    (Finishes, {"retry": Retry()}),
    *[(target, {"retry": Retry(), "on_error": "skip"}) for target in (plain, Blocks, Overlaps, Chooses)],
    *[(target, {"live": False, "shardable": False}) for target in (plain, Numbers)],
]


def _given(graph: Graph, target: Any) -> list[Any]:
    is_head = target in (Numbers, Finishes, head)
    return [] if is_head else [graph.add(head)]


@pytest.mark.parametrize(("target", "options", "said"), REFUSED, ids=lambda each: getattr(each, "__name__", None))
def test_an_option_that_means_nothing_is_refused(target: Any, options: dict[str, Any], said: list[str]) -> None:
    graph = Graph("test")
    wrong, given = marked(target, **options), _given(graph, target)
    refused(lambda: graph.add(wrong, *given, id="it"), f"'it' has @node({next(iter(options))}=…)", *said)
    assert "it" not in graph.nodes


@pytest.mark.parametrize(("target", "options"), HEEDED, ids=lambda each: getattr(each, "__name__", None))
def test_an_option_that_means_something_is_not(target: Any, options: dict[str, Any]) -> None:
    graph = Graph("test")
    graph.add(marked(target, **options), *_given(graph, target), id="it")
    assert all(getattr(graph.nodes["it"].options, name) == value for name, value in options.items())


def test_a_non_blocking_node_is_ordered_and_has_16_items_in_flight_unless_said() -> None:
    graph = Graph("test")
    graph.add(Overlaps(), graph.add(head), id="it")
    options = graph.nodes["it"].options
    assert (options.max_in_flight, options.ordered) == (16, True)
