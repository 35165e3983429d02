"""The servers that the tests are run on: the embedded Valkey, and a Redis as a distribution packages it."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from nodeflow.storage import embedded
from nodeflow.storage.embedded.client import Line, pulse
from tests.support import eventually

OLDEST_REDIS = (6, 2)

# However this process ends, the shell then reads the end of its input.
_ENDS_WITH_US = '"$@" & read -r _; kill $!; wait'


@cache
def why_no_redis() -> str:
    """Why the tests can't be run on a Redis here, and what to do about it; empty when they can."""
    remedy = "so the tests ran on Valkey only; `apt-get install redis-server` or `brew install redis` brings it"
    if (path := shutil.which("redis-server")) is None:
        return f"there is no redis-server on the PATH, {remedy}"
    said = subprocess.run([path, "--version"], capture_output=True, text=True, check=False).stdout.strip()
    version = re.match(r"Redis server v=(\d+)\.(\d+)", said)
    if version is None or tuple(map(int, version.groups())) < OLDEST_REDIS:
        oldest = ".".join(map(str, OLDEST_REDIS))
        return f"{path} is no Redis {oldest} or newer ({said!r}), {remedy}"
    return ""


@contextmanager
def redis_server(folder: Path) -> Iterator[str]:
    """A Redis that keeps its data on disk, as the embedded server does, for the length of the context; its URL.

    Args:
        folder: where its socket and its data lie.
    """
    socket = folder / "redis.sock"
    settings = {"port": "0", "unixsocket": str(socket), "save": "", "appendonly": "yes", "dir": str(folder)}
    server = ["redis-server", *(part for name, value in settings.items() for part in (f"--{name}", value))]
    shell = ["sh", "-c", _ENDS_WITH_US, "sh", *server]
    with subprocess.Popen(shell, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL):
        eventually(lambda: pulse(socket).alive, 10, "the Redis of this run answers")
        yield f"unix://{socket}"


@contextmanager
def embedded_server(folder: Path) -> Iterator[str]:
    """An embedded Valkey, for the length of the context; its URL.

    Args:
        folder: where it lies.
    """
    socket = embedded.start(folder)
    with Line(socket, timeout=5):  # without a client it would stop by itself, and a worker may be elsewhere for long
        yield f"unix://{socket}"
    embedded.stop(folder)
