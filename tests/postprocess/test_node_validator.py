"""NodeValidator finds all problems of a graph, and names the line of each."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, Literal

import pytest

from nodeflow import BlockingNode, Context, Graph, LogicalNode, NonBlockingNode, ProducerNode, node
from nodeflow.errors import GraphInvalidError
from nodes import Collect, QueueReader, QueueWriter
from postprocess import NodeValidator, QueueMapper, apply_passes
from tests.postprocess.graphs import Sign, one, same, split, three


class Numbers(ProducerNode[int]):
    def produce(self, ctx: Context) -> Iterator[int]:
        yield from range(3)


class Double(BlockingNode):
    def execute(self, n: int = 1) -> int:
        return 2 * n


class Send(NonBlockingNode):
    def execute(self, n: int = 1) -> int:
        return n


class Choose(LogicalNode[int]):
    def choose(self, n: int = 1) -> str:
        return "a"


class Tally(BlockingNode):
    def execute(self, n: int) -> None:
        """Count."""

    def finish(self, ctx: Context) -> int:
        return 1


def letters(n: int) -> Iterator[str]:
    yield "a"


def text() -> str:
    return "a"


def problems(graph: Graph) -> list[str]:
    """What the passes find, a line for each, without the file before the line's number."""
    try:
        apply_passes(graph, [QueueMapper(), NodeValidator()])
    except GraphInvalidError as error:
        return [re.sub(r"^.*test_node_validator\.py:(\d+): ", "", problem) for problem in error.problems]
    return []


def no_nodes(graph: Graph) -> None:
    """Adds nothing."""


def empty_loop(graph: Graph) -> None:
    graph.add(one)
    graph.loop("work")


def unfed_blocking(graph: Graph) -> None:
    graph.add(Double(), 1)


def unfed_non_blocking(graph: Graph) -> None:
    graph.add(Send())


def unfed_logical(graph: Graph) -> None:
    graph.add(Choose(), n=2)


def lonely_writer(graph: Graph) -> None:
    graph.add(QueueWriter(), graph.add(one))


def lonely_reader(graph: Graph) -> None:
    graph.add(QueueReader())


def pair_in_one_loop(graph: Graph) -> None:
    graph.add(QueueReader(), graph.add(QueueWriter(), graph.add(one)))


def pair_with_two_names(graph: Graph) -> None:
    writer = graph.add(QueueWriter("a"), graph.add(one))
    with graph.loop("far"):
        graph.add(QueueReader("b"), writer)


def pair_that_isnt_wired(graph: Graph) -> None:
    graph.add(QueueWriter("jobs"), graph.add(one))
    with graph.loop("far"):
        graph.add(QueueReader("jobs"))


def queue_with_two_writers(graph: Graph) -> None:
    source = graph.add(one)
    graph.add(QueueWriter("jobs"), source)
    graph.add(QueueWriter("jobs"), source)


def queue_with_two_readers(graph: Graph) -> None:
    with graph.loop("a"):
        graph.add(QueueReader("jobs"))
    with graph.loop("b"):
        graph.add(QueueReader("jobs"))


def finish_in_many_processes(graph: Graph) -> None:
    source = graph.add(one)
    with graph.loop("work", processes=3):
        graph.add(Tally(), source)


def state_in_many_processes(graph: Graph) -> None:
    def tally(n: int, ctx: Context) -> int:
        ctx.state["n"] = n
        return n

    with graph.loop("read"):
        made = graph.add(one)
    with graph.loop("work", processes=3):
        graph.add(tally, made)


def state_deep_in_many_processes(graph: Graph) -> None:
    class Tally(BlockingNode):
        def execute(self, n: int, ctx: Context) -> Iterator[int]:
            yield from (ctx.state.get(k, 0) for k in range(n))

    with graph.loop("read"):
        made = graph.add(one)
    with graph.loop("work", processes=3):
        graph.add(Tally(), made)


def producer_in_many_processes(graph: Graph) -> None:
    with graph.loop("work", processes=2):
        graph.add(Numbers())


def function_producer_in_many_processes(graph: Graph) -> None:
    with graph.loop("work", processes=2):
        graph.add(one)


def two_producers_together(graph: Graph) -> None:
    graph.add(three, graph.add(one, id="first"), graph.add(one, id="second"))


