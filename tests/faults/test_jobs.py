"""Jobs whose processes are killed or told to stop."""

from __future__ import annotations

import json
import re
import signal
from pathlib import Path

import pytest
import redis

from tests.project import Project
from tests.support import eventually

pytestmark = pytest.mark.slow

SLOW = """
    import json, os, time
    from pathlib import Path
    from nodeflow import Graph

    Path(f"pid {os.getpid()}").touch()

    def numbers():
        yield from range(100_000)

    def work(n: int) -> int:
        time.sleep(0.002)
        return n

    def note(n: int) -> None:
        with Path("out.jsonl").open("a") as file:
            file.write(f"{n}\\n")

    graph = Graph("TOKEN")
    with graph.loop("a"):
        n = graph.add(numbers)
    with graph.loop("b", processes=2):
        w = graph.add(work, n)
    with graph.loop("c"):
        graph.add(note, w)
"""


@pytest.fixture
def slow(project: Project) -> Project:
    """A project with a job that takes minutes."""
    project.write("slow.py", SLOW)
    return project


def job_processes(project: Project) -> list[int]:
    """The processes that have imported the graph and are alive."""
    pids = [int(path.name.split()[1]) for path in project.folder.glob("pid *")]
    return [pid for pid in pids if _is_alive(pid)]


def _is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def at_work(project: Project) -> bool:
    return len(job_processes(project)) >= 5 and len(project.lines("out.jsonl")) > 20


def discard(project: Project) -> None:
    with redis.Redis.from_url(project.url) as client:
        client.delete("none", *client.keys(f"*{project.token}*"))


def test_no_process_of_the_job_is_left_when_the_supervisor_is_killed(slow: Project) -> None:
    with slow.started("run", "slow.py", "--quiet") as supervisor:
        eventually(lambda: at_work(slow), within=20, what="all loops at work")
        supervisor.kill()
        eventually(lambda: job_processes(slow) == [], within=5, what="all processes of the job gone")
    discard(slow)


def test_what_a_node_started_goes_with_the_supervisor_too(project: Project) -> None:
    project.write(
        "flow.py",
        """
        import subprocess, time
        from pathlib import Path
        from nodeflow import Graph

        def start() -> None:
            Path(f"pid {subprocess.Popen(['sleep', '600']).pid}").touch()
            time.sleep(600)

        graph = Graph("TOKEN")
        graph.add(start)
        """,
    )
    with project.started("run", "flow.py", "--quiet") as supervisor:
        eventually(lambda: job_processes(project), within=20, what="the node's own process runs")
        supervisor.kill()
        eventually(lambda: job_processes(project) == [], within=5, what="it is gone")
    discard(project)


def test_after_a_killed_supervisor_fresh_discards_the_job(slow: Project) -> None:
    with slow.started("run", "slow.py", "--quiet") as supervisor:
        eventually(lambda: at_work(slow), within=20, what="all loops at work")
        supervisor.kill()
        eventually(lambda: job_processes(slow) == [], within=5, what="all processes of the job gone")
    assert " interrupted " in slow.run("jobs", "slow.py").stdout
    slow.replace("slow.py", "100_000", "10")
    assert "10 items done" in slow.run("run", "slow.py", "--fresh", "--quiet").stdout
    (record,) = map(json.loads, slow.run("jobs", "slow.py", "--json").stdout.splitlines())
    assert (record["status"], record["runs"]) == ("done", 1)


def test_a_job_whose_items_nobody_would_read_any_more_is_not_gone_on_with(slow: Project) -> None:
    with slow.started("run", "slow.py", "--quiet") as supervisor:
        eventually(lambda: at_work(slow), within=20, what="all loops at work")
        supervisor.kill()
        eventually(lambda: job_processes(slow) == [], within=5, what="all processes of the job gone")
    slow.replace("slow.py", "graph.add(work, n)", 'graph.add(work, n, id="worker")')
    refused = slow.run("run", "slow.py", "--quiet", status=1).stderr
    assert re.search(r"has [\d,]+ items in queue_numbers_work, and no loop of the graph reads that any more", refused)
    slow.replace("slow.py", "100_000", "10")
    assert "10 items done" in slow.run("run", "slow.py", "--fresh", "--quiet").stdout


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains_and_nothing_is_lost(slow: Project, number: signal.Signals) -> None:
    with slow.started("run", "slow.py", "--quiet") as supervisor:
        eventually(lambda: at_work(slow), within=20, what="all loops at work")
        supervisor.send_signal(number)
        output, errors = supervisor.communicate(timeout=30)
    assert supervisor.returncode == 0, errors
    assert job_processes(slow) == []
    assert "drained before the end" in output
    assert "--fresh" in output
    waiting = {queue: int(count.replace(",", "")) for count, queue in re.findall(r"([\d,]+) in (queue_\w+)", output)}
    with redis.Redis.from_url(slow.url) as client:
        prefix = f"{{{slow.token}}}:queue:"
        queued = {name: client.lrange(f"{prefix}{name}", 0, -1) for name in ("queue_numbers_work", "queue_work_note")}
        assert not client.keys(f"*{slow.token}*leased*")
        assert not client.keys(f"*{slow.token}*returned*")
    assert waiting == {name: len(items) for name, items in queued.items() if items}
    values = [json.loads(item)["value"] for items in queued.values() for item in items]
    handled = slow.lines("out.jsonl")
    assert sorted(values + handled) == list(range(len(values) + len(handled)))
    discard(slow)


