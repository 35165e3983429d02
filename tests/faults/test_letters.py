"""Dead letters of jobs: requeued they go on where they failed; what can't go on stays, with the reason."""

from __future__ import annotations

import json
import shutil
from typing import Any

import pytest
import redis

from tests.faults.test_exact import COUNT, FLOW, expected, take_results
from tests.project import Project
from tests.support import eventually

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]  # each runs many commands


def test_a_requeued_dead_letter_goes_on_at_its_node_and_completes_what_waits_for_it(project: Project) -> None:
    project.write("flow.py", FLOW.replace("ctx.attempt == 1", "not Path('mended').exists()"))
    done = project.run("run", "flow.py", "--quiet", status=3)
    failed = sum(size > 3 for _, size, _ in expected())
    assert f"{COUNT - failed} items done, {failed} failed" in done.stdout
    assert len(take_results(project)) == COUNT - failed
    (project.folder / "mended").touch()
    letters = [json.loads(line) for line in project.run("dead-letters", "flow.py", "--json").stdout.splitlines()]
    assert [letter["attempt"] for letter in letters] == [3] * failed
    assert "requeued 1 dead letter" in project.run("dead-letters", "flow.py", letters[0]["letter"], "--requeue").stdout
    assert "no dead letter" in project.run("dead-letters", "flow.py", "unknown", "--requeue", status=2).stderr
    project.run("run", "flow.py", "--quiet", status=3)
    assert len(take_results(project)) == 1
    assert f"requeued {failed - 1} dead letters" in project.run("dead-letters", "flow.py", "--requeue").stdout
    done = project.run("run", "flow.py", "--quiet")
    assert f"{COUNT} items done, 0 failed" in done.stdout
    assert len(take_results(project)) == failed - 1


def test_work_of_a_node_that_is_gone_is_refused_with_its_name(project: Project) -> None:
    project.write("flow.py", FLOW.replace("ctx.attempt == 1", "True"))
    project.run("run", "flow.py", "--quiet", status=3)
    take_results(project)
    project.replace("flow.py", "graph.add(Work(), many)", 'graph.add(Work(), many, id="other")')
    project.run("dead-letters", "flow.py", "--requeue")
    done = project.run("run", "flow.py", "--quiet", status=3)
    letters = [json.loads(line) for line in project.run("dead-letters", "flow.py", "--json").stdout.splitlines()]
    assert f"{len(letters)} failed" in done.stdout
    assert {letter["error"]["message"][:31] for letter in letters} == {"refused: loop 'b' has no node '"}
    project.run("dead-letters", "flow.py", "--clear")


BLOBS = """
    import random
    from pathlib import Path
    from nodeflow import Graph
    from nodes import Collect, QueueWriter

    def numbers():
        yield from range(4)

    def upto(n: int):
        yield from range(n)

    def large(k: int):
        if k == 2 and not Path("mended").exists():
            raise ValueError("not yet")
        return random.Random(k).randbytes(1_500_000).hex()

    def several(found: list):
        return len(found)

    graph = Graph("TOKEN")
    with graph.loop("a"):
        many = graph.add(large, graph.add(upto, graph.add(numbers)))
    with graph.loop("b"):
        graph.add(QueueWriter("out"), graph.add(several, graph.add(Collect(), many)))
"""


