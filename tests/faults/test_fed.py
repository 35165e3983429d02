"""What is requeued from above a generator, which then runs once more, only for what takes that."""

from __future__ import annotations

import json

import pytest

from tests.faults.test_exact import take_results
from tests.project import Project

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]  # each runs many commands


ABOVE = """
    from pathlib import Path
    from nodeflow import Graph
    from nodes import Collect, QueueWriter

    def numbers():
        yield from range(3)

    def late(n: int):
        if n == 1 and not Path("mended").exists():
            raise ValueError("not yet")
        return 100 * n

    def some(n: int):
        yield from range(3)

    def said(k: int):
        return f"q{k}"

    def both(outer: int, inner: str):
        return [outer, inner]

    graph = Graph("TOKEN")
    with graph.loop("a"):
        n = graph.add(numbers)
        paired = graph.add(both, graph.add(late, n), graph.add(said, graph.add(some, n)))
    with graph.loop("b"):
        graph.add(QueueWriter("out"), graph.add(Collect(), paired))
"""


def test_what_is_requeued_above_a_generator_meets_all_its_values(project: Project) -> None:
    project.write("flow.py", ABOVE)
    project.run("run", "flow.py", "--quiet", status=3)
    whole = [[[100 * n, f"q{k}"] for k in range(3)] for n in range(3)]
    assert take_results(project) == [whole[0], whole[2]]
    (project.folder / "mended").touch()
    project.run("dead-letters", "flow.py", "--requeue")
    project.run("run", "flow.py", "--quiet")
    assert take_results(project) == [whole[1]]


FED = """
    from pathlib import Path
    from nodeflow import Graph, Retry, node
    from nodes import QueueWriter

    def numbers():
        yield from range(2)

    def late(n: int):
        if not Path("mended").exists():
            raise ValueError("not yet")
        return n

    @node(RETRY)
    def some(n: int):
        yield 0
        if Path("mended").exists() and n == 1 and not Path("enough").exists():
            Path("enough").touch()
            raise OSError("for once")
        yield from (1, 2)

    def beside(outer: int, n: int):
        return ["beside", n]

    def said(k: int):
        return ["said", k]

    def deep(k: int):
        yield k

    def both(outer: int, inner: list, k: int):
        return [outer, k]

    graph = Graph("TOKEN")
    n = graph.add(numbers)
    outer, k = graph.add(late, n), graph.add(some, n)
    inner = graph.add(said, k)
    graph.add(QueueWriter("beside"), graph.add(beside, outer, n))
    graph.add(QueueWriter("said"), inner)
    graph.add(QueueWriter("both"), graph.add(both, outer, inner, graph.add(deep, k)))
"""


@pytest.mark.parametrize("is_retried", [True, False])
def test_a_generator_that_raises_when_it_runs_once_more_goes_on_for_what_was_requeued_only(
    project: Project, is_retried: bool
) -> None:
    project.write("flow.py", FED.replace("RETRY", "retry=Retry(times=2, backoff=0.05)" if is_retried else ""))
    project.run("run", "flow.py", "--quiet", status=3)
    assert [len(take_results(project, name)) for name in ("said", "beside", "both")] == [6, 0, 0]
    (project.folder / "mended").touch()
    project.run("dead-letters", "flow.py", "--requeue")
    project.run("run", "flow.py", "--quiet", status=0 if is_retried else 3)
    found = take_results(project, "both")
    if not is_retried:
        (letter,) = map(json.loads, project.run("dead-letters", "flow.py", "--json").stdout.splitlines())
        assert letter["node"] == "some"
        assert letter["error"]["message"] == "for once"
        assert len(found) == 4
        project.run("dead-letters", "flow.py", "--requeue")
        project.run("run", "flow.py", "--quiet")
        found += take_results(project, "both")
    assert sorted(found) == [[n, k] for n in range(2) for k in range(3)]
    assert sorted(take_results(project, "beside")) == [["beside", 0], ["beside", 1]]
    assert take_results(project, "said") == []
