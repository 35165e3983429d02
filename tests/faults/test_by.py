"""Loops with `by=` whose processes die: items of one key stay in order, and what is remembered of them is exact."""

from __future__ import annotations

import json
import os
import signal
from contextlib import suppress
from typing import Any

import pytest
import redis

from tests.faults.test_exact import pid
from tests.project import Project
from tests.support import eventually

pytestmark = pytest.mark.slow

FLOW = """
    import os, time
    from pathlib import Path
    from nodeflow import BlockingNode, Context, Graph, ProducerNode, Retry, node
    from nodes import QueueReader, QueueWriter

    def mark(ctx):
        Path("pid " + ctx.slot.replace("/", "-")).write_text(str(os.getpid()))

    class Events(ProducerNode[dict]):
        def setup(self, ctx):
            mark(ctx)
        def produce(self, ctx):
            for n in range(3000):
                time.sleep(0.0005)
                yield {"user": f"user{n % 13}", "n": n}

    @node(retry=Retry(times=2, backoff=0.05))
    class Count(BlockingNode):
        def setup(self, ctx):
            mark(ctx)
        def execute(self, event: dict, ctx: Context):
            if event["n"] % 501 == 7 and ctx.attempt <= 2:
                raise OSError("not yet")
            if event["n"] == 2000 and Path("kills").exists():
                os._exit(7)
            ctx.state[event["user"]] = ctx.state.get(event["user"], 0) + 1
            return [event["user"], event["n"], ctx.state[event["user"]]]
        def finish(self, ctx: Context):
            mark(ctx)
            for user, count in ctx.state.items():
                yield [user, "all", count]

    graph = Graph("TOKEN")
    with graph.loop("read"):
        events = graph.add(Events())
    with graph.loop("count", processes=3, by="user"):
        count = graph.add(Count(), events)
    with graph.loop("out"):
        graph.add(QueueWriter("out"), count)
"""


def expected(without: int | None = None) -> dict[str, list[Any]]:
    """What comes of each user, in order."""
    found = {}
    for user in range(13):
        numbers = [n for n in range(user, 3000, 13) if n != without]
        found[f"user{user}"] = [*([n, place + 1] for place, n in enumerate(numbers)), ["all", len(numbers)]]
    return found


def take(project: Project) -> dict[str, list[Any]]:
    """What was pushed, by user, oldest first."""
    with redis.Redis.from_url(project.url) as client:
        key = f"{{{project.token}}}:queue:out"
        values = [json.loads(data) for data in reversed(client.lrange(key, 0, -1))]
        client.delete(key)
    found: dict[str, list[Any]] = {}
    for user, *rest in values:
        found.setdefault(user, []).append(rest)
    return found


@pytest.mark.parametrize("slot", ["read-0", "count-0", "count-1", "count-2"])
def test_items_of_one_key_stay_in_order_when_processes_die(project: Project, slot: str) -> None:
    project.write("flow.py", FLOW)
    with project.started("run", "flow.py", "--quiet") as supervisor:
        for _ in range(2):  # the third death with one item in hand, as at the start, would end that
            with suppress(ProcessLookupError):
                os.kill(pid(project, slot), signal.SIGKILL)
        output, errors = supervisor.communicate(timeout=60)
    assert supervisor.returncode == 0, output + errors
    assert take(project) == expected()
    assert "3,000 items done, 0 failed" in output


def test_a_frozen_process_whose_slot_was_taken_over_changes_nothing_when_it_wakes(project: Project) -> None:
    project.write("flow.py", FLOW)
    with project.started("run", "flow.py", "--quiet") as supervisor:
        frozen = pid(project, "count-1")
        os.kill(frozen, signal.SIGSTOP)
        supervisor.kill()
        supervisor.wait(20)
    with project.started("run", "flow.py", "--quiet") as supervisor:
        pid(project, "count-1")
        os.kill(frozen, signal.SIGCONT)
        _, errors = supervisor.communicate(timeout=60)
    assert supervisor.returncode == 0, errors
    assert take(project) == expected()


def test_an_item_that_kills_its_process_ends_the_order_of_its_key_only_there(project: Project) -> None:
    project.write("flow.py", FLOW)
    (project.folder / "kills").touch()
    done = project.run("run", "flow.py", "--quiet", status=3)
    assert take(project) == expected(without=2000)
    assert "2,999 items done, 1 failed" in done.stdout
    (project.folder / "kills").unlink()
    assert "requeued 1 dead letter" in project.run("dead-letters", "flow.py", "--requeue").stdout
    project.run("run", "flow.py", "--quiet")
    user = f"user{2000 % 13}"
    assert take(project)[user][0] == [2000, len(range(2000 % 13, 3000, 13))]


def test_another_number_of_processes_waits_until_no_item_does(project: Project) -> None:
    project.write("flow.py", FLOW)
    with project.started("run", "flow.py", "--quiet") as supervisor:
        pid(project, "count-0")
        with redis.Redis.from_url(project.url) as client:
            key = f"{{{project.token}}}:queue:out"
            eventually(lambda: client.llen(key) > 100, within=20, what="results come")
        supervisor.send_signal(signal.SIGTERM)
        supervisor.wait(20)
    project.replace("flow.py", "processes=3", "processes=2")
    project.run("run", "flow.py", "--quiet")
    assert take(project) == expected()