def test_a_part_whose_blob_is_gone_is_a_dead_letter_of_what_gathers_it(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NODEFLOW_BLOBS", str(project.folder / "blobs"))
    project.write("flow.py", BLOBS)
    project.run("run", "flow.py", "--quiet", status=3)
    assert take_results(project) == [0, 1, 2]
    (project.folder / "mended").touch()
    moved = project.folder / "moved"
    (project.folder / "blobs").rename(moved)
    project.run("dead-letters", "flow.py", "--requeue")
    project.run("run", "flow.py", "--quiet", status=3)
    (letter,) = map(json.loads, project.run("dead-letters", "flow.py", "--json").stdout.splitlines())
    assert "can't be read" in letter["error"]["message"]
    shutil.copytree(moved, project.folder / "blobs", dirs_exist_ok=True)
    project.run("dead-letters", "flow.py", "--requeue")
    project.run("run", "flow.py", "--quiet")
    assert take_results(project) == [3]


UNDER_WAY = """
    import time
    from pathlib import Path
    from nodeflow import Graph
    from nodes import QueueWriter

    def numbers():
        yield from range(3)

    def many(n: int):
        for k in range(25_000 if n == 1 else 2):
            if k == 15_000 and not Path("mended").exists():
                Path("under way").touch()
                time.sleep(60)
            yield [n, k]

    def same(n: int):
        return n

    graph = Graph("TOKEN")
    with graph.loop("a"):
        n = graph.add(numbers)
    with graph.loop("b"):
        children = graph.add(many, graph.add(same, n))
    with graph.loop("c"):
        graph.add(QueueWriter("out"), children)
"""


def is_written(project: Project) -> bool:
    """Whether there are results of the large one, and nothing is on the way to the writer."""
    with redis.Redis.from_url(project.url) as client:
        queue = f"{{{project.token}}}:queue:"
        channel = f"{queue}queue_many_queue_writer"
        return client.llen(f"{queue}out") > 4 and not client.exists(channel, f"{channel}:leases")


def test_what_is_left_of_an_item_that_the_graph_has_no_node_for_any_more_is_a_dead_letter(project: Project) -> None:
    project.write("flow.py", UNDER_WAY)
    with project.started("run", "flow.py", "--quiet") as supervisor:
        eventually(lambda: (project.folder / "under way").exists(), within=30, what="a part of it is committed")
        eventually(lambda: is_written(project), within=30, what="the writer has written that")
        supervisor.kill()
        supervisor.wait(20)
    (project.folder / "mended").touch()
    project.replace("flow.py", "graph.add(same, n))", 'graph.add(same, n), id="other")')
    done = project.run("run", "flow.py", "--quiet", status=3)
    assert "1 failed" in done.stdout, done.stdout
    (letter,) = map(json.loads, project.run("dead-letters", "flow.py", "--json").stdout.splitlines())
    assert letter["error"]["message"].startswith("refused: loop 'b' has no node 'many' any more")
    project.replace("flow.py", ', id="other"', "")
    project.run("dead-letters", "flow.py", "--requeue")
    project.run("run", "flow.py", "--quiet")
    assert take_results(project) == [[n, k] for n in range(3) for k in range(25_000 if n == 1 else 2)]


FINISHES = """
    from pathlib import Path
    from nodeflow import BlockingNode, Graph
    from nodes import QueueWriter

    def events():
        for n in range(40):
            yield {"user": n % 8}

    class Total(BlockingNode):
        def execute(self, event: dict, ctx):
            ctx.state[event["user"]] = ctx.state.get(event["user"], 0) + 1
            yield from ()
        def finish(self, ctx):
            if 3 in ctx.state and not Path("mended").exists():
                raise OSError("not yet")
            yield from ([user, count] for user, count in ctx.state.items())

    graph = Graph("TOKEN")
    with graph.loop("a"):
        event = graph.add(events)
    with graph.loop("b", by="user", processes=2):
        total = graph.add(Total(), event)
    with graph.loop("c"):
        graph.add(QueueWriter("out"), total)
"""


def test_a_requeued_finish_is_called_alone_and_gives_its_values_once(project: Project) -> None:
    project.write("flow.py", FINISHES)
    project.run("run", "flow.py", "--quiet", status=3)
    (project.folder / "mended").touch()
    project.run("dead-letters", "flow.py", "--requeue")
    project.run("run", "flow.py", "--quiet")
    assert take_results(project) == [[user, 5] for user in range(8)]


def test_what_a_producer_gave_goes_on_when_it_can_be_sent(project: Project) -> None:
    project.write("flow.py", FINISHES.replace('by="user"', 'by="usr"'))
    (project.folder / "mended").touch()
    assert "40 failed" in project.run("run", "flow.py", "--quiet", status=3).stdout
    shown = [json.loads(line) for line in project.run("dead-letters", "flow.py", "--json").stdout.splitlines()]
    assert [letter["input"] for letter in shown] == [{"events": {"user": n % 8}} for n in range(40)]
    project.replace("flow.py", 'by="usr"', 'by="user"')
    project.run("dead-letters", "flow.py", "--requeue")
    project.run("run", "flow.py", "--quiet")
    assert take_results(project) == [[user, 5] for user in range(8)]


def shown_letters(project: Project) -> list[dict[str, Any]]:
    """The dead letters as `--json` shows them, oldest first."""
    return [json.loads(line) for line in project.run("dead-letters", "flow.py", "--json").stdout.splitlines()]


def job_statuses(project: Project) -> list[str]:
    """The statuses of the jobs, oldest first."""
    return [json.loads(line)["status"] for line in project.run("jobs", "flow.py", "--json").stdout.splitlines()]


GATHERS = """
    import asyncio
    from pathlib import Path
    from nodeflow import Graph
    from nodes import Collect, QueueWriter

    async def numbers():
        yield 3
        while Path("hold").exists():
            await asyncio.sleep(0.01)

    def upto(n: int):
        yield from range(n)

    def work(k: int):
        if k == 1 and not Path("mended").exists():
            raise ValueError("not yet")
        if k == 2:
            Path("worked").touch()
        return k + FIRST

    graph = Graph("TOKEN")
    with graph.loop("a"):
        many = graph.add(upto, graph.add(numbers))
    with graph.loop("b"):
        worked = graph.add(work, many)
    with graph.loop("c"):
        graph.add(QueueWriter("out"), graph.add(Collect(), worked))
"""


def two_jobs(project: Project) -> list[str]:
    """Two jobs of which one part each is a dead letter; the ids of these."""
    for first in (10, 20):
        project.write("flow.py", GATHERS.replace("FIRST", str(first)))
        project.run("run", "flow.py", "--quiet", status=3)
    (project.folder / "mended").touch()
    return [letter["letter"] for letter in shown_letters(project)]


def test_a_dead_letter_of_an_earlier_job_completes_what_waits_for_it_there(project: Project) -> None:
    letters = two_jobs(project)
    for number, values in enumerate([[10, 21, 12], [20, 21, 22]]):
        project.run("dead-letters", "flow.py", letters[number], "--requeue")
        assert job_statuses(project)[number] == "requeued"
        done = project.run("run", "flow.py", "--quiet")
        assert "of which dead letters were requeued" in done.stderr
        assert "0 failed" in done.stdout
        assert take_results(project) == [values]
    assert job_statuses(project) == ["done", "done"]


def killed_midway(project: Project) -> None:
    """Begin a job, and kill its supervisor while the producer waits; without `mended` it has a dead letter."""
    (project.folder / "hold").touch()
    (project.folder / "worked").unlink(missing_ok=True)
    with project.started("run", "flow.py", "--quiet") as supervisor:
        eventually(lambda: (project.folder / "worked").exists(), within=20, what="the job is at work")
        if not (project.folder / "mended").exists():
            eventually(lambda: shown_letters(project), within=20, what="a part is a dead letter")
        supervisor.kill()
        supervisor.wait(20)
    (project.folder / "hold").unlink()


def test_only_dead_letters_of_one_job_are_requeued_and_only_when_no_other_job_is_left(project: Project) -> None:
    letters = two_jobs(project)
    assert "name those of one job" in project.run("dead-letters", "flow.py", *letters, "--requeue", status=2).stderr
    killed_midway(project)
    left = project.run("dead-letters", "flow.py", letters[0], "--requeue", status=2)
    assert "isn't done: finish it with `nodeflow run`, or discard it" in left.stderr
    project.run("run", "flow.py", "--quiet")
    assert take_results(project) == [[20, 21, 22]]
    project.run("dead-letters", "flow.py", letters[1], "--requeue")
    assert "isn't done" in project.run("dead-letters", "flow.py", letters[0], "--requeue", status=2).stderr
    for values in ([20, 21, 22], [10, 21, 12]):
        project.run("run", "flow.py", "--quiet")
        assert take_results(project) == [values]
        project.run("dead-letters", "flow.py", "--requeue", *[each["letter"] for each in shown_letters(project)])


def test_what_was_requeued_and_is_discarded_leaves_the_job_done(project: Project) -> None:
    letters = two_jobs(project)
    project.run("dead-letters", "flow.py", letters[0], "--requeue")
    project.run("run", "flow.py", "--quiet", "--fresh")
    assert take_results(project) == [[20, 21, 22]]
    assert job_statuses(project) == ["done"] * 3
    project.run("dead-letters", "flow.py", letters[1], "--requeue")
    project.run("run", "flow.py", "--quiet")
    assert take_results(project) == [[20, 21, 22]]


@pytest.mark.parametrize("gathers", [True, False])
def test_a_dead_letter_of_a_discarded_job_goes_on_alone_or_not_at_all(project: Project, gathers: bool) -> None:
    text = GATHERS.replace("FIRST", "10")
    project.write("flow.py", text if gathers else text.replace("graph.add(Collect(), worked)", "worked"))
    killed_midway(project)
    (project.folder / "mended").touch()
    project.run("run", "flow.py", "--quiet", "--fresh")
    assert take_results(project)[-1] == ([10, 11, 12] if gathers else 12)
    (letter,) = shown_letters(project)
    done = project.run("dead-letters", "flow.py", letter["letter"], "--requeue", status=2 if gathers else 0)
    if gathers:
        assert "which was discarded" in done.stderr
        assert "push the input that it came of again" in done.stderr
        project.run("dead-letters", "flow.py", "--clear")
    else:
        project.run("run", "flow.py", "--quiet")
        assert take_results(project) == [11]


def test_letters_of_earlier_jobs_are_requeued_only_by_their_ids(project: Project) -> None:
    project.write("flow.py", FINISHES)
    for _ in range(2):
        project.run("run", "flow.py", "--quiet", status=3)
        take_results(project)
    (project.folder / "mended").touch()
    requeued = project.run("dead-letters", "flow.py", "--requeue")
    assert "requeued 1 dead letter" in requeued.stdout
    assert "1 of other jobs stay" in requeued.stderr
    project.run("run", "flow.py", "--quiet")
    assert len(take_results(project)) == 1
    (letter,) = map(json.loads, project.run("dead-letters", "flow.py", "--json").stdout.splitlines())
    assert "requeued 1 " in project.run("dead-letters", "flow.py", letter["letter"], "--requeue").stdout
    project.run("run", "flow.py", "--quiet", status=None)
    take_results(project)
    project.run("dead-letters", "flow.py", "--clear")
