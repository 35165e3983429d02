"""saq's two sides; imported only where it is installed."""

from __future__ import annotations

import asyncio
from typing import Any

from redis.asyncio import Redis
from saq import Worker
from saq.queue.redis import RedisQueue

from benchmarks.design import Round
from benchmarks.others import CONCURRENCY, SOCKET_TIMEOUT, Handling, enqueue_all
from benchmarks.pair import Stopwatch, measured


async def saq_producer(task: Round) -> Stopwatch:
    """Enqueue jobs of which nothing is kept."""
    queue = _queue(task)
    await queue.connect()

    async def enqueue(place: int, item: dict[str, Any]) -> None:
        await queue.enqueue("handle", item=item, ttl=-1)

    async with measured(task, is_producer=True) as watch:
        await enqueue_all(enqueue, task)
    await queue.disconnect()
    return watch


async def saq_worker(task: Round) -> Stopwatch:
    """Run saq's worker until it has finished all jobs."""
    handling = Handling(task, "saq")

    async def handle(context: dict[str, Any], *, item: dict[str, Any]) -> None:
        handling.handle(item)

    async def after_process(context: dict[str, Any]) -> None:
        handling.acknowledge()

    queue = _queue(task)
    await queue.connect()
    await queue.sweep()  # the next one is in a minute; the worker's first would abort jobs that have only just come
    worker = Worker(queue, [("handle", handle)], concurrency=CONCURRENCY, after_process=after_process)
    working = asyncio.create_task(worker.start())
    async with measured(task, is_producer=False) as watch:
        await handling.to_the_end()
    await worker.stop()
    await working
    await queue.disconnect()
    return watch


def _queue(task: Round) -> Any:
    """The queue; `Queue.from_url` refuses unix://."""
    return RedisQueue(Redis.from_url(task.server.url, socket_timeout=SOCKET_TIMEOUT), name=task.key)


SIDES = saq_producer, saq_worker
