"""Many dead letters on the command line: counted, chosen among, and dealt with by what was chosen."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.project import Project

pytestmark = pytest.mark.timeout(120)  # each runs many commands

FLOW = """
    from pathlib import Path
    from nodeflow import Graph

    class Broken(Exception):
        pass

    def numbers():
        yield from range(20)

    def parse(n: int) -> int:
        if n < 12 and not Path("mended").exists():
            raise ValueError(f"no [b]number[/b]: {n}\\nreally")
        if n in (12, 13):
            raise Broken("beyond repair")
        return n

    def check(n: int) -> None:
        if n == 19:
            raise ValueError("too large")

    graph = Graph("TOKEN")
    with graph.loop("a"):
        n = graph.add(numbers)
    with graph.loop("b"):
        parsed = graph.add(parse, n)
    with graph.loop("c"):
        graph.add(check, parsed)
"""


@pytest.fixture
def failed(project: Project) -> Iterator[Project]:
    """A project whose graph was run: 12 and 2 items have failed in one node, one in another."""
    project.write("flow.py", FLOW)
    project.run("run", "flow.py", "--quiet", status=3)
    yield project
    project.run("dead-letters", "flow.py", "--clear")


def letters(project: Project, *options: str) -> list[dict[str, Any]]:
    done = project.run("dead-letters", "flow.py", "--json", *options)
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_they_are_counted_by_loop_node_and_error(failed: Project) -> None:
    groups = letters(failed, "--summary")
    assert [(each["count"], each["loop"], each["node"], each["error"]) for each in groups] == [
        (12, "b", "parse", "ValueError"),
        (2, "b", "parse", "Broken"),
        (1, "c", "check", "ValueError"),
    ]
    assert groups[0]["message"] == "no [b]number[/b]: 11\nreally"
    assert groups[0]["oldest"] <= groups[0]["newest"]
    shown = failed.run("dead-letters", "flow.py", "--summary")
    assert "no [b]number[/b]: 11 " in shown.stdout
    assert "15 dead letters of graph" in shown.stderr
    assert len(letters(failed, "--summary", "--error", "ValueError")) == 2


@pytest.mark.slow
def test_they_are_chosen_by_node_error_job_number_and_id(failed: Project) -> None:
    everything = letters(failed)
    (job,) = {each["job"] for each in everything}
    for options, count in [
        (["--node", "parse"], 14),
        (["--error", "ValueError"], 13),
        (["--error", "Value"], 0),
        (["--error", "TOO LARGE"], 1),
        (["--node", "parse", "--error", "ValueError"], 12),
        (["--job", job], 15),
        (["--job", "another"], 0),
        (["--node", "parse", "--limit", "3"], 3),
        ([everything[4]["letter"]], 1),
    ]:
        assert len(letters(failed, *options)) == count, options
    assert letters(failed, "--limit", "3") == everything[:3]
    assert "no node 'prase'" in failed.run("dead-letters", "flow.py", "--node", "prase", status=2).stderr
    assert "has the id 'nope'" in failed.run("dead-letters", "flow.py", "nope", status=2).stderr
    both = failed.run("dead-letters", "flow.py", "--requeue", "--clear", status=2)
    assert "one at a time" in both.stderr


def test_only_the_first_are_shown_unless_more_are_asked_for(failed: Project) -> None:
    shown = failed.run("dead-letters", "flow.py")
    assert shown.stdout.count("  id ") == 10
    assert "15 dead letters of graph" in shown.stderr
    assert "shown are the oldest 10" in shown.stderr
    shown = failed.run("dead-letters", "flow.py", "--limit", "15")
    assert shown.stdout.count("  id ") == 15
    assert "shown are" not in shown.stderr


@pytest.mark.slow
def test_those_that_were_chosen_are_requeued(failed: Project) -> None:
    (failed.folder / "mended").touch()
    which = ["--node", "parse", "--error", "ValueError", "--limit", "5"]
    done = failed.run("dead-letters", "flow.py", "--requeue", *which)
    assert "requeued 5 dead letters" in done.stdout
    assert done.stderr == ""
    failed.run("run", "flow.py", "--quiet", status=3)
    assert len(letters(failed, "--error", "ValueError", "--node", "parse")) == 7
    done = failed.run("dead-letters", "flow.py", "--requeue", "--error", "ValueError")
    assert "requeued 8 dead letters" in done.stdout
    failed.run("run", "flow.py", "--quiet", status=3)
    assert [each["error"]["message"] for each in letters(failed)] == ["beyond repair"] * 2 + ["too large"]


@pytest.mark.slow
def test_those_that_were_chosen_are_removed(failed: Project) -> None:
    done = failed.run("dead-letters", "flow.py", "--clear", "--error", "Broken")
    assert done.stdout == "removed 2 dead letters\n"
    first = letters(failed)[0]["letter"]
    assert "removed 1 dead letter\n" in failed.run("dead-letters", "flow.py", first, "--clear").stdout
    assert len(letters(failed)) == 12
    assert "removed 12 dead letters" in failed.run("dead-letters", "flow.py", "--clear").stdout
    assert letters(failed) == []


@pytest.mark.slow
def test_of_several_jobs_the_last_ones_are_requeued_unless_one_is_named(failed: Project) -> None:
    (first,) = {each["job"] for each in letters(failed)}
    failed.run("run", "flow.py", "--quiet", status=3)
    done = failed.run("dead-letters", "flow.py", "--requeue", "--error", "Broken", "--limit", "1")
    assert "requeued 1 dead letter\n" in done.stdout
    assert "2 of other jobs stay: name one of these with --job" in done.stderr
    failed.run("run", "flow.py", "--quiet", status=3)
    done = failed.run("dead-letters", "flow.py", "--requeue", "--job", first, "--error", "Broken")
    assert (done.stdout, done.stderr) == ("requeued 2 dead letters\n", "")
    failed.run("run", "flow.py", "--quiet", status=3)


@pytest.mark.slow
def test_on_a_terminal_it_is_asked_first(failed: Project) -> None:
    shown = failed.on_a_terminal("dead-letters", "flow.py", "--requeue", "--node", "parse", answer="n\n", status=1)
    assert "Requeue: 14 dead letters of graph" in shown
    assert "Broken" in shown
    shown = failed.on_a_terminal("dead-letters", "flow.py", "--clear", answer="\x03", status=1)
    assert "Aborted" in shown
    assert len(letters(failed)) == 15
    shown = failed.on_a_terminal("dead-letters", "flow.py", "--clear", "--error", "Broken", answer="y\n")
    assert "Remove for good: 2 dead letters of graph" in shown
    assert "removed 2 dead letters" in shown
    shown = failed.on_a_terminal("dead-letters", "flow.py", "--clear", "--yes", answer="\n")
    assert "?" not in shown
    assert "removed 13 dead letters" in shown
