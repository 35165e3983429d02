"""What a user can get wrong is refused at the line that wrote it, and leaves the graph as it was."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from nodeflow import BlockingNode, Context, Graph, LogicalNode, NonBlockingNode, ProducerNode, node
from nodeflow.errors import GraphError
from nodeflow.graph import Edge, Node
from nodes import QueueReader, QueueWriter
from tests.graph.refused import refused, state


class Numbers(ProducerNode[int]):
    def produce(self, ctx: Context) -> Iterator[int]:
        yield from range(3)


class Sign(LogicalNode[int]):
    def choose(self, n: int) -> str:
        return "negative" if n < 0 else "positive"


class Double(BlockingNode):
    def execute(self, n: int) -> int:
        return 2 * n


def area(width: int, height: int = 1, *, scale: int = 1) -> int:
    return width * height * scale


def many(*values: int) -> int:
    return len(values)


def gap(first: int, second: int = 2, third: int = 3, /) -> int:
    return first


@node
def marked(n: int) -> int:
    return n


graph = Graph("test")
numbers = graph.add(Numbers())
sign = graph.add(Sign(), numbers)
doubled = graph.add(Double(), numbers, id="doubled")
known = graph.add(area, numbers)
writer = graph.add(QueueWriter("queue"), numbers)
with graph.loop("far"):
    reader = graph.add(QueueReader(), writer)
other = Graph("other").add(Numbers())
instance = Double()
graph.add(instance, numbers)


@pytest.fixture(autouse=True)
def _unchanged() -> Iterator[None]:
    before = state(graph)
    yield
    assert state(graph) == before


WIRING: list[tuple[Callable[[], object], list[str]]] = [
    (
        lambda: graph.add(area, numbers, depth=1),
        ["'area_2' has no port 'depth'", "width, height, scale (by name only)"],
    ),
    (lambda: graph.add(area), ["'area_2' needs an input for 'width'", "its ports are width, height"]),
    (lambda: graph.add(gap, third=1), ["'gap' needs an input for 'first'"]),
    (lambda: graph.add(area, numbers, 1, 2), ["'area_2' takes 2 inputs by position, not 3"]),
    (lambda: graph.add(area, numbers, width=1), ["port 'width'", "wired twice, by position and by name"]),
    (lambda: graph.add(many, numbers), ["it has no ports (a parameter with '*' makes none)"]),
    (lambda: graph.add(lambda: 1, numbers), ["'lambda' takes 0 inputs by position, not 1: it has no ports"]),
    (lambda: graph.add(Numbers(), numbers), ["'numbers_2' is a ProducerNode, which takes no inputs", "instance"]),
    (lambda: graph.add(area, other), ["port 'width'", "'numbers' of another graph, 'other'", "to this graph too"]),
    (lambda: graph.add(area, sign), ["takes the logical node 'sign'", ".branch(…)"]),
    (lambda: graph.add(area, sign.branch), ["takes a method of an output: call it"]),
    (lambda: graph.add(area, [numbers]), ["an output within a list", "a port of its own"]),
    (lambda: graph.add(area, {"a": [({1}, numbers)]}), ["an output within a dict"]),
    (lambda: graph.add(area, marked), ["itself, not what it gives", "graph.add(…) first"]),
    (lambda: graph.add(area, Double()), ["itself, not what it gives"]),
    (lambda: graph.add(gap, numbers, third=1), ["'third' of 'gap' can't be given without 'second'", "a constant"]),
    (lambda: graph.add(gap, numbers, numbers, 1), ["'third' of 'gap' can't be given without 'second'"]),
    (lambda: graph.add(area, writer), ["'queue_writer', which writes to a queue", "QueueReader"]),
    (lambda: graph.add(QueueReader(), writer), ["'queue_writer' has a reader already, 'queue_reader' at", "for each"]),
    (lambda: graph.add(QueueReader(), numbers), ["reads a queue: wire it to a QueueWriter"]),
    (lambda: graph.add(QueueReader(), "queue"), ["reads a queue: wire it to a QueueWriter", "not to 'queue'"]),
    (lambda: graph.add(QueueWriter(), "queue"), ["writes what a node gives", "not to the constant 'queue'"]),
    (lambda: graph.add(QueueWriter()), ["needs an input for 'value'"]),
    (lambda: graph.add(instance, numbers), ["this Double is node 'double', added at", "another instance"]),
    (lambda: numbers.branch("a"), ["'numbers' has no branches", "isn't a LogicalNode"]),
    (lambda: sign.branch("a").branch("b"), ["this is branch 'a' of 'sign' already"]),
    (lambda: sign.branch(""), ["branch name ''"]),
]


@pytest.mark.parametrize(("wrong", "said"), WIRING, ids=[said[0] for _, said in WIRING])
def test_a_wrong_wire_is_refused(wrong: Callable[[], object], said: list[str]) -> None:
    refused(wrong, *said)


IDS: list[tuple[Callable[[], object], list[str]]] = [
    (lambda: graph.add(area, 1, id="doubled"), ["id 'doubled' is taken by the node at", "test_errors.py:", "another"]),
    (lambda: graph.add(area, 1, id=""), ["id ''", "letters"]),
    (lambda: graph.add(area, 1, id="a b"), ["id 'a b'"]),
    (lambda: graph.add(area, 1, id="2nd"), ["id '2nd'", "a letter or '_' first"]),
    (lambda: graph.add(area, 1, id="a.b"), ["id 'a.b'"]),
    (lambda: graph.add(area, 1, id="a{b}"), ["id 'a{b}'"]),
    (lambda: node(id="a b"), ["id 'a b'"]),
    (lambda: Graph(""), ["graph name ''", "letters"]),
    (lambda: Graph("a b"), ["graph name 'a b'"]),
    (lambda: Graph("{a}"), ["graph name '{a}'"]),
]


@pytest.mark.parametrize(("wrong", "said"), IDS, ids=[said[0] for _, said in IDS])
def test_a_name_that_cannot_stand_in_a_key_is_refused(wrong: Callable[[], object], said: list[str]) -> None:
    refused(wrong, *said)


def test_a_port_named_id_is_wired_by_position() -> None:
    wrong: Any = numbers
    refused(lambda: graph.add(lambda id: id, id=wrong), "id= names the node", "by position")  # noqa: A006


class NoExecute(BlockingNode): ...


class NoExecuteEither(NonBlockingNode): ...


class NoProduce(ProducerNode[int]): ...


class NoChoose(LogicalNode[int]): ...


class Yields(LogicalNode[int]):
    def choose(self, n: int) -> Iterator[str]:
        yield "a"


class BareProduce(ProducerNode[int]):
    def produce(self) -> Iterator[int]:  # type: ignore[override]
        yield 1


class BareSetup(Double):
    def setup(self) -> None:  # type: ignore[override]
        """Lacks the context."""


class BareFinish(Double):
    def finish(self) -> None:  # type: ignore[override]
        """Lacks the context."""


class GreedyCleanup(Double):
    def cleanup(self, ctx: Context) -> None:  # type: ignore[override]
        """Takes what it isn't given."""


