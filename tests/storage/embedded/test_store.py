"""A store on the embedded server."""

from __future__ import annotations

from pathlib import Path

import pytest

from nodeflow.settings import Settings
from nodeflow.storage import DataStore, embedded
from tests.storage.embedded.processes import kill_server, new_server
from tests.support import eventually


async def test_a_store_starts_the_server_on_first_use(folder: Path) -> None:
    async with DataStore.embedded(folder) as store:
        assert embedded.status(folder) is None
        await store.cache.set("a", 1)
        assert embedded.status(folder) is not None
        assert await store.cache.get("a") == 1
        await store.cache.delete("a")


async def test_without_a_url_open_takes_the_embedded_server(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NODEFLOW_FOLDER", str(folder))
    async with DataStore.open() as store:
        await store.connection.ensure_connection()
        assert embedded.status(folder) is not None
    assert store.settings == Settings(folder=folder, blobs=str(folder / "blobs"))


async def test_a_server_that_stops_between_start_and_first_use_is_started_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start, calls = embedded.start, []

    def start_and_stop_once(*arguments: object, **_: object) -> Path:
        calls.append(arguments)
        socket = start(folder)
        if len(calls) == 1:
            embedded.stop(folder)
        return socket

    monkeypatch.setattr(embedded, "start", start_and_stop_once)
    async with DataStore.embedded(folder) as store:
        assert await store.cache.get("a") is None
    assert len(calls) == 2


async def test_a_store_goes_on_after_the_server_was_killed(folder: Path) -> None:
    async with DataStore.embedded(folder) as store:
        await store.queue.push("jobs", 1)
        client = await store.connection.ensure_connection()
        await client.execute_command("WAITAOF", 1, 0, 2000)  # type: ignore[no-untyped-call]
        pid = kill_server(folder)
        eventually(lambda: new_server(folder, pid), within=10, what="the server is back")
        assert await store.queue.pop("jobs", timeout=5) == 1
