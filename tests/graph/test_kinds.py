"""The base classes: any class that has one of them is a node, however it is written."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Generic, TypeVar

import attrs
import pytest

from nodeflow import BlockingNode, Branch, Context, Graph, LogicalNode, NonBlockingNode, ProducerNode
from nodeflow.graph import Kind, Node, QueueHead, QueueTail
from nodeflow.graph.describe import describe
from nodeflow.values import FileRefValue, RefValue
from nodes import QueueReader, QueueWriter

T = TypeVar("T")
CONTEXT = Context(graph="test", node="node", loop="main")


class PlainCount(ProducerNode[int]):
    def __init__(self, top: int) -> None:
        self.top = top

    def produce(self, ctx: Context) -> Iterator[int]:
        yield from range(self.top)


@attrs.define
class AttrsCount(ProducerNode[int]):
    top: int

    def produce(self, ctx: Context) -> Iterator[int]:
        yield from range(self.top)


@attrs.frozen
class FrozenCount(ProducerNode[int]):
    top: int

    def produce(self, context: Context) -> Iterator[int]:
        yield from range(self.top)


@dataclass
class DataCount(ProducerNode[int]):
    top: int

    async def produce(self, ctx: Context) -> AsyncIterator[int]:
        for number in range(self.top):
            yield number


class Repeat(ProducerNode[T]):
    def __init__(self, value: T) -> None:
        self.value = value

    def produce(self, ctx: Context) -> list[T]:
        return [self.value] * 2


class Words(Repeat[str]): ...


class Choose(LogicalNode[T], Generic[T]):
    def choose(self, value: T) -> Branch[T]:
        return Branch("only", value)


@attrs.define
class Scale(BlockingNode):
    by: int = 2

    def execute(self, n: int, *, offset: int = 0) -> int:
        return self.by * n + offset


class Send(NonBlockingNode):
    async def execute(self, ctx: Context, n: int) -> int:
        return n


@pytest.mark.parametrize(
    "producer", [PlainCount(2), AttrsCount(2), FrozenCount(2), DataCount(2), Repeat(1), Words("a")]
)
def test_an_instance_of_a_producer_class_heads_a_loop(producer: ProducerNode[object]) -> None:
    graph = Graph("test")
    spec = graph.nodes[graph.add(producer).node]
    assert (spec.kind, spec.is_head, spec.fans_out, spec.ports) == (Kind.PRODUCER, True, True, ())
    assert spec.context_port in {"ctx", "context"}
    assert spec.function == producer.produce


def test_an_instance_keeps_its_configuration() -> None:
    assert Scale(3).execute(2, offset=1) == 7
    assert list(PlainCount(2).produce(CONTEXT)) == [0, 1]
    assert Words("a").produce(CONTEXT) == ["a", "a"]


def test_equal_instances_are_two_nodes() -> None:
    graph = Graph("test")
    count = graph.add(AttrsCount(2))
    assert Scale() == Scale()
    assert [graph.add(Scale(), count).node for _ in range(2)] == ["scale", "scale_2"]


def test_the_parameters_of_the_method_are_the_ports() -> None:
    graph = Graph("test")
    count = graph.add(AttrsCount(2))
    scale, send = graph.nodes[graph.add(Scale(), count).node], graph.nodes[graph.add(Send(), count).node]
    choose = graph.nodes[graph.add(Choose[int](), count).node]
    assert [port.name for port in scale.ports] == ["n", "offset"]
    assert ([port.name for port in send.ports], send.context_port) == (["n"], "ctx")
    assert ([port.name for port in choose.ports], choose.kind) == (["value"], Kind.LOGICAL)
    assert (scale.kind, send.kind) == (Kind.BLOCKING, Kind.NON_BLOCKING)
    assert scale.fans_out is False


def test_only_a_node_that_overrides_finish_has_something_to_do_at_the_end() -> None:
    class Tally(Scale):
        def finish(self, ctx: Context) -> int:
            return self.by

    graph = Graph("test")
    count = graph.add(AttrsCount(2))
    assert graph.nodes[graph.add(Tally(), count).node].has_finish is True
    assert graph.nodes[graph.add(Scale(), count).node].has_finish is False


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: ProducerNode[int]().produce(CONTEXT), r"ProducerNode has no method produce\(self, ctx\)"),
        (lambda: BlockingNode().execute(), r"BlockingNode has no method execute\(self, …\)"),
        (lambda: NonBlockingNode().execute(), r"NonBlockingNode has no method execute\(self, …\)"),
        (lambda: LogicalNode[int]().choose(), r"LogicalNode has no method choose\(self, …\)"),
    ],
    ids=["produce", "execute", "execute at once", "choose"],
)
def test_a_base_class_names_the_method_that_is_missing(call: object, said: str) -> None:
    assert callable(call)
    with pytest.raises(NotImplementedError, match=said):
        call()


def test_the_ends_of_a_queue_know_its_name_only() -> None:
    assert (QueueReader().queue, QueueReader("jobs").queue) == (None, "jobs")
    assert (QueueWriter().queue, QueueWriter("jobs").queue) == (None, "jobs")
    assert isinstance(QueueReader(), QueueHead)
    assert isinstance(QueueWriter(), QueueTail)
    assert isinstance(QueueReader(), Node)


@pytest.mark.parametrize(
    ("hint", "takes_ref"),
    [
        (RefValue, True),
        (FileRefValue, True),
        (RefValue | None, True),
        (Annotated[RefValue | None, 1], True),
        ("RefValue", True),
        ("nodeflow.RefValue | None", True),
        (list[RefValue], False),
        (dict[str, RefValue], False),
        ("list[RefValue]", False),
        (object, False),
    ],
    ids=str,
)
def test_a_port_that_is_annotated_so_takes_the_handle(hint: Any, takes_ref: bool) -> None:
    def function(value: object) -> None: ...

    function.__annotations__["value"] = hint
    assert describe(function).ports[0].takes_ref is takes_ref
