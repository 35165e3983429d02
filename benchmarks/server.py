"""The server that a benchmark measures on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

import redis
from attrs import frozen

from benchmarks.report import progress
from nodeflow.storage import embedded


@frozen
class Server:
    """A server at work.

    Args:
        url: its address.
        prefix: what stands before each key of this run.
    """

    url: str
    prefix: str

    def version(self) -> str:
        """The server's name and version."""
        facts = self._info("server")
        valkey = facts.get("valkey_version")
        return f"Valkey {valkey}" if valkey else f"Redis {facts['redis_version']}"

    def cpu_seconds(self) -> float:
        """How long the server has computed so far, in all of its threads, in seconds."""
        facts = self._info("cpu")
        return float(facts["used_cpu_user"]) + float(facts["used_cpu_sys"])

    def keys(self) -> list[bytes]:
        """The keys of this run, also those to which another package gave a prefix of its own."""
        with redis.Redis.from_url(self.url) as client:
            return list(client.scan_iter(match=f"*{self.prefix}*", count=1_000))

    def check_empty(self) -> None:
        """Remove the counts and marks that a round has left to expire; refuse what would stay, and items.

        Raises:
            AssertionError: there is something that would stay, or a list.
        """
        with redis.Redis.from_url(self.url) as client:
            left = [key for key in self.keys() if client.type(key) == b"list" or client.ttl(key) == -1]
        if left:
            raise AssertionError(f"all items arrived, but the server still holds {left}")
        self.clean()

    def clean(self) -> None:
        """Remove what this run has left behind."""
        if keys := self.keys():
            with redis.Redis.from_url(self.url) as client:
                client.unlink(*keys)

    def _info(self, section: str) -> dict[str, Any]:
        with redis.Redis.from_url(self.url) as client:
            facts: Any = client.info(section)
        return dict(facts)


@contextmanager
def server_for(url: str | None) -> Iterator[Server]:
    """The server at a URL, else an embedded one of this run's own, which is stopped at the end.

    Args:
        url: the server's address; None starts one in a temporary folder.

    Raises:
        SystemExit: with status 2, when there is no server at the address.
    """
    prefix = f"nodeflow-benchmark-{uuid4().hex[:8]}:"
    if url is not None:
        server = _server_at(url, prefix)
        try:
            yield server
        finally:
            server.clean()
        return
    with TemporaryDirectory(prefix="nodeflow-benchmark-") as folder:
        try:
            yield Server(f"unix://{embedded.start(Path(folder))}", prefix)
        finally:
            embedded.stop(Path(folder))


def _server_at(url: str, prefix: str) -> Server:
    try:
        with redis.Redis.from_url(url) as client:
            client.ping()
    except (redis.RedisError, OSError, ValueError) as error:
        progress(f"can't use the server that --url names: {error}")
        raise SystemExit(2) from error
    return Server(url, prefix)