def test_a_producer_that_waits_drains_at_once(project: Project) -> None:
    project.write(
        "flow.py",
        """
        import anyio
        from pathlib import Path
        from nodeflow import Graph

        async def ticks():
            yield 1
            Path("waiting").touch()
            await anyio.sleep(600)
            yield 2

        graph = Graph("TOKEN")
        with graph.loop("a"):
            t = graph.add(ticks)
        with graph.loop("b"):
            graph.add(lambda t: None, t, id="sink")
        """,
    )
    with project.started("run", "flow.py", "--quiet") as supervisor:
        eventually(lambda: (project.folder / "waiting").exists(), within=20, what="the producer waits")
        supervisor.terminate()
        output, errors = supervisor.communicate(timeout=10)
    assert supervisor.returncode == 0, errors
    assert re.match(r"[01] items? done, 0 failed, .*; drained before the end", output)
    discard(project)


def test_a_second_signal_ends_the_job_at_once(project: Project) -> None:
    project.write(
        "stuck.py",
        """
        import os, time
        from pathlib import Path
        from nodeflow import Graph

        def stuck() -> None:
            Path(f"pid {os.getpid()}").touch()
            time.sleep(600)

        graph = Graph("TOKEN")
        graph.add(stuck)
        """,
    )
    with project.started("run", "stuck.py", "--quiet") as supervisor:
        eventually(lambda: job_processes(project), within=20, what="the node runs")
        supervisor.terminate()
        with pytest.raises(Exception, match="timed out"):
            supervisor.wait(1)
        supervisor.terminate()
        _, errors = supervisor.communicate(timeout=5)
    assert supervisor.returncode == 1
    assert "second signal" in errors
    assert job_processes(project) == []
    discard(project)


def test_a_process_that_cannot_set_up_stops_the_job_with_its_traceback(project: Project) -> None:
    project.write(
        "flow.py",
        """
        from nodeflow import BlockingNode, Graph

        class Broken(BlockingNode):
            def setup(self, ctx):
                raise OSError("no such device")
            def execute(self, n: int) -> None:
                pass

        graph = Graph("TOKEN")
        graph.add(Broken(), graph.add(lambda: 1, id="one"))
        """,
    )
    done = project.run("run", "flow.py", "--quiet", status=1)
    assert "OSError: no such device\nraised in setup() of node 'broken'" in done.stderr
    assert "process main/0 of loop 'main' exited with status 1" in done.stderr
    discard(project)


def test_a_producer_that_raises_stops_the_job_before_others_take_it_for_the_end(project: Project) -> None:
    project.write(
        "flow.py",
        """
        from pathlib import Path
        from nodeflow import BlockingNode, Graph

        def numbers():
            yield 1
            raise OSError("lost the source")

        class Count(BlockingNode):
            def execute(self, n: int) -> None:
                pass
            def finish(self, ctx) -> None:
                Path("finished").touch()

        graph = Graph("TOKEN")
        with graph.loop("a"):
            n = graph.add(numbers)
        with graph.loop("b"):
            graph.add(Count(), n)
        """,
    )
    done = project.run("run", "flow.py", "--quiet", status=1)
    assert "OSError: lost the source\nraised by the producer 'numbers'" in done.stderr
    assert "process a/0 of loop 'a'" in done.stderr
    assert not (project.folder / "finished").exists()
    discard(project)


def test_a_job_drains_while_its_producer_waits_for_room(slow: Project) -> None:
    slow.replace("slow.py", "time.sleep(0.002)", "time.sleep(0.05)")
    with slow.started("run", "slow.py", "--quiet") as supervisor, redis.Redis.from_url(slow.url) as client:
        queue = f"{{{slow.token}}}:queue:queue_numbers_work"
        eventually(lambda: client.llen(queue) >= 9_900, within=20, what="the channel is full")
        supervisor.terminate()
        output, errors = supervisor.communicate(timeout=10)
    assert supervisor.returncode == 0, errors
    assert "drained before the end" in output
    assert "killed" not in errors
    discard(slow)


def test_a_second_supervisor_is_refused_and_harms_nothing(slow: Project) -> None:
    with slow.started("run", "slow.py", "--quiet") as supervisor:
        eventually(lambda: at_work(slow), within=20, what="all loops at work")
        done = slow.run("run", "slow.py", "--fresh", status=1)
        assert f"process {supervisor.pid}" in done.stderr
        assert supervisor.poll() is None
        supervisor.terminate()
        assert supervisor.wait(20) == 0
    discard(slow)
