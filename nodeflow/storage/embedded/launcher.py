"""The watchdog: it starts the server, starts it again when it dies, and stops it when nobody needs it.

It is a process of its own, in a session of its own, so that neither Ctrl-C nor the end of whoever wanted the
server reaches it. When it is killed itself the server lives on; the next `start` brings a new watchdog.
"""

from __future__ import annotations

import logging
import os
import select
import signal
import socket
import time
from collections import deque
from contextlib import suppress
from pathlib import Path

from nodeflow.errors import EmbeddedServerError
from nodeflow.storage.embedded.client import WATCHDOG_NAME, Line, RefusedError
from nodeflow.storage.embedded.locks import FileLock
from nodeflow.storage.embedded.paths import ServerPaths, make_folders
from nodeflow.storage.embedded.process import ServerKilledError, ServerOptions, ServerProcess, find_or_start

KILLED = 75
"""The launcher's exit code for "try again", as EX_TEMPFAIL in sysexits.h."""

_LOCK_PATIENCE = 0.5  # processes that look whether the lock is held, hold it themselves for an instant
_DEATHS, _DEATHS_WITHIN = 3, 10.0
_ANSWER_WITHIN = 2.0
_STOP_WITHIN = 10.0
_RECONNECT_AFTER = 0.05

_log = logging.getLogger("watchdog")


def launch(folder: Path, options: ServerOptions) -> int:
    """Leave a watchdog behind and return as soon as its server answers.

    Args:
        folder: the project's `.nodeflow`.
        options: how the server is run.

    Returns:
        The exit code: 0 when there is a watchdog with a server, ours or one that was there before; KILLED
        when the watchdog was killed meanwhile; else 1, with the reason in the log.
    """
    logging.basicConfig(format="%(process)d:W %(asctime)s %(message)s", level=logging.INFO)
    os.umask(0o077)
    reader, writer = os.pipe()
    watchdog = os.fork()
    if watchdog:
        os.close(writer)
        return 0 if os.read(reader, 1) else _reason(watchdog)
    os.close(reader)
    os.setsid()
    try:
        return _watch(ServerPaths.of(folder), options, writer)
    except (EmbeddedServerError, OSError) as error:
        _log.error("%s", error)
        return 1


def _reason(watchdog: int) -> int:
    _, status = os.waitpid(watchdog, 0)
    return KILLED if os.WIFSIGNALED(status) else 1


def _watch(paths: ServerPaths, options: ServerOptions, ready: int) -> int:
    make_folders(paths)
    lock = FileLock.wait_for(paths.watch_lock, _LOCK_PATIENCE)
    if lock is not None:
        lock.write_pid(os.getpid())
        watchdog = Watchdog(paths, options, lock)
    with suppress(BrokenPipeError):  # whoever waited for us was killed
        os.write(ready, b"1")
    os.close(ready)
    return 0 if lock is None else watchdog.run()


