"""Plain producers that wait for their next value: what came before goes on, and a job can be drained meanwhile."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
import redis

from tests.project import Project
from tests.support import eventually

LIVE = """
    import sqlite3
    from pathlib import Path
    from nodeflow import Graph, Retry, node
    from nodes import QueueWriter

    @node(live=True)
    def lines():
        seen = sqlite3.connect("seen.db")  # which only the thread can use that has made it
        seen.execute("CREATE TABLE IF NOT EXISTS seen (line TEXT)")
        try:
            for line in Path("fifo").open():
                seen.execute("INSERT INTO seen VALUES (?)", [line])
                seen.commit()
                yield line.strip()
        finally:
            seen.close()
            Path("closed").touch()

    @node(retry=Retry(times=2, backoff=0.05))
    def work(line: str, ctx):
        if line == "odd" and ctx.attempt == 1:
            raise OSError("not now")
        return line

    graph = Graph("TOKEN")
    graph.add(QueueWriter("out"), graph.add(work, graph.add(lines)))
"""


@contextmanager
def lines_to(path: Path) -> Iterator[int]:
    """A pipe of a name, open for writing, so that its reader waits for as long as nothing is written."""
    os.mkfifo(path)
    pipe = os.open(path, os.O_RDWR)
    try:
        yield pipe
    finally:
        os.close(pipe)


def results(client: redis.Redis, project: Project) -> list[str | int]:
    """What a job has written to the queue `out` so far."""
    found = client.lrange(f"{{{project.token}}}:queue:out", 0, -1)
    assert isinstance(found, list)
    return [json.loads(each) for each in reversed(found)]


def test_what_a_live_producer_gave_goes_on_while_it_waits_and_it_can_be_drained(project: Project) -> None:
    project.write("flow.py", LIVE)
    with (
        lines_to(project.folder / "fifo") as pipe,
        redis.Redis.from_url(project.url) as client,
        project.started("run", "flow.py", "--quiet") as supervisor,
    ):
        os.write(pipe, b"a\nodd\nb\nc\nd\n")
        whole = partial(results, client, project)
        eventually(lambda: len(whole()) == 5, within=20, what="all lines came through, though none comes after them")
        assert sorted(map(str, whole())) == ["a", "b", "c", "d", "odd"]
        supervisor.send_signal(signal.SIGTERM)
        output, errors = supervisor.communicate(timeout=10)
        assert supervisor.returncode == 0, errors
        assert "drained before the end" in output
        assert not (project.folder / "closed").exists()
        client.delete(*client.keys(f"{{{project.token}}}:*"))


def test_a_live_producer_that_ends_is_closed_where_its_values_were_made(project: Project) -> None:
    project.write("flow.py", LIVE.replace('Path("fifo").open()', '["a", "b"]'))
    project.run("run", "flow.py", "--quiet")
    assert (project.folder / "closed").exists()
    with redis.Redis.from_url(project.url) as client:
        assert results(client, project) == ["a", "b"]
        client.delete(*client.keys(f"{{{project.token}}}:*"))


PLAIN = """
    import time
    from pathlib import Path
    from nodeflow import Graph
    from nodes import QueueWriter

    def numbers():
        try:
            for n in range(6):
                if n == 3 and not Path("go on").exists():
                    WAIT
                yield n
        finally:
            Path("closed").touch()

    graph = Graph("TOKEN")
    graph.add(QueueWriter("out"), graph.add(numbers))
"""

WAITS = {
    "asleep": 'Path("waits").touch(); time.sleep(600)',
    "reading": 'Path("waits").touch(); Path("fifo").open().read()',
    "computing": 'Path("waits").touch()\n                    while True: pass',
    "stubborn": (
        "try:\n                        Path('waits').touch(); time.sleep(600)\n"
        "                    except BaseException:\n                        pass\n"
        "                    time.sleep(600)"
    ),
    "returning": (
        "try:\n                        Path('waits').touch(); time.sleep(600)\n"
        "                    except BaseException:\n                        return"
    ),
}


@pytest.mark.parametrize("wait", ["asleep", *[pytest.param(each, marks=pytest.mark.slow) for each in list(WAITS)[1:]]])
def test_a_plain_producer_that_waits_is_interrupted_when_its_job_is_drained(project: Project, wait: str) -> None:
    project.write("flow.py", PLAIN.replace("WAIT", WAITS[wait]))
    with lines_to(project.folder / "fifo"), project.started("run", "flow.py", "--quiet") as supervisor:
        eventually((project.folder / "waits").exists, within=20, what="it waits")
        supervisor.send_signal(signal.SIGTERM)
        output, errors = supervisor.communicate(timeout=10)
    assert supervisor.returncode == 0, errors
    assert "drained before the end" in output
    assert (project.folder / "closed").exists()
    (project.folder / "go on").touch()
    project.run("run", "flow.py", "--quiet")
    with redis.Redis.from_url(project.url) as client:
        assert results(client, project) == list(range(6))
        client.delete(*client.keys(f"{{{project.token}}}:*"))
