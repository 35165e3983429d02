"""Development mode in one process: what a step runs, keeps and says."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any, Literal

import pytest

from nodeflow.engine import FlowEngine, State
from nodeflow.errors import GraphInvalidError, InputChangedError, NodeFailedError, StorageError, UsageError
from nodeflow.graph import BlockingNode, Branch, Context, Graph, LogicalNode, NonBlockingNode, ProducerNode
from nodeflow.storage import DataStore
from nodeflow.testing import run_graph
from nodes import Collect, QueueReader, QueueWriter


def numbers() -> Iterator[int]:
    yield from range(5)


def double(n: int) -> int:
    return 2 * n


def times(n: int, factor: int = 3) -> int:
    return n * factor


def up_to(n: int) -> Iterator[int]:
    yield from range(n)


class Total(BlockingNode):
    def __init__(self) -> None:
        self.total = 0

    def execute(self, n: int) -> Iterator[int]:
        self.total += n
        yield from ()

    def finish(self, ctx: Context) -> int:
        return self.total


@pytest.fixture
def graph(token: str) -> Graph:
    return Graph(token)


@pytest.fixture
def engine(graph: Graph, store: DataStore) -> FlowEngine:
    return _Late(graph, store)  # type: ignore[return-value]


class _Late:
    """An engine that is made at its first use, when the test has built its graph."""

    def __init__(self, graph: Graph, store: DataStore) -> None:
        self._arguments = (graph, store)

    def __getattr__(self, name: str) -> Any:
        return getattr(FlowEngine(*self._arguments), name)


async def test_a_step_gives_the_values_of_one_node(graph: Graph, engine: FlowEngine) -> None:
    graph.add(double, graph.add(numbers))
    await engine.step("numbers", items=3)
    result = await engine.step("double")
    assert result.values == [0, 2, 4]
    assert [run.node for run in result.plan.runs] == ["double"]
    assert [item.id for item in result.items] == ["numbers.0", "numbers.1", "numbers.2"]


async def test_a_missing_upstream_output_is_produced_first_and_said_so(graph: Graph, engine: FlowEngine) -> None:
    graph.add(double, graph.add(double, graph.add(numbers)))
    result = await engine.step("double_2")
    assert [(run.node, run.why) for run in result.plan.runs] == [
        ("numbers", "its output is missing"),
        ("double", "its output is missing"),
        ("double_2", "asked for"),
    ]


async def test_only_what_is_needed_is_produced(graph: Graph, engine: FlowEngine, store: DataStore) -> None:
    graph.add(double, graph.add(double, graph.add(numbers)))
    await engine.step("double")
    await store.scoped(f"{{{graph.name}}}:").cache.delete("numbers_output")
    result = await engine.step("double_2")
    assert [run.node for run in result.plan.runs] == ["double_2"]


async def test_the_output_is_kept_under_its_cache_key_with_a_time_to_live(
    graph: Graph, engine: FlowEngine, store: DataStore
) -> None:
    graph.add(numbers)
    await engine.step("numbers")
    cache = store.scoped(f"{{{graph.name}}}:").cache
    kept = await cache.get("numbers_output")
    assert kept["items"] == [{"id": "numbers.0", "status": "done", "value": 0}]
    assert kept["sample"] == {"numbers": 1}
    assert 0 < (await cache.ttl("numbers_output") or 0) <= 7 * 24 * 3600
    client = await store.connection.ensure_connection()
    assert await client.exists(f"{store.prefix}{{{graph.name}}}:cache:numbers_output")


async def test_finish_is_part_of_a_step_and_the_state_is_empty_each_time(graph: Graph, engine: FlowEngine) -> None:
    graph.add(double, graph.add(Total(), graph.add(numbers)))
    await engine.step("numbers", items="all")
    for _ in range(2):
        result = await engine.step("total")
        assert result.values == [10]
        assert result.items[0].id == "total:finish.0"
    assert (await engine.step("double")).values == [20]


async def test_branches_are_kept_and_what_was_not_chosen_is_skipped(graph: Graph, engine: FlowEngine) -> None:
    class Parity(LogicalNode[int]):
        branches = ("even", "odd")

        def choose(self, n: int) -> str | Branch[int]:
            return "even" if n % 2 == 0 else Branch("odd", -n)

    parity = graph.add(Parity(), graph.add(numbers))
    graph.add(double, parity.branch("odd"))
    await engine.step("numbers", items=3)
    assert (await engine.step("parity")).values == [{"even": 0}, {"odd": -1}, {"even": 2}]
    result = await engine.step("double")
    assert result.values == [-2]
    assert [item.to_data()["status"] for item in result.items] == ["skipped", "done", "skipped"]


async def test_inputs_of_different_depth_go_together_by_item(graph: Graph, engine: FlowEngine) -> None:
    n = graph.add(numbers)
    graph.add(lambda small, n: [small, n], graph.add(up_to, n), n, id="pair")
    await engine.step("numbers", items="all")
    assert (await engine.step("pair", items="all")).values[:3] == [[0, 1], [0, 2], [1, 2]]


async def test_constants_and_defaults(graph: Graph, engine: FlowEngine) -> None:
    n = graph.add(numbers)
    graph.add(times, n, factor=10, id="ten")
    graph.add(times, n, id="three")
    await engine.step("numbers", items=2)
    assert (await engine.step("ten")).values == [0, 10]
    assert (await engine.step("three")).values == [0, 3]


async def test_every_sort_of_callable_is_run(graph: Graph, engine: FlowEngine) -> None:
    class Produce(ProducerNode[int]):
        async def setup(self, ctx: Context) -> None:
            self.first = 4

        async def produce(self, ctx: Context) -> AsyncIterator[int]:
            yield self.first

    class Async(NonBlockingNode):
        async def execute(self, n: int) -> int:
            return n + 1

    async def fan(n: int, ctx: Context) -> AsyncIterator[str]:
        yield f"{ctx.node} {ctx.item_id} {n}"

    graph.add(fan, graph.add(Async(), graph.add(Produce())))
    assert (await engine.step("fan")).values == ["fan produce.0 5"]


async def test_setup_and_cleanup_enclose_the_step_also_when_it_fails(graph: Graph, engine: FlowEngine) -> None:
    log: list[str] = []

    class Careful(BlockingNode):
        def setup(self, ctx: Context) -> None:
            log.append("setup")

        def execute(self, n: int) -> None:
            raise ValueError("no")

        async def cleanup(self) -> None:
            log.append("cleanup")

    graph.add(Careful(), graph.add(numbers))
    with pytest.raises(NodeFailedError):
        await engine.step("careful")
    assert log == ["setup", "cleanup"]


async def test_a_node_that_raises_keeps_the_earlier_output(graph: Graph, engine: FlowEngine) -> None:
    wrong = False

    def fragile(n: int) -> int:
        if wrong:
            raise ValueError("broken")
        return n

    graph.add(fragile, graph.add(numbers))
    await engine.step("fragile")
    wrong = True
    with pytest.raises(NodeFailedError) as caught:
        await engine.step("fragile")
    assert (caught.value.node, caught.value.item) == ("fragile", "numbers.0")
    assert str(caught.value).startswith("node 'fragile' failed on item numbers.0 (n = 0):\n")
    lines = caught.value.trace.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert __file__ in lines[1]
    assert lines[-1] == "ValueError: broken"
    kept = await engine.output("fragile")
    assert kept is not None
    assert kept.items is not None
    assert len(kept.items) == 1


async def test_children_are_gathered_also_where_there_are_none(graph: Graph, engine: FlowEngine) -> None:
    class Small(LogicalNode[int]):
        def choose(self, n: int) -> Literal["small", "large"]:
            return "small" if n < 4 else "large"

    def upto(n: int) -> Iterator[int]:
        yield from range(n)

    n = graph.add(numbers)
    with graph.loop("b"):
        small = graph.add(Small(), n).branch("small")
        tenfold = graph.add(lambda k: 10 * k, graph.add(upto, small), id="tenfold")
    with graph.loop("c"):
        graph.add(lambda n, found=None: [n, found], n, graph.add(Collect(), tenfold), id="pair")
    result = await engine.step("pair", items="all")
    assert result.values == [[0, []], [1, [0]], [2, [0, 10]], [3, [0, 10, 20]], [4, None]]
    assert sorted(map(str, run_graph(graph)["pair"])) == sorted(map(str, result.values))
    assert (await engine.status())["upto"].items == 7
    kept = await engine.output("upto")
    assert kept is not None
    assert len(kept.items or ()) == 7


async def test_a_node_that_has_trouble_with_a_store_of_its_own_is_named(graph: Graph, engine: FlowEngine) -> None:
    def ask(n: int) -> int:
        raise StorageError("its own store")

    graph.add(ask, graph.add(numbers))
    with pytest.raises(NodeFailedError, match=r"node 'ask' failed on item numbers\.0"):
        await engine.step("ask")


@pytest.mark.parametrize("data", [{"items": []}, ["of another kind"]])
async def test_what_another_version_has_kept_is_made_anew(
    graph: Graph, engine: FlowEngine, store: DataStore, data: Any
) -> None:
    graph.add(lambda n: n + 1, graph.add(numbers), id="more")
    await store.scoped(f"{{{graph.name}}}:").cache.set("numbers_output", data, ttl=60)
    status = (await engine.status())["numbers"]
    assert (status.state, status.at, status.seconds) == (State.NOT_KEPT, None, None)
    assert "another version of nodeflow" in status.why[0]
    assert (await engine.step("more")).values == [1]


async def test_what_stands_below_a_generator_that_gave_nothing_does_not_run(graph: Graph, engine: FlowEngine) -> None:
    def beside(outer: int, inner: int = -1) -> list[int]:
        return [outer, inner]

    n = graph.add(numbers)
    graph.add(Collect(), graph.add(beside, graph.add(double, n), graph.add(up_to, n)))
    assert (await engine.step("collect", items=3)).values == [[], [[2, 0]], [[4, 0], [4, 1]]]


async def test_an_output_that_cannot_be_encoded_is_not_kept_and_made_again(graph: Graph, engine: FlowEngine) -> None:
    graph.add(lambda pair: sum(pair), graph.add(lambda n: iter([n, n + 1]), graph.add(numbers), id="pair"), id="sum")
    result = await engine.step("pair")
    assert "item numbers.0: $: list_iterator can be gone through only once" in result.not_kept["pair"]
    assert (await engine.status())["pair"].state is State.NOT_KEPT
    result = await engine.step("sum")
    assert result.values == [1]
    assert list(result.not_kept) == ["pair"]
    assert "not kept" in result.plan.runs[0].why


async def test_a_node_that_changes_its_input_is_named(graph: Graph, engine: FlowEngine) -> None:
    def spoil(row: list[int]) -> int:
        row.append(1)
        return 1

    graph.add(spoil, graph.add(lambda n: [n], graph.add(numbers), id="row"))
    with pytest.raises(InputChangedError, match=r"'spoil' changed its own input on item numbers\.0"):
        await engine.step("spoil")


async def test_a_writer_and_its_reader_hand_the_value_on(graph: Graph, engine: FlowEngine) -> None:
    with graph.loop("a"):
        writer = graph.add(QueueWriter(), graph.add(numbers))
    with graph.loop("b"):
        graph.add(double, graph.add(QueueReader(), writer))
    assert (await engine.step("double", items=2)).values == [0, 2]


async def test_a_queue_of_other_programs_cannot_be_stepped(graph: Graph, engine: FlowEngine) -> None:
    graph.add(double, graph.add(QueueReader("orders")))
    with pytest.raises(UsageError, match="'orders', which other programs fill"):
        await engine.step("double")


async def test_a_plan_runs_nothing(graph: Graph, engine: FlowEngine) -> None:
    graph.add(double, graph.add(numbers))
    plan = await engine.plan("double")
    assert [run.node for run in plan.runs] == ["numbers", "double"]
    assert (await engine.status())["numbers"].state is State.MISSING


@pytest.mark.parametrize("items", [0, -1, "some", 1.5, True])
async def test_a_wrong_number_of_items_is_refused(graph: Graph, engine: FlowEngine, items: Any) -> None:
    graph.add(numbers)
    with pytest.raises(UsageError, match="items must be a whole number"):
        await engine.step("numbers", items=items)


async def test_an_unknown_node_is_refused_with_the_known_ones(graph: Graph, engine: FlowEngine) -> None:
    graph.add(numbers)
    with pytest.raises(UsageError, match="no node 'number': did you mean 'numbers'"):
        await engine.step("number")
    with pytest.raises(UsageError, match="its nodes are numbers"):
        await engine.output("x")


async def test_a_wrong_graph_is_refused_when_the_engine_is_made(graph: Graph, store: DataStore) -> None:
    graph.add(lambda n: n, graph.add(numbers), id="fine")
    graph.add(double, "text")
    with pytest.raises(GraphInvalidError, match=r"double\.n expects int, the constant is 'text'"):
        FlowEngine(graph, store)


async def test_an_instance_that_cannot_be_copied_is_refused_with_the_remedy(graph: Graph, engine: FlowEngine) -> None:
    class Holds(BlockingNode):
        def __init__(self) -> None:
            self.generator = numbers()

        def execute(self, n: int) -> int:
            return n

    graph.add(Holds(), graph.add(numbers))
    with pytest.raises(Exception, match="open files, connections and locks in setup"):
        await engine.step("holds")


async def test_a_store_that_was_given_stays_open(graph: Graph, store: DataStore) -> None:
    graph.add(numbers)
    async with FlowEngine(graph, store) as engine:
        await engine.step("numbers")
    assert await store.cache.get("anything") is None


@pytest.mark.parametrize("method", ["setup", "finish", "cleanup"])
async def test_whatever_method_raises_the_node_is_named(graph: Graph, engine: FlowEngine, method: str) -> None:
    class Broken(BlockingNode):
        def execute(self, n: int) -> int:
            return n

    def fail(self: Broken, *arguments: object) -> None:
        raise OSError("no such device")

    setattr(Broken, method, fail)
    graph.add(Broken(), graph.add(numbers))
    with pytest.raises(NodeFailedError, match=r"node 'broken' failed(?s:.*)OSError: no such device"):
        await engine.step("broken")