def two_producers_together_over_loops(graph: Graph) -> None:
    first, second = graph.add(one, id="first"), graph.add(one, id="second")
    with graph.loop("far"):
        together = graph.add(three, first, second)
        graph.add(same, together)  # what is behind the problem isn't one more


def two_fan_outs_together(graph: Graph) -> None:
    source = graph.add(one)
    graph.add(three, graph.add(split, source), graph.add(split, source))


def two_fan_outs_together_over_loops(graph: Graph) -> None:
    source = graph.add(one)
    left = graph.add(split, source)
    with graph.loop("other"):
        right = graph.add(split, source)
    with graph.loop("far"):
        graph.add(three, left, right)


def join_at_two_depths(graph: Graph) -> None:
    source = graph.add(one)
    with graph.loop("a"):
        left = graph.add(split, source)
    with graph.loop("far"):
        together = graph.add(three, left, source)
        graph.add(same, together)  # what is behind the problem isn't one more


def collect_without_fan_out(graph: Graph) -> None:
    source = graph.add(one)
    with graph.loop("far"):
        graph.add(Collect(), source)


def errors_that_nobody_takes(graph: Graph) -> None:
    graph.add(node(on_error="dead-letter")(lambda n: n), graph.add(one), id="fragile")


def branch_that_is_misspelled(graph: Graph) -> None:
    class Sized(LogicalNode[int]):
        def choose(self, n: int) -> Literal["small", "large"]:
            return "small"

    sized = graph.add(Sized(), graph.add(one))
    with graph.loop("far"):
        graph.add(same, sized.branch("smal"))


def errors_of_a_generator(graph: Graph) -> None:
    broken = graph.add(node(on_error="broken")(letters), graph.add(one))
    graph.add(same, broken.branch("broken"))


def edge_of_another_type(graph: Graph) -> None:
    graph.add(Double(), graph.add(text))


def edge_of_another_type_over_loops(graph: Graph) -> None:
    source = graph.add(text)
    with graph.loop("far"):
        graph.add(Double(), source)


def constant_of_another_type(graph: Graph) -> None:
    def power(base: int, exponent: float) -> float:
        return float(base**exponent)

    graph.add(power, graph.add(one), exponent="2")


TOGETHER = "so nothing says which belong together"

EVERY: list[tuple[Callable[[Graph], None], str]] = [
    (no_nodes, "it has no nodes: add some with graph.add(…)"),
    (empty_loop, "loop 'work' has no nodes: add some within `with graph.loop('work'):`"),
    (unfed_blocking, "node 'double': nothing feeds it: wire one of its ports to another node, or make it a Producer"),
    (unfed_non_blocking, "node 'send': nothing feeds it: wire one"),
    (unfed_logical, "node 'choose': nothing feeds it: wire one"),
    (lonely_writer, "writer 'queue_writer' has neither a reader nor the name of a queue: give it one"),
    (lonely_reader, "reader 'queue_reader' has neither a writer nor the name of a queue: give it one"),
    (pair_in_one_loop, "reader 'queue_reader' is in the same loop as its writer 'queue_writer': leave both out"),
    (pair_with_two_names, "reader 'queue_reader' reads queue 'b', its writer 'queue_writer' writes to 'a': name one"),
    (pair_that_isnt_wired, "reader 'queue_reader' isn't wired to 'queue_writer', which writes to its queue 'jobs'"),
    (queue_with_two_writers, "queue 'jobs' is written to by 'queue_writer', 'queue_writer_2': give each a name"),
    (queue_with_two_readers, "queue 'jobs' is read by 'queue_reader', 'queue_reader_2': give each a name"),
    (
        finish_in_many_processes,
        "node 'tally' has a finish(), but loop 'work' has 3 processes and each would see a part",
    ),
    (state_in_many_processes, "node 'tally' uses ctx.state, but loop 'work' has 3 processes and each would see a part"),
    (state_deep_in_many_processes, "node 'tally' uses ctx.state, but loop 'work' has 3 processes"),
    (producer_in_many_processes, "producer 'numbers' would yield the same values in each of the 2 processes of loop"),
    (function_producer_in_many_processes, "producer 'one' would yield the same values in each of the 2 processes"),
    (two_producers_together, f"node 'three' takes 'first', 'second', whose items begin at different heads, {TOGETHER}"),
    (two_producers_together_over_loops, "node 'three' takes 'first', 'second', whose items begin at different heads"),
    (two_fan_outs_together, f"takes 'split', 'split_2', whose items come of different fan-outs, {TOGETHER}"),
    (two_fan_outs_together_over_loops, "takes 'split', 'split_2', whose items come of different fan-outs"),
    (join_at_two_depths, "takes 'split', 'one', whose items come into loop 'far' by different queues and stand below"),
    (collect_without_fan_out, "node 'collect' gathers what comes of 'one', but no node before it fans out"),
    (errors_that_nobody_takes, "node 'fragile' has on_error='dead-letter', a branch that no node takes: wire one to"),
    (branch_that_is_misspelled, "same.n takes the branch 'smal' of 'sized': did you mean 'small'?"),
    (errors_of_a_generator, "node 'letters' is a generator, whose values may have gone on before its error"),
    (edge_of_another_type, "double.n expects int, text gives str: change one of them, or put a node between them"),
    (edge_of_another_type_over_loops, "double.n expects int, text gives str"),
    (constant_of_another_type, "power.exponent expects float, the constant is '2'"),
]


