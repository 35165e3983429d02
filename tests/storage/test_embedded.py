"""The embedded server is one real Valkey, shared by all processes, that keeps what it was given."""

from __future__ import annotations

import os
import platform
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from nodeflow.errors import EmbeddedServerError
from nodeflow.storage.embedded import ServerPaths, ServerStatus, binary, find_binary, start, status, stop
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


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / ".nodeflow"
    yield folder
    stop(folder)


def ask(folder: Path, command: str) -> str:
    with Line(ServerPaths.of(folder).socket, timeout=5) as line:
        return line.ask(command)


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


def test_a_path_too_long_for_a_socket_gets_one_elsewhere(tmp_path: Path) -> None:
    folder = tmp_path / ("long" * 30) / ".nodeflow"
    socket = start(folder)
    try:
        assert len(os.fsencode(socket)) <= 103
        assert (mode(socket.parent), mode(socket)) == (0o700, 0o600)
        assert start(folder) == socket
        assert ServerPaths.of(folder.parent / "other").socket != socket
        ask(folder, "SET fruit pear")
        assert (folder / "server" / "appendonlydir").is_dir()
        assert stop(folder)

        socket.parent.chmod(0o755)
        with pytest.raises(EmbeddedServerError, match="mode 0755"):
            start(folder)
        socket.parent.rmdir()
        socket.parent.symlink_to(tmp_path)
        with pytest.raises(EmbeddedServerError, match="must be a real folder"):
            start(folder)
        socket.parent.unlink()
        start(folder)
        assert ask(folder, "GET fruit") == "pear"
    finally:
        stop(folder)
        socket.parent.rmdir()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
@pytest.mark.parametrize("which", [".", "server"])
def test_a_folder_of_another_user_is_refused(folder: Path, which: str) -> None:
    (folder / "server").mkdir(parents=True, mode=0o700)
    os.chown(folder / which, 12345, 12345)
    with pytest.raises(EmbeddedServerError, match="belongs to another user"):
        start(folder)
    os.chown(folder / which, 0, 0)


def test_a_file_in_the_way_is_named(folder: Path) -> None:
    folder.write_text("")
    with pytest.raises(EmbeddedServerError, match=r"\.nodeflow"):
        start(folder)


def test_without_a_binary_the_error_says_what_to_do(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "vax")
    with pytest.raises(EmbeddedServerError, match=r"no Valkey binary .*-vax.*install .*NODEFLOW_URL"):
        start(folder)
    monkeypatch.undo()
    assert find_binary().name == "valkey-server"


def test_a_server_that_cannot_start_says_why(folder: Path) -> None:
    start(folder)
    ask(folder, "SET fruit pear")
    ask(folder, "SET fruit apple")
    assert stop(folder)
    (saved,) = (folder / "server" / "appendonlydir").glob("*.incr.aof")
    good = saved.read_bytes()
    saved.write_bytes(good.replace(b"pear", b"\r\n\0\0\0\0\0\0"))
    with pytest.raises(EmbeddedServerError, match=r"(?s)didn't start.*server\.log.*Bad file format"):
        start(folder)

    saved.write_bytes(good[:-3])  # as after a power cut: only the last command is lost
    start(folder)
    assert ask(folder, "GET fruit") == "pear"


def test_status_says_what_runs(folder: Path) -> None:
    assert status(folder) is None
    assert not folder.exists()
    socket = start(folder)
    ask(folder, "SET fruit pear")
    with Line(socket, timeout=5) as client:
        client.ask("SELECT 1")
        client.ask("SET fruit apple")
        found = running(folder)

    os.kill(found.pid, 0)
    assert (found.socket, found.folder) == (socket, folder)
    assert found.version.startswith("9.")
    assert (found.clients, found.keys) == (1, 2)
    assert 0 <= found.uptime < 60
    assert found.memory > 100_000


def test_stop_waits_until_server_and_watchdog_are_gone(folder: Path) -> None:
    assert not stop(folder)
    start(folder)
    ask(folder, "SET fruit pear")

    assert stop(folder)
    assert is_gone(folder)
    assert status(folder) is None
    assert not stop(folder)
    start(folder)
    assert ask(folder, "GET fruit") == "pear"


def test_stop_ends_a_server_without_a_watchdog(folder: Path) -> None:
    start(folder)
    kill_watchdog(folder)

    assert stop(folder)
    assert is_gone(folder)


def test_the_users_own_files_do_not_get_into_the_watchdog(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "socket.py").write_text("raise SystemExit('the wrong socket')")
    monkeypatch.chdir(tmp_path)

    start(Path(".nodeflow"))
    assert running(folder).folder == folder


def test_only_a_new_server_needs_a_binary(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone() -> Path:
        raise EmbeddedServerError("no Valkey binary")

    start(folder)
    monkeypatch.setattr(binary, "find_binary", gone)
    start(folder)  # a running server needs none
    stop(folder)
    with pytest.raises(EmbeddedServerError, match="no Valkey binary"):
        start(folder)
