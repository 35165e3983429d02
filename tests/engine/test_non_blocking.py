"""Nodes that don't block: several items at once, no more than were asked for, in order or not, each exactly once."""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from typing import Any

import pytest
import redis

from nodeflow.errors import GraphError, UsageError
from nodeflow.graph import Context, Graph, NonBlockingNode, node
from nodeflow.testing import run_graph
from nodes import QueueReader
from tests.faults.test_exact import pid, take_results
from tests.project import Project

FLOW = """
    import asyncio, os, time
    from pathlib import Path
    from nodeflow import BlockingNode, Context, Graph, NonBlockingNode, Retry, node
    from nodes import Collect, QueueWriter

    class Watch:
        now = most = 0
        def __enter__(self):
            self.now += 1
            self.most = max(self.most, self.now)
        def __exit__(self, *error):
            self.now -= 1

    def numbers():
        yield from range(60)

    @node(max_in_flight=5, retry=Retry(times=1, backoff=0.05), ordered=ORDERED)
    class Fetch(NonBlockingNode):
        def setup(self, ctx):
            self.watch = Watch()
            Path("pid " + ctx.slot.replace("/", "-")).write_text(str(os.getpid()))
        async def execute(self, n: int, ctx: Context):
            with self.watch:
                await asyncio.sleep(0.1 if n == 0 else 0.01)
            if n % 20 == 7 and ctx.attempt == 1:
                raise OSError("again")
            if n == 33:
                raise ValueError("never")
            ctx.push("seen", n)
            return n
        def cleanup(self):
            Path("most").write_text(str(self.watch.most))

    def several(n: int):
        for k in range(n % 3):
            yield 10 * n + k

    @node(ordered=False)
    class Plain(NonBlockingNode):
        def execute(self, n: int):
            time.sleep(0.002)
            return n + 1

    class Sum(BlockingNode):
        def execute(self, n: int, ctx: Context):
            ctx.state["sum"] = ctx.state.get("sum", 0) + n
            return n
        def finish(self, ctx: Context):
            return -ctx.state["sum"]

    graph = Graph("TOKEN")
    with graph.loop("a"):
        n = graph.add(numbers)
    fetched = graph.add(Fetch(), n)
    graph.add(QueueWriter("first"), fetched, id="first")
    with graph.loop("b", processes=2):
        plain = graph.add(Plain(), graph.add(several, fetched))
    with graph.loop("c"):
        gathered = graph.add(Collect(), plain)
        graph.add(QueueWriter("both"), graph.add(lambda n, found: [n, found], fetched, gathered, id="pair"), id="both")
    with graph.loop("d"):
        graph.add(QueueWriter("sums"), graph.add(Sum(), graph.add(Plain(), plain, id="again")), id="sums")
"""


def take(project: Project) -> dict[str, list[Any]]:
    """What was pushed to each queue, oldest first."""
    found = {}
    with redis.Redis.from_url(project.url) as client:
        for name in ("first", "seen", "both", "sums"):
            key = f"{{{project.token}}}:queue:{name}"
            found[name] = [json.loads(data) for data in reversed(client.lrange(key, 0, -1))]
            client.delete(key)
    return found


GOOD = [n for n in range(60) if n != 33]
MANY = [10 * n + k for n in GOOD for k in range(n % 3)]


def check(found: dict[str, list[Any]]) -> None:
    """Each came through once."""
    assert sorted(found["first"]) == sorted(found["seen"]) == GOOD
    assert sorted(found["both"]) == [[n, [10 * n + k + 1 for k in range(n % 3)]] for n in GOOD]
    sums = sorted(k + 2 for k in MANY)
    assert sorted(found["sums"]) == [-sum(sums), *sums]


@pytest.mark.parametrize("ordered", [True, pytest.param(False, marks=pytest.mark.slow)])
@pytest.mark.slow
def test_several_items_are_at_it_at_once_but_no_more_than_were_asked_for(project: Project, ordered: bool) -> None:
    project.write("flow.py", FLOW.replace("ORDERED", str(ordered)))
    done = project.run("run", "flow.py", "--quiet", status=3)
    found = take(project)
    check(found)
    assert (project.folder / "most").read_text() == "5"
    in_order = [n for n in found["first"] if n % 20 != 7]
    assert (in_order == sorted(in_order)) is ordered
    assert "1 failed" in done.stdout
    (letter,) = map(json.loads, project.run("dead-letters", "flow.py", "--json").stdout.splitlines())
    assert (letter["node"], letter["error"]["message"]) == ("fetch", "never")
    project.replace("flow.py", "n == 33", "False")
    project.run("dead-letters", "flow.py", "--requeue")
    project.run("run", "flow.py", "--quiet")
    again = take(project)
    assert (again["first"], again["both"]) == ([33], [[33, []]])


