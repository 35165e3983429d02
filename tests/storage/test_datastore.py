"""DataStore is the one door: it opens in several ways, connects on first use, and closes what it opened."""

from __future__ import annotations

import contextlib
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nodeflow.errors import EmbeddedServerError, StoreClosedError, UsageError
from nodeflow.settings import Settings
from nodeflow.storage import CacheStore, DataStore, QueueStore, RedisConnection, embedded


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / ".nodeflow"
    yield folder
    embedded.stop(folder)


def test_a_store_has_its_documented_defaults() -> None:
    store = DataStore()
    assert store.connection.address == "redis://127.0.0.1:6379/0"
    assert (store.prefix, store.settings.pool_size) == ("", 10)
    assert isinstance(store.queue, QueueStore)
    assert isinstance(store.cache, CacheStore)
    assert isinstance(store.connection, RedisConnection)


def test_a_password_shows_in_no_repr() -> None:
    store = DataStore("server", 1, 2, "canary", 4, "a:")
    assert repr(store) == "DataStore(redis://server:1/2, prefix='a:')"
    assert repr(store.connection) == "RedisConnection(redis://server:1/2)"
    assert "canary" not in repr(store.settings)
    assert store.settings.url == "redis://:canary@server:1/2"


async def test_queue_and_cache_share_the_prefix_and_the_connection(store: DataStore) -> None:
    await store.queue.push("jobs", 1)
    await store.cache.set("key", 2, ttl=60)
    client = await store.connection.ensure_connection()
    assert await client.lrange(f"{store.prefix}queue:jobs", 0, -1) == [b"1"]
    assert await client.get(f"{store.prefix}cache:key") == b"2"
    await store.queue.clear("jobs")


async def test_a_store_is_closed_at_the_end_of_its_context_also_after_an_error(server_url: str) -> None:
    store = DataStore.from_url(server_url)
    await store.cache.get("key")
    with pytest.raises(ZeroDivisionError):
        async with store:
            raise ZeroDivisionError
    async with contextlib.aclosing(DataStore.from_url(server_url)) as other:
        await other.cache.get("key")
    for closed in (store, other):
        with pytest.raises(StoreClosedError):
            await closed.cache.get("key")


async def test_a_scoped_view_has_a_longer_prefix_and_the_same_connection(store: DataStore) -> None:
    view = store.scoped("run:")
    assert view.prefix == f"{store.prefix}run:"
    assert view.connection is store.connection
    await view.queue.push("jobs", 1)
    assert await store.queue.length("jobs") == 0
    assert await view.scoped("").queue.pop("jobs", timeout=0) == 1


async def test_a_scoped_view_does_not_close_the_store(store: DataStore) -> None:
    async with store.scoped("a:") as view:
        await view.cache.get("key")
        await view.scoped("b:").close()
        await view.aclose()
    assert await store.cache.get("key") is None
    assert await view.cache.get("key") is None


@pytest.mark.parametrize("prefix", ["}", 1])
def test_a_bad_prefix_of_a_view_is_refused(prefix: Any) -> None:
    with pytest.raises((ValueError, TypeError)):
        DataStore().scoped(prefix)


async def test_another_process_opens_the_same_store_from_its_settings(store: DataStore) -> None:
    settings = pickle.loads(pickle.dumps(store.settings))
    async with DataStore.open(settings, prefix=store.prefix) as other:
        await other.queue.push("jobs", 1)
    assert await store.queue.pop("jobs", timeout=0) == 1


@pytest.mark.parametrize(
    ("variables", "address"),
    [
        ({"NODEFLOW_URL": "redis://one:1/1", "REDIS_URL": "redis://two:2/2"}, "redis://one:1/1"),
        ({"REDIS_URL": "redis://two:2/2"}, "redis://two:2/2"),
        ({"NODEFLOW_FOLDER": "there"}, "the embedded server in there"),
        ({"NODEFLOW_URL": ""}, "the embedded server in .nodeflow"),
    ],
)
def test_open_reads_the_environment(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], address: str) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert DataStore.open().connection.address == address


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"NODEFLOW_URL": "ftp://server"}, "^NODEFLOW_URL or REDIS_URL is wrong: "),
        ({"NODEFLOW_BLOBS": "ftp://server"}, "^NODEFLOW_BLOBS is wrong: blobs can't lie at ftp://"),
        ({"NODEFLOW_KEYS": "k1"}, "^key 1 of NODEFLOW_KEYS"),
    ],
)
def test_what_is_wrong_in_the_environment_is_named(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], message: str
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match=message):
        DataStore.open()


@pytest.mark.parametrize("seconds", [0, -1, 600.1])
def test_what_was_done_is_known_for_longer_than_it_is_tried_again(seconds: float) -> None:
    with pytest.raises(ValueError, match="reconnect_seconds"):
        DataStore.from_url("redis://server", reconnect_seconds=seconds)


async def test_the_embedded_server_starts_on_first_use_and_is_shared(folder: Path) -> None:
    one, other = DataStore.embedded(folder, prefix="a:"), DataStore.open(Settings(folder=folder))
    assert embedded.status(folder) is None
    async with one, other:
        await one.queue.push("jobs", 1)
        assert await other.scoped("a:").queue.pop("jobs", timeout=0) == 1
        assert repr(one) == f"DataStore(the embedded server in {folder}, prefix='a:')"


async def test_a_relative_folder_is_the_same_for_a_process_that_works_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert DataStore.embedded("here").settings.folder == tmp_path / "here"
    assert DataStore.embedded().settings.folder == tmp_path / ".nodeflow"


async def test_a_folder_that_cannot_be_used_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    async with DataStore.embedded(tmp_path / "file") as store:
        with pytest.raises(EmbeddedServerError, match="file"):
            await store.cache.get("key")
