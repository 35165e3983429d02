"""How long one push and the pop after it take when nothing else goes on."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from benchmarks.design import Design, Figure, Figures, Medians, Round, Row
from benchmarks.pair import PATIENCE, Side, check, connected_store, described, plain_client, run_alone
from benchmarks.report import Measure

MOST_RATIO = 1.6
"""How many times as long as the naive design's the usual trip may take."""

TRIPS = 5_000
WARM_UP = 100
"""Trips before those that count."""


async def naive_trips(task: Round) -> list[float]:
    """LPUSH and BRPOP in turn, in one task; the seconds that each trip took."""
    async with plain_client(task) as client:

        async def trip(place: int) -> None:
            await client.lpush(task.key, json.dumps(described(place)))
            found = await client.brpop([task.key], timeout=PATIENCE)
            if found is None:
                raise TimeoutError(f"item {place} didn't come")
            check(json.loads(found[1]), place)

        return await _timed(trip, task.items)


async def nodeflow_trips(task: Round) -> list[float]:
    """`push` and `pop` in turn, in one task; the seconds that each trip took."""
    async with connected_store(task) as store:

        async def trip(place: int) -> None:
            await store.queue.push(task.name, described(place))
            check(await store.queue.pop(task.name, timeout=PATIENCE), place)

        return await _timed(trip, task.items)


async def _timed(trip: Callable[[int], Awaitable[None]], items: int) -> list[float]:
    for place in range(WARM_UP):
        await trip(place)
    seconds = []
    for place in range(items):
        began = time.perf_counter()
        await trip(place)
        seconds.append(time.perf_counter() - began)
    return seconds


def _run(side: Side[list[float]], task: Round) -> Figures:
    seconds = sorted(run_alone(side, task))
    task.server.check_empty()
    return {Figure.P50: _percentile(seconds, 50) * 1e6, Figure.P99: _percentile(seconds, 99) * 1e6}


def _percentile(ordered: Sequence[float], percent: int) -> float:
    """The smallest value that so many percent of the values don't exceed."""
    return ordered[math.ceil(len(ordered) * percent / 100) - 1]


NAIVE = Design("trips, naive", TRIPS, partial(_run, naive_trips))
NODEFLOW = Design("trips, nodeflow", TRIPS, partial(_run, nodeflow_trips))


def _measures(medians: Medians) -> list[Measure]:
    naive, nodeflow = medians[NAIVE.name], medians[NODEFLOW.name]
    ratio = nodeflow[Figure.P50] / naive[Figure.P50]
    return [
        Measure("latency: naive, p50", naive[Figure.P50], "µs"),
        Measure("latency: nodeflow, p50", nodeflow[Figure.P50], "µs"),
        Measure.at_most("latency: nodeflow / naive, p50", ratio, "times", MOST_RATIO),
        Measure("latency: naive, p99", naive[Figure.P99], "µs"),
        Measure("latency: nodeflow, p99", nodeflow[Figure.P99], "µs"),
    ]


ROW = Row(
    name="latency",
    summary="""\
µs for one push and the pop after it, one trip at a time, in one task of one process. naive: LPUSH, then BRPOP.
nodeflow: push, then pop.""",
    designs=[NAIVE, NODEFLOW],
    measures=_measures,
)
