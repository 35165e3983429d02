"""Nodes that end their process, cancel themselves, or leave something behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import redis

from tests.project import Project
from tests.support import eventually

FLOW = """
    import asyncio, os, subprocess, sys, time
    from pathlib import Path
    from nodeflow import BlockingNode, Graph, ProducerNode

    def numbers():
        yield from range(10)

    def work(n: int) -> int:
        BODY
        return n

    def sink(n: int) -> None:
        pass

    graph = Graph("TOKEN")
    with graph.loop("a"):
        n = graph.add(numbers)
    with graph.loop("b"):
        w = graph.add(work, n)
    with graph.loop("c"):
        graph.add(sink, w)
"""


def write(project: Project, body: str) -> None:
    project.write("flow.py", FLOW.replace("BODY", body))


def discard(project: Project) -> None:
    with redis.Redis.from_url(project.url) as client:
        client.delete("none", *client.keys(f"*{project.token}*"))


@pytest.mark.parametrize("loop", ["b", pytest.param("c", marks=pytest.mark.slow)])
@pytest.mark.parametrize("status", [0, *(pytest.param(each, marks=pytest.mark.slow) for each in (10, 11))])
@pytest.mark.slow
def test_an_item_whose_node_ends_its_process_fails_whatever_the_status(
    project: Project, loop: str, status: int
) -> None:
    project.write("flow.py", FLOW.replace("BODY", "") if loop == "c" else FLOW.replace("BODY", f"os._exit({status})"))
    if loop == "c":
        project.replace("flow.py", "    pass", f"    os._exit({status})")
    project.replace("flow.py", "range(10)", "range(2)")
    done = project.run("run", "flow.py", "--quiet", status=3)
    assert "0 items done, 2 failed" in done.stdout
    assert f"process {loop}/0 of loop '{loop}'" in done.stderr
    discard(project)


def test_sys_exit_in_a_node_fails_its_item_only(project: Project) -> None:
    write(project, "if n == 3: sys.exit()")
    assert "9 items done, 1 failed" in project.run("run", "flow.py", "--quiet", status=3).stdout
    discard(project)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["setup", "produce"])
def test_sys_exit_elsewhere_stops_the_job(project: Project, method: str) -> None:
    project.write(
        "flow.py",
        f"""
        import sys
        from nodeflow import Graph, ProducerNode

        class Numbers(ProducerNode[int]):
            def produce(self, ctx):
                yield 1
            def {method}(self, ctx):
                sys.exit()
                yield 1

        graph = Graph("TOKEN")
        with graph.loop("a"):
            n = graph.add(Numbers())
        with graph.loop("b"):
            graph.add(lambda n: None, n, id="sink")
        """.replace("yield 1\n\n", "yield 1\n\n" if method == "produce" else "\n"),
    )
    done = project.run("run", "flow.py", "--quiet", status=1)
    assert "process a/0 of loop 'a' exited with status 1" in done.stderr
    discard(project)


def test_a_node_that_raises_cancelled_error_fails_its_item(project: Project) -> None:
    write(project, "if n == 5: raise asyncio.CancelledError")
    assert "9 items done, 1 failed" in project.run("run", "flow.py", "--quiet", status=3).stdout
    letter = json.loads(project.run("dead-letters", "flow.py", "--json").stdout)
    assert "the node raised CancelledError" in letter["error"]["message"]
    discard(project)


@pytest.mark.slow
def test_an_error_that_cannot_be_shown_fails_its_item(project: Project) -> None:
    write(project, "class Odd(Exception): __str__ = __repr__ = lambda self: 1 / 0\n        if n == 5: raise Odd")
    assert "9 items done, 1 failed" in project.run("run", "flow.py", "--quiet", status=3).stdout
    discard(project)


def test_a_node_that_wants_too_much_memory_fails_its_item(project: Project) -> None:
    write(project, "n == 5 and bytearray(2_000_000_000)")
    project.replace("flow.py", 'graph.loop("b")', 'graph.loop("b", memory="600MB")')
    assert "9 items done, 1 failed" in project.run("run", "flow.py", "--quiet", status=3).stdout
    letter = json.loads(project.run("dead-letters", "flow.py", "--json").stdout)
    assert letter["error"]["type"] == "MemoryError"
    discard(project)


@pytest.mark.slow
def test_a_node_that_raises_what_is_no_exception_fails_its_item(project: Project) -> None:
    write(project, "class Odd(BaseException): pass\n        if n == 5: raise Odd")
    assert "9 items done, 1 failed" in project.run("run", "flow.py", "--quiet", status=3).stdout
    discard(project)


@pytest.mark.slow
def test_a_node_that_prints_very_much_holds_nothing_up(project: Project) -> None:
    write(project, "if n == 5: print('x' * 1_000_000 + chr(10), end='') if n else None")
    assert project.run("run", "flow.py", "--quiet").stdout.count("x") == 1_000_000
    discard(project)


@pytest.mark.slow
def test_a_process_that_a_node_detaches_does_not_hold_the_job_up(project: Project) -> None:
    body = """if n == 0:
            child = subprocess.Popen(["sleep", "600"], start_new_session=True)
            Path(f"pid {child.pid}").touch()"""
    write(project, body)
    assert "10 items done" in project.run("run", "flow.py", "--quiet").stdout
    (pid,) = (int(path.name.split()[1]) for path in project.folder.glob("pid *"))
    os.kill(pid, signal.SIGKILL)


@pytest.mark.slow
def test_a_loop_that_somebody_else_stops_is_started_again(project: Project) -> None:
    write(project, 'Path(f"pid {os.getpid()}").touch(); time.sleep(0.1)')
    with project.started("run", "flow.py", "--quiet") as supervisor:
        (path,) = eventually(lambda: list(project.folder.glob("pid *")), within=20, what="the loop is at work")
        os.kill(int(Path(path).name.split()[1]), signal.SIGTERM)
        output, errors = supervisor.communicate(timeout=30)
    assert supervisor.returncode == 0
    assert "10 items done, 0 failed" in output
    assert "process b/0 of loop 'b' was told to stop by somebody else" in errors
    assert len(list(project.folder.glob("pid *"))) == 2


@pytest.mark.slow
def test_large_values_travel(project: Project) -> None:
    project.write(
        "flow.py",
        FLOW.replace("BODY", "assert len(n) == 2_000_000")
        .replace("range(10)", "('x' * 2_000_000 for _ in range(100))")
        .replace(": int", ""),
    )
    assert "100 items done, 0 failed" in project.run("run", "flow.py", "--quiet").stdout


@pytest.mark.slow
def test_the_loops_start_in_the_folder_in_which_the_file_was_loaded(project: Project) -> None:
    (project.folder / "data").mkdir()
    write(project, "assert Path.cwd().name == 'data'")
    project.replace("flow.py", "from pathlib import Path", "from pathlib import Path\nos.chdir('data')")
    assert "10 items done, 0 failed" in project.run("run", "flow.py", "--quiet").stdout


@pytest.mark.slow
def test_a_node_that_prints_a_gigabyte_holds_nothing_up(project: Project) -> None:
    write(project, "if n == 5: [print('x' * 1_000_000) for _ in range(500)] + [print('x' * 500_000_000)]")
    with (project.folder / "printed").open("wb") as printed:
        subprocess.run(
            [sys.executable, "-P", "-m", "nodeflow", "run", "flow.py"],
            cwd=project.folder,
            env={**os.environ, "NODEFLOW_URL": project.url},
            stdout=printed,
            timeout=120,
            check=True,
        )
    path = project.folder / "printed"
    assert path.stat().st_size > 1_000_000_000
    with path.open("rb") as printed:
        printed.seek(-1000, os.SEEK_END)
        assert b"10 items done, 0 failed" in printed.read()
    path.unlink()


HELD_UP = {
    "a coroutine that waits for ever": ("async def work", "n == 5 and await asyncio.Event().wait()"),
    "a coroutine that waits and tidies up": ("async def work", "n == 5 and await waits_long()"),
    "a node of many at once that waits for ever": ("async def work", "n == 5 and await asyncio.Event().wait()"),
}


@pytest.mark.slow
@pytest.mark.parametrize("way", HELD_UP)
def test_a_node_that_never_gives_anything_fails_its_item(project: Project, way: str) -> None:
    signature, body = HELD_UP[way]
    write(project, body)
    project.replace("flow.py", "def work", signature)
    project.replace("flow.py", "def numbers", """async def waits_long():
        import anyio
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(anyio.sleep, 600)
            with anyio.fail_after(500):
                await anyio.sleep(600)

    def numbers""".replace("\n    ", "\n"))  # fmt: skip
    if "many" in way:
        project.replace("flow.py", "async def work(n: int) -> int:\n    ", NON_BLOCKING)
        project.replace("flow.py", "w = graph.add(work, n)", "w = graph.add(Work(), n)")
    project.replace("flow.py", 'graph.loop("b")', 'graph.loop("b", stall_timeout=0.5)')
    assert "9 items done, 1 failed" in project.run("run", "flow.py", "--quiet", status=3).stdout
    letter = json.loads(project.run("dead-letters", "flow.py", "--json").stdout)
    assert letter["error"]["message"] == "it held up its loop for 0.5 s, the stall_timeout of that"
    discard(project)


NON_BLOCKING = """from nodeflow import NonBlockingNode
class Work(NonBlockingNode):
  async def execute(self, n: int) -> int:
    """


@pytest.mark.slow
def test_a_node_that_blocks_its_process_fails_its_item(project: Project) -> None:
    write(project, "if n == 5: time.sleep(60)")
    project.replace("flow.py", 'graph.loop("b")', 'graph.loop("b", stall_timeout=0.5)')
    done = project.run("run", "flow.py", "--quiet", status=3)
    assert "9 items done, 1 failed" in done.stdout
    assert "a node held up its loop for 0.5 s" in done.stderr
    assert "time.sleep(60)" in done.stderr
    assert "asyncio" not in done.stderr
    (letter,) = map(json.loads, project.run("dead-letters", "flow.py", "--json").stdout.splitlines())
    assert (letter["node"], letter["input"]) == ("work", {"numbers": 5})
    discard(project)


@pytest.mark.slow
@pytest.mark.parametrize("is_async", [False, True])
def test_a_producer_may_wait_for_its_next_value_for_longer(project: Project, is_async: bool) -> None:
    write(project, "pass")
    project.replace("flow.py", "    yield from range(10)", """    for n in range(10):
        time.sleep(3) if n == 5 else None
        yield n""")  # fmt: skip
    if is_async:
        project.replace("flow.py", "def numbers", "async def numbers")
        project.replace("flow.py", "time.sleep(3) if", "await asyncio.sleep(3) if")
    project.replace("flow.py", 'graph.loop("a")', 'graph.loop("a", stall_timeout=0.5)')
    assert "10 items done" in project.run("run", "flow.py", "--quiet").stdout


@pytest.mark.slow
def test_a_fan_out_of_a_gigabyte_goes_through_a_loop_of_a_third_of_that(project: Project) -> None:
    write(project, "pass")
    project.replace("flow.py", "range(10)", "range(1)")
    project.replace("flow.py", "    return n\n", "    yield from (str(k) * 2_000 for k in range(100_000))\n")
    project.replace("flow.py", "-> int:", ":")
    project.replace("flow.py", "n: int) -> None", "n: str) -> None")
    project.replace("flow.py", 'graph.loop("b")', 'graph.loop("b", memory="330MB")')
    assert "100,000 items done, 0 failed" in project.run("run", "flow.py", "--quiet").stdout


DEADLY = """
    import os
    from nodeflow import Graph, node, Retry

    def numbers():
        yield from range(3)

    def parse(n: int) -> int:
        return 10 * n

    @node(retry=Retry(times=1, backoff=0.01))
    def check(n: int) -> int:
        if n == 10:
            os._exit(1)
        return n

    def last(n: int) -> int:
        if n == 20:
            os._exit(1)
        return n

    graph = Graph("TOKEN")
    with graph.loop("a"):
        n = graph.add(numbers)
    with graph.loop("b"):
        checked = graph.add(check, graph.add(parse, n))
    with graph.loop("c"):
        graph.add(last, checked)
"""


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_an_item_that_killed_its_process_shows_its_value_and_where_that_may_have_been(project: Project) -> None:
    project.write("flow.py", DEADLY)
    project.run("run", "flow.py", "--quiet", status=3)
    letters = list(map(json.loads, project.run("dead-letters", "flow.py", "--json").stdout.splitlines()))
    assert [(each["node"], each["input"]) for each in letters] == [("parse", {"numbers": 1}), ("last", {"check": 20})]
    several, one = (each["error"]["message"] for each in letters)
    assert several.endswith("3 times; it isn't known in which node: parse, check")
    assert one.endswith("3 times")
    assert "  numbers = 1\n" in project.run("dead-letters", "flow.py").stdout
    project.replace("flow.py", "if n == 10:", "if False:")
    project.run("dead-letters", "flow.py", "--requeue", "--node", "parse")
    project.run("run", "flow.py", "--quiet", status=3)
    assert len(project.run("dead-letters", "flow.py", "--json").stdout.splitlines()) == 1
    discard(project)
