"""Jobs that the engine's benchmark runs: graphs as files, in processes of their own."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from textwrap import dedent

from redis import Redis

from benchmarks.report import progress
from benchmarks.server import Server
from nodeflow.engine import FlowEngine, JobResult, JobStatus, Progress, load_graph
from nodeflow.errors import LoopDiedError
from nodeflow.storage import DataStore

ITEM = {"id": "node_1", "data": {"x": list(range(10)), "text": "hello world" * 5}, "metadata": {"a": 1}}

THREE_LOOPS = f"""
    from nodeflow import Graph

    ITEM = {ITEM!r}

    def items():
        for _ in range(COUNT):
            yield ITEM

    def touch(item):
        item["data"]["y"] = 1
        return item

    def sink(item) -> None:
        pass

    graph = Graph("bench")
    with graph.loop("a"):
        made = graph.add(items)
    with graph.loop("b"):
        touched = graph.add(touch, made)
    with graph.loop("c"):
        graph.add(sink, touched)
"""

BY_KEY = f"""
    from nodeflow import Graph

    ITEM = {ITEM!r}

    def items():
        for n in range(COUNT):
            yield {{**ITEM, "key": n % 100}}

    def touch(item, ctx):
        ctx.state[item["key"]] = ctx.state.get(item["key"], 0) + 1
        item["data"]["y"] = 1
        return item

    def sink(item) -> None:
        pass

    graph = Graph("bench")
    with graph.loop("a"):
        made = graph.add(items)
    with graph.loop("b", by="key"):
        touched = graph.add(touch, made)
    with graph.loop("c"):
        graph.add(sink, touched)
"""
"""The same, where the loop in the middle has a state and takes items by one of 100 keys."""

BUSY = """
    import time
    from nodeflow import Graph

    def items():
        yield from range(COUNT)

    def sink(n: int) -> None:
        end = time.thread_time() + 0.001
        while time.thread_time() < end:
            pass

    graph = Graph("bench")
    with graph.loop("a"):
        made = graph.add(items)
    with graph.loop("b", processes=PROCESSES):
        graph.add(sink, made)
"""
"""A loop that computes for 1 ms for each item."""

IDLE = """
    import time
    from pathlib import Path
    from nodeflow import Graph
    from nodes import QueueReader, QueueWriter

    graph = Graph("bench")
    with graph.loop("a"):
        first = graph.add(lambda n: n, graph.add(QueueReader("jobs")), id="first")
    with graph.loop("b"):
        second = graph.add(lambda n: n, first, id="second")
    with graph.loop("c"):
        graph.add(QueueWriter("out"), graph.add(lambda n: n, second, id="third"))
"""
"""Three loops that wait for what others push."""


class Watch:
    """When so many items had come through."""

    def __init__(self) -> None:
        self.seen: list[tuple[float, int]] = []

    def progress(self, progress: Progress) -> None:
        """Note how far the last node is."""
        self.seen.append((time.monotonic(), progress.nodes["sink"].done))

    def going_on(self, job: str, status: JobStatus) -> None:
        """Nothing: each job is new."""

    def draining(self) -> None:
        """Nothing is drained."""

    def restarting(self, death: LoopDiedError, seconds: float) -> None:
        """Nothing may die."""
        raise death

    def output(self, slot: str, text: str, *, is_error: bool) -> None:
        """Pass on what goes wrong."""
        progress(f"{slot}: {text}")

    def rate(self, items: int) -> float:
        """Items per second, between a fifth and nine tenths of them."""
        within = [(at, done) for at, done in self.seen if 0.2 * items <= done <= 0.9 * items]
        (first, least), (last, most) = within[0], within[-1]
        return (most - least) / (last - first)


@contextmanager
def written(flow: str, **words: int) -> Iterator[Path]:
    """A file of its own name with a flow in it, in which words stand for numbers."""
    text = dedent(flow)
    for word, number in words.items():
        text = text.replace(word, str(number))
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"{Path(folder).name}.py"
        path.write_text(text)
        yield path


async def rate_of(flow: str, server: Server, items: int, **words: int) -> float:
    """Items per second through a flow, each loop in processes of its own."""
    watch = Watch()
    with written(flow, COUNT=items, **words) as path:
        graph, source = load_graph(str(path))
        async with DataStore.from_url(server.url, prefix=server.prefix) as store:
            result: JobResult = await FlowEngine(graph, store, source=source).run(observer=watch)
    if result.nodes["sink"].done != items:
        raise RuntimeError(f"{result.nodes['sink'].done} of {items} items came through")
    return watch.rate(items)


def latencies(server: Server, items: int, pause: float) -> tuple[float, list[float]]:
    """Seconds from the start of `nodeflow run` to the first result, and from each further item to its result.

    Args:
        server: the server.
        items: how many further items.
        pause: how many seconds lie between a result and the next item.
    """
    found: list[float] = []
    with written(IDLE) as path, Redis.from_url(server.url) as client:
        command = [sys.executable, "-P", "-m", "nodeflow", "run", str(path), "--quiet"]
        jobs, out = "{bench}:queue:jobs", "{bench}:queue:out"
        client.lpush(jobs, 0)
        began = time.perf_counter()
        environment = {"NODEFLOW_URL": server.url, "PATH": ""}
        with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) as process:
            for _ in range(items + 1):
                if client.brpop([out], timeout=30) is None:
                    raise RuntimeError("no result came")
                found.append(time.perf_counter() - began)
                time.sleep(pause)
                began = time.perf_counter()
                if len(found) <= items:
                    client.lpush(jobs, 0)
            process.terminate()
        client.delete(*client.keys("{bench}:*"))
    return found[0], sorted(found[1:])
