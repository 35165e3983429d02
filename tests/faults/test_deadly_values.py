"""Nodes that end their process at a value of a producer in their own loop: it fails, and all others come through."""

from __future__ import annotations

import json
import signal
from typing import Any

import pytest
import redis

from tests.faults.test_exact import take_results
from tests.project import Project

FLOW = """
    import asyncio, os, signal, time
    from pathlib import Path
    from nodeflow import BlockingNode, Context, Graph, NonBlockingNode, ProducerNode, Retry, node
    from nodes import QueueWriter

    DEADLY = {5}

    def die(n):
        if n in DEADLY and not Path("mended").exists():
            os._exit(7)

    def mark(ctx):
        Path("pid " + ctx.slot.replace("/", "-")).write_text(str(os.getpid()))

    def numbers():
        yield from range(10)

    def work(n: int):
        die(n)
        return n

    graph = Graph("TOKEN")
    with graph.loop("a"):
        graph.add(QueueWriter("out"), graph.add(work, graph.add(numbers)))
"""

ENGINE = """
    import asyncio, os, sys
    from nodeflow import DataStore, FlowEngine
    from flow import graph

    async def main():
        async with DataStore.from_url(os.environ["NODEFLOW_URL"], max_deliveries=int(sys.argv[1])) as store:
            async with FlowEngine(graph, store) as engine:
                result = await engine.run()
                print(f"{result.done} done, {result.failed} failed")

    if __name__ == "__main__":
        asyncio.run(main())
"""


def letters(project: Project) -> list[dict[str, Any]]:
    """The dead letters, in order of their items."""
    lines = project.run("dead-letters", "flow.py", "--json").stdout.splitlines()
    return sorted(map(json.loads, lines), key=lambda letter: str(letter["item"]))


def discard(project: Project) -> None:
    """Remove all that the job left."""
    with redis.Redis.from_url(project.url) as client:
        client.delete("none", *client.keys(f"*{project.token}*"))


def marks(project: Project) -> dict[str, int]:
    """The marks of the job."""
    with redis.Redis.from_url(project.url) as client:
        found = [client.hgetall(key) for key in client.keys(f"*{project.token}*:job:*") if client.type(key) == b"hash"]
    return {name.decode(): int(value) for table in found for name, value in table.items() if value.isdigit()}


def test_a_value_that_ends_its_process_fails_and_all_others_come_through(project: Project) -> None:
    project.write("flow.py", FLOW)
    done = project.run("run", "flow.py", "--quiet", status=3)
    assert "9 items done, 1 failed" in done.stdout
    assert done.stderr.count("process a/0 of loop 'a' exited with status 7") == 4
    assert take_results(project) == [n for n in range(10) if n != 5]
    (letter,) = letters(project)
    assert (letter["node"], letter["input"], letter["attempt"]) == ("work", {"numbers": 5}, 3)
    assert letter["error"]["type"] == "Death"
    assert letter["error"]["message"] == "process a/0 died while it went through the loop alone, 3 times"
    discard(project)


@pytest.mark.slow
def test_a_job_that_a_node_stops_is_stopped_by_it_each_time(project: Project) -> None:
    project.write("flow.py", FLOW)
    project.replace("flow.py", "def work(n: int):\n    die(n)", """@node(on_error="stop")
def work(n: int):
    if n == 5:
        raise ValueError("no further")""")  # fmt: skip
    for _ in range(5):
        assert "stopped the job" in project.run("run", "flow.py", "--quiet", status=1).stderr
    assert take_results(project) == list(range(5))
    discard(project)


@pytest.mark.slow
def test_a_value_beside_a_producer_that_raises_each_time_is_not_taken_for_deadly(project: Project) -> None:
    project.write("flow.py", FLOW)
    project.replace("flow.py", "def work(n: int):\n    die(n)", """async def broken():
    while not Path("mended").exists():
        await asyncio.sleep(0.01)
        if Path("five").exists():
            Path("five").unlink()
            raise ValueError("no further")
    yield 0

async def work(n: int):
    while n == 5 and not Path("mended").exists():
        Path("five").touch()
        await asyncio.sleep(0.01)
    return n""")  # fmt: skip
    project.replace(
        "flow.py", "graph.add(numbers)))", "graph.add(numbers)))\n    graph.add(lambda n: None, graph.add(broken))"
    )
    failed = project.run("run", "flow.py", "--quiet", status=1)
    assert "without having done anything" in failed.stderr
    (project.folder / "mended").touch()
    project.run("run", "flow.py", "--quiet")
    assert take_results(project) == list(range(10))


@pytest.mark.slow
def test_it_goes_on_when_its_node_is_mended(project: Project) -> None:
    project.write("flow.py", FLOW)
    project.run("run", "flow.py", "--quiet", status=3)
    take_results(project)
    (project.folder / "mended").touch()
    project.run("dead-letters", "flow.py", "--requeue")
    assert "10 items done, 0 failed" in project.run("run", "flow.py", "--quiet").stdout
    assert take_results(project) == [5]


