"""The embedded server is one real Valkey, shared by all processes, that keeps what it was given."""

from __future__ import annotations

import os
import shutil
import signal
import time
from pathlib import Path

import pytest

from nodeflow.errors import EmbeddedServerError
from nodeflow.storage.embedded import ServerPaths, start, status, stop
from nodeflow.storage.embedded.client import Line
from nodeflow.storage.embedded.locks import is_held
from tests.storage.embedded.processes import (
    ask,
    has_loaded,
    is_gone,
    kill_server,
    kill_watchdog,
    mode,
    new_server,
    running,
    starter,
    starts,
    watchdog_pid,
)
from tests.support import eventually

pytestmark = pytest.mark.slow


def test_twenty_processes_that_start_at_once_get_one_server(folder: Path) -> None:
    starters = [starter(folder) for _ in range(20)]
    answers = {process.communicate(timeout=40)[0] for process in starters}

    assert answers == {f"{running(folder).pid}\nno children\n"}
    assert starts(folder) == 1


def test_a_second_start_finds_the_first_ones_server(folder: Path) -> None:
    socket = start(folder)
    pid = running(folder).pid

    assert start(folder) == socket == ServerPaths.of(folder).socket
    assert running(folder).pid == pid


def test_only_the_user_can_open_the_server(folder: Path) -> None:
    socket = start(folder)

    assert mode(folder) == mode(folder / "server") == 0o700
    assert socket.parent == folder / "server"
    assert mode(socket) == 0o600
    files = [path for path in (folder / "server").rglob("*") if path.is_file()]
    assert {mode(path) for path in files} == {0o600}
    assert (folder / ".gitignore").read_text() == "*\n"


def test_a_folder_that_was_there_is_left_as_it_is(folder: Path) -> None:
    folder.mkdir(mode=0o755)
    start(folder)

    assert mode(folder) == 0o755
    assert not (folder / ".gitignore").exists()


def test_any_path_will_do(tmp_path: Path) -> None:
    odd = tmp_path / 'it\'s "odd" ü # $HOME' / ".nodeflow"
    start(odd)
    try:
        assert running(odd).folder == odd
    finally:
        assert stop(odd)


def test_a_killed_server_comes_back_with_its_data(folder: Path) -> None:
    start(folder)
    ask(folder, "SET fruit pear")
    killed = kill_server(folder)

    eventually(lambda: new_server(folder, killed), 10, "watchdog started the server again")
    eventually(lambda: has_loaded(folder), 10, "it has loaded its data")
    assert ask(folder, "GET fruit") == "pear"


def test_a_server_that_dies_again_and_again_is_given_up(folder: Path) -> None:
    start(folder)
    for _ in range(2):
        killed = kill_server(folder)
        eventually(lambda pid=killed: new_server(folder, pid), 10, "started again")  # type: ignore[misc]
    kill_server(folder)

    eventually(lambda: is_gone(folder), 10, "watchdog gave up")
    assert "died 3 times within 10 s" in ServerPaths.of(folder).log.read_text()
    start(folder)
    assert running(folder).keys == 0


def test_the_server_survives_the_death_of_its_starter(folder: Path) -> None:
    with starter(folder, "stay") as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        ask(folder, "SET fruit pear")
        os.killpg(process.pid, signal.SIGKILL)

    assert running(folder).pid == pid
    assert ask(folder, "GET fruit") == "pear"
    assert is_held(ServerPaths.of(folder).watch_lock)


def test_a_starter_that_is_killed_halfway_holds_up_nobody(folder: Path) -> None:
    with starter(folder) as process:
        eventually(lambda: is_held(ServerPaths.of(folder).start_lock), 10, "starter at work")
        os.killpg(process.pid, signal.SIGKILL)

    start(folder)
    assert starts(folder) == 1


def test_a_watchdog_that_is_killed_while_it_starts_is_replaced(folder: Path) -> None:
    paths = ServerPaths.of(folder)
    with starter(folder) as process:
        eventually(lambda: paths.watch_lock.exists() and paths.watch_lock.read_text(), 10, "watchdog at work")
        os.kill(int(paths.watch_lock.read_text()), signal.SIGKILL)
        assert process.communicate(timeout=20)[0].endswith("no children\n")

    start(folder)
    assert is_held(paths.watch_lock)
    assert starts(folder) == 1