DYING = """
    import os
    from pathlib import Path
    from nodeflow.engine.jobs import reslotting

    move, reslotting.MOST_LEASED = reslotting.Reslotting._move, 20

    async def move_or_die(self, queue, consumer, target):
        def target_or_death(item):
            if (left := Path("moves")).exists():
                left.write_text(str(int(left.read_text()) - 1))
                if left.read_text() == "0":
                    left.unlink()
                    os.kill(os.getpid(), 9)
            return target(item)

        await move(self, queue, consumer, target_or_death)

    reslotting.Reslotting._move = move_or_die
"""


def test_a_supervisor_that_dies_while_it_divides_items_anew_costs_nothing(project: Project) -> None:
    line = '            if event["n"] % 501'
    text = FLOW.replace("0.0005", "0").replace(line, f"            time.sleep(0.01)\n{line}")
    project.write("flow.py", DYING + text)
    with project.started("run", "flow.py", "--quiet") as supervisor:
        with redis.Redis.from_url(project.url) as client:
            keys = [f"{{{project.token}}}:queue:queue_events_count.{slot}" for slot in range(3)]
            eventually(lambda: sum(map(client.llen, keys)) > 1500, within=20, what="items wait")
        supervisor.send_signal(signal.SIGTERM)
        supervisor.wait(20)
    project.replace("flow.py", "processes=3", "processes=2")
    project.replace("flow.py", "sleep(0.01)", "sleep(0)")
    deaths = 0
    for number in (10, 50, 400, 10, 50, 400, 400):
        (project.folder / "moves").write_text(str(number))
        deaths += project.run("run", "flow.py", "--quiet", status=None).returncode == -signal.SIGKILL
    assert deaths > 3
    (project.folder / "moves").unlink(missing_ok=True)
    project.run("run", "flow.py", "--quiet")
    assert take(project) == expected()


def test_what_other_programs_push_is_divided_too(project: Project) -> None:
    text = FLOW.replace('    with graph.loop("read"):\n        events = graph.add(Events())\n', "")
    assert text != FLOW
    project.write(
        "flow.py", text.replace("graph.add(Count(), events)", 'graph.add(Count(), graph.add(QueueReader("jobs")))')
    )
    with redis.Redis.from_url(project.url) as client, project.started("run", "flow.py", "--quiet") as supervisor:
        jobs, out = (f"{{{project.token}}}:queue:{name}" for name in ("jobs", "out"))
        client.lpush(jobs, json.dumps({"usr": "nobody"}), "}{")
        client.lpush(f"{{{project.token}}}:queue:loop_count.0", json.dumps({"holds": True}))
        for n in range(3000):
            client.lpush(jobs, json.dumps({"user": f"user{n % 13}", "n": n}))
            if n % 1000 == 500:
                os.kill(pid(project, f"count-{n // 1000}"), signal.SIGKILL)
        eventually(lambda: client.llen(out) == 3000, within=40, what="all come through")
        supervisor.send_signal(signal.SIGTERM)
        _, errors = supervisor.communicate(timeout=20)
    assert "exited with status" not in errors
    found = take(project)
    assert found == {user: values[:-1] for user, values in expected().items()}
    letters = [json.loads(line) for line in project.run("dead-letters", "flow.py", "--json").stdout.splitlines()]
    assert sorted("gives no key for {'usr': 'nobody'}" in letter["error"]["message"] for letter in letters) == [0, 0, 1]
    project.run("dead-letters", "flow.py", "--clear")
    with redis.Redis.from_url(project.url) as client:
        client.delete(*client.keys(f"*{project.token}*job*"))


REFUSED = """
    from pathlib import Path
    from nodeflow import Graph
    from nodes import QueueWriter

    def events():
        yield from ({"user": n % 5, "n": n} for n in range(20))

    def work(event: dict):
        if event["n"] == 7 and not Path("mended").exists():
            raise ValueError("not yet")
        return [event["user"], event["n"]]

    graph = Graph("TOKEN")
    with graph.loop("read"):
        given = graph.add(events)
    with graph.loop("count", processes=3, by="user"):
        worked = graph.add(work, given)
        graph.add(QueueWriter("out"), worked)
"""


@pytest.mark.parametrize("processes", [1, 3])
def test_what_was_refused_and_requeued_counts_as_failed_no_more(project: Project, processes: int) -> None:
    project.write("flow.py", REFUSED)
    project.run("run", "flow.py", "--quiet", status=3)
    (project.folder / "mended").touch()
    project.replace("flow.py", "graph.add(work, given)", 'graph.add(work, given, id="other")')
    project.run("dead-letters", "flow.py", "--requeue")
    refused = project.run("run", "flow.py", "--quiet", status=3)
    assert "1 failed" in refused.stdout
    (letter,) = map(json.loads, project.run("dead-letters", "flow.py", "--json").stdout.splitlines())
    assert "has no node" in letter["error"]["message"]
    project.replace("flow.py", ', id="other"', "")
    project.replace("flow.py", "processes=3", f"processes={processes}")
    project.run("dead-letters", "flow.py", "--requeue")
    done = project.run("run", "flow.py", "--quiet")
    assert "0 failed" in done.stdout
    assert sorted(n for values in take(project).values() for (n,) in values) == list(range(20))
