"""Where the embedded server lies, who may open it, and what is said when it can't be had."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import pytest

from nodeflow.errors import EmbeddedServerError
from nodeflow.storage.embedded import ServerPaths, binary, find_binary, start, status, stop
from nodeflow.storage.embedded.client import Line
from tests.storage.embedded.processes import (
    ask,
    is_gone,
    kill_watchdog,
    mode,
    running,
)


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