@pytest.mark.slow
@pytest.mark.parametrize("slot", ["main-0", "b-0", "d-0"])
def test_an_item_is_acknowledged_when_all_that_it_started_is_done(project: Project, slot: str) -> None:
    text = (
        FLOW.replace("ORDERED", "False").replace("range(60)", "range(600)").replace("0.1 if n == 0 else 0.01", "0.02")
    )
    text = text.replace("def several(n: int):", "def several(n: int):\n        mark('b')").replace(
        "def execute(self, n: int, ctx: Context):\n            ctx.state",
        "def execute(self, n: int, ctx: Context):\n            mark('d')\n            ctx.state",
    )
    marks = '\n    def mark(loop):\n        Path(f"pid {loop}-0").write_text(str(os.getpid()))\n\n    class Watch:'
    project.write("flow.py", text.replace("\n    class Watch:", marks))
    with project.started("run", "flow.py", "--quiet") as supervisor:
        for _ in range(2):
            os.kill(pid(project, slot), signal.SIGKILL)
        _, errors = supervisor.communicate(timeout=60)
    assert supervisor.returncode == 3, errors
    found = take(project)
    good = [n for n in range(600) if n != 33]
    assert Counter(found["first"]) == Counter(found["seen"]) == Counter(good)
    sums = [10 * n + k + 2 for n in good for k in range(n % 3)]
    assert Counter(found["sums"]) == Counter([*sums, -sum(sums)])
    assert sorted(found["both"]) == [[n, [10 * n + k + 1 for k in range(n % 3)]] for n in good]
    with redis.Redis.from_url(project.url) as client:
        client.delete(*client.keys(f"*{project.token}*"))


@pytest.mark.slow
def test_a_large_fan_out_of_what_does_not_block_is_committed_in_parts(project: Project) -> None:
    project.write("flow.py", """
        from nodeflow import Graph, NonBlockingNode
        from nodes import QueueWriter

        def one():
            yield 1

        def many(n: int):
            yield from range(25_000)

        class Same(NonBlockingNode):
            async def execute(self, n: int):
                return n

        graph = Graph("TOKEN")
        graph.add(QueueWriter("first"), graph.add(Same(), graph.add(many, graph.add(one))))
    """)  # fmt: skip
    project.run("run", "flow.py", "--quiet")
    assert take(project)["first"] == list(range(25_000))


WAITING = """
    import asyncio
    from nodeflow import BlockingNode, Context, Graph, NonBlockingNode, node
    from nodes import QueueWriter

    def numbers():
        yield from range(12)

    @node(ordered=False)
    class First(NonBlockingNode):
        async def execute(self, n: int):
            await asyncio.sleep(0.3 if n == 0 else 0.01)
            return n

    @node(SECOND)
    class Second(NonBlockingNode):
        async def execute(self, n: int):
            await asyncio.sleep(0.01)
            return n

    @node(ordered=False, max_in_flight=1)
    class Other(NonBlockingNode):
        async def execute(self, n: int):
            await asyncio.sleep(0.002)
            return n

    def several(n: int):
        yield n
        yield n

    class Sum(BlockingNode):
        def execute(self, n: int, ctx: Context):
            ctx.state["sum"] = ctx.state.get("sum", 0) + n
            return n

    graph = Graph("TOKEN")
    with graph.loop("a"):
        n = graph.add(numbers)
    with graph.loop("b"):
        first = graph.add(First(), n)
        both = graph.add(lambda a, b: a + b, graph.add(Second(), first), graph.add(Other(), first), id="both")
        graph.add(QueueWriter("sums"), graph.add(Sum(), graph.add(several, both)))
"""


@pytest.mark.parametrize(
    "second", ["ordered=False, max_in_flight=1", pytest.param("ordered=True", marks=pytest.mark.slow)]
)
@pytest.mark.slow
def test_older_items_find_places_although_younger_ones_were_faster(project: Project, second: str) -> None:
    project.write("flow.py", WAITING.replace("SECOND", second))
    project.run("run", "flow.py", "--quiet")
    assert sorted(take(project)["sums"]) == sorted(2 * n for n in range(12) for _ in range(2))


