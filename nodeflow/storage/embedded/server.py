"""Start, look at and stop the embedded server of a folder."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from attrs import frozen

from nodeflow.errors import EmbeddedServerError
from nodeflow.storage.embedded.client import STATUS_NAME, WATCHDOG_NAME, Line, Pulse, RefusedError, pulse
from nodeflow.storage.embedded.locks import FileLock, holder, is_held
from nodeflow.storage.embedded.paths import ServerPaths, check_folders, make_folders
from nodeflow.storage.embedded.process import ServerOptions
from nodeflow.storage.embedded.spawn import spawn_watchdog

_POLL = 0.05
_OURS = {f"name={WATCHDOG_NAME}", f"name={STATUS_NAME}"}


@frozen(kw_only=True)
class ServerStatus:
    """An embedded server at work.

    Args:
        pid: the id of its process.
        socket: its unix socket.
        folder: the `.nodeflow` whose data it serves.
        version: the version of Valkey.
        clients: how many connections it has, without the watchdog's and that of the question.
        uptime: for how many seconds it has been running.
        memory: how much memory it uses, in bytes.
        keys: how many keys it holds, in all its databases.
    """

    pid: int
    socket: Path
    folder: Path
    version: str
    clients: int
    uptime: int
    memory: int
    keys: int


def start(folder: Path, idle: float = 60.0, *, fsync: str = "everysec", within: float = 15.0) -> Path:
    """See to it that the folder's server runs; quick when it does. Blocks: call it in a worker thread.

    Any number of processes may call it at once: one starts the server, which all of them share.

    Args:
        folder: the project's `.nodeflow`, created where it is missing.
        idle: after how many seconds without a client a server that this call starts stops.
        fsync: when what it writes is forced to the disk, one of `FSYNC`; one that runs already keeps its own.
        within: how many seconds the server may give no answer; while it says that it loads, they don't count.

    Returns:
        The server's unix socket.

    Raises:
        EmbeddedServerError: the server can't be started or doesn't answer, or the folder isn't safe to use.
    """
    paths = ServerPaths.of(folder)
    with _system_errors(paths):
        make_folders(paths)
        _bring_up(paths, ServerOptions(idle, fsync), within)
    return paths.socket


def status(folder: Path) -> ServerStatus | None:
    """What the folder's server does, None when there is none; doesn't start one.

    Args:
        folder: the project's `.nodeflow`.

    Raises:
        EmbeddedServerError: it doesn't answer, or the folder isn't safe to use.
    """
    paths = ServerPaths.of(folder)
    with _system_errors(paths):
        if not paths.socket.exists():
            return None
        check_folders(paths)
        try:
            with Line(paths.socket, timeout=2.0) as line:
                line.ask(f"CLIENT SETNAME {STATUS_NAME}")
                facts = line.info("server", "memory", "keyspace")
                clients = line.ask("CLIENT LIST").splitlines()
        except (FileNotFoundError, ConnectionError):
            return None
        except (TimeoutError, BlockingIOError, RefusedError) as error:
            raise EmbeddedServerError(_stuck(paths, pulse(paths.socket), "doesn't tell its status")) from error
    return ServerStatus(
        pid=int(facts["process_id"]),
        socket=paths.socket,
        folder=paths.folder,
        version=facts["valkey_version"],
        clients=sum(_OURS.isdisjoint(line.split()) for line in clients),
        uptime=int(facts["uptime_in_seconds"]),
        memory=int(facts["used_memory"]),
        keys=sum(_keys(value) for field, value in facts.items() if re.fullmatch(r"db\d+", field)),
    )


def stop(folder: Path, *, within: float = 15.0) -> bool:
    """Stop the folder's server and wait until it has saved and is gone. Blocks.

    Args:
        folder: the project's `.nodeflow`.
        within: how many seconds it may take.

    Returns:
        Whether there was one.

    Raises:
        EmbeddedServerError: it doesn't stop, or the folder isn't safe to use.
    """
    paths = ServerPaths.of(folder)
    with _system_errors(paths):
        if not paths.home.is_dir() or not paths.socket.parent.is_dir():
            return False
        check_folders(paths)
        deadline = time.monotonic() + within
        lock = FileLock.wait_for(paths.start_lock, within)
        if lock is None:
            raise EmbeddedServerError(_stuck(paths, pulse(paths.socket), "doesn't stop in time"))
        try:
            return _bring_down(paths, deadline)
        finally:
            lock.release()


def _bring_up(paths: ServerPaths, options: ServerOptions, within: float) -> None:
    lock: FileLock | None = None
    deadline = time.monotonic() + within
    try:
        while (found := pulse(paths.socket)) is not Pulse.READY or not is_held(paths.watch_lock):
            if found is Pulse.LOADING:
                deadline = time.monotonic() + within
            left = deadline - time.monotonic()
            if left <= 0:
                raise EmbeddedServerError(_stuck(paths, found, f"isn't ready after {within:g} s"))
            if is_held(paths.watch_lock):
                time.sleep(_POLL)
            elif lock is not None:
                spawn_watchdog(paths, options, left)
            else:  # with the lock look again: somebody may have started it just before
                lock = FileLock.wait_for(paths.start_lock, _POLL)
    finally:
        if lock is not None:
            lock.release()


def _bring_down(paths: ServerPaths, deadline: float) -> bool:
    """Whether there was anything to end; when this returns it is gone."""
    if not _remains(paths):
        return False
    while _remains(paths):
        _ask_to_stop(paths)
        if time.monotonic() >= deadline:
            raise EmbeddedServerError(_stuck(paths, pulse(paths.socket), "doesn't stop in time"))
        time.sleep(_POLL)
    return True


def _remains(paths: ServerPaths) -> bool:
    return is_held(paths.watch_lock) or is_held(paths.data_lock) or pulse(paths.socket, 0.2) is not Pulse.NONE


def _ask_to_stop(paths: ServerPaths) -> None:
    try:
        with Line(paths.socket, timeout=2.0) as line:
            line.shut_down()
    except RefusedError as error:
        raise EmbeddedServerError(
            f"the embedded server in {paths.folder} doesn't stop: {error}. Its log is {paths.log}"
        ) from error
    except (FileNotFoundError, ConnectionError, TimeoutError, BlockingIOError):
        return


def _keys(field: str) -> int:
    """The count in `keys=3,expires=0,avg_ttl=0`."""
    return int(dict(part.split("=") for part in field.split(","))["keys"])


def _stuck(paths: ServerPaths, found: Pulse, fault: str) -> str:
    """What to do about a server that neither answers nor goes."""
    head = f"the embedded server in {paths.folder} ({holder(paths.data_lock)}) {fault}"
    if found is Pulse.NONE:
        advice = (
            f"nobody listens at {paths.socket} although its watchdog ({holder(paths.watch_lock)}) may be at work. "
            "It may be starting still, or run in another container or on another machine that shares the folder"
        )
    elif found is Pulse.SILENT:
        advice = f"{found.value}. It hangs or was stopped; `kill -9` ends it, what it saved stays"
    else:
        advice = f"{found.value}, but is busy, or another process starts or stops it just now: try again"
    return f"{head}: {advice}. Its log is {paths.log}"


@contextmanager
def _system_errors(paths: ServerPaths) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise EmbeddedServerError(
            f"can't use the embedded server in {paths.folder}: {error}. "
            "Mend that, name another folder with NODEFLOW_FOLDER, or set NODEFLOW_URL to a server's address"
        ) from error
