"""Batches and leases against the naive design: how many items per second go from one process to another."""

from __future__ import annotations

import json

from benchmarks.design import REFERENCE_ITEMS, Figure, Medians, Round, Row
from benchmarks.pair import (
    PATIENCE,
    Stopwatch,
    check,
    connected_store,
    described,
    measured,
    pair,
    plain_client,
)
from benchmarks.report import Measure

LEAST_RATIO = 20.0
"""How many times as fast as the naive design nodeflow's queues have to be."""

BATCH = 500
"""How many items one `push_many` or one lease carries."""


async def naive_producer(task: Round) -> Stopwatch:
    """Push item by item."""
    async with plain_client(task) as client:
        await client.ping()
        async with measured(task, is_producer=True) as watch:
            for place in range(task.items):
                await client.lpush(task.key, json.dumps(described(place)))
    return watch


async def naive_consumer(task: Round) -> Stopwatch:
    """Pop item by item."""
    async with plain_client(task) as client:
        await client.ping()
        async with measured(task, is_producer=False) as watch:
            for place in range(task.items):
                found = await client.brpop([task.key], timeout=PATIENCE)
                if found is None:
                    raise TimeoutError(f"item {place} didn't come")
                check(json.loads(found[1]), place)
    return watch


async def nodeflow_producer(task: Round) -> Stopwatch:
    """Push in batches."""
    async with connected_store(task) as store, measured(task, is_producer=True) as watch:
        for start in range(0, task.items, BATCH):
            places = range(start, min(start + BATCH, task.items))
            await store.queue.push_many(task.name, map(described, places))
    return watch


async def nodeflow_consumer(task: Round) -> Stopwatch:
    """Lease batches and acknowledge them."""
    async with connected_store(task) as store, measured(task, is_producer=False) as watch:
        place = 0
        while place < task.items:
            async with store.queue.lease(task.name, max_items=BATCH, timeout=PATIENCE) as lease:
                if not lease:
                    raise TimeoutError(f"item {place} didn't come")
                for item in lease:
                    check(item.value, place)
                    place += 1
    return watch


NAIVE = pair("naive", naive_producer, naive_consumer, REFERENCE_ITEMS)
NODEFLOW = pair("nodeflow", nodeflow_producer, nodeflow_consumer, 20 * REFERENCE_ITEMS)


def _measures(medians: Medians) -> list[Measure]:
    naive, nodeflow = medians[NAIVE.name], medians[NODEFLOW.name]
    ratio = nodeflow[Figure.RATE] / naive[Figure.RATE]
    measures = [
        Measure("batches: naive", naive[Figure.RATE], "items/s"),
        Measure("batches: nodeflow", nodeflow[Figure.RATE], "items/s"),
        Measure.at_least("batches: nodeflow / naive", ratio, "times", LEAST_RATIO),
    ]
    sides = {"producer": Figure.PRODUCER_CPU, "consumer": Figure.CONSUMER_CPU, "server": Figure.SERVER_CPU}
    for design, figures in {"naive": naive, "nodeflow": nodeflow}.items():
        for side, figure in sides.items():
            measures.append(Measure(f"batches: CPU per item, {design} {side}", figures[figure], "µs"))
    return measures


ROW = Row(
    name="batches",
    summary="""\
items/s from the first push until the last item is handled and acknowledged. naive: one LPUSH and one BRPOP
per item, redis-py's asyncio client, json. nodeflow: push_many, and lease(max_items=500).""",
    designs=[NAIVE, NODEFLOW],
    measures=_measures,
)
