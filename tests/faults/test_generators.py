"""Generators that remember and push, killed when a part of their values is committed: as if they had run once."""

from __future__ import annotations

import json

import pytest
import redis

from tests.faults.test_exact import take_results
from tests.project import Project

pytestmark = pytest.mark.slow

DIES = """
    import os
    from pathlib import Path

    def die_once():
        if not Path("died").exists():
            Path("died").touch()
            os.kill(os.getpid(), 9)
"""

COUNTS = """
    from nodeflow import BlockingNode, Graph
    from nodes import QueueWriter

    class Many(BlockingNode):
        def execute(self, n: int, ctx):
            for k in range(30_000):
                if k % 1000 == 0:
                    ctx.push("side", k)
                ctx.state["count"] = ctx.state.get("count", 0) + 1
                if k == 25_000:
                    die_once()
                yield k
        def finish(self, ctx):
            yield -ctx.state["count"]

    def one():
        yield 1

    graph = Graph("TOKEN")
    with graph.loop("a"):
        n = graph.add(one)
    with graph.loop("b"):
        many = graph.add(Many(), n)
    with graph.loop("c"):
        graph.add(QueueWriter("out"), many)
"""

TELLS = """
    from nodeflow import BlockingNode, Graph
    from nodes import QueueWriter

    class Tally(BlockingNode):
        def execute(self, n: int, ctx):
            ctx.state[f"k{n * 7919 % 25_000}"] = n
            yield from ()
        def finish(self, ctx):
            for number, key in enumerate(list(ctx.state)):
                if number == 18_000:
                    die_once()
                yield [number, ctx.state.pop(key)]
            assert not ctx.state

    def numbers():
        yield from range(25_000)

    graph = Graph("TOKEN")
    with graph.loop("a"):
        n = graph.add(numbers)
    with graph.loop("b"):
        told = graph.add(Tally(), n)
    with graph.loop("c"):
        graph.add(QueueWriter("out"), told)
"""


def test_what_a_generator_counts_and_pushes_is_counted_and_pushed_once(project: Project) -> None:
    project.write("flow.py", DIES + COUNTS)
    assert "SIGKILL" in project.run("run", "flow.py", "--quiet").stderr
    assert take_results(project) == [-30_000, *range(30_000)]
    with redis.Redis.from_url(project.url) as client:
        side = f"{{{project.token}}}:queue:side"
        assert [json.loads(data) for data in client.lrange(side, 0, -1)] == [*range(29_000, -1, -1000)]
        client.delete(side)


def test_finish_tells_what_was_remembered_in_order_and_once(project: Project) -> None:
    project.write("flow.py", DIES + TELLS)
    assert "SIGKILL" in project.run("run", "flow.py", "--quiet").stderr
    assert take_results(project) == [[n, n] for n in range(25_000)]
