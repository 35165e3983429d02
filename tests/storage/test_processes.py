"""Two processes push and two take: each item arrives once, in its pusher's order."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import pytest

from nodeflow.storage import DataStore

ITEMS = 10_000

PROGRAM = """
import asyncio, json, sys
from nodeflow.storage import DataStore, LoopEnd

async def push(store, pusher, count):
    for first in range(0, count, 50):
        await store.queue.push("jobs", [pusher, first])
        await store.queue.push_many("jobs", [[pusher, number] for number in range(first + 1, first + 50)])

async def is_used_up(store):
    end = LoopEnd(queues=["jobs"], needed=["closed"], finished="finished", closed="over")
    return await store.ledger("job").end_loop(end, []) == 2

async def pop(store):
    found = []
    while True:
        item = await store.queue.pop("jobs", timeout=0.2)
        if item is not None:
            found.append(item)
        elif await is_used_up(store):
            return found

async def lease(store):
    found, leases = [], 0
    while True:
        try:
            async with store.queue.lease("jobs", 100, timeout=0.2) as items:
                leases += 1
                if items and leases % 5 == 0:
                    await items.give_back()  # every fifth lease comes back
                    continue
                if items and leases % 12 == 0:
                    raise LookupError  # every twelfth comes back one by one
                found += [item.value for item in items]
        except LookupError:
            continue
        if not items and await is_used_up(store):
            return found

async def main(url, prefix, task, *arguments):
    async with DataStore.from_url(url, prefix=prefix) as store:
        await store.queue.push("ready", task)
        print(json.dumps(await globals()[task](store, *map(int, arguments))))

asyncio.run(main(*sys.argv[1:]))
"""


async def run(url: str, prefix: str, *arguments: str) -> Any:
    """Run the program in a process of its own; what it printed."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PROGRAM, url, prefix, *arguments, stdout=asyncio.subprocess.PIPE
    )
    try:
        output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode == 0
    return json.loads(output)


@pytest.mark.parametrize("task", ["pop", "lease"])
async def test_every_item_of_two_pushing_processes_reaches_one_of_two_taking_ones(
    store: DataStore, server_url: str, task: str
) -> None:
    async with asyncio.TaskGroup() as tasks:
        takers = [tasks.create_task(run(server_url, store.prefix, task)) for _ in range(2)]
        assert [await store.queue.pop("ready", timeout=20) for _ in takers] == [task, task]
        async with asyncio.TaskGroup() as pushing:
            for who in ("0", "1"):
                pushing.create_task(run(server_url, store.prefix, "push", who, str(ITEMS // 2)))
        await store.queue.commit(counts={"closed": 1}, job="job")
    assert await store.queue.clear("ready") == 2
    taken = [taker.result() for taker in takers]
    assert sorted([*taken[0], *taken[1]]) == [[pusher, number] for pusher in (0, 1) for number in range(ITEMS // 2)]
    if task == "pop":
        for items in taken:
            for pusher in (0, 1):
                numbers = [number for source, number in items if source == pusher]
                assert numbers == sorted(numbers)
    assert min(map(len, taken)) > 0
    tally = await store.queue.tally("jobs")
    assert (tally.pushed, tally.done, tally.dead) == (ITEMS, ITEMS, 0)