def hidden_context(ctx: Context, n: int, /) -> int:
    return n


NO_NODES: list[tuple[object, list[str]]] = [
    (Double, ["Double is a class: add an instance, Double(…)"]),
    (str, ["str is a class: add an instance, str(…), or a function that makes one"]),
    (3, ["3 is no node: add a function, or an instance of a ProducerNode"]),
    (None, ["None is no node"]),
    (numbers, ["Output(node='numbers', of_branch=None) is no node"]),
    (Node(), ["is no node: add a function, or an instance"]),
    (max, ["the parameters of <built-in function max> can't be read", "wrap it"]),
    (NoExecute(), ["NoExecute is a BlockingNode without a method execute(): write it"]),
    (NoExecuteEither(), ["NoExecuteEither is a NonBlockingNode without a method execute()"]),
    (NoProduce(), ["NoProduce is a ProducerNode without a method produce()"]),
    (NoChoose(), ["NoChoose is a LogicalNode without a method choose()"]),
    (Yields(), ["Yields.choose() is a generator: return a list of the branches"]),
    (BareProduce(), ["BareProduce.produce() can't be called as it is", "write `def produce(self, ctx)`"]),
    (BareSetup(), ["BareSetup.setup() can't be called as it is", "write `def setup(self, ctx)`"]),
    (BareFinish(), ["write `def finish(self, ctx)`"]),
    (GreedyCleanup(), ["write `def cleanup(self)`"]),
    (hidden_context, ["hidden_context(), put 'ctx' behind the '/'"]),
]


@pytest.mark.parametrize(("target", "said"), NO_NODES, ids=[said[0] for _, said in NO_NODES])
def test_what_cannot_be_a_node_is_refused(target: Any, said: list[str]) -> None:
    refused(lambda: graph.add(target, numbers), *said)


NOT_MARKED: list[tuple[object, list[str]]] = [
    ("words", ["@node takes no name by position: write @node(id='words')"]),
    (len, ["@node can't mark <built-in function len>"]),
]


@pytest.mark.parametrize(("target", "said"), NOT_MARKED, ids=["name", "builtin"])
def test_what_node_cannot_mark_is_refused(target: Any, said: list[str]) -> None:
    refused(lambda: node(target), *said)


def add_for_me(width: Any) -> object:
    return graph.add(area, width)


def test_the_line_is_the_one_that_calls_add_within_a_helper_of_the_user() -> None:
    with pytest.raises(GraphError) as caught:
        add_for_me([numbers])
    assert str(caught.value.location).endswith(f"test_errors.py:{add_for_me.__code__.co_firstlineno + 1}")


def test_a_pass_that_gives_two_nodes_one_id_is_refused() -> None:
    with pytest.raises(GraphError, match="a pass gave two nodes the id 'numbers'"):
        graph.with_nodes([graph.nodes["numbers"], graph.nodes["numbers"]])


def test_a_pass_that_changes_the_order_is_refused() -> None:
    assert graph.nodes["doubled"].edges == {"n": Edge("numbers")}
    with pytest.raises(GraphError, match="gave node 'doubled' the output of 'numbers', which doesn't stand before it"):
        graph.with_nodes([graph.nodes["doubled"], graph.nodes["numbers"]])
