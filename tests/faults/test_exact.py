"""Jobs whose processes and supervisors are killed give what one clean pass gives: nothing lost, nothing twice."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.project import Project
from tests.support import eventually

pytestmark = pytest.mark.slow

COUNT = 300
SPREAD = 5
LARGE = 25_000

FLOW = f"""
    import os, time
    from pathlib import Path
    from nodeflow import BlockingNode, Graph, ProducerNode, Retry, node
    from nodes import Collect, QueueWriter

    def mark(ctx):
        Path("pid " + ctx.slot.replace("/", "-")).write_text(str(os.getpid()))

    class Numbers(ProducerNode[int]):
        def setup(self, ctx):
            mark(ctx)
        def produce(self, ctx):
            for n in range({COUNT}):
                time.sleep(0.002)
                yield n

    def spread(n: int):
        yield from range({LARGE} if n == 150 else n % {SPREAD})

    @node(retry=Retry(times=2, backoff=0.1))
    class Work(BlockingNode):
        def setup(self, ctx):
            mark(ctx)
        def execute(self, k: int, ctx):
            if k == 3 and ctx.attempt == 1:
                raise ValueError("only once")
            time.sleep(0.0002)
            return k * k

    class Total(BlockingNode):
        def setup(self, ctx):
            mark(ctx)
        def execute(self, n: int, found: list):
            return [n, len(found), sum(found)]

    graph = Graph("TOKEN")
    with graph.loop("a"):
        n = graph.add(Numbers())
        many = graph.add(spread, n)
    with graph.loop("b", processes=2):
        squares = graph.add(Work(), many)
    with graph.loop("c"):
        total = graph.add(Total(), n, graph.add(Collect(), squares))
        graph.add(QueueWriter("out"), total)
"""


def expected() -> list[list[int]]:
    """What comes of the flow."""
    sizes = [LARGE if n == 150 else n % SPREAD for n in range(COUNT)]
    return [[n, size, sum(k * k for k in range(size))] for n, size in enumerate(sizes)]


def take_results(project: Project, queue: str = "out") -> list[Any]:
    """What the job has pushed to a queue, in order of its first member."""
    with redis.Redis.from_url(project.url) as client:
        key = f"{{{project.token}}}:queue:{queue}"
        found = [json.loads(data) for data in client.lrange(key, 0, -1)]
        client.delete(key)
    return sorted(found)


def pid(project: Project, slot: str) -> int:
    """The process of a slot, when it is there."""
    path = project.folder / f"pid {slot}"
    text = eventually(lambda: path.exists() and path.read_text(), within=20, what=f"{slot} is at work")
    path.unlink()
    return int(str(text))


def has_begun(project: Project) -> bool:
    """Whether results come."""
    with redis.Redis.from_url(project.url) as client:
        return bool(client.llen(f"{{{project.token}}}:queue:out"))


@pytest.mark.parametrize("slot", ["a-0", "b-0", "b-1", "c-0"])
def test_a_process_that_is_killed_is_started_again_and_the_results_are_exact(project: Project, slot: str) -> None:
    project.write("flow.py", FLOW)
    with project.started("run", "flow.py", "--quiet") as supervisor:
        eventually(lambda: has_begun(project), within=30, what="results come")
        for _ in range(2):
            os.kill(pid(project, slot), signal.SIGKILL)
        output, errors = supervisor.communicate(timeout=60)
    assert supervisor.returncode == 0, errors
    assert errors.count(f"process {slot.replace('-', '/')} of loop") == 2
    assert "was killed by SIGKILL: it is started again in" in errors
    assert take_results(project) == expected()
    assert f"{COUNT} items done, 0 failed" in output


@pytest.mark.parametrize("seed", range(2))
def test_processes_that_are_killed_at_random_leave_exact_results(project: Project, seed: int) -> None:
    project.write("flow.py", FLOW)
    chance = random.Random(seed)
    with project.started("run", "flow.py", "--quiet") as supervisor:
        eventually(lambda: has_begun(project), within=30, what="results come")
        for _ in range(8):
            slot = chance.choice(["a-0", "b-0", "b-1", "c-0"])
            if supervisor.poll() is None and (project.folder / f"pid {slot}").exists():
                with suppress(ProcessLookupError):
                    os.kill(pid(project, slot), signal.SIGKILL)
            with_patience(supervisor, chance.uniform(0.2, 1.0))
        _, errors = supervisor.communicate(timeout=60)
    assert supervisor.returncode == 0, errors
    assert take_results(project) == expected()


def with_patience(process: subprocess.Popen[str], seconds: float) -> None:
    """Give a process some time to go on, or to end."""
    with suppress(subprocess.TimeoutExpired):
        process.wait(seconds)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_job_whose_supervisor_ends_goes_on_in_the_next_run(project: Project, number: signal.Signals) -> None:
    project.write("flow.py", FLOW)
    with project.started("run", "flow.py", "--quiet") as supervisor:
        eventually(lambda: has_begun(project), within=30, what="results come")
        supervisor.send_signal(number)
        supervisor.wait(20)
    statuses = [json.loads(line)["status"] for line in project.run("jobs", "flow.py", "--json").stdout.splitlines()]
    assert statuses == ["running" if number is signal.SIGKILL else "drained"]
    project.run("run", "flow.py", "--quiet")
    assert take_results(project) == expected()
    (job,) = map(json.loads, project.run("jobs", "flow.py", "--json").stdout.splitlines())
    assert (job["status"], job["runs"]) == ("done", 2)


STATE = """
    import os, time
    from pathlib import Path
    from nodeflow import BlockingNode, Context, Graph, ProducerNode, node
    from nodes import QueueWriter

    def mark(ctx):
        Path("pid " + ctx.slot.replace("/", "-")).write_text(str(os.getpid()))

    @node(shardable=True)
    class Numbers(ProducerNode[int]):
        def setup(self, ctx):
            mark(ctx)
        def produce(self, ctx):
            first = ctx.position if ctx.shard else 0  # one seeks, one doesn't
            for n in range(first * ctx.shards + ctx.shard, 2000, ctx.shards):
                time.sleep(0.001)
                yield n

    class Tally(BlockingNode):
        def setup(self, ctx):
            mark(ctx)
        def execute(self, n: int, ctx: Context):
            ctx.state[n % 7] = ctx.state.get(n % 7, 0) + n
            ctx.state.setdefault("seen", []).append(n % 10)
            ctx.push("seen", n)
            if n % 100 == 99:
                raise ValueError(n)
            yield from ()
        def finish(self, ctx):
            for key, value in ctx.state.items():
                yield [str(key), value if key != "seen" else len(value)]

    graph = Graph("TOKEN")
    with graph.loop("a", processes=2):
        n = graph.add(Numbers())
    with graph.loop("b"):
        tally = graph.add(Tally(), n)
    with graph.loop("c"):
        graph.add(QueueWriter("out"), tally)
