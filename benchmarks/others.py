"""What other packages make of the same item as a job: saq, arq and taskiq, where they are installed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from attrs import frozen

from benchmarks.design import Design, Figure, Figures, Medians, Round, Row
from benchmarks.pair import PATIENCE, Tally, described, run_pair
from benchmarks.report import Measure

JOBS = 5_000
CONCURRENCY = 20
"""How many jobs the worker has at work at once; 10 to 100 make no difference."""

ENQUEUERS = 10
"""How many tasks enqueue."""

SOCKET_TIMEOUT = None
"""For their clients: workers block for longer than redis-py's 5 s; and with a time-out redis-py sends within
`wait_for`, which on Python 3.11 can lose the cancellation that ends a worker."""

LEAST_RATE = 50
"""Jobs per second; a worker that is slower is given up."""


@frozen
class Package:
    """A package that is measured beside nodeflow.

    Args:
        name: what its row is called.
        distributions: what has to be installed.
        module: the module here that has its `SIDES`, and imports it.
        install: how to install it, for pip.
        settings: how it is used, for the help.
    """

    name: str
    distributions: Sequence[str]
    module: str
    install: str
    settings: str

    def row(self) -> Row:
        """Its row of the table."""
        return Row(
            name=self.name,
            summary=f"jobs/s that one worker process handles while the other process enqueues them. {self.settings}",
            designs=[Design(self.name, JOBS, partial(_run, self.module))],
            measures=self._measures,
            obstacle=self._obstacle,
            packages=self.distributions,
        )

    def _obstacle(self) -> str | None:
        missing = [name for name in self.distributions if not _is_installed(name)]
        return f"{' and '.join(missing)} not installed; pip install {self.install}" if missing else None

    def _measures(self, medians: Medians) -> list[Measure]:
        return [Measure(f"{self.name}: enqueued and handled", medians[self.name][Figure.RATE], "items/s")]


class Handling:
    """What a worker has done so far.

    Args:
        task: the round.
        logger: the package's logger, whose records below errors are dropped.
    """

    def __init__(self, task: Round, logger: str) -> None:
        self._tally = Tally(task.items)
        self._open = task.items
        self._end = asyncio.Event()
        self._patience = PATIENCE + task.items / LEAST_RATE
        logging.getLogger(logger).setLevel(logging.ERROR)

    def handle(self, item: dict[str, Any]) -> None:
        """Do the job, which is to look at its item."""
        self._tally.add(item)

    def acknowledge(self) -> None:
        """The package has done with one job."""
        self._open -= 1
        if not self._open:
            self._end.set()

    async def to_the_end(self) -> None:
        """Wait until the package has done with all jobs.

        Raises:
            AssertionError: jobs were done with, but not all were handled.
            TimeoutError: it took too long.
        """
        async with asyncio.timeout(self._patience):
            await self._end.wait()
        if self._tally.missing:
            raise AssertionError(f"{self._tally.missing} items were never handled")


async def enqueue_all(enqueue: Callable[[int, dict[str, Any]], Awaitable[object]], task: Round) -> None:
    """Enqueue the items from a few tasks, each of which takes the next one that is left."""
    places = iter(range(task.items))

    async def enqueue_the_next() -> None:
        for place in places:
            await enqueue(place, described(place))

    async with asyncio.TaskGroup() as tasks:
        for _ in range(ENQUEUERS):
            tasks.create_task(enqueue_the_next())


def _run(module: str, task: Round) -> Figures:
    producer, worker = import_module(module).SIDES
    try:
        return run_pair(producer, worker, task, leaves_keys=True)
    finally:
        task.server.clean()


def _is_installed(distribution: str) -> bool:
    try:
        return bool(version(distribution))
    except PackageNotFoundError:
        return False


PACKAGES = (
    Package(
        name="saq",
        distributions=("saq",),
        module="benchmarks.saq_jobs",
        install="-e '.[bench]'",
        settings=f"Worker with\nconcurrency={CONCURRENCY}; no results kept (ttl=-1).",
    ),
    Package(
        name="arq",
        distributions=("arq",),
        module="benchmarks.arq_jobs",
        install="--no-deps arq, as it asks for redis<6",
        settings=f"Worker with\nmax_jobs={CONCURRENCY}, a poll_delay of 10 ms, and keep_result=0.",
    ),
    Package(
        name="taskiq",
        distributions=("taskiq", "taskiq-redis"),
        module="benchmarks.taskiq_jobs",
        install="-e '.[bench]'",
        settings=(
            "RedisStreamBroker,\n"
            f"which acknowledges, and a receiver with max_async_tasks={CONCURRENCY}; no result backend."
        ),
    ),
)
