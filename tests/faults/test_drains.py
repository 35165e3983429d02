"""Jobs that are told to stop while nothing more fits where their results go."""

from __future__ import annotations

import json
import signal
from functools import partial
from pathlib import Path

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
    listed = project.run("jobs", "flow.py").stdout
    assert "drained" in listed
    assert "waiting: " in listed
    assert " in queue_asks_slow" in listed
    (project.folder / "fast").touch()
    job = listed.split()[0]
    assert f"goes on with job {job}, that was drained" in project.run("run", "flow.py", "--quiet").stderr
    assert "waiting" not in project.run("jobs", "flow.py").stdout
    assert take_results(project) == list(range(13_000))


def test_a_producer_whose_loop_sends_nothing_on_is_drained_too(project: Project) -> None:
    project.write(
        "flow.py",
        """
        from itertools import count
        from pathlib import Path
        from nodeflow import Graph

        def numbers():
            for n in count():
                if n == 200_000:
                    Path("at work").touch()
                yield n

        def work(n: int):
            return n

        graph = Graph("TOKEN")
        with graph.loop("a"):
            graph.add(work, graph.add(numbers))
        """,
    )
    with project.started("run", "flow.py", "--quiet") as supervisor:
        eventually((project.folder / "at work").exists, within=30, what="the loop is at work")
        supervisor.send_signal(signal.SIGTERM)
        output, errors = supervisor.communicate(timeout=30)
    assert supervisor.returncode == 0, errors
    assert "0 failed" in output
    assert "drained before the end" in output
    assert not output.startswith("0 items")
    with redis.Redis.from_url(project.url) as client:
        client.delete(*client.keys(f"{{{project.token}}}:job:*"))


STOPS = """
    import os, time
    from pathlib import Path
    from nodeflow import BlockingNode, Context, Graph, node
    from nodes import QueueWriter

    def numbers():
        yield from range(3_000)

    @node(on_error="stop")
    class Count(BlockingNode):
        def execute(self, n: int, ctx: Context):
            if n == 0:
                time.sleep(1)  # so that many wait
            seen = ctx.state.setdefault("seen", [])
            seen.append(n)
            if n % 50 == 49:
                ctx.push("fifties", n)
            if n in (20, 2_990) and not Path(f"mended {n}").exists():
                Path(f"mended {n}").touch()
                FAULT
            return n

        def finish(self, ctx: Context):
            seen = ctx.state["seen"]
            yield [len(seen), seen == sorted(set(seen))]

    graph = Graph("TOKEN")
    with graph.loop("a"):
        n = graph.add(numbers)
    with graph.loop("b"):
        counted = graph.add(Count(), n)
    with graph.loop("c"):
        graph.add(QueueWriter("out"), counted)
"""


@pytest.mark.parametrize("fault", ["raise ValueError('stop')", "raise KeyboardInterrupt", "os._exit(9)"])
def test_no_item_goes_on_upon_what_another_has_left_behind(project: Project, fault: str) -> None:
    """The next lease is taken before the one before it is done: it must not go on when that comes to nothing."""
    project.write("flow.py", STOPS.replace("FAULT", fault))
    for _ in range(3 if "stop" in fault else 1):
        project.run("run", "flow.py", "--quiet", status=None)
    with redis.Redis.from_url(project.url) as client:
        key = f"{{{project.token}}}:queue:fifties"
        assert [int(data) for data in reversed(client.lrange(key, 0, -1))] == list(range(49, 3_000, 50))
        client.delete(key)
        key = f"{{{project.token}}}:queue:out"
        *values, last = [json.loads(data) for data in reversed(client.lrange(key, 0, -1))]
        client.delete(key)
    assert last == [3_000, True]
    assert values == list(range(3_000))