@pytest.mark.slow
@pytest.mark.parametrize("deadly", [{0}, {9}, {5, 6}, {0, 9}], ids=str)
def test_it_may_stand_anywhere(project: Project, deadly: set[int]) -> None:
    project.write("flow.py", FLOW.replace("{5}", str(deadly)))
    done = project.run("run", "flow.py", "--quiet", status=3)
    assert f"{10 - len(deadly)} items done, {len(deadly)} failed" in done.stdout
    assert take_results(project) == [n for n in range(10) if n not in deadly]
    discard(project)


@pytest.mark.slow
@pytest.mark.parametrize(("most", "deadly"), [(1, set(range(10))), (5, {0}), (5, {3, 4})], ids=str)
def test_it_is_tried_alone_as_often_as_is_said(project: Project, most: int, deadly: set[int]) -> None:
    project.write("flow.py", FLOW.replace("{5}", str(deadly)))
    project.write("main.py", ENGINE)
    done = project.run("main.py", str(most), program="python")
    assert f"{10 - len(deadly)} done, {len(deadly)} failed" in done.stdout
    assert take_results(project) == [n for n in range(10) if n not in deadly]
    assert [letter["attempt"] for letter in letters(project)] == [most] * len(deadly)
    discard(project)


@pytest.mark.slow
@pytest.mark.parametrize("sink", ["that are sent on", "that stay in the loop"])
def test_among_very_many_values_it_is_found_soon(project: Project, sink: str) -> None:
    project.write("flow.py", FLOW.replace("{5}", "{90_000}").replace("range(10)", "range(100_000)"))
    if sink == "that stay in the loop":
        project.replace("flow.py", 'graph.add(QueueWriter("out"), graph.add(work, graph.add(numbers)))', (
            "graph.add(work, graph.add(numbers))"))  # fmt: skip
    done = project.run("run", "flow.py", "--quiet", status=3)
    assert "99,999 items done, 1 failed" in done.stdout
    assert done.stderr.count("exited with status 7") == 5
    if sink == "that are sent on":
        assert take_results(project) == [n for n in range(100_000) if n != 90_000]
    discard(project)


@pytest.mark.slow
def test_a_producer_that_ends_its_process_itself_stops_the_job(project: Project) -> None:
    project.write("flow.py", FLOW.replace("{5}", "{}"))
    project.replace("flow.py", "yield from range(10)", "yield from range(100)\n    os._exit(9)")
    done = project.run("run", "flow.py", "--quiet", status=1)
    assert "exited with status 9, for the 5th time in a row without having done anything" in done.stderr
    assert take_results(project) == list(range(100))
    assert letters(project) == []
    discard(project)


@pytest.mark.slow
def test_producers_that_seek_in_several_processes_have_deadly_values_of_their_own(project: Project) -> None:
    project.write("flow.py", FLOW.replace("{5}", "{40, 41, 43}"))
    project.replace("flow.py", "def numbers():\n    yield from range(10)", """@node(shardable=True)
class Numbers(ProducerNode[int]):
    def produce(self, ctx):
        yield from range(ctx.shard + ctx.position * ctx.shards, 100, ctx.shards)""")  # fmt: skip
    project.replace("flow.py", "graph.add(numbers)", "graph.add(Numbers())")
    project.replace("flow.py", 'graph.loop("a")', 'graph.loop("a", processes=2)')
    done = project.run("run", "flow.py", "--quiet", status=3)
    assert "97 items done, 3 failed" in done.stdout
    assert take_results(project) == [n for n in range(100) if n not in {40, 41, 43}]
    discard(project)


@pytest.mark.slow
def test_of_a_generator_what_was_committed_stays_and_the_rest_fails(project: Project) -> None:
    project.write("flow.py", FLOW.replace("{5}", "{5_020_000}"))
    project.replace("flow.py", "def work(n: int):\n    die(n)\n    return n", """def work(n: int):
    for k in range(25_000 if n == 5 else 1):
        die(1_000_000 * n + k)
        yield 1_000_000 * n + k""")  # fmt: skip
    assert "1 failed" in project.run("run", "flow.py", "--quiet", status=3).stdout
    others = [1_000_000 * n for n in range(10) if n != 5]
    found = take_results(project)
    parts = [n for n in found if n not in others]
    assert parts == list(range(5_000_000, 5_000_000 + len(parts)))
    assert 10_000 <= len(parts) < 20_000
    assert len(found) == len(parts) + len(others)
    (project.folder / "mended").touch()
    project.run("dead-letters", "flow.py", "--requeue")
    project.run("run", "flow.py", "--quiet")
    assert take_results(project) == list(range(5_000_000 + len(parts), 5_025_000))


@pytest.mark.slow
def test_what_nodes_remember_is_exact(project: Project) -> None:
    project.write("flow.py", FLOW.replace("{5}", "{5, 700}").replace("range(10)", "range(1000)"))
    project.replace("flow.py", "def work(n: int):\n    die(n)\n    return n", """def work(n: int, ctx: Context):
    ctx.state["count"] = ctx.state.get("count", 0) + 1
    die(n)
    return [n, ctx.state["count"]]""")  # fmt: skip
    assert "998 items done, 2 failed" in project.run("run", "flow.py", "--quiet", status=3).stdout
    others = [n for n in range(1000) if n not in {5, 700}]
    assert take_results(project) == [[n, place + 1] for place, n in enumerate(others)]
    discard(project)


