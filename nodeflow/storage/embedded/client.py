"""A few words with a Valkey server over its unix socket, without a Redis client: quick to import, synchronous."""

from __future__ import annotations

import socket
import struct
from enum import Enum
from pathlib import Path
from types import TracebackType
from typing import Self

from nodeflow.errors import EmbeddedServerError

WATCHDOG_NAME = "nodeflow-watchdog"
"""The name of the watchdog's connection in CLIENT LIST."""

STATUS_NAME = "nodeflow-status"
"""The name of a connection that only asks for the status."""


class RefusedError(EmbeddedServerError):
    """The server answered a command with an error."""


class Line:
    """One connection to the server, for inline commands.

    Args:
        path: the server's unix socket.
        timeout: how long to wait for each part of an answer, in seconds. After a TimeoutError only close it.

    Raises:
        FileNotFoundError: there is no socket.
        ConnectionError: nobody listens there (any more).
        TimeoutError, BlockingIOError: somebody listens and doesn't answer.
    """

    def __init__(self, path: Path, timeout: float) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._socket.settimeout(timeout)
            self._socket.connect(str(path))
        except BaseException:
            self._socket.close()
            raise
        self._reader = self._socket.makefile("rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Hang up; may be called twice."""
        self._reader.close()
        self._socket.close()

    def fileno(self) -> int:
        """For select: readable without a question means that the server hung up."""
        return self._socket.fileno()

    def ask(self, command: str) -> str:
        """Send one command and read its simple or bulk answer.

        Raises:
            RefusedError: the server answered with an error, which is the message.
            ConnectionError, TimeoutError: as for the connection.
        """
        self._socket.sendall(f"{command}\r\n".encode())
        head = self._reader.readline()
        if not head.endswith(b"\r\n"):
            raise ConnectionResetError("the server closed the connection")
        kind, rest = head[:1], head[1:-2].decode(errors="replace")
        if kind == b"-":
            raise RefusedError(rest)
        if kind != b"$" or rest == "-1":
            return rest
        body = self._reader.read(int(rest) + 2)
        if not body.endswith(b"\r\n") or len(body) < int(rest) + 2:
            raise ConnectionResetError("the server closed the connection")
        return body[:-2].decode(errors="replace")

    def info(self, *sections: str) -> dict[str, str]:
        """What INFO says in these sections, by field."""
        lines = self.ask(" ".join(("INFO", *sections))).splitlines()
        return dict(line.split(":", 1) for line in lines if ":" in line)

    def shut_down(self) -> None:
        """Have the server write out its append-only file and end; it is about to end when this returns.

        Raises:
            RefusedError: the server can't save, and so lives on.
        """
        try:
            self.ask("SHUTDOWN")
        except ConnectionError:
            return

    def peer_pid(self) -> int | None:
        """The server's process id as the kernel knows it, right across containers; None where it can't tell."""
        if not hasattr(socket, "SO_PEERCRED"):
            return None
        size = struct.calcsize("3i")
        pid: int = struct.unpack("3i", self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))[0]
        return pid or None


class Pulse(Enum):
    """How a server answers a PING."""

    NONE = "nobody listens"
    SILENT = "it takes connections but doesn't answer"
    LOADING = "it still loads its data"
    READY = "it answers"

    @property
    def alive(self) -> bool:
        """Whether there was an answer."""
        return self in (Pulse.LOADING, Pulse.READY)


def pulse(path: Path, timeout: float = 1.0) -> Pulse:
    """Send a PING to the server at a unix socket.

    Args:
        path: the socket.
        timeout: after how many seconds without an answer it counts as silent.
    """
    try:
        with Line(path, timeout) as line:
            line.ask("PING")
    except RefusedError as error:
        # BUSY and MISCONF are for the caller's own commands to meet: the server is there.
        return Pulse.LOADING if str(error).startswith("LOADING") else Pulse.READY
    except (FileNotFoundError, ConnectionError):
        return Pulse.NONE
    except (TimeoutError, BlockingIOError):
        return Pulse.SILENT
    return Pulse.READY
