"""Servers that die, run full, or find their files damaged."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from nodeflow.errors import EmbeddedServerError, StorageError, StorageFullError
from nodeflow.settings import Settings
from nodeflow.storage import DataStore, embedded
from tests.faults.balance import all_values, balanced
from tests.storage.servers import Server
from tests.storage.waiting import execute, started
from tests.support import until


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / ".nodeflow"
    yield folder
    embedded.stop(folder)


def server_pid(folder: Path) -> int:
    found = embedded.status(folder)
    assert found is not None
    return found.pid


def watchdog_of(pid: int) -> int:
    command = ["ps", "-o", "ppid=", "-p", str(pid)]
    return int(subprocess.run(command, capture_output=True, check=True).stdout)


async def until_written(store: DataStore) -> None:
    """Wait until the server has handed all that it has confirmed to the operating system."""
    client = await store.connection.ensure_connection()

    async def is_written() -> bool:
        facts: Any = await client.info("persistence")
        return not facts["aof_buffer_length"] and not facts["aof_pending_bio_fsync"]

    await until(is_written, 10, "the append-only file is written")


@pytest.mark.parametrize("fsync", ["everysec", "always"])
async def test_what_was_confirmed_survives_the_death_of_the_server_and_the_store_goes_on(
    folder: Path, fsync: str
) -> None:
    """`always` keeps all that was confirmed; `everysec` may lose two seconds: a write waits for a slow disk."""
    async with DataStore.open(Settings(folder=folder, server_fsync=fsync)) as store:
        await store.queue.push("jobs", -1)
        assert (await (await store.connection.ensure_connection()).config_get("appendfsync"))["appendfsync"] == fsync
        await store.queue.push_many("jobs", range(1_000))
        await until_written(store)
        async with store.queue.lease("jobs") as lease, asyncio.TaskGroup() as tasks:
            if fsync == "everysec":
                await until_written(store)
            pushing = [tasks.create_task(store.queue.push("jobs", number)) for number in range(1_000, 3_000)]
            await until(_some_done(pushing, 200), 10, "some pushes are confirmed")
            killed = server_pid(folder)
            os.kill(killed, signal.SIGKILL)
            assert lease[0].value == -1
        values = list(map(int, map(str, await all_values(store, "jobs"))))
        assert len(values) == len(set(values))
        assert set(values) >= set(range(1_000 if fsync == "everysec" else 3_000))
        assert (await balanced(store, "jobs", 1 + len(values))).done == 1 + len(values)
        assert server_pid(folder) != killed


async def test_a_store_that_asks_for_always_gets_it_of_a_server_that_runs_already(folder: Path) -> None:
    async with (
        DataStore.embedded(folder) as first,
        DataStore.open(Settings(folder=folder, server_fsync="always")) as one,
    ):
        client = await first.connection.ensure_connection()
        assert (await client.config_get("appendfsync"))["appendfsync"] == "everysec"
        await one.queue.push("jobs", 1)
        async with DataStore.embedded(folder) as third:
            assert await third.queue.pop("jobs") == 1
        assert (await client.config_get("appendfsync"))["appendfsync"] == "always"


def _some_done(tasks: list[asyncio.Task[None]], number: int) -> Any:
    async def are_done() -> bool:
        return sum(task.done() for task in tasks) >= number

    return are_done


async def test_a_server_and_its_watchdog_that_die_together_are_started_again(folder: Path) -> None:
    async with DataStore.embedded(folder) as store:
        await store.queue.push("jobs", 1)
        await store.queue.push("jobs", 2)
        pid = server_pid(folder)
        os.kill(watchdog_of(pid), signal.SIGKILL)
        os.kill(pid, signal.SIGKILL)
        assert await store.queue.pop("jobs") == 1
        assert server_pid(folder) != pid


async def test_one_that_was_stopped_on_purpose_is_not_started_again_by_those_who_still_use_it(folder: Path) -> None:
    async with DataStore.open(Settings(folder=folder, reconnect_seconds=0.3)) as store:
        await store.queue.push("jobs", 1)
        embedded.stop(folder)
        with pytest.raises(StorageError, match=r"was lost|can't reach"):
            await store.queue.length("jobs")
        assert embedded.status(folder) is None


async def test_a_full_server_can_still_be_emptied(server: Server) -> None:
    big = "x" * 10_000
    async with (
        DataStore.from_url(server.url, lease_seconds=0.8) as store,
        DataStore.from_url(server.url, lease_seconds=0.8) as other,
        Redis(unix_socket_path=str(server.socket)) as client,
    ):
        await store.queue.bound("out", 100)
        await store.queue.push_many("jobs", [big] * 200)
        await store.queue.push("free", 1)
        async with store.queue.lease("jobs", 5) as held:
            await execute(client, "CONFIG SET maxmemory 1")
            for refused in (
                store.queue.push("jobs", big),
                store.queue.push("jobs", big, delay=1),
                store.cache.set("a", 1),
                store.queue.commit(pushes={"free": [1]}),
            ):
                with pytest.raises(StorageFullError, match=r"is full, so nothing was stored\. Consume"):
                    await refused
            async with other.queue.lease("jobs", 1, timeout=0) as lease:
                await lease.retry(lease[0])
            await _beats(client, 3)
            async with other.queue.lease("jobs", 1, timeout=0) as lease:
                assert lease[0].attempt == 2, "the heartbeat goes on, so what is held isn't given to others"
            await held.commit(pushes={"out": [item.value for item in held]})
        with pytest.raises(StorageFullError):
            async with store.queue.lease("jobs") as lease:
                await lease.commit(pushes={"free": [1]})
        while await store.queue.length("jobs"):
            async with store.queue.lease("jobs", 50) as lease:
                await lease.commit(items=lease[:1])
                await lease.dead_letter(lease[1], "not today") if len(lease) > 1 else None
        assert await store.queue.pop("out") == big
        assert await store.queue.clear("out") == 4
        await execute(client, "CONFIG SET maxmemory 0")
        await store.queue.push("jobs", 1)
        tally = await balanced(store, "jobs", 201)
        assert tally.waiting == 1
        assert tally.dead >= 3


async def _beats(client: Redis, number: int) -> None:
    """Wait until heartbeats have come several times: scripts run although the test does nothing."""

    async def calls() -> int:
        facts: Any = await client.info("commandstats")
        return int(facts["cmdstat_evalsha"]["calls"])

    first = await calls()

    async def have_come() -> bool:
        return await calls() >= first + number

    await until(have_come, 5, f"{number} heartbeats")


async def test_a_hop_waits_at_a_full_server_for_a_bounded_queue_and_goes_on(server: Server) -> None:
    async with DataStore.from_url(server.url) as store, Redis(unix_socket_path=str(server.socket)) as client:
        await store.queue.bound("out", 2)
        await store.queue.push_many("jobs", range(4))
        await execute(client, "CONFIG SET maxmemory 1")

        async def hand_on() -> None:
            for _ in range(4):
                async with store.queue.lease("jobs") as lease:
                    await lease.commit(pushes={"out": [lease[0].value]})

        async with started(hand_on()) as handing:
            for number in range(4):
                assert await store.queue.pop("out", timeout=5) == number
            await asyncio.wait_for(handing, 5)
        assert (await balanced(store, "jobs", 4)).done == 4


@pytest.mark.slow
async def test_a_full_disk_is_waited_out_and_costs_nothing_that_was_confirmed(tmp_path: Path) -> None:
    """The limit on file sizes stands for the disk: Valkey's writes to its append-only file fail as they would there."""
    limit = 2 << 20
    server = Server(
        tmp_path,
        *("--appendonly", "yes", "--appendfsync", "everysec", "--save", ""),
        limit=limit,
    )
    try:
        await _fill_and_go_on(server)
    finally:
        server.kill()