@pytest.mark.parametrize(("build", "said"), EVERY, ids=[build.__name__ for build, _ in EVERY])
def test_one_problem_gives_one_line(build: Callable[[Graph], None], said: str) -> None:
    graph = Graph("test")
    build(graph)
    (problem,) = problems(graph)
    assert said in problem


@pytest.mark.parametrize(("build", "said"), EVERY[1:], ids=[build.__name__ for build, _ in EVERY[1:]])
def test_each_problem_names_a_line_of_the_user(build: Callable[[Graph], None], said: str) -> None:
    graph = Graph("test")
    build(graph)
    with pytest.raises(GraphInvalidError) as caught:
        apply_passes(graph, [QueueMapper(), NodeValidator()])
    found = re.match(r".*test_node_validator\.py:(\d+): ", caught.value.problems[0])
    assert found is not None
    first = build.__code__.co_firstlineno
    assert first < int(found.group(1)) <= max(line for *_, line in build.__code__.co_lines() if line)


def test_all_problems_come_in_one_error_with_a_line_for_each() -> None:
    graph = Graph("test")
    builders = [empty_loop, unfed_blocking, queue_with_two_writers, two_producers_together, edge_of_another_type]
    for build in builders:
        build(graph)
    with pytest.raises(GraphInvalidError) as caught:
        NodeValidator().apply(graph)
    assert len(caught.value.problems) == len(builders)
    assert str(caught.value).splitlines() == [
        "graph 'test' has 5 problems:",
        *(f"  {problem}" for problem in caught.value.problems),
    ]


def test_one_problem_is_counted_as_one() -> None:
    with pytest.raises(GraphInvalidError, match=r"^graph 'test' has 1 problem:\n"):
        NodeValidator().apply(Graph("test"))


def good_graph() -> Graph:
    graph = Graph("good")
    with graph.loop("find"):
        numbers = graph.add(Numbers())
        sign = graph.add(Sign(), numbers)
        each = graph.add(split, sign.branch("positive"))
        graph.add(three, each, numbers)
    with graph.loop("work", processes=2):
        doubled = graph.add(Double(), sign.branch("negative"))
        graph.add(three, graph.add(same, doubled), doubled, 3)
    with graph.loop("tally"):
        graph.add(Tally(), doubled)
        graph.add(three, doubled, doubled)
    with graph.loop("outside"):
        graph.add(QueueWriter("out"), graph.add(QueueReader("in")))
    return graph


def test_a_good_graph_goes_on_as_it_is() -> None:
    graph = QueueMapper().apply(good_graph())
    assert NodeValidator().apply(graph) is graph
    assert problems(good_graph()) == []


def test_it_finds_the_same_each_time() -> None:
    graph = Graph("test")

    def many(values: list[int]) -> None: ...

    # one wrong element among many is found each time
    values: list[Any] = [*range(50), "a"]
    graph.add(many, values)
    assert len({tuple(problems(graph)) for _ in range(20)}) == 1
    assert len(problems(graph)) == 1


def test_several_heads_in_a_loop_are_right_while_nothing_takes_from_two() -> None:
    graph = Graph("test")
    graph.add(same, graph.add(one))
    graph.add(same, graph.add(text))
    assert problems(graph) == []
