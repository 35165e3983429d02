"""Adding nodes: wiring, ports, constants and ids."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable, Iterator
from typing import TYPE_CHECKING, Any, Optional

import pytest

from nodeflow import BlockingNode, Context, Graph, LogicalNode, ProducerNode, node
from nodeflow import Context as Here
from nodeflow.graph import Constant, Edge, Kind, Location, NodeSpec, Output
from nodes import QueueReader, QueueWriter

if TYPE_CHECKING:
    import nodeflow


class Numbers(ProducerNode[int]):
    def produce(self, ctx: Context) -> Iterator[int]:
        yield from range(3)


class HTTPFetch2XML(BlockingNode):
    def execute(self, n: int) -> int:
        return n


def area(width: int, height: int = 1, *, scale: int = 1) -> int:
    return width * height * scale


@pytest.fixture
def graph() -> Graph:
    return Graph("test")


@pytest.fixture
def numbers(graph: Graph) -> Output[int]:
    return graph.add(Numbers())


def spec_of(output: Output[Any]) -> NodeSpec:
    return output.graph.nodes[output.node]


def ports_of(output: Output[Any]) -> list[str]:
    return [port.name for port in spec_of(output).ports]


def test_inputs_are_wired_in_the_order_of_the_parameters(graph: Graph, numbers: Output[int]) -> None:
    other = graph.add(hash, numbers)
    assert spec_of(graph.add(area, numbers, other)).inputs == {"width": Edge("numbers"), "height": Edge("hash")}


def test_inputs_are_wired_by_name(graph: Graph, numbers: Output[int]) -> None:
    added = graph.add(area, scale=numbers, width=2)
    assert spec_of(added).inputs == {"scale": Edge("numbers"), "width": Constant(2)}


def test_position_and_name_mix(graph: Graph, numbers: Output[int]) -> None:
    assert spec_of(graph.add(area, numbers, scale=3)).inputs == {"width": Edge("numbers"), "scale": Constant(3)}


def test_a_default_makes_a_port_optional(graph: Graph, numbers: Output[int]) -> None:
    assert {port.name: port.required for port in spec_of(graph.add(area, numbers)).ports} == {
        "width": True,
        "height": False,
        "scale": False,
    }


@pytest.mark.parametrize("value", [None, 0, [1, 2], {"a": [()]}, len, "numbers"], ids=repr)
def test_what_is_no_output_is_a_constant(graph: Graph, numbers: Output[int], value: object) -> None:
    assert spec_of(graph.add(area, numbers, value)).constants == {"height": value}


def test_one_output_feeds_many_ports(graph: Graph, numbers: Output[int]) -> None:
    assert spec_of(graph.add(area, numbers, numbers)).edges == {"width": Edge("numbers"), "height": Edge("numbers")}


def test_a_branch_is_wired_as_a_branch(graph: Graph, numbers: Output[int]) -> None:
    class Sign(LogicalNode[int]):
        def choose(self, n: int) -> str:
            return "negative" if n < 0 else "positive"

    sign = graph.add(Sign(), numbers)
    assert spec_of(graph.add(abs, sign.branch("negative"))).edges == {"x": Edge("sign", "negative")}


def test_a_node_knows_the_line_that_added_it(graph: Graph) -> None:
    added = graph.add(Numbers())
    line = test_a_node_knows_the_line_that_added_it.__code__.co_firstlineno + 1
    assert spec_of(added).location == Location(__file__, line)


# ids


def test_the_id_is_the_name_in_snake_case(graph: Graph, numbers: Output[int]) -> None:
    def parseLine(n: int) -> int:  # noqa: N802
        return n

    assert numbers.node == "numbers"
    assert graph.add(parseLine, numbers).node == "parse_line"
    assert graph.add(HTTPFetch2XML(), numbers).node == "http_fetch2_xml"
    assert graph.add(lambda n: n, numbers).node == "lambda"


def test_a_name_beyond_ascii_gives_an_id_in_ascii(graph: Graph, numbers: Output[int]) -> None:
    def größe(n: int) -> int:
        return n

    assert graph.add(größe, numbers).node == "gr__e"


def test_ids_are_made_unique_and_pass_over_given_ones(graph: Graph, numbers: Output[int]) -> None:
    assert graph.add(area, numbers, id="area_2").node == "area_2"
    assert [graph.add(area, numbers).node for _ in range(3)] == ["area", "area_3", "area_4"]


def test_an_option_names_the_node_and_is_made_unique_too(graph: Graph, numbers: Output[int]) -> None:
    @node(id="size")
    def named(n: int) -> int:
        return n

    assert [graph.add(named, numbers).node for _ in range(2)] == ["size", "size_2"]
    assert graph.add(functools.partial(named), numbers).node == "size_3"
    assert graph.add(named, numbers, id="given").node == "given"


# what can be a node


def test_node_leaves_a_function_a_function() -> None:
    @node
    def plain(n: int) -> int:
        return n + 1

    @node(id="other")
    def named(n: int) -> int:
        return n + 2

    assert (plain(1), named(1)) == (2, 3)
    assert plain.__name__ == "plain"


def test_node_marks_a_method_too(graph: Graph, numbers: Output[int]) -> None:
    class Holder:
        @node(id="marked")
        def method(self, n: int) -> int:
            return n

    assert graph.add(Holder().method, numbers).node == "marked"


class Adder:
    def __init__(self, by: int) -> None:
        self.by = by

    def __call__(self, n: int) -> int:
        return n + self.by

    def add(self, n: int) -> int:
        return n + self.by


@pytest.mark.parametrize(
    ("target", "expected_id", "ports"),
    [
        (lambda n: n, "lambda", ["n"]),
        (functools.partial(area, 2), "area", ["height", "scale"]),
        (functools.partial(area, height=2), "area", ["width", "height", "scale"]),
        (Adder(1), "adder", ["n"]),
        (Adder(1).add, "add", ["n"]),
        (abs, "abs", ["x"]),
        (str.upper, "upper", ["self"]),
        (functools.lru_cache(abs), "abs", ["x"]),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_any_callable_is_a_node(target: Callable[..., Any], expected_id: str, ports: list[str]) -> None:
    graph = Graph("test")
    numbers = graph.add(Numbers())
    added = graph.add(target, numbers)
    assert added.node == expected_id
    assert ports_of(added) == ports


def test_positional_only_parameters_are_wired_by_position_or_name(graph: Graph, numbers: Output[int]) -> None:
    def power(base: int, exponent: int = 2, /) -> int:
        return int(base**exponent)

    both = {"base": Edge("numbers"), "exponent": Constant(3)}
    assert spec_of(graph.add(power, numbers, 3)).inputs == both
    assert spec_of(graph.add(power, base=numbers, exponent=3)).inputs == both


def test_parameters_that_take_any_number_make_no_ports(graph: Graph, numbers: Output[int]) -> None:
    def many(first: int, *others: int, last: int = 0, **more: int) -> int:
        return first

    added = graph.add(many, numbers, last=2)
    assert ports_of(added) == ["first", "last"]


def test_a_function_without_an_edge_is_a_producer(graph: Graph) -> None:
    assert spec_of(graph.add(area, 2, 3)).kind is Kind.PRODUCER
    assert spec_of(graph.add(lambda: 1)).kind is Kind.PRODUCER


def test_generators_fan_out(graph: Graph, numbers: Output[int]) -> None:
    def plain(n: int) -> list[int]:
        return [n]

    def each(n: int) -> Iterator[int]:
        yield n

    async def each_later(n: int) -> AsyncIterator[int]:
        yield n

    class Each:
        def __call__(self, n: int) -> Iterator[int]:
            yield n

    generators: list[Callable[[int], Any]] = [each, each_later, Each(), functools.partial(each)]
    assert not spec_of(graph.add(plain, numbers)).fans_out
    assert [spec_of(graph.add(one, numbers)).fans_out for one in generators] == [True] * 4


# the context


def by_name(ctx, n):  # type: ignore[no-untyped-def]
    return n


def by_annotation(n: int, here: Context) -> int:
    return n


def by_another_name(n: int, here: Here) -> int:
    return n


def by_optional(n: int, here: Context | None = None) -> int:
    return n


def by_old_optional(n: int, here: Optional[Context] = None) -> int:  # noqa: UP045
    return n


def by_type_checking(n: int, here: nodeflow.Context | None = None) -> int:
    return n


def by_name_at_the_end(n: int, *, ctx: Context) -> int:
    return n


@pytest.mark.parametrize(
    "target",
    [by_name, by_annotation, by_another_name, by_optional, by_old_optional, by_type_checking, by_name_at_the_end],
)
def test_a_parameter_takes_the_context(graph: Graph, numbers: Output[int], target: Callable[..., Any]) -> None:
    added = graph.add(target, numbers)
    assert spec_of(added).context_port in {"ctx", "here"}
    assert ports_of(added) == ["n"]


def test_a_parameter_named_ctx_of_another_type_is_a_port(graph: Graph, numbers: Output[int]) -> None:
    def other(ctx: int) -> int:
        return ctx

    assert ports_of(graph.add(other, numbers)) == ["ctx"]
    assert spec_of(graph.add(other, numbers)).context_port is None


# the graph


def test_the_graph_cannot_be_changed_from_outside(graph: Graph, numbers: Output[int]) -> None:
    mappings: list[Any] = [graph.nodes, graph.loops, spec_of(graph.add(area, numbers)).inputs]
    for mapping in mappings:
        with pytest.raises(TypeError):
            mapping["x"] = None


def test_an_instance_may_be_a_node_of_two_graphs() -> None:
    shared = Numbers()
    assert Graph("one").add(shared).node == Graph("two").add(shared).node == "numbers"


def test_a_writer_and_a_reader_are_wired_to_each_other(graph: Graph, numbers: Output[int]) -> None:
    with graph.loop("near"):
        writer = graph.add(QueueWriter(), numbers)
    with graph.loop("far"):
        reader = graph.add(QueueReader(), writer)
    assert (spec_of(writer).kind, spec_of(writer).edges) == (Kind.WRITER, {"value": Edge("numbers")})
    assert (spec_of(reader).kind, spec_of(reader).edges) == (Kind.READER, {"channel": Edge("queue_writer")})


def test_a_copy_with_other_nodes_leaves_the_graph_as_it_was(graph: Graph, numbers: Output[int]) -> None:
    with graph.loop("more", processes=2):
        graph.add(area, numbers)
    copy = graph.with_nodes([graph.nodes["numbers"]])
    assert list(copy.nodes) == ["numbers"]
    assert (copy.name, copy.location, copy.loops) == (graph.name, graph.location, graph.loops)
    assert list(graph.nodes) == ["numbers", "area"]


def test_its_repr_tells_a_graph_from_another(graph: Graph, numbers: Output[int]) -> None:
    assert repr(graph) == "<Graph 'test': 1 nodes in 1 loops>"
    assert repr(numbers) == "Output(node='numbers', of_branch=None)"
