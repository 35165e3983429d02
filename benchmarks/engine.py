"""What the engine costs: per node, per item over three loops, at the start; beside plain Python and a naive hop."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from statistics import median
from typing import Any

import orjson
from redis import Redis

from benchmarks.chains import CHAIN, of_others
from benchmarks.jobs import BUSY, BY_KEY, ITEM, THREE_LOOPS, latencies, rate_of
from benchmarks.report import Measure, conclude, machine, natural, options
from benchmarks.server import Server, server_for
from nodeflow.engine.calls.invoke import Nodes
from nodeflow.engine.core.plan import plan_loop
from nodeflow.engine.passes import finished
from nodeflow.engine.way.express import Express
from nodeflow.engine.way.packing import Packing
from nodeflow.engine.way.runner import Runner
from nodeflow.graph import Context, Graph
from nodeflow.testing.memory import MemoryStore

CALLS = 20_000
LEASED = 100


def one(n: int) -> int:
    """A trivial node."""
    return n


async def one_async(n: int) -> int:
    """A trivial node that doesn't wait."""
    return n


def head() -> Iterator[int]:
    """What feeds the chain."""
    yield 1


def chain(function: Any) -> Graph:
    """A graph of ten trivial nodes in a row."""
    graph = Graph("chain")
    last = graph.add(head)
    for number in range(CHAIN):
        last = graph.add(function, last, id=f"n{number}")
    return graph


@asynccontextmanager
async def runner_of(graph: Graph) -> AsyncIterator[Runner]:
    """What runs the graph's only loop, without a server."""
    plan = plan_loop(finished(graph), "main")
    async with Nodes(plan.nodes.values(), Context(graph="chain", node="", loop="main", job="job")) as nodes:
        yield Runner(plan, nodes, Packing(MemoryStore(), "main", "job"), "job")


async def through_the_engine(graph: Graph) -> float:
    """Seconds per item through a chain, by the engine, as the items of a lease go."""
    async with runner_of(graph) as runner:
        express = Express(runner, runner.plan.entries["head"])
        items = [(f"job.head.0.{number}", number) for number in range(CALLS)]
        began = time.perf_counter()
        passed = 0
        while passed < CALLS:
            number, stray = express.through(items[passed : passed + LEASED])
            passed += number
            if stray is not None:
                await express.astray(stray)
                passed += 1
        express.count()
        return (time.perf_counter() - began) / CALLS


async def plain_calls() -> float:
    """Seconds per item through ten plain calls."""
    began = time.perf_counter()
    for number in range(CALLS):
        n = number
        for _ in range(CHAIN):
            n = one(n)
    return (time.perf_counter() - began) / CALLS


async def plain_awaits() -> float:
    """Seconds per item through ten plain awaits."""
    began = time.perf_counter()
    for number in range(CALLS):
        n = number
        for _ in range(CHAIN):
            n = await one_async(n)
    return (time.perf_counter() - began) / CALLS


async def per_node(rounds: int) -> list[Measure]:
    """What a node costs in a chain of ten."""
    found: dict[str, list[float]] = {}
    ways: dict[str, Callable[[], Awaitable[float]]] = {
        "calls": plain_calls,
        "inline": lambda: through_the_engine(chain(one)),
        "awaits": plain_awaits,
        "async": lambda: through_the_engine(chain(one_async)),
    }
    for _ in range(rounds):
        for name, way in ways.items():
            found.setdefault(name, []).append(await way())
    times = {name: median(values) / CHAIN * 1e6 for name, values in found.items()}
    return [
        Measure.at_most("overhead of an inline node, in a chain of ten", times["inline"] - times["calls"], "µs", 0.3),
        Measure.at_most("async nodes that don't wait, to plain awaits", times["async"] / times["awaits"], "x", 2.0),
    ]


def _push(url: str, key: str, items: int) -> None:
    with Redis.from_url(url) as client:
        for _ in range(items):
            client.lpush(key, orjson.dumps(ITEM))