async def _fill_and_go_on(server: Server) -> None:
    confirmed = 0
    async with DataStore.open(Settings(url=server.url, reconnect_seconds=0.5)) as store:
        with suppress(StorageError):
            while True:
                await store.queue.push("jobs", [confirmed, "x" * 50_000])
                confirmed += 1
        assert confirmed > 10
    last = [confirmed, "x" * 50_000]
    async with DataStore.from_url(server.url) as patient, started(patient.queue.push("jobs", last)) as push:

        async def has_waited() -> bool:
            return patient.stats().reconnects > 0

        await until(has_waited, 10, "the push meets the full disk")
        server.lift_limit()
        await asyncio.wait_for(push, 20)
        await until_written(patient)
    server.kill()
    server.start()
    async with DataStore.from_url(server.url) as store:
        values: Any = await all_values(store, "jobs")
        assert [value[0] for value in values[:confirmed]] == list(range(confirmed))
        assert values[-1] == last


def _append_only_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*.incr.aof") if path.stat().st_size)


async def _fill(folder: Path) -> None:
    async with DataStore.embedded(folder) as store:
        await store.queue.push_many("jobs", range(1_000))
        for number in range(1_000, 1_100):
            await store.queue.push("jobs", number)
    embedded.stop(folder)


async def test_a_file_whose_tail_was_cut_off_starts_without_it(folder: Path) -> None:
    await _fill(folder)
    (file,) = _append_only_files(folder)
    os.truncate(file, file.stat().st_size - 20)
    async with DataStore.embedded(folder) as store:
        values = await all_values(store, "jobs")
    assert values == list(range(len(values)))
    assert 1_000 <= len(values) < 1_100


async def test_a_file_that_is_damaged_in_the_middle_is_refused_with_its_name_and_stays_as_it_is(folder: Path) -> None:
    await _fill(folder)
    (file,) = _append_only_files(folder)
    data = bytearray(file.read_bytes())
    middle = data.index(b"\r\n*", len(data) // 2)
    data[middle + 2] ^= 0xFF
    file.write_bytes(data)
    async with DataStore.embedded(folder) as store:
        with pytest.raises(EmbeddedServerError, match=r"(?s)didn't start.*Bad file format.*Mend what it names"):
            await store.queue.length("jobs")
    assert file.read_bytes() == data


async def test_a_clients_clock_that_jumps_moves_nothing(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    clock = time.time
    async with (
        DataStore.from_url(server.url, lease_seconds=1.0) as store,
        DataStore.from_url(server.url, lease_seconds=1.0) as other,
        Redis(unix_socket_path=str(server.socket)) as client,
    ):
        await store.queue.push_many("jobs", [1, 2])
        await store.queue.push("jobs", "later", delay=600)
        async with store.queue.lease("jobs") as lease:
            for jump in (3_600, -3_600):
                monkeypatch.setattr(time, "time", lambda jump=jump: clock() + jump)
                await _beats(client, 5)
                async with other.queue.lease("jobs", 10, timeout=0) as rest:
                    assert [item.value for item in rest] == [2]
                    await rest.give_back()
            assert lease[0].value == 1
        assert other.stats().recovered == 0
        tally = await balanced(store, "jobs", 3)
        assert (tally.done, tally.delayed) == (1, 1)
