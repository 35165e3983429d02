"""arq's two sides; imported only where it is installed."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

from arq.connections import ArqRedis
from arq.worker import Worker, func
from redis.asyncio import ConnectionPool

from benchmarks.design import Round
from benchmarks.others import CONCURRENCY, SOCKET_TIMEOUT, Handling, enqueue_all
from benchmarks.pair import Stopwatch, measured

POLL_DELAY = 0.01
"""Seconds between two looks at the queue; arq's own 0.5 s would bound the rate."""


async def arq_producer(task: Round) -> Stopwatch:
    """Enqueue jobs; their ids keep this run's keys apart."""
    pool = _pool(task)

    async def enqueue(place: int, item: dict[str, Any]) -> None:
        await pool.enqueue_job("handle", item, _job_id=f"{task.key}:{place}")

    async with measured(task, is_producer=True) as watch:
        await enqueue_all(enqueue, task)
    await pool.aclose()
    return watch


async def arq_worker(task: Round) -> Stopwatch:
    """Run arq's worker until it has finished all jobs."""
    handling = Handling(task, "arq")

    async def handle(context: dict[str, Any], item: dict[str, Any]) -> None:
        handling.handle(item)

    async def after_job_end(context: dict[str, Any]) -> None:
        handling.acknowledge()

    worker = Worker(
        [func(handle, name="handle")],
        queue_name=task.key,
        redis_pool=_pool(task),
        max_jobs=CONCURRENCY,
        poll_delay=POLL_DELAY,
        keep_result=0,
        log_results=False,
        handle_signals=False,
        after_job_end=after_job_end,
    )
    working = asyncio.create_task(worker.async_run())
    async with measured(task, is_producer=False) as watch:
        await handling.to_the_end()
    await worker.close()
    with suppress(asyncio.CancelledError):
        await working
    return watch


def _pool(task: Round) -> Any:
    """arq's client."""
    return ArqRedis(
        ConnectionPool.from_url(task.server.url, socket_timeout=SOCKET_TIMEOUT), default_queue_name=task.key
    )


SIDES = arq_producer, arq_worker
