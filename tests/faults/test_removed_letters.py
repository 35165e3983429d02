"""Dead letters that are removed: what waits for them takes them as skipped, and only that."""

from __future__ import annotations

import json
from typing import Any

import pytest
import redis

from tests.faults.test_exact import take_results
from tests.faults.test_letters import GATHERS, job_statuses, shown_letters, two_jobs
from tests.project import Project
from tests.support import eventually

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]  # each runs many commands


def removed(project: Project) -> Any:
    """Remove the dead letters, run, and take what came of it."""
    project.run("dead-letters", "flow.py", "--clear")
    assert "0 failed" in project.run("run", "flow.py", "--quiet").stdout
    return take_results(project)


@pytest.mark.parametrize("loop", ['"b"', '"b", by=lambda k: k % 2, processes=2'])
def test_what_waits_for_a_dead_letter_that_is_removed_goes_on_without_it(project: Project, loop: str) -> None:
    project.write("flow.py", GATHERS.replace("FIRST", "10").replace('"b"', loop))
    project.run("run", "flow.py", "--quiet", status=3)
    assert removed(project) == [[10, 12]]
    assert job_statuses(project) == ["done"]
    assert shown_letters(project) == []


def test_dead_letters_of_several_jobs_are_removed_one_job_after_the_other(project: Project) -> None:
    two_jobs(project)
    done = project.run("dead-letters", "flow.py", "--clear")
    assert "removed 1 dead letter\n" in done.stdout
    assert "the next run goes on with job" in done.stderr
    assert "1 of other jobs stay" in done.stderr
    assert "removed 0" in project.run("dead-letters", "flow.py", "--clear").stdout
    project.run("run", "flow.py", "--quiet")
    assert take_results(project) == [[10, 12]]
    assert removed(project) == [[20, 22]]


def test_a_dead_letter_that_is_removed_while_its_job_runs_lets_that_go_on(project: Project) -> None:
    project.write("flow.py", GATHERS.replace("FIRST", "10"))
    (project.folder / "hold").touch()
    with project.started("run", "flow.py", "--quiet") as supervisor:
        eventually(lambda: shown_letters(project), within=20, what="a part is a dead letter")
        assert "removed 1 dead letter" in project.run("dead-letters", "flow.py", "--clear").stdout
        found = eventually(lambda: take_results(project), within=20, what="the others are gathered")
        (project.folder / "hold").unlink()
        supervisor.wait(20)
    assert found == [[10, 12]]
    assert job_statuses(project) == ["done"]


@pytest.mark.parametrize(
    ("old", "new"),
    [("graph.add(Collect(), worked)", "worked"), ("graph.add(work, many)", 'graph.add(work, many, id="x")')],
)
def test_a_dead_letter_for_which_nothing_waits_or_that_can_not_go_on_is_only_removed(
    project: Project, old: str, new: str
) -> None:
    text = GATHERS.replace("FIRST", "10")
    project.write("flow.py", text.replace(old, new) if new == "worked" else text)
    project.run("run", "flow.py", "--quiet", status=3)
    take_results(project)
    project.write("flow.py", text.replace(old, new))
    assert "removed 1 dead letter\n" in project.run("dead-letters", "flow.py", "--clear").stdout
    assert job_statuses(project) == ["done"]


JOINS = """
    from nodeflow import BlockingNode, Graph, node
    from nodes import Collect, QueueWriter

    def numbers():
        yield from range(3)

    def upto(n: int):
        yield from (f"{n}.{k}" for k in range(n))
        if n == 2:
            raise ValueError("not all")

    def work(n: int):
        if n == 1:
            raise ValueError("never")
        return n * 10

    def least(n: int, worked: int = -1):
        return [n, worked]

    def both(n: int, worked: int):
        return [n, worked]

    def same(value):
        return value

    class Last(BlockingNode):
        def execute(self, worked: int):
            yield from ()
        def finish(self, ctx):
            yield from ("last", "last but one")
            raise OSError("no end")

    graph = Graph("TOKEN")
    with graph.loop("a"):
        n = graph.add(numbers)
        many = graph.add(upto, n)
    with graph.loop("b"):
        worked = graph.add(work, n)
        last = graph.add(Last(), worked)
    with graph.loop("c"):
        each, last_each = graph.add(same, many, id="each"), graph.add(same, last, id="last_each")
    with graph.loop("d"):
        graph.add(QueueWriter("least"), graph.add(least, n, worked))
        graph.add(QueueWriter("both"), graph.add(both, n, worked))
        graph.add(QueueWriter("each"), graph.add(Collect(), each))
        graph.add(QueueWriter("last"), graph.add(Collect(), last_each))
"""


def take_each(project: Project) -> dict[str, list[Any]]:
    """What was pushed, by queue."""
    found = {}
    with redis.Redis.from_url(project.url) as client:
        for name in ("least", "both", "each", "last"):
            key = f"{{{project.token}}}:queue:{name}"
            found[name] = sorted(json.loads(data) for data in client.lrange(key, 0, -1))
            client.delete(key)
    return found


def test_joins_take_what_is_removed_as_skipped_and_fan_outs_end_where_they_failed(project: Project) -> None:
    project.write("flow.py", JOINS)
    project.run("run", "flow.py", "--quiet", status=3)
    pairs = [[0, 0], [2, 20]]
    assert take_each(project) == {"least": pairs, "both": pairs, "each": [[], ["1.0"]], "last": [[], []]}
    assert {letter["node"] for letter in shown_letters(project)} == {"upto", "work", "last"}
    project.run("dead-letters", "flow.py", "--clear")
    assert "0 failed" in project.run("run", "flow.py", "--quiet", status=None).stdout
    found = take_each(project)
    assert found == {"least": [[1, -1]], "both": [], "each": [["2.0", "2.1"]], "last": [["last", "last but one"]]}


PART = """
    import threading
    from pathlib import Path
    from nodeflow import Graph
    from nodes import QueueWriter

    def numbers():
        yield from range(4)

    def there(n: int):
        return n

    def here(n: int):
        return threading.Lock() if n == 1 else n

    def told(value):
        with Path("told").open("a") as file:
            file.write("1" + chr(10))

    def both(one, other):
        return "both"

    graph = Graph("TOKEN")
    with graph.loop("a"):
        n = graph.add(numbers)
    with graph.loop("b"):
        first = graph.add(there, n)
    with graph.loop("c"):
        second = graph.add(here, n)
        graph.add(told, second)
        graph.add(QueueWriter("out"), graph.add(both, second, first))
"""


def test_a_part_of_a_join_that_could_not_be_kept_is_only_removed(project: Project) -> None:
    project.write("flow.py", PART)
    project.run("run", "flow.py", "--quiet", status=3)
    assert "so it can't be kept for 'both'" in str(shown_letters(project))
    assert (take_results(project), project.lines("told")) == (["both"] * 3, [1] * 4)
    assert "removed 1 dead letter\n" in project.run("dead-letters", "flow.py", "--clear").stdout
    assert job_statuses(project) == ["done"]
