"""taskiq's two sides, over taskiq-redis; imported only where both are installed."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import Any

from taskiq.api import run_receiver_task
from taskiq.receiver import Receiver
from taskiq_redis import RedisStreamBroker

from benchmarks.design import Round
from benchmarks.others import CONCURRENCY, SOCKET_TIMEOUT, Handling, enqueue_all
from benchmarks.pair import Stopwatch, measured


async def taskiq_producer(task: Round) -> Stopwatch:
    """Kick jobs."""
    broker = _broker(task)

    @broker.task(task_name="handle")  # type: ignore[untyped-decorator]
    async def handle(item: dict[str, Any]) -> None:
        raise AssertionError("the worker handles it")

    await broker.startup()

    async def enqueue(place: int, item: dict[str, Any]) -> None:
        await handle.kiq(item)

    async with measured(task, is_producer=True) as watch:
        await enqueue_all(enqueue, task)
    await broker.shutdown()
    return watch


async def taskiq_worker(task: Round) -> Stopwatch:
    """Run taskiq's receiver until it has acknowledged all jobs."""
    handling = Handling(task, "taskiq")
    broker = _broker(task)

    @broker.task(task_name="handle")  # type: ignore[untyped-decorator]
    async def handle(item: dict[str, Any]) -> None:
        handling.handle(item)

    class CountingReceiver(Receiver):  # type: ignore[misc]
        """A receiver that says when it has done with a job."""

        async def callback(self, message: Any, raise_err: bool = False) -> None:
            await super().callback(message, raise_err)
            handling.acknowledge()

    await broker.startup()
    receiving = run_receiver_task(broker, receiver_cls=CountingReceiver, max_async_tasks=CONCURRENCY)
    working = asyncio.create_task(receiving)
    async with measured(task, is_producer=False) as watch:
        await handling.to_the_end()
    logging.getLogger("asyncio").setLevel(
        logging.CRITICAL
    )  # of a pipeline that taskiq leaves open when it is cancelled
    working.cancel()
    with suppress(asyncio.CancelledError):
        await working
    await broker.shutdown()
    return watch


def _broker(task: Round) -> Any:
    """A broker that acknowledges, as `ListQueueBroker` doesn't."""
    return RedisStreamBroker(task.server.url, queue_name=task.key, socket_timeout=SOCKET_TIMEOUT)


SIDES = taskiq_producer, taskiq_worker
