"""A real server for all tests, and for each test a token of its own that stands in all of its keys."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import uuid4

import pytest
import redis

from nodeflow.storage import DataStore
from tests.project import Project
from tests.servers import embedded_server, redis_server, why_no_redis
from tests.storage.servers import Server, valkey

HERE = Path(__file__).parent

CORE = {"test_queue.py", "test_lease.py", "test_commit.py", "test_suspects.py", "test_processes.py"}
"""The tests that are run once more on Redis each time; the others only by .ci/run, as slow ones."""

ON_BOTH_SERVERS = (HERE / "storage", HERE / "engine" / "test_run.py", HERE / "faults")
"""Tests that are run on Valkey and once more on Redis if they use `server_url`."""

ON_ONE_SERVER = {
    "test_by.py",
    "test_deadly_items.py",
    "test_deadly_values.py",
    "test_drains.py",
    "test_exact.py",
    "test_fed.py",
    "test_garbage.py",
    "test_generators.py",
    "test_jobs.py",
    "test_killed_producers.py",
    "test_letters.py",
    "test_nodes.py",
    "test_outage.py",
    "test_points.py",
    "test_random_graphs.py",
    "test_removed_letters.py",
    "test_waiting_producers.py",
}
"""Those of them that take long, and whose steps of the server others run on both."""


def pytest_xdist_auto_num_workers() -> int:
    """How many tests are run at once: one on a server of yours, whose connections some tests count."""
    return 0 if os.environ.get("NODEFLOW_TEST_URL") else min(max(os.cpu_count() or 1, 2), 4)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run the core of the tests on both servers."""
    if "server_url" not in metafunc.fixturenames or os.environ.get("NODEFLOW_TEST_URL"):
        return
    path = metafunc.definition.path
    if any(path.is_relative_to(part) for part in ON_BOTH_SERVERS) and path.name not in ON_ONE_SERVER:
        marks = () if path.name in CORE else (pytest.mark.slow,)
        second = [] if why_no_redis() else [pytest.param("redis", marks=marks)]
        metafunc.parametrize("server_url", ["valkey", *second], indirect=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the tests that may take longer than the others: at the end one worker would wait for them alone."""
    items.sort(key=lambda item: item.get_closest_marker("timeout") is None)


@pytest.fixture(scope="session", autouse=True)
def _interruptible() -> None:
    """A shell's background jobs ignore SIGINT, and what a test starts would inherit that."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def valkey_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An embedded server of this test run, or of this worker of it."""
    with embedded_server(tmp_path_factory.mktemp("server")) as url:
        yield url


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Redis of this test run, or of this worker of it; skips where there is none to start."""
    if reason := why_no_redis():
        pytest.skip(reason)
    with redis_server(tmp_path_factory.mktemp("redis")) as url:
        yield url


@pytest.fixture
def server_url(request: pytest.FixtureRequest) -> str:
    """The server's URL: `NODEFLOW_TEST_URL` if set, else that of the test's parameter, else an embedded one."""
    if url := os.environ.get("NODEFLOW_TEST_URL"):
        return url
    url = request.getfixturevalue(f"{getattr(request, 'param', 'valkey')}_url")
    assert isinstance(url, str)
    return url


@pytest.fixture
def token(server_url: str) -> Iterator[str]:
    """A word that no other test has; keys with it that have no time to live, but for the records of
    jobs, fail the test that left them."""
    word = f"t{uuid4().hex[:10]}"
    yield word
    with redis.Redis.from_url(server_url) as client:
        keys = sorted(client.scan_iter(match=f"*{word}*", count=1000))
        immortal = [key.decode() for key in keys if client.ttl(key) == -1 and not key.endswith(b":jobs")]
        if keys:
            client.delete(*keys)
    assert not immortal, f"the test left keys without a time to live behind: {immortal}"


@pytest.fixture
async def store(server_url: str, token: str) -> AsyncIterator[DataStore]:
    """A store below a prefix of the test's own."""
    async with DataStore.from_url(server_url, prefix=f"{token}:") as store:
        yield store


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A Valkey that has no clients but the test's, kept in memory only."""
    with valkey(tmp_path) as server:
        yield server


@pytest.fixture
def project(server_url: str, token: str, tmp_path: Path) -> Project:
    """A folder of a user's files."""
    return Project(tmp_path, server_url, token)


@pytest.fixture(autouse=True)
def _no_server_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NODEFLOW_URL", "REDIS_URL", "NODEFLOW_FOLDER", "NODEFLOW_FSYNC", "NODEFLOW_KEYS", "NODEFLOW_BLOBS"):
        monkeypatch.delenv(name, raising=False)
