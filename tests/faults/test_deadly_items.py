"""Items of channels that end their process: no other item goes with them, whichever are in hand."""

from __future__ import annotations

import signal

import pytest

from tests.faults.test_deadly_values import FLOW, discard, letters
from tests.faults.test_exact import take_results
from tests.project import Project
from tests.support import eventually

BESIDE = """
    import asyncio, os
    from nodeflow import Graph
    from nodes import QueueWriter

    def numbers():
        yield from range(40)

    def others():
        yield from range(100, 400)

    async def work(n: int):
        await asyncio.sleep(0.1 if n == 5 else 0.002)  # items of both channels are in hand meanwhile
        if n == 5:
            os._exit(7)
        return n

    graph = Graph("TOKEN")
    with graph.loop("a"):
        n = graph.add(numbers)
    with graph.loop("b"):
        k = graph.add(others)
    with graph.loop("c"):
        graph.add(QueueWriter("out"), graph.add(work, n))
        graph.add(QueueWriter("too"), graph.add(work, k, id="beside"))
"""


@pytest.mark.slow
def test_items_of_another_channel_are_not_taken_for_deadly(project: Project) -> None:
    project.write("flow.py", BESIDE)
    done = project.run("run", "flow.py", "--quiet", status=3)
    assert [(letter["node"], letter["input"]) for letter in letters(project)] == [("work", {"numbers": 5})]
    assert done.stderr.count("process c/0 of loop 'c' exited with status 7") == 4
    assert take_results(project) == [n for n in range(40) if n != 5]
    assert take_results(project, "too") == list(range(100, 400))
    discard(project)


@pytest.mark.slow
@pytest.mark.parametrize("is_behind_a_channel", [True, False])
def test_an_item_whose_process_is_ended_with_its_job_is_not_taken_for_deadly(
    project: Project, is_behind_a_channel: bool
) -> None:
    project.write("flow.py", FLOW)
    project.replace("flow.py", "    die(n)", """    if n == 5 and not Path("mended").exists():
        Path("began").touch()
        time.sleep(600)""")  # fmt: skip
    if is_behind_a_channel:
        project.replace("flow.py", "graph.add(work, graph.add(numbers))", "graph.add(work, given)")
        project.replace(
            "flow.py",
            'with graph.loop("a"):\n',
            'with graph.loop("a"):\n    given = graph.add(numbers)\nwith graph.loop("b"):\n',
        )
    for _ in range(4):
        with project.started("run", "flow.py", "--quiet") as supervisor:
            eventually((project.folder / "began").exists, within=20, what="the item is in hand")
            (project.folder / "began").unlink()
            supervisor.send_signal(signal.SIGINT)
            supervisor.send_signal(signal.SIGTERM)
            supervisor.communicate(timeout=20)
    (project.folder / "mended").touch()
    project.run("run", "flow.py", "--quiet")
    assert take_results(project) == list(range(10))


@pytest.mark.slow
def test_items_of_a_node_that_does_not_block_do_not_go_with_a_deadly_one(project: Project) -> None:
    project.write("flow.py", FLOW.replace("range(10)", "range(20)"))
    project.replace("flow.py", "def work(n: int):\n    die(n)\n    return n", """class Work(NonBlockingNode):
    async def execute(self, n: int):
        await asyncio.sleep(0.5 if n == 3 else 0.1)
        die(n)
        return n""")  # fmt: skip
    project.replace("flow.py", "graph.add(work, graph.add(numbers))", "graph.add(Work(), given)")
    project.replace(
        "flow.py",
        'with graph.loop("a"):\n',
        'with graph.loop("a"):\n    given = graph.add(numbers)\nwith graph.loop("b"):\n',
    )
    assert "19 items done, 1 failed" in project.run("run", "flow.py", "--quiet", status=3).stdout
    assert take_results(project) == [n for n in range(20) if n != 5]
    discard(project)