def test_what_remembers_behind_it_does_not_hold_it_up(project: Project) -> None:
    project.write("flow.py", """
        import asyncio
        from pathlib import Path
        from nodeflow import Graph, NonBlockingNode

        def numbers():
            yield from range(10)

        class Wait(NonBlockingNode):
            now = 0
            async def execute(self, n: int):
                Wait.now += 1
                await asyncio.sleep(0.3)
                Path(f"seen {Wait.now}").touch()
                Wait.now -= 1
                return n

        def remember(n: int, ctx):
            ctx.state["n"] = n

        graph = Graph("TOKEN")
        graph.add(remember, graph.add(Wait(), graph.add(numbers)))
    """)  # fmt: skip
    project.run("run", "flow.py", "--quiet")
    assert (project.folder / "seen 10").exists()


def test_nothing_is_remembered_by_several_at_once() -> None:
    class Eager(NonBlockingNode):
        async def execute(self, n: int, ctx: Context) -> int:
            with pytest.raises(UsageError, match="'eager' has no state here"):
                _ = ctx.state
            return n

    graph = Graph("g")
    graph.add(Eager(), graph.add(QueueReader("jobs")))
    assert run_graph(graph, {"queue_reader": [1, 2]})["eager"] == [1, 2]


@pytest.mark.parametrize("wrong", [0, -1, True, 1.5, "8"])
def test_a_wrong_number_in_flight_is_refused(wrong: Any) -> None:
    with pytest.raises(GraphError, match="max_in_flight is a whole number from 1 on"):
        node(max_in_flight=wrong)


@pytest.mark.parametrize("wrong", [{"ordered": 1}, {"live": None}, {"shardable": None}, {"live": "yes"}], ids=str)
def test_flags_are_true_or_false(wrong: dict[str, Any]) -> None:
    with pytest.raises(GraphError, match="is True or False"):
        node(**wrong)


LATE = """
    import asyncio
    from nodeflow import Graph, NonBlockingNode, Retry, node
    from nodes import QueueWriter

    def heads():
        yield from range(20)

    @node(retry=Retry(times=1, backoff=0.0))
    def again(n: int, ctx):
        if n % 3 == 1 and ctx.attempt == 1:
            raise OSError("not yet")
        return n

    class Fetch(NonBlockingNode):
        async def execute(self, n: int):
            await asyncio.sleep(0.01)
            return 100 * n

    def some(n: int):
        yield from range(5)

    @node(max_in_flight=1)
    class Slow(NonBlockingNode):
        async def execute(self, k: int):
            await asyncio.sleep(0.001)
            return k

    def same(k: int):
        return k

    def both(outer: int, inner: int, slow: int):
        return [outer, inner, slow]

    graph = Graph("TOKEN")
    with graph.loop("a"):
        n = graph.add(heads)
        inner = graph.add(some, n)
        paired = graph.add(both, graph.add(Fetch(), n), graph.add(same, inner), graph.add(Slow(), inner))
    with graph.loop("b"):
        graph.add(QueueWriter("out"), paired)
"""


@pytest.mark.parametrize("is_tried_again_above", [False, True])
def test_values_of_a_generator_meet_what_lands_late_once(project: Project, is_tried_again_above: bool) -> None:
    above = "graph.add(again, n)" if is_tried_again_above else "n"
    project.write("flow.py", LATE.replace("Fetch(), n", f"Fetch(), {above}"))
    project.run("run", "flow.py", "--quiet")
    assert take_results(project) == [[100 * n, k, k] for n in range(20) for k in range(5)]


BOTH_FAIL = """
    from nodeflow import Graph, NonBlockingNode

    def heads():
        yield from range(3)

    class Fetch(NonBlockingNode):
        async def execute(self, n: int):
            assert n != 1

    def fails(n: int):
        assert n != 1

    graph = Graph("TOKEN")
    n = graph.add(heads)
    graph.add(lambda a, b: None, graph.add(Fetch(), n), graph.add(fails, n), id="both")
"""


def test_of_nodes_that_failed_together_the_first_of_the_graph_is_named(project: Project) -> None:
    project.write("flow.py", BOTH_FAIL)
    project.run("run", "flow.py", "--quiet", status=3)
    (letter,) = project.run("dead-letters", "flow.py", "--json").stdout.splitlines()
    assert json.loads(letter)["node"] == "fetch"
    project.run("dead-letters", "flow.py", "--clear")
