"""Whether a consumer's memory stays as it is, however many items it handles."""

from __future__ import annotations

import os
import subprocess
from functools import partial
from pathlib import Path

from benchmarks.batches import BATCH
from benchmarks.design import Design, Figure, Figures, Medians, Round, Row
from benchmarks.pair import (
    PATIENCE,
    check,
    connected_store,
    described,
    measured,
    plain_client,
    run_side,
    run_sides,
)
from benchmarks.report import Measure

MOST_CHANGE = 10.0
"""By how many MB the memory may grow or shrink after the first tenth of the items."""

ITEMS = 1_000_000
MOST_WAITING = 20 * BATCH
"""How many items may wait in the server before the producer holds back."""

LOOKS = 200
"""How often the consumer looks at its memory."""


async def bounded_producer(task: Round) -> None:
    """Push in batches, but only while few items wait."""
    queue = f"{task.server.prefix}queue:{task.name}"
    async with connected_store(task) as store, plain_client(task) as looking, measured(task, is_producer=True):
        for start in range(0, task.items, BATCH):
            while await looking.llen(queue) > MOST_WAITING:
                pass  # each look waits for the server
            places = range(start, min(start + BATCH, task.items))
            await store.queue.push_many(task.name, map(described, places))


async def watched_consumer(task: Round) -> list[float]:
    """Lease and acknowledge; this process's memory in MB after the first tenth of the items and from then on."""
    first = task.items // 10
    apart = max(1, (task.items - first) // LOOKS)
    memory: list[float] = []
    async with connected_store(task) as store, measured(task, is_producer=False):
        place = 0
        while place < task.items:
            async with store.queue.lease(task.name, max_items=BATCH, timeout=PATIENCE) as lease:
                if not lease:
                    raise TimeoutError(f"item {place} didn't come")
                for item in lease:
                    check(item.value, place)
                    place += 1
                if place >= first + len(memory) * apart:
                    memory.append(resident())
    return memory


def resident() -> float:
    """How much memory this process has in RAM, in MB."""
    status = Path("/proc/self/status")
    if status.is_file():
        kib = next(line.split()[1] for line in status.read_text().splitlines() if line.startswith("VmRSS:"))
    else:
        ps = ["/bin/ps", "-o", "rss=", "-p", str(os.getpid())]
        kib = subprocess.run(ps, check=True, capture_output=True, text=True).stdout
    return int(kib) * 1024 / 1e6


def _run(task: Round) -> Figures:
    _, memory = run_sides(partial(run_side, bounded_producer, task), partial(run_side, watched_consumer, task))
    task.server.check_empty()
    settled = memory[0]
    return {Figure.MEMORY: settled, Figure.MEMORY_CHANGE: max(abs(each - settled) for each in memory)}


CONSUMER = Design("memory", ITEMS, _run, most_rounds=1)


def _measures(medians: Medians) -> list[Measure]:
    figures = medians[CONSUMER.name]
    change = figures[Figure.MEMORY_CHANGE]
    return [
        Measure("memory: consumer after a tenth", figures[Figure.MEMORY], "MB"),
        Measure.at_most("memory: largest change from then on", change, "MB", MOST_CHANGE),
    ]


ROW = Row(
    name="memory",
    summary=f"""\
MB of RAM of a consumer that handles {ITEMS:,} items by lease, at {LOOKS} looks, against what it had after the
first tenth of them; a producer pushes meanwhile, but lets no more than {MOST_WAITING:,} wait. One round.""",
    designs=[CONSUMER],
    measures=_measures,
)
