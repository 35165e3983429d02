"""The server's own process: started as a child, or taken over from a watchdog that was killed."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

from attrs import field, frozen
from attrs.validators import in_

from nodeflow.errors import EmbeddedServerError
from nodeflow.storage.embedded.binary import find_binary
from nodeflow.storage.embedded.client import pulse
from nodeflow.storage.embedded.locks import POLL, FileLock, holder, is_held
from nodeflow.storage.embedded.paths import ServerPaths

FSYNC = ("everysec", "always", "no")
"""What Valkey's `appendfsync` can be: when what was written is forced to the disk."""


@frozen
class ServerOptions:
    """How a server is run.

    Args:
        idle: after how many seconds without a client it stops.
        fsync: when what was written is forced to the disk, one of `FSYNC`. The death of the server alone loses
            nothing with any; a crash of the machine costs up to a second of writes, or none with `always`.
    """

    idle: float = 60.0
    fsync: str = field(default="everysec", validator=in_(FSYNC))


LOCK_PATIENCE = 5.0
"""Seconds to wait for the data's lock: a server that just ends still writes, and so may its rewriting child."""

START_PATIENCE = 10.0
"""Seconds for a new server to answer at all, were it only that it loads."""


class ServerKilledError(EmbeddedServerError):
    """A signal ended the new server before it answered."""


class ServerProcess:
    """A running server.

    Args:
        paths: its files.
        child: its process where we started it, None where somebody before us did.
    """

    def __init__(self, paths: ServerPaths, child: subprocess.Popen[bytes] | None = None) -> None:
        self._paths, self._child = paths, child

    def is_alive(self) -> bool:
        """Whether the process is there, were it stopped or hanging."""
        if self._child is not None:
            return self._child.poll() is None
        # Not by its pid: that may have been given to another process, or be a zombie that nobody reaps.
        return is_held(self._paths.data_lock)

    def wait(self, seconds: float) -> bool:
        """Wait for its end; False when it still is there after that time."""
        deadline = time.monotonic() + seconds
        while self.is_alive():
            if time.monotonic() >= deadline:
                return False
            time.sleep(POLL)
        return True

    def kill(self, pid: int | None) -> None:
        """End it at once, without the clean-up that would remove the socket at its path.

        Args:
            pid: its process id where it isn't our child; with None such a one lives on.
        """
        if self._child is not None:
            self._child.kill()
            self._child.wait()
        elif pid is not None:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def find_or_start(paths: ServerPaths, options: ServerOptions) -> ServerProcess:
    """The server that answers at the socket, else a new one on what was saved.

    Raises:
        ServerKilledError: a signal ended the new one; it may be tried again.
        EmbeddedServerError: there is one that doesn't answer, or the new one doesn't come up.
    """
    deadline = time.monotonic() + LOCK_PATIENCE
    while not (found := pulse(paths.socket)).alive:
        lock = FileLock.take(paths.data_lock)
        if lock is not None:
            return _start(paths, options, lock)
        if time.monotonic() >= deadline:
            raise EmbeddedServerError(
                f"another server ({holder(paths.data_lock)}) holds {paths.data_lock}, so no second one may run on "
                f"this data, but {found.value}: end that one (kill -9), what it saved stays; then try again"
            )
        time.sleep(POLL)
    return ServerProcess(paths)


def _start(paths: ServerPaths, options: ServerOptions, lock: FileLock) -> ServerProcess:
    binary = find_binary()
    try:
        child = subprocess.Popen(
            [binary, *_arguments(paths, options)], stdin=subprocess.DEVNULL, cwd="/", pass_fds=[lock.descriptor]
        )
        lock.write_pid(child.pid)
    except OSError as error:
        raise EmbeddedServerError(
            f"can't run {binary}: {error}. "
            "Install a Redis or Valkey server, start it, and set NODEFLOW_URL to its address"
        ) from error
    finally:
        lock.bequeath()
    _await_answer(paths.socket, child)
    return ServerProcess(paths, child)


def _await_answer(socket: Path, child: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_PATIENCE
    while not pulse(socket).alive:
        if child.poll() is not None:
            if child.returncode < 0:
                raise ServerKilledError(f"signal {-child.returncode} ended valkey-server before it answered")
            raise EmbeddedServerError(
                f"valkey-server ended with code {child.returncode} before it answered; its reason stands above"
            )
        if time.monotonic() >= deadline:
            child.kill()
            child.wait()
            raise EmbeddedServerError(f"valkey-server didn't answer within {START_PATIENCE:g} s; it was ended")
        time.sleep(POLL)


def _arguments(paths: ServerPaths, options: ServerOptions) -> list[str]:
    arguments = {
        "port": "0",
        "unixsocket": str(paths.socket),
        "unixsocketperm": "600",
        "dir": str(paths.home),
        "daemonize": "no",
        "logfile": "",  # standard output, which is the log that we were given
        "appendonly": "yes",
        "appendfsync": options.fsync,
        "aof-load-truncated": "yes",
        "save": "",
        "maxmemory-policy": "noeviction",
    }
    return [part for name, value in arguments.items() for part in (f"--{name}", value)]
