"""Single pushes of many tasks against one task that pushes naively: how fast the pushing side is."""

from __future__ import annotations

import asyncio

from benchmarks.batches import BATCH, NAIVE
from benchmarks.design import REFERENCE_ITEMS, Figure, Medians, Round, Row
from benchmarks.pair import PATIENCE, Stopwatch, Tally, connected_store, described, measured, pair
from benchmarks.report import Measure
from nodeflow.storage import DataStore

LEAST_RATIO = 8.0
"""How many times as fast as one naive task the pushing tasks have to be together."""

TASKS = 100
"""How many tasks push."""


async def singles_producer(task: Round) -> Stopwatch:
    """Push item by item from many tasks, each of which takes the next item that is left."""
    places = iter(range(task.items))

    async def push_the_next(store: DataStore) -> None:
        for place in places:
            await store.queue.push(task.name, described(place))

    async with (
        connected_store(task) as store,
        measured(task, is_producer=True) as watch,
        asyncio.TaskGroup() as tasks,
    ):
        for _ in range(TASKS):
            tasks.create_task(push_the_next(store))
    return watch


async def singles_consumer(task: Round) -> Stopwatch:
    """Empty the queue with leases; the tasks may push in any order."""
    tally = Tally(task.items)
    async with connected_store(task) as store, measured(task, is_producer=False) as watch:
        while tally.missing:
            async with store.queue.lease(task.name, max_items=BATCH, timeout=PATIENCE) as lease:
                if not lease:
                    raise TimeoutError(f"{tally.missing} items didn't come")
                for item in lease:
                    tally.add(item.value)
    return watch


SINGLES = pair("single pushes", singles_producer, singles_consumer, 4 * REFERENCE_ITEMS)


def _measures(medians: Medians) -> list[Measure]:
    naive, nodeflow = medians[NAIVE.name][Figure.PUSH_RATE], medians[SINGLES.name][Figure.PUSH_RATE]
    return [
        Measure("singles: naive, 1 task", naive, "pushes/s"),
        Measure(f"singles: nodeflow, {TASKS} tasks", nodeflow, "pushes/s"),
        Measure.at_least("singles: nodeflow / naive", nodeflow / naive, "times", LEAST_RATIO),
    ]


ROW = Row(
    name="singles",
    summary=f"""\
pushes/s of the producer alone, from its first push until its last one is done, while the other process empties
the queue. naive: one task, LPUSH (and BRPOP). nodeflow: {TASKS} tasks, each `await queue.push(…)` of one item
at a time (and leases).""",
    designs=[NAIVE, SINGLES],
    measures=_measures,
)
