"""Jobs that are told to stop while nothing more fits where their results go."""

from __future__ import annotations

import signal

import pytest
import redis

from tests.faults.test_exact import take_results
from tests.project import Project
from tests.support import eventually

pytestmark = pytest.mark.slow

FLOW = """
    import asyncio, time
    from pathlib import Path
    from nodeflow import Graph, NonBlockingNode, node
    from nodes import QueueWriter

    def numbers():
        yield from range(13_000)

    @node(ordered=ORDERED)
    class Asks(NonBlockingNode):
        async def execute(self, n: int):
            await asyncio.sleep(0)
            return n

    def slow(n: int):
        if not Path("fast").exists():
            time.sleep(0.05)
        return n

    graph = Graph("TOKEN")
    with graph.loop("a"):
        n = graph.add(numbers)
    with graph.loop("b"):
        asked = graph.add(Asks(), n)
    with graph.loop("c"):
        graph.add(QueueWriter("out"), graph.add(slow, asked))
"""


@pytest.mark.parametrize("producer", ["behind a channel", "as the head"])
@pytest.mark.parametrize("ordered", [True, False])
def test_flights_whose_results_find_no_room_are_given_again(project: Project, ordered: bool, producer: str) -> None:
    text = FLOW.replace("ORDERED", str(ordered))
    if producer == "as the head":
        text = text.replace('    with graph.loop("b"):\n    ', "")
    project.write("flow.py", text)
    with project.started("run", "flow.py", "--quiet") as supervisor:
        with redis.Redis.from_url(project.url) as client:
            key = f"{{{project.token}}}:queue:queue_asks_slow"
            eventually(lambda: client.llen(key) >= 9_900, within=30, what="the channel is full")
        supervisor.send_signal(signal.SIGTERM)
        output, errors = supervisor.communicate(timeout=30)
    assert supervisor.returncode == 0, errors
    assert "drained before the end" in output
    (project.folder / "fast").touch()
    project.run("run", "flow.py", "--quiet")
    assert take_results(project) == list(range(13_000))