"""


@pytest.mark.parametrize("slot", ["a-0", "a-1", "b-0"])
def test_states_positions_and_pushes_are_exact(project: Project, slot: str) -> None:
    project.write("flow.py", STATE)
    with project.started("run", "flow.py", "--quiet") as supervisor:
        for _ in range(3):
            with suppress(ProcessLookupError):
                os.kill(pid(project, slot), signal.SIGKILL)
        _, errors = supervisor.communicate(timeout=60)
    assert supervisor.returncode == 3, errors
    good = [n for n in range(2000) if n % 100 != 99]
    sums = [[str(r), sum(n for n in good if n % 7 == r)] for r in range(7)]
    assert take_results(project) == [*sums, ["seen", len(good)]]
    with redis.Redis.from_url(project.url) as client:
        key = f"{{{project.token}}}:queue:seen"
        assert sorted(json.loads(data) for data in client.lrange(key, 0, -1)) == good
        client.delete(key)
    assert "removed 20 dead letters" in project.run("dead-letters", "flow.py", "--clear").stdout


def test_a_sharded_producer_goes_on_in_as_many_processes_only(project: Project) -> None:
    project.write("flow.py", STATE)
    with project.started("run", "flow.py", "--quiet") as supervisor:
        pid(project, "b-0")
        supervisor.terminate()
        supervisor.wait(20)
    project.replace("flow.py", 'graph.loop("a", processes=2)', 'graph.loop("a", processes=3)')
    done = project.run("run", "flow.py", "--quiet", status=1)
    assert "begun with producer 'numbers' in 2 processes" in done.stderr
    project.replace("flow.py", "range(first", "range(2000 + first")
    project.run("run", "flow.py", "--quiet", "--fresh", status=0)
    take_results(project)
    with redis.Redis.from_url(project.url) as client:
        client.delete(f"{{{project.token}}}:queue:seen")


def test_a_job_that_is_done_is_followed_by_a_new_one(project: Project) -> None:
    project.write("flow.py", FLOW.replace("time.sleep(0.002)", "pass"))
    for _ in range(2):
        project.run("run", "flow.py", "--quiet")
        assert take_results(project) == expected()
    assert len(project.run("jobs", "flow.py").stdout.splitlines()) == 2


def test_a_node_may_stop_the_job_which_goes_on_when_it_is_mended(project: Project) -> None:
    text = FLOW.replace("@node(retry=Retry(times=2, backoff=0.1))", "@node(on_error='stop')")
    project.write("flow.py", text.replace("ctx.attempt == 1", "not Path('mended').exists()"))
    for _ in range(5):  # more often than an item may end its process
        done = project.run("run", "flow.py", "--quiet", status=1)
    assert "node 'work' stopped the job on item" in done.stderr
    assert "ValueError: only once" in done.stderr
    shown = project.run("jobs", "flow.py").stdout
    assert "stopped" in shown
    (project.folder / "mended").touch()
    project.run("run", "flow.py", "--quiet")
    assert take_results(project) == expected()


def test_a_slot_that_only_dies_is_given_up_with_the_reason(project: Project) -> None:
    before, work = FLOW.split("class Work")
    project.write("flow.py", before + "class Work" + work.replace("mark(ctx)", "os._exit(7)", 1))
    done = project.run("run", "flow.py", "--quiet", status=1)
    assert "exited with status 7, for the 5th time in a row without having done anything" in done.stderr
    with redis.Redis.from_url(project.url) as client:
        client.delete(*client.keys(f"*{project.token}*"))


def test_an_item_that_kills_its_process_goes_to_the_dead_letters_and_all_others_come_through(
    project: Project, tmp_path: Path
) -> None:
    text = FLOW.replace("time.sleep(0.0002)", "k == 20_000 and os._exit(7)")
    project.write("flow.py", text)
    done = project.run("run", "flow.py", "--quiet", status=3)
    assert take_results(project) == [each for each in expected() if each[0] != 150]
    (letter,) = map(json.loads, project.run("dead-letters", "flow.py", "--json").stdout.splitlines())
    assert letter["node"] == "work"
    assert letter["input"] == {"spread": 20_000}
    assert (letter["error"]["type"], letter["attempt"]) == ("Death", 3)
    assert "died, was cut off or was replaced while it held the item, 3 times" in letter["error"]["message"]
    assert "process b/" in done.stderr
    project.replace("flow.py", "k == 20_000 and os._exit(7)", "pass")
    project.run("dead-letters", "flow.py", "--requeue")
    project.run("run", "flow.py", "--quiet")
    assert take_results(project) == [each for each in expected() if each[0] == 150]


def test_a_gathering_goes_on_without_an_item_that_kills_its_process(project: Project) -> None:
    text = FLOW.replace("time.sleep(0.0002)", "k == 20_000 and os._exit(7)").replace("Collect()", "Collect('skip')")
    project.write("flow.py", text)
    project.run("run", "flow.py", "--quiet", status=3)
    found = {n: (size, total) for n, size, total in take_results(project)}
    assert len(found) == COUNT
    assert found[150] == (LARGE - 1, sum(k * k for k in range(LARGE)) - 20_000**2)
    project.run("dead-letters", "flow.py", "--clear")


LIVE = """
    import json, os, time
    from pathlib import Path
    from nodeflow import Context, Graph, ProducerNode, node
    from nodes import QueueWriter

    @node(live=True)
    class Clock(ProducerNode[int]):
        def produce(self, ctx):
            Path("pid " + ctx.slot.replace("/", "-")).write_text(str(os.getpid()))
            at = Path("at")
            for n in range(int(at.read_text()) if at.exists() else 0, 40):
                at.write_text(str(n + 1))
                time.sleep(0.02)
                yield n

    def several(n: int):
        for k in range(30_000 if n == 5 else 2):
            if (n, k) == (5, 20_000) and not Path("died").exists():
                Path("died").touch()
                while Path("hold").exists():
                    time.sleep(0.01)
                os._exit(7)
            yield [n, k]

    graph = Graph("TOKEN")
    graph.add(QueueWriter("out"), graph.add(several, graph.add(Clock())))