def test_an_idle_server_stops_and_starts_again_on_what_it_saved(folder: Path) -> None:
    start(folder, idle=1.0)
    ask(folder, "SET fruit pear")

    eventually(lambda: is_gone(folder), 10, "stopped by itself")
    assert status(folder) is None
    start(folder)
    assert ask(folder, "GET fruit") == "pear"


def test_a_connected_client_keeps_the_server_alive(folder: Path) -> None:
    socket = start(folder, idle=1.0)
    with Line(socket, timeout=5) as client:
        eventually(lambda: int(client.info("server")["uptime_in_seconds"]) >= 3, 10, "two idle times passed")
        assert running(folder).clients == 1

    eventually(lambda: is_gone(folder), 10, "stopped once the client had left")


def test_clients_that_come_and_go_keep_the_server_alive(folder: Path) -> None:
    start(folder, idle=1.0)
    pid = running(folder).pid

    eventually(lambda: running(folder).uptime >= 3, 10, "three idle times passed")
    assert running(folder).pid == pid


def test_cut_connections_do_not_disturb_the_watchdog(folder: Path) -> None:
    start(folder, idle=1.0)
    pid = running(folder).pid
    watchdog = watchdog_pid(folder)
    for _ in range(5):
        ask(folder, "CLIENT KILL TYPE normal")
        eventually(lambda: "name=nodeflow-watchdog" in ask(folder, "CLIENT LIST"), 5, "watchdog is back")

    assert (running(folder).pid, watchdog_pid(folder)) == (pid, watchdog)
    eventually(lambda: is_gone(folder), 10, "still stops when idle")


def test_a_new_watchdog_adopts_the_server_of_a_killed_one(folder: Path) -> None:
    start(folder)
    pid = running(folder).pid
    kill_watchdog(folder)
    assert running(folder).pid == pid

    start(folder, idle=1.0)
    assert running(folder).pid == pid
    assert starts(folder) == 1
    assert is_held(ServerPaths.of(folder).watch_lock)
    kill_server(folder)
    eventually(lambda: new_server(folder, pid), 10, "adopted server was started again")
    eventually(lambda: is_gone(folder), 10, "adopted server stops when idle")


def test_after_the_death_of_server_and_watchdog_a_start_is_quick(folder: Path) -> None:
    socket = start(folder)
    ask(folder, "SET fruit pear")
    kill_watchdog(folder)
    kill_server(folder)
    eventually(lambda: is_gone(folder), 5, "both gone")
    assert socket.exists()

    begun = time.monotonic()
    start(folder)
    assert time.monotonic() - begun < 2
    assert ask(folder, "GET fruit") == "pear"


@pytest.mark.slow
def test_a_stopped_process_is_never_joined_by_a_second_server(folder: Path) -> None:
    start(folder)
    pid = running(folder).pid
    os.kill(pid, signal.SIGSTOP)
    try:
        with pytest.raises(EmbeddedServerError, match=rf"pid {pid}.*doesn't answer.*kill -9"):
            start(folder, within=1)
        with pytest.raises(EmbeddedServerError, match="doesn't answer"):
            status(folder)
        with pytest.raises(EmbeddedServerError, match="doesn't stop in time"):
            stop(folder, within=1)
        kill_watchdog(folder)
        with pytest.raises(EmbeddedServerError, match=rf"pid {pid}\) holds .*data\.lock"):
            start(folder)
    finally:
        os.kill(pid, signal.SIGCONT)

    # It took the SHUTDOWN of the stop above while it was stopped, and obeys it now.
    eventually(lambda: is_gone(folder), 10, "server gone")
    assert starts(folder) == 1


def test_a_terminated_watchdog_stops_its_server_in_order(folder: Path) -> None:
    start(folder)
    os.kill(watchdog_pid(folder), signal.SIGTERM)

    eventually(lambda: is_gone(folder), 10, "both gone")
    assert "User requested shutdown" in ServerPaths.of(folder).log.read_text()


def test_a_deleted_folder_takes_its_server_along(folder: Path) -> None:
    socket = start(folder)
    with Line(socket, timeout=5) as client:
        old = int(client.info("server")["process_id"])
        shutil.rmtree(folder)
        start(folder)
        new = running(folder).pid

        assert new != old
        with pytest.raises(ConnectionError):
            eventually(lambda: client.ask("PING") == "", 10, "the old server ends")
    assert running(folder).pid == new


def test_a_removed_socket_is_made_again(folder: Path) -> None:
    socket = start(folder)
    ask(folder, "SET fruit pear")
    socket.unlink()

    start(folder)
    assert ask(folder, "GET fruit") == "pear"
