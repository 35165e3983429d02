"""How many items per second go from one process to another: nodeflow's queues against the naive design."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median

from benchmarks.pair import (
    PATIENCE,
    Outcome,
    Round,
    Side,
    Stopwatch,
    check,
    described,
    measured,
    plain_client,
    run_pair,
)
from benchmarks.report import Measure, conclude, machine, natural, options, progress
from benchmarks.server import Server, server_for
from nodeflow.storage import DataStore

DESCRIPTION = """\
How many items per second go from a producer process to a consumer process, both at work at once:

  naive      one LPUSH and one BRPOP per item, redis-py's asyncio client, json
  nodeflow   DataStore: push_many, and lease(max_items=500) with acknowledgement

The rounds take turns on the same server, and the figures are their medians. The consumer checks that every
item arrives, in order; after each round nothing may be left in the server. The time runs from the first push
until the last item is handled and acknowledged; the start of the processes isn't in it.
"""

LEAST_RATIO = 10.0
"""How many times as fast as the naive design nodeflow's queues have to be."""

BATCH = 500
"""How many items one `push_many` or one lease carries."""

NAIVE_ITEMS = 30_000
ITEMS_FACTOR = 20
"""How many times as many items nodeflow's rounds have, so that they too last for seconds."""


async def naive_producer(task: Round) -> Stopwatch:
    """Push item by item."""
    key = task.server.prefix + task.name
    async with plain_client(task) as client:
        await client.ping()
        async with measured(task, is_producer=True) as watch:
            for place in range(task.items):
                await client.lpush(key, json.dumps(described(place)))
    return watch


async def naive_consumer(task: Round) -> Stopwatch:
    """Pop item by item."""
    key = task.server.prefix + task.name
    async with plain_client(task) as client:
        await client.ping()
        async with measured(task, is_producer=False) as watch:
            for place in range(task.items):
                found = await client.brpop([key], timeout=PATIENCE)
                if found is None:
                    raise TimeoutError(f"item {place} didn't come")
                check(json.loads(found[1]), place)
    return watch


async def nodeflow_producer(task: Round) -> Stopwatch:
    """Push in batches."""
    async with DataStore.from_url(task.server.url, prefix=task.server.prefix) as store:
        await store.connection.ensure_connection()
        async with measured(task, is_producer=True) as watch:
            for start in range(0, task.items, BATCH):
                places = range(start, min(start + BATCH, task.items))
                await store.queue.push_many(task.name, map(described, places))
    return watch


async def nodeflow_consumer(task: Round) -> Stopwatch:
    """Lease batches and acknowledge them."""
    async with DataStore.from_url(task.server.url, prefix=task.server.prefix) as store:
        await store.connection.ensure_connection()
        async with measured(task, is_producer=False) as watch:
            place = 0
            while place < task.items:
                async with store.queue.lease(task.name, max_items=BATCH, timeout=PATIENCE) as lease:
                    if not lease:
                        raise TimeoutError(f"item {place} didn't come")
                    for item in lease:
                        check(item.value, place)
                        place += 1
    return watch


DESIGNS: dict[str, tuple[Side, Side, int]] = {
    "naive": (naive_producer, naive_consumer, 1),
    "nodeflow": (nodeflow_producer, nodeflow_consumer, ITEMS_FACTOR),
}


def measure(server: Server, items: int, rounds: int, profiles: Path | None) -> dict[str, list[Outcome]]:
    """What the rounds of each design took; the designs take turns."""
    outcomes: dict[str, list[Outcome]] = {design: [] for design in DESIGNS}
    for number in range(1, rounds + 1):
        for design, (producer, consumer, factor) in DESIGNS.items():
            task = Round(server, f"{design}-{number}", items * factor, profiles)
            outcome = run_pair(producer, consumer, task)
            outcomes[design].append(outcome)
            progress(f"round {number} of {rounds}, {design}: {outcome.rate:,.0f} items/s")
    return outcomes


def measures_of(outcomes: dict[str, list[Outcome]]) -> list[Measure]:
    """The medians of the rounds and what they come to."""
    rates = {design: median(outcome.rate for outcome in rounds) for design, rounds in outcomes.items()}
    measures = [Measure(design, rate, "items/s") for design, rate in rates.items()]
    measures.append(Measure.at_least("nodeflow / naive", rates["nodeflow"] / rates["naive"], "times", LEAST_RATIO))
    sides: dict[str, Callable[[Outcome], float]] = {
        "producer": lambda outcome: outcome.producer,
        "consumer": lambda outcome: outcome.consumer,
        "server": lambda outcome: outcome.server,
    }
    for design, rounds in outcomes.items():
        for side, seconds in sides.items():
            computed = median(seconds(outcome) / outcome.items for outcome in rounds)
            measures.append(Measure(f"CPU time per item, {design} {side}", computed * 1e6, "µs"))
    return measures


def main() -> int:
    """Read the options, measure, print; returns the exit status."""
    items_help = f"items of each naive round; nodeflow's rounds have {ITEMS_FACTOR} times as many"
    parser = options("benchmarks.queues", DESCRIPTION, NAIVE_ITEMS, items_help)
    parser.add_argument("--rounds", type=natural, default=3, metavar="N", help="rounds of each design (default 3)")
    parser.add_argument(
        "--profile",
        type=Path,
        metavar="FOLDER",
        help="write cProfile's statistics of each process there, of the last round; the figures are lower then",
    )
    chosen = parser.parse_args()
    if chosen.profile is not None:
        chosen.profile.mkdir(parents=True, exist_ok=True)
    with server_for(chosen.url) as server:
        facts = machine(server.version())
        outcomes = measure(server, chosen.items, chosen.rounds, chosen.profile)
    return conclude("From one process to another", facts, measures_of(outcomes), as_json=chosen.json)


if __name__ == "__main__":
    sys.exit(main())
