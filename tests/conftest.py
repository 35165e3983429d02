"""A real server for all tests, and for each test a token of its own that stands in all of its keys."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import uuid4

import pytest
import redis

from nodeflow.storage import DataStore, embedded
from tests.project import Project


@pytest.fixture(scope="session", autouse=True)
def _interruptible() -> None:
    """A shell's background jobs ignore SIGINT, and what a test starts would inherit that."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def server_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The server's URL: `NODEFLOW_TEST_URL` if set, else an embedded server of this test run."""
    if url := os.environ.get("NODEFLOW_TEST_URL"):
        yield url
        return
    folder: Path = tmp_path_factory.mktemp("server")
    yield f"unix://{embedded.start(folder)}"
    embedded.stop(folder)


@pytest.fixture
def token(server_url: str) -> Iterator[str]:
    """A word that no other test has; keys that hold it and have no time to live fail the test that left them."""
    word = f"t{uuid4().hex[:10]}"
    yield word
    with redis.Redis.from_url(server_url) as client:
        keys = sorted(client.scan_iter(match=f"*{word}*", count=1000))
        immortal = [key.decode() for key in keys if client.ttl(key) == -1]
        if keys:
            client.delete(*keys)
    assert not immortal, f"the test left keys without a time to live behind: {immortal}"


@pytest.fixture
async def store(server_url: str, token: str) -> AsyncIterator[DataStore]:
    """A store below a prefix of the test's own."""
    async with DataStore.from_url(server_url, prefix=f"{token}:") as store:
        yield store


@pytest.fixture
def project(server_url: str, token: str, tmp_path: Path) -> Project:
    """A folder of a user's files."""
    return Project(tmp_path, server_url, token)


@pytest.fixture(autouse=True)
def _no_server_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NODEFLOW_URL", "REDIS_URL", "NODEFLOW_FOLDER"):
        monkeypatch.delenv(name, raising=False)