FULL = """
    import time
    from pathlib import Path
    from nodeflow import BlockingNode, Context, Graph
    from nodes import QueueWriter

    def numbers():
        for n in range(40_000):
            yield {"key": n % 7, "n": n}

    class Follow(BlockingNode):
        def execute(self, item: dict, ctx: Context):
            last = ctx.state.get(item["key"], item["n"] - 7)
            ctx.state[item["key"]] = item["n"]
            return [item["n"], item["n"] - last]

    def check(found: list):
        time.sleep(0 if Path("fast").exists() else 0.002)
        if found[1] != 7:
            return found

    graph = Graph("TOKEN")
    with graph.loop("a"):
        n = graph.add(numbers)
    with graph.loop("b", processes=2, by="key"):
        followed = graph.add(Follow(), n)
    with graph.loop("c"):
        graph.add(QueueWriter("out"), graph.add(check, followed))
"""


def are_full(client: redis.Redis, token: str, results: int) -> bool:
    """Whether there are more results, and the loop in the middle has much to do, and no room for what comes of it."""
    if client.llen(f"{{{token}}}:queue:out") <= results:
        return False
    queues = [f"{{{token}}}:queue:queue_{name}" for name in ("follow_check", "numbers_follow.0", "numbers_follow.1")]
    return min(map(client.llen, queues)) > 4_000 and client.llen(queues[0]) >= 9_900


def test_leases_that_find_no_room_come_back_in_their_order(project: Project) -> None:
    project.write("flow.py", FULL)
    for number in range(3):
        with project.started("run", "flow.py", "--quiet") as supervisor:
            with redis.Redis.from_url(project.url) as client:
                results = client.llen(f"{{{project.token}}}:queue:out")
                full = partial(are_full, client, project.token, results)
                eventually(full, within=30, what="all channels are full")
            supervisor.send_signal(signal.SIGTERM)
            assert supervisor.wait(30) == 0, number
    (project.folder / "fast").touch()
    project.run("run", "flow.py", "--quiet")
    with redis.Redis.from_url(project.url) as client:
        found = client.lrange(f"{{{project.token}}}:queue:out", 0, -1)
        client.delete(f"{{{project.token}}}:queue:out")
    assert [json.loads(data) for data in found if data != b"null"] == []
    assert len(found) == 40_000


SLOW_STARTS = """
    import anyio
    from pathlib import Path
    from nodeflow import Graph
    from nodeflow.engine.jobs.child import Child

    start = Child.start

    async def slowly(order, folder):
        Path(f"starting {order.loop}").touch()
        while not Path("go").exists():
            await anyio.sleep(0.01)
        return await start(order, folder)

    Child.start = slowly

    async def endless():
        n = 0
        while True:
            yield n
            await anyio.sleep(0.01)

    graph = Graph("TOKEN")
    with graph.loop("a"):
        n = graph.add(endless)
    with graph.loop("b"):
        graph.add(lambda n: None, n, id="nothing")
"""


def test_a_signal_that_comes_while_processes_are_started_drains_them(project: Project) -> None:
    project.write("flow.py", SLOW_STARTS)
    with project.started("run", "flow.py", "--quiet") as supervisor:
        for loop in "ab":
            eventually((project.folder / f"starting {loop}").exists, within=30, what=f"{loop} is being started")
        supervisor.send_signal(signal.SIGTERM)
        eventually(lambda: is_caught(supervisor.pid), within=10, what="the signal has come")
        (project.folder / "go").touch()
        output, errors = supervisor.communicate(timeout=20)
    assert supervisor.returncode == 0, errors
    assert "drained before the end" in output
    with redis.Redis.from_url(project.url) as client:
        client.delete(*client.keys(f"*{project.token}*"))


def is_caught(process: int) -> bool:
    """Whether no SIGTERM is pending for a process."""
    status = Path(f"/proc/{process}/status").read_text()
    pending = next(line for line in status.splitlines() if line.startswith("ShdPnd:"))
    return not int(pending.split()[1], 16) >> (signal.SIGTERM - 1) & 1
