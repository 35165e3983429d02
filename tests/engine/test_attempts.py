"""What a step does with the errors of generators: as a run does, where their values may have gone on before."""

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
