"""A server that may throw data away is refused for production; one that keeps nothing is warned of once."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from nodeflow.errors import PayloadError, UnsafeServerError
from nodeflow.settings import Settings
from nodeflow.storage import DataStore
from tests.project import Project
from tests.storage.looking import balanced
from tests.storage.servers import valkey
from tests.storage.waiting import execute

FLOW = """
    from nodeflow import FlowEngine, Graph

    graph = Graph("TOKEN")
    with graph.loop("a"):
        one = graph.add(lambda: 1, id="one")
    with graph.loop("b"):
        graph.add(lambda value: print("got", value), one)

    async def main():
        async with FlowEngine(graph) as engine:
            await engine.run()

    if __name__ == "__main__":
        import asyncio
        asyncio.run(main())
"""

POLICIES = ["allkeys-lru", "allkeys-lfu", "allkeys-random", "volatile-lru", "volatile-ttl"]


@pytest.mark.parametrize("policy", POLICIES)
async def test_a_server_that_may_evict_keys_is_refused_by_name_of_its_policy(tmp_path: Path, policy: str) -> None:
    with valkey(tmp_path, "--maxmemory-policy", policy) as server:
        async with DataStore.from_url(server.url) as store:
            with pytest.raises(UnsafeServerError, match=f"its maxmemory-policy is {policy}. Set it to noeviction"):
                await store.check_server()
            await store.queue.push("jobs", 1)  # development goes on
            await store.queue.pop("jobs")
        async with DataStore.open(Settings(url=server.url, allow_eviction=True)) as store:
            await store.check_server()


def test_a_run_on_such_a_server_is_refused_unless_it_is_allowed(
    tmp_path: Path, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with valkey(tmp_path, "--maxmemory-policy", "allkeys-lru") as server:
        project = Project(tmp_path, server.url, token)
        project.write("flow.py", FLOW)
        refused = project.run("flow.py", program="python", status=1)
        assert "maxmemory-policy is allkeys-lru" in refused.stderr
        assert "NODEFLOW_ALLOW_EVICTION=1" in refused.stderr
        assert "got" not in refused.stdout
        monkeypatch.setenv("NODEFLOW_ALLOW_EVICTION", "1")
        assert "got 1" in project.run("flow.py", program="python").stdout


@pytest.mark.parametrize(("text", "allows"), [("1", True), ("0", False), ("", False)])
def test_the_environment_may_allow_it(text: str, allows: bool) -> None:
    assert Settings.from_env({"NODEFLOW_ALLOW_EVICTION": text}).allow_eviction is allows


async def test_a_server_that_keeps_nothing_is_warned_of_once_and_by_name(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with valkey(tmp_path) as server:
        for _ in range(3):
            async with DataStore.from_url(server.url) as store:
                await store.check_server()
    warnings = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(warnings) == 1
    assert f"the server at {server.url} keeps nothing on disk" in warnings[0]


@pytest.mark.parametrize("settings", [("--appendonly", "yes"), ("--save", "3600 1")])
async def test_a_server_that_keeps_its_data_is_not_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, settings: tuple[str, ...]
) -> None:
    with valkey(tmp_path, *settings) as server:
        async with DataStore.from_url(server.url) as store:
            await store.check_server()
    assert caplog.records == []


async def test_a_server_that_does_not_say_is_taken_as_it_is(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with valkey(tmp_path, "--maxmemory-policy", "allkeys-lru") as server:
        async with Redis.from_url(server.url) as client:
            await execute(client, "ACL SETUSER default -config -info")
        async with DataStore.from_url(server.url) as store:
            await store.check_server()
            await store.queue.push("jobs", 1)
    assert caplog.records == []


@pytest.mark.parametrize("call", ["push", "push_many", "delayed push", "commit", "state", "set"])
async def test_a_value_too_large_to_send_is_refused_with_its_size_before_it_is_sent(
    server_url: str, token: str, call: str
) -> None:
    store = DataStore.from_url(server_url, prefix=f"{token}:", max_payload_bytes=1_000)
    fits, large = "x" * 998, "x" * 999
    queue = store.queue
    calls: dict[str, Any] = {
        "push": lambda value: queue.push("jobs", value),
        "push_many": lambda value: queue.push_many("jobs", [1, value]),
        "delayed push": lambda value: queue.push("jobs", value, delay=60),
        "commit": lambda value: queue.commit(pushes={"jobs": [1, value]}),
        "state": lambda value: queue.commit(states={"key": value}, pushes={"jobs": [1]}),
        "set": lambda value: store.cache.set("key", value, ttl=60),
    }
    async with store:
        with pytest.raises(PayloadError, match=r"1,001 bytes"):
            await calls[call](large)
        await balanced(store, pushed=0)
        assert not await store.cache.exists("key")
        await calls[call](fits)
        await queue.clear("jobs")
        await store.cache.delete("key")


async def test_a_hop_too_large_to_send_is_refused_with_its_size(
    store: DataStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nodeflow.storage.hop.MOST_BYTES", 10_000)
    await store.queue.push("in", 1)
    async with store.queue.lease("in", timeout=0) as lease:
        with pytest.raises(PayloadError, match=r"10,020 bytes of values in one hop"):
            await lease.commit(pushes={"a": ["x" * 998] * 5}, states={"state": "x" * 3000, "more": "x" * 2016})
        assert lease.is_open
        await lease.commit(pushes={"a": ["x" * 998] * 10})
    await balanced(store, "a", waiting=10)
    await store.queue.clear("a")