@pytest.mark.slow
@pytest.mark.parametrize("ordered", [True, False])
def test_of_values_in_hand_at_once_only_the_deadly_one_fails(project: Project, ordered: bool) -> None:
    project.write("flow.py", FLOW.replace("{5}", "{5, 120}").replace("range(10)", "range(200)"))
    project.replace("flow.py", "def work(n: int):\n    die(n)\n    return n", f"""@node(ordered={ordered})
class Work(NonBlockingNode):
    async def execute(self, n: int):
        await asyncio.sleep(0.01 * (n % 3))
        die(n)
        return n""")  # fmt: skip
    project.replace("flow.py", "graph.add(work", "graph.add(Work()")
    assert "198 items done, 2 failed" in project.run("run", "flow.py", "--quiet", status=3).stdout
    assert take_results(project) == [n for n in range(200) if n not in {5, 120}]
    discard(project)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["a live producer", "a producer that waits for its values"])
def test_values_of_another_producer_are_not_taken_for_deadly(project: Project, kind: str) -> None:
    project.write("flow.py", FLOW.replace("{5}", "{3, 4, 5}"))
    project.replace("flow.py", "def work", """@node(LIVE)
async def others():
    for n in range(100, 130):
        await asyncio.sleep(0.01)
        yield n

def work""".replace("LIVE", "live=True" if kind == "a live producer" else ""))  # fmt: skip
    project.replace("flow.py", 'with graph.loop("a"):', """with graph.loop("a"):
    graph.add(QueueWriter("too"), graph.add(work, graph.add(others), id="slow"))""")  # fmt: skip
    project.run("run", "flow.py", "--quiet", status=3)
    assert [letter["input"] for letter in letters(project)] == [{"numbers": n} for n in (3, 4, 5)]
    assert take_results(project) == [n for n in range(10) if n not in {3, 4, 5}]
    discard(project)


@pytest.mark.slow
def test_what_waits_for_its_retry_is_not_taken_for_deadly(project: Project) -> None:
    project.write("flow.py", FLOW.replace("{5}", "{8, 9}"))
    project.replace("flow.py", "def work(n: int):\n", """@node(retry=Retry(times=1))
def work(n: int, ctx: Context):
    if n < 8 and ctx.attempt == 1:
        raise ValueError("only once")
    time.sleep(0.05)
""")  # fmt: skip
    assert "8 items done, 2 failed" in project.run("run", "flow.py", "--quiet", status=3).stdout
    assert take_results(project) == list(range(8))
    discard(project)


@pytest.mark.slow
def test_a_call_that_is_under_way_is_not_taken_for_deadly(project: Project) -> None:
    project.write("flow.py", FLOW.replace("def numbers():", "async def numbers():"))
    project.replace("flow.py", "    yield from range(10)", """    for n in range(10):
        await asyncio.sleep(0.3 if n == 5 else 0)
        yield n""")  # fmt: skip
    project.replace("flow.py", "def work(n: int):\n    die(n)\n    return n", """@node(retry=Retry(times=1))
class Work(NonBlockingNode):
    async def execute(self, n: int, ctx: Context):
        die(n)
        if n == 0 and ctx.attempt == 1:
            raise ValueError("only once")
        await asyncio.sleep(1 if n == 0 else 0)
        return n""")  # fmt: skip
    project.replace("flow.py", "graph.add(work", "graph.add(Work()")
    assert "9 items done, 1 failed" in project.run("run", "flow.py", "--quiet", status=3).stdout
    assert take_results(project) == [n for n in range(10) if n != 5]
    discard(project)


@pytest.mark.slow
def test_a_live_producer_goes_on_with_its_next_value(project: Project) -> None:
    project.write("flow.py", FLOW.replace("{5}", "range(0, 60, 10)"))
    project.replace("flow.py", "def numbers():\n    yield from range(10)", """@node(live=True)
def numbers():
    for n in range(len(list(Path.cwd().glob("given *"))), 60):
        Path(f"given {n}").touch()
        time.sleep(0.02)
        yield n""")  # fmt: skip
    done = project.run("run", "flow.py", "--quiet")
    assert done.stderr.count("exited with status 7") == 6
    assert not set(take_results(project)) & set(range(0, 60, 10))
    assert letters(project) == []


@pytest.mark.slow
def test_it_is_found_too_when_the_supervisor_dies_with_the_process(project: Project) -> None:
    project.write(
        "flow.py", FLOW.replace("os._exit(7)", "os.kill(os.getppid(), signal.SIGKILL)\n            os._exit(7)")
    )
    for _ in range(4):
        project.run("run", "flow.py", "--quiet", status=-signal.SIGKILL)
    assert "9 items done, 1 failed" in project.run("run", "flow.py", "--quiet", status=3).stdout
    assert take_results(project) == [n for n in range(10) if n != 5]
    discard(project)
