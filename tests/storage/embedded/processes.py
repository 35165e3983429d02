"""What the tests do to the processes of an embedded server."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

from nodeflow.storage.embedded import ServerPaths, ServerStatus, status
from nodeflow.storage.embedded.client import Line
from nodeflow.storage.embedded.locks import is_held
from tests.support import eventually

START_AND_PRINT = """
import os, sys
from pathlib import Path
from nodeflow.storage.embedded import start, status
start(Path(sys.argv[1]))
print(status(Path(sys.argv[1])).pid, flush=True)
try:
    os.waitpid(-1, os.WNOHANG)
except ChildProcessError:
    print("no children", flush=True)
if sys.argv[2:] == ["stay"]:
    sys.stdin.read()
"""


def ask(folder: Path, command: str) -> str:
    with Line(ServerPaths.of(folder).socket, timeout=5) as line:
        return line.ask(command)


def has_loaded(folder: Path) -> bool:
    with Line(ServerPaths.of(folder).socket, timeout=5) as line:
        return line.info("persistence")["loading"] == "0"


def running(folder: Path) -> ServerStatus:
    found = status(folder)
    assert found is not None
    return found


def watchdog_pid(folder: Path) -> int:
    paths = ServerPaths.of(folder)
    assert is_held(paths.watch_lock)
    return int(paths.watch_lock.read_text())


def kill_watchdog(folder: Path) -> None:
    os.kill(watchdog_pid(folder), signal.SIGKILL)
    eventually(lambda: not is_held(ServerPaths.of(folder).watch_lock), 5, "watchdog gone")


def kill_server(folder: Path) -> int:
    pid = running(folder).pid
    os.kill(pid, signal.SIGKILL)
    return pid


def new_server(folder: Path, old_pid: int) -> bool:
    found = status(folder)
    return found is not None and found.pid != old_pid


def is_gone(folder: Path) -> bool:
    paths = ServerPaths.of(folder)
    return not is_held(paths.watch_lock) and not is_held(paths.data_lock)


def starts(folder: Path) -> int:
    return ServerPaths.of(folder).log.read_text().count("Ready to accept connections")


def starter(folder: Path, *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", START_AND_PRINT, str(folder), *options],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)