"""


def test_a_live_producer_goes_on_with_what_comes_and_with_what_was_under_way(project: Project) -> None:
    project.write("flow.py", LIVE)
    project.run("run", "flow.py", "--quiet")
    found = take_results(project)
    values = {n for n, _ in found}
    assert values >= {0, 4, 5, 6, 39}  # what came before was committed or not when the process died
    assert found == [[n, k] for n in sorted(values) for k in range(30_000 if n == 5 else 2)]


WAITING = """
    from pathlib import Path
    from nodeflow import Graph, Retry, node
    from nodes import QueueWriter

    def numbers():
        yield from range(5)

    @node(retry=Retry(times=3, backoff=600))
    def work(n: int):
        if n == 2:
            Path("failed").touch()
            raise OSError("not now")
        return n

    graph = Graph("TOKEN")
    with graph.loop("a"):
        n = graph.add(numbers)
    with graph.loop("b"):
        graph.add(QueueWriter("out"), graph.add(work, n))
"""


def test_what_is_to_be_tried_again_and_deaths_are_seen_at_once(project: Project) -> None:
    project.write("flow.py", WAITING)

    def job() -> dict[str, Any]:
        found = [json.loads(line) for line in project.run("jobs", "flow.py", "--json").stdout.splitlines()]
        return found[-1] if found else {"waiting": {}}

    with project.started("run", "flow.py", "--quiet") as supervisor:
        eventually(lambda: job()["waiting"] == {"loop_b": 1}, within=30, what="one waits for its next attempt")
        assert job()["nodes"]["work"] == [4, 0]
        os.kill(loop_process(supervisor.pid, "b/0"), signal.SIGKILL)
        eventually(lambda: job()["deaths"] == 1, within=20, what="the death is counted")
        supervisor.send_signal(signal.SIGTERM)
        output, _ = supervisor.communicate(timeout=20)
    assert "items that still wait: 1 in loop_b" in output
    with redis.Redis.from_url(project.url) as client:
        client.delete(*client.keys(f"*{project.token}*"))


def loop_process(supervisor: int, slot: str) -> int:
    """The process of a slot, by what a list of processes shows."""
    for child in Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split():
        if f"\0nodeflow:{slot}\0" in Path(f"/proc/{child}/cmdline").read_text():
            return int(child)
    raise LookupError(slot)
