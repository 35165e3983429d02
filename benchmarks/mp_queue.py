"""multiprocessing.Queue between the same two processes: what the standard library gives without a server."""

from __future__ import annotations

import multiprocessing
from functools import partial
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from typing import Any

from attrs import frozen

from benchmarks.batches import NODEFLOW
from benchmarks.design import REFERENCE_ITEMS, Design, Figure, Figures, Medians, Round, Row
from benchmarks.pair import PATIENCE, Stopwatch, check, described, rates, run_side, run_sides
from benchmarks.report import Measure

LEAST_RATIO = 0.8
"""How many times as fast as `multiprocessing.Queue` nodeflow's batches have to be."""


@frozen
class Shared:
    """What both processes inherit.

    Args:
        queue: carries the items.
        start: lets both begin when both are there.
    """

    queue: Queue[dict[str, Any]]
    start: Barrier


async def queue_producer(task: Round) -> Stopwatch:
    """Put item by item."""
    _shared.start.wait(PATIENCE)
    watch = Stopwatch()
    for place in range(task.items):
        _shared.queue.put(described(place))
    watch.stop()
    return watch


async def queue_consumer(task: Round) -> Stopwatch:
    """Get item by item."""
    _shared.start.wait(PATIENCE)
    watch = Stopwatch()
    for place in range(task.items):
        check(_shared.queue.get(timeout=PATIENCE), place)
    watch.stop()
    return watch


def _run(task: Round) -> Figures:
    context = multiprocessing.get_context("spawn")
    shared = Shared(context.Queue(), context.Barrier(2))
    sides = partial(run_side, queue_producer, task), partial(run_side, queue_consumer, task)
    try:
        return rates(task, *run_sides(*sides, _inherit, (shared,)))
    finally:
        shared.queue.close()


def _inherit(shared: Shared) -> None:
    """Keep what only a new process's arguments can carry."""
    global _shared
    _shared = shared


_shared: Shared

QUEUE = Design("multiprocessing.Queue", 20 * REFERENCE_ITEMS, _run)


def _measures(medians: Medians) -> list[Measure]:
    queue, nodeflow = medians[QUEUE.name][Figure.RATE], medians[NODEFLOW.name][Figure.RATE]
    return [
        Measure("multiprocessing: Queue", queue, "items/s"),
        Measure("multiprocessing: nodeflow, as in batches", nodeflow, "items/s"),
        Measure.at_least("multiprocessing: nodeflow / Queue", nodeflow / queue, "times", LEAST_RATIO),
    ]


ROW = Row(
    name="multiprocessing",
    summary="""\
items/s of nodeflow's batches against the standard library's multiprocessing.Queue: the same items as dicts, put
and got one at a time, between two spawned processes, without a server.""",
    designs=[NODEFLOW, QUEUE],
    measures=_measures,
)