class Watchdog:
    """One watch over one server, which it finds or starts.

    Args:
        paths: the server's files.
        options: how the server is run.
        lock: the held watch lock.

    Raises:
        EmbeddedServerError: the server can't be started.
    """

    def __init__(self, paths: ServerPaths, options: ServerOptions, lock: FileLock) -> None:
        self._paths, self._options, self._lock = paths, options, lock
        self._tick = max(_RECONNECT_AFTER, min(1.0, options.idle / 4))
        self._pause = 0.0
        self._told_to_stop = False
        self._line: Line | None = None
        self._connections = ""
        self._busy_at = time.monotonic()
        self._deaths: deque[float] = deque(maxlen=_DEATHS)
        self._signals = self._listen_to_signals()
        self._server = self._find_or_start()

    def run(self) -> int:
        """Watch until the server is stopped; returns the exit code.

        Raises:
            EmbeddedServerError: the server died and can't be started again.
        """
        while True:
            self._wait()
            if self._told_to_stop:
                return 0 if self._shut_down() else 1
            if not self._lock.in_place():
                return self._abandon()
            if not self._server.is_alive() or not self._paths.socket.exists():
                if not self._revive():
                    return 0
            elif self._is_idle() and self._stop_unless_starting():
                return 0

    def _listen_to_signals(self) -> socket.socket:
        reader, self._signal_writer = socket.socketpair()
        reader.setblocking(False)
        self._signal_writer.setblocking(False)
        signal.set_wakeup_fd(self._signal_writer.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, self._on_stop)
        signal.signal(signal.SIGINT, self._on_stop)
        signal.signal(signal.SIGCHLD, lambda *_: None)  # a handler, so that the server's end wakes us up
        return reader

    def _on_stop(self, *_: object) -> None:
        self._told_to_stop = True

    def _wait(self) -> None:
        """Sleep until the next look is due, a signal comes or the server hangs up."""
        sources: list[socket.socket | Line] = [self._signals]
        if self._line is not None:
            sources.append(self._line)
        ready, _, _ = select.select(sources, [], [], self._pause)
        if self._signals in ready:
            with suppress(BlockingIOError):
                self._signals.recv(4096)
        if self._line is not None and self._line in ready:
            self._hang_up(_RECONNECT_AFTER)

    def _hang_up(self, pause: float) -> None:
        if self._line is not None:
            self._line.close()
        self._line, self._pause = None, pause

    def _look(self) -> dict[str, str] | None:
        """What the server says about its clients, None when it doesn't."""
        try:
            if self._line is None:
                self._line = Line(self._paths.socket, _ANSWER_WITHIN)
                self._line.ask(f"CLIENT SETNAME {WATCHDOG_NAME}")
            facts = self._line.info("clients", "stats")
        except RefusedError:  # busy with a script
            self._hang_up(self._tick)
            return None
        except (TimeoutError, BlockingIOError):
            self._hang_up(_ANSWER_WITHIN)
            return None
        except OSError:
            self._hang_up(_RECONNECT_AFTER)
            return None
        self._pause = self._tick
        return facts

    def _is_idle(self) -> bool:
        """Whether nobody but us was connected for all of the idle time, were it between two looks."""
        facts = self._look()
        connections = facts["total_connections_received"] if facts else ""
        if not facts or int(facts["connected_clients"]) > 1 or connections != self._connections:
            self._connections, self._busy_at = connections, time.monotonic()
        return time.monotonic() - self._busy_at >= self._options.idle

    def _stop_unless_starting(self) -> bool:
        lock = None
        with suppress(FileNotFoundError):  # deleted just now: the next look sees it
            lock = FileLock.take(self._paths.start_lock)
        if lock is None:
            return False
        try:
            if not self._is_idle():
                return False
            _log.info("no client for %g s: stopping", self._options.idle)
            if self._shut_down():
                return True
        finally:
            lock.release()
        self._busy_at = time.monotonic()
        return False

    def _shut_down(self) -> bool:
        """Have the server save and end; False, with the reason in the log, when it doesn't."""
        try:
            if self._line is None:
                self._line = Line(self._paths.socket, _STOP_WITHIN)
            with suppress(TimeoutError):  # it got the command; writing out may take longer
                self._line.shut_down()
        except (RefusedError, OSError) as error:
            _log.error("the server doesn't stop: %s", error)
            self._hang_up(_ANSWER_WITHIN)
            return False
        self._hang_up(_RECONNECT_AFTER)
        return self._server.wait(_STOP_WITHIN)

    def _revive(self) -> bool:
        """Start the server again where it died; False where somebody stopped it or it can't be replaced."""
        if self._paths.socket.exists():
            self._count_death()
        elif self._server.wait(1.0):  # only a server that ends in order removes its socket
            _log.info("the server was stopped")
            return False
        else:
            _log.warning("somebody removed %s: starting the server again", self._paths.socket)
            if not self._shut_down():
                return False
        self._hang_up(_RECONNECT_AFTER)
        self._server = self._find_or_start()
        return True

    def _find_or_start(self) -> ServerProcess:
        while True:
            try:
                return find_or_start(self._paths, self._options)
            except ServerKilledError as error:
                _log.warning("%s", error)
                self._count_death()

    def _count_death(self) -> None:
        self._deaths.append(time.monotonic())
        if len(self._deaths) == _DEATHS and self._deaths[-1] - self._deaths[0] < _DEATHS_WITHIN:
            raise EmbeddedServerError(
                f"the server died {_DEATHS} times within {_DEATHS_WITHIN:g} s; its reasons stand above"
            )
        _log.warning("the server died: starting it again on what it saved")

    def _abandon(self) -> int:
        """The folder was deleted or moved: end the server without touching what may be there by now."""
        _log.warning("%s isn't ours any more: ending the server", self._paths.home)
        self._look()
        self._server.kill(self._line.peer_pid() if self._line is not None else None)
        return 1