def naive_hop(server: Server, items: int) -> float:
    """Items per second over one hop of LPUSH and BRPOP, one by one, between two processes."""
    key = f"{server.prefix}naive"
    pusher = multiprocessing.get_context("spawn").Process(target=_push, args=(server.url, key, items))
    pusher.start()
    with Redis.from_url(server.url) as client:
        for number in range(items):
            found = client.brpop([key], timeout=30)
            assert isinstance(found, tuple)
            orjson.loads(found[1])
            if number == 0:
                began = time.monotonic()
        seconds = time.monotonic() - began
    pusher.join()
    return items / seconds


def starts() -> list[Measure]:
    """How long it takes until something happens."""
    importing = []
    for _ in range(5):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", "import nodeflow"], check=True)
        whole = time.perf_counter() - began
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", "pass"], check=True)
        importing.append(whole - (time.perf_counter() - began))
    began = time.perf_counter()
    graph = Graph("large")
    last = graph.add(head)
    for number in range(1_000):
        with graph.loop(f"l{number // 100}"):
            last = graph.add(one, last, id=f"n{number}")
    mapped = finished(graph)
    plan_loop(mapped, "l0")
    building = time.perf_counter() - began
    return [
        Measure.at_most("import of nodeflow", median(importing) * 1000, "ms", 250),
        Measure.at_most("a graph of 1,000 nodes: build, validate, map", building * 1000, "ms", 200),
    ]


def in_processes(server: Server, items: int, rounds: int) -> list[Measure]:
    """What graphs do whose loops are processes."""
    found: dict[str, list[float]] = {}
    for _ in range(rounds):
        found.setdefault("naive", []).append(naive_hop(server, items // 10))
        found.setdefault("loops", []).append(asyncio.run(rate_of(THREE_LOOPS, server, items)))
        found.setdefault("by", []).append(asyncio.run(rate_of(BY_KEY, server, items)))
        for processes in (1, 2):
            rate = asyncio.run(rate_of(BUSY, server, 6_000, PROCESSES=processes))
            found.setdefault(f"busy {processes}", []).append(rate)
    first, waits = latencies(server, 500, pause=0.02)  # so that all loops are idle again
    _, at_once = latencies(server, 500, pause=0.0)
    rates = {name: median(values) for name, values in found.items()}
    return [
        Measure("naive LPUSH and BRPOP over one hop", rates["naive"], "items/s"),
        Measure("three loops, two channels", rates["loops"], "items/s"),
        Measure.at_least("three loops to one naive hop", rates["loops"] / rates["naive"], "x", 12),
        Measure.at_least("the same with by= and state", rates["by"] / rates["naive"], "x", 8),
        Measure.at_least("two processes that compute to one", rates["busy 2"] / rates["busy 1"], "x", 1.7),
        Measure.at_most("an item through an idle graph of three loops, p50", median(waits) * 1000, "ms", 3),
        Measure.at_most("the same, p99", waits[len(waits) * 99 // 100] * 1000, "ms", 10),
        Measure("the same, each as soon as the one before is through, p50", median(at_once) * 1000, "ms"),
        Measure.at_most("start of `nodeflow run` until the first result", first, "s", 1.5),
    ]


def main() -> int:
    """Read the options, measure, print; returns the exit status."""
    parser = options("benchmarks.engine", __doc__, 200_000, "items through the three loops")
    parser.add_argument("--rounds", type=natural, default=3, metavar="N", help="rounds of each (default 3)")
    chosen = parser.parse_args()
    measures = asyncio.run(per_node(chosen.rounds))
    measures += starts()
    with server_for(chosen.url) as server:
        facts = machine(server.version())
        measures += in_processes(server, chosen.items, chosen.rounds)
    measures += of_others(chosen.rounds)  # last: what they import makes each garbage collection dearer
    return conclude("The engine", facts, measures, as_json=chosen.json)


if __name__ == "__main__":
    os.environ.setdefault("PYTHONHASHSEED", "0")
    sys.exit(main())
