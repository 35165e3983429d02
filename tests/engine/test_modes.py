"""The same graph gives the same in development mode and in production."""

from __future__ import annotations

from typing import Any

import pytest

from tests.project import Project

pytestmark = pytest.mark.slow

HEAD = """
    import json
    from pathlib import Path
    from nodeflow import BlockingNode, Branch, Graph, LogicalNode, NonBlockingNode, ProducerNode, node

    def out(value):
        with Path("out.jsonl").open("a") as file:
            file.write(json.dumps(value) + "\\n")

    def numbers():
        yield from range(6)

    graph = Graph("TOKEN")
"""

GRAPHS: dict[str, tuple[str, list[Any]]] = {
    "a chain over three loops": (
        """
        with graph.loop("a"):
            n = graph.add(numbers)
        with graph.loop("b", processes=2):
            d = graph.add(lambda n: n * n, n, id="square")
        with graph.loop("c"):
            graph.add(out, d)
        """,
        [0, 1, 4, 9, 16, 25],
    ),
    "a fan-out that crosses loops": (
        """
        def upto(n):
            yield from range(n)
        with graph.loop("a"):
            n = graph.add(numbers)
            u = graph.add(upto, n)
        with graph.loop("b"):
            graph.add(out, u)
        """,
        [0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 3, 3, 4],
    ),
    "branches over a channel": (
        """
        class Parity(LogicalNode[int]):
            def choose(self, n):
                return "even" if n % 2 == 0 else Branch("odd", -n)
        with graph.loop("a"):
            p = graph.add(Parity(), graph.add(numbers))
        def both(even=None, odd=None):
            out([even, odd])
        with graph.loop("b"):
            graph.add(both, even=p.branch("even"), odd=p.branch("odd"))
        """,
        [[0, None], [2, None], [4, None], [None, -1], [None, -3], [None, -5]],
    ),
    "a diamond between two loops": (
        """
        with graph.loop("a"):
            n = graph.add(numbers)
        with graph.loop("b"):
            left = graph.add(lambda n: n + 1, n, id="left")
            right = graph.add(lambda n: n * 10, n, id="right")
            graph.add(lambda left, right: out([left, right]), left, right, id="join")
        """,
        [[1, 0], [2, 10], [3, 20], [4, 30], [5, 40], [6, 50]],
    ),
    "two loops that take from the same node": (
        """
        with graph.loop("a"):
            n = graph.add(numbers)
        with graph.loop("b"):
            graph.add(out, n)
        def negative(n):
            out(-n)
        with graph.loop("c"):
            graph.add(negative, n)
        """,
        [-5, -4, -3, -2, -1, 0, 0, 1, 2, 3, 4, 5],
    ),
    "a tally whose result goes on": (
        """
        class Total(BlockingNode):
            def setup(self, ctx):
                self.total = 0
            def execute(self, n):
                self.total += n
                yield from ()
            def finish(self, ctx):
                return self.total
        with graph.loop("a"):
            n = graph.add(numbers)
        with graph.loop("b"):
            t = graph.add(Total(), n)
        with graph.loop("c"):
            graph.add(out, t)
        """,
        [15],
    ),
    "finishing upstream first, in one loop": (
        """
        class Last(BlockingNode):
            def execute(self, n):
                self.last = n
                yield n
            async def finish(self, ctx):
                yield self.last + 100
        l = graph.add(Last(), graph.add(numbers))
        m = graph.add(Last(), l)
        graph.add(out, m)
        """,
        [0, 1, 2, 3, 4, 5, 105, 205],
    ),
    "async nodes of every kind": (
        """
        class Produce(ProducerNode[int]):
            async def produce(self, ctx):
                for n in range(3):
                    yield n
        class Double(NonBlockingNode):
            async def execute(self, n):
                return 2 * n
        async def twice(n):
            yield n
            yield n
        @node(id="sink")
        async def asynchronous(n):
            out(n)
        with graph.loop("a"):
            n = graph.add(Produce())
        with graph.loop("b", processes=2):
            d = graph.add(twice, graph.add(Double(), n))
        with graph.loop("c"):
            graph.add(asynchronous, d)
        """,
        [0, 0, 2, 2, 4, 4],
    ),
    "a hand-written pair": (
        """
        from nodes import QueueReader, QueueWriter
        with graph.loop("a"):
            w = graph.add(QueueWriter("mine"), graph.add(numbers))
        with graph.loop("b"):
            graph.add(out, graph.add(QueueReader(), w))
        """,
        [0, 1, 2, 3, 4, 5],
    ),
    "a producer that is a plain function with constants": (
        """
        def first(word, times):
            return word * times
        with graph.loop("a"):
            w = graph.add(first, "ab", times=2)
        with graph.loop("b"):
            graph.add(out, w)
        """,
        ["abab"],
    ),
    "none is a value": (
        """
        with graph.loop("a"):
            n = graph.add(lambda n: None, graph.add(numbers), id="nothing")
        with graph.loop("b"):
            graph.add(out, n)
        """,
        [None] * 6,
    ),
}


@pytest.mark.parametrize("mode", ["step", "run"])
@pytest.mark.parametrize("name", GRAPHS)
def test_both_modes_give_the_same(project: Project, mode: str, name: str) -> None:
    body, expected = GRAPHS[name]
    project.write("flow.py", HEAD + body.replace("\n        ", "\n    "))
    if mode == "run":
        project.run("run", "flow.py", "--quiet")
    else:
        for sink in [node for node in project.states("flow.py") if node in ("out", "sink", "both", "join", "negative")]:
            project.run("step", "flow.py", sink, "--items", "all")
    assert sorted(project.lines("out.jsonl"), key=repr) == sorted(expected, key=repr)
