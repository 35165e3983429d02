"""The command line: what it shows, where, and with which exit status."""

from __future__ import annotations

import json
import os
import pty
import signal
import socket
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from nodeflow.cli.common import plural, seconds_text, shortened, size_text
from nodeflow.storage import embedded
from tests.project import Project

FLOW = """
    from nodeflow import Graph

    def numbers():
        yield from range(100)

    def double(n: int) -> int:
        print("doubling", n)
        return 2 * n

    graph = Graph("TOKEN")
    with graph.loop("a"):
        n = graph.add(numbers)
    with graph.loop("b"):
        graph.add(double, n)
"""


@pytest.fixture
def flow(project: Project) -> Project:
    """A project with a small graph."""
    project.write("flow.py", FLOW)
    return project


@pytest.mark.parametrize(
    "arguments", [[], ["run"], ["step"], ["step", "--plan"], ["status"], ["outputs"], ["dead-letters"], ["server"]]
)
def test_every_command_has_help(flow: Project, arguments: list[str]) -> None:
    done = flow.run(*[part for part in arguments if part != "--plan"], "--help")
    assert "Usage: " in done.stdout
    assert "nodeflow" in done.stdout


@pytest.mark.parametrize(
    "arguments", [["run"], ["run", "flow.py", "--nope"], ["nope"], ["step", "flow.py"], ["step", "flow.py", "nope"]]
)
def test_a_wrong_use_has_exit_status_2(flow: Project, arguments: list[str]) -> None:
    done = flow.run(*arguments, status=2)
    assert done.stdout == ""
    assert "Traceback" not in done.stderr


def test_version(flow: Project) -> None:
    assert flow.run("--version").stdout == "nodeflow 0.1.0\n"


def test_step_prints_values_to_standard_output_and_the_rest_beside(flow: Project) -> None:
    done = flow.run("step", "flow.py", "double", "--items", "2", "--json")
    assert done.stdout.splitlines() == [
        "doubling 0",
        "doubling 1",
        '{"id": "numbers.0", "status": "done", "value": 0}',
        '{"id": "numbers.1", "status": "done", "value": 2}',
    ]
    assert "running numbers first: its output is missing" in done.stderr
    assert "double: 2 items (a sample: the first 2 of numbers)" in done.stderr


def test_step_shows_the_first_items_and_how_many_there_are(flow: Project) -> None:
    done = flow.run("step", "flow.py", "numbers", "--items", "all")
    assert len(done.stdout.splitlines()) == 10
    assert "… and 90 more" in done.stderr
    assert "numbers: 100 items in" in done.stderr


def test_plan_runs_nothing(flow: Project) -> None:
    done = flow.run("step", "flow.py", "double", "--plan")
    assert done.stdout.splitlines() == ["would run numbers: its output is missing", "would run double: asked for"]
    assert flow.states("flow.py") == {"numbers": "missing", "double": "missing"}


def test_status_is_a_table(flow: Project) -> None:
    flow.run("step", "flow.py", "double", "--items", "3")
    flow.replace("flow.py", "2 * n", "3 * n")
    shown = flow.run("status", "flow.py").stdout
    for word in ("node", "loop", "state", "why", "items", "size", "age", "took", "fresh", "stale"):
        assert word in shown
    assert "flow.double changed" in shown
    assert "3 (sample)" in shown


def test_outputs_prints_what_is_kept(flow: Project) -> None:
    done = flow.run("outputs", "flow.py", "numbers", status=2)
    assert "nothing is kept of 'numbers': run `nodeflow step flow.py numbers`" in done.stderr
    flow.run("step", "flow.py", "numbers", "--items", "3")
    assert flow.run("outputs", "flow.py", "numbers").stdout.splitlines() == [f"numbers.{n}  {n}" for n in range(3)]
    assert json.loads(flow.run("outputs", "flow.py", "numbers", "--json").stdout.splitlines()[2])["value"] == 2


def test_a_node_that_raises_shows_the_users_frames_only(flow: Project) -> None:
    flow.replace("flow.py", "return 2 * n", "return 1 / 0")
    done = flow.run("step", "flow.py", "double", status=1)
    assert "node 'double' failed on item numbers.0" in done.stderr
    assert "ZeroDivisionError" in done.stderr
    assert "nodeflow/engine" not in done.stderr


@pytest.mark.slow
def test_without_a_terminal_progress_is_plain_lines_and_quiet_shows_none(flow: Project) -> None:
    flow.replace("flow.py", 'print("doubling", n)', "import time; time.sleep(0.03)")
    done = flow.run("run", "flow.py")
    assert "done numbers 100" in done.stderr
    assert done.stdout.splitlines()[-1].startswith("100 items done, 0 failed, in ")
    assert flow.run("run", "flow.py", "--quiet").stderr == ""


def test_on_a_terminal_progress_is_a_live_table(flow: Project) -> None:
    master, slave = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "nodeflow", "run", "flow.py"],
        cwd=flow.folder,
        env={**os.environ, "NODEFLOW_URL": flow.url, "TERM": "xterm", "COLUMNS": "120"},
        stdin=slave,
        stdout=slave,
        stderr=slave,
    ) as process:
        os.close(slave)
        shown = read_all(master)
    assert process.returncode == 0
    for text in ("node", "failed", "waiting:", "doubling 99", "100 items done"):
        assert text in shown


def read_all(terminal: int) -> str:
    """What is written to a terminal until it is closed."""
    found = b""
    while True:
        try:
            chunk = os.read(terminal, 65536)
        except OSError:
            chunk = b""
        if not chunk:
            os.close(terminal)
            return found.decode()
        found += chunk


def test_a_wrong_url_names_the_variable(flow: Project) -> None:
    flow = Project(flow.folder, "localhost:6379", flow.token)
    done = flow.run("status", "flow.py", status=2)
    assert done.stderr.startswith("nodeflow: NODEFLOW_URL or REDIS_URL is wrong: a server's URL begins with redis://")


def test_ctrl_c_ends_a_step_of_nodes_that_never_await(flow: Project) -> None:
    flow.replace("flow.py", 'print("doubling", n)', 'print("doubling", n, flush=True); import time; time.sleep(0.05)')
    flow.run("step", "flow.py", "numbers", "--items", "all")
    with flow.started("step", "flow.py", "double") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "doubling 0\n"
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=20)
    assert process.returncode != 0
    assert "doubling 99" not in output
    assert flow.states("flow.py")["double"] == "missing"


def test_without_a_server_the_remedies_are_named(flow: Project) -> None:
    flow = Project(flow.folder, "redis://:hush@127.0.0.1:1/0", flow.token)
    done = flow.run("run", "flow.py", status=1)
    assert "can't reach the server at redis://127.0.0.1:1/0" in done.stderr
    assert "embedded" in done.stderr
    assert "hush" not in done.stderr


def test_the_embedded_server_is_used_looked_at_and_stopped(tmp_path: Path, token: str) -> None:
    project = Project(tmp_path, "", token)
    project.write("flow.py", FLOW)
    try:
        assert project.run("server", "status", status=1).stdout == "no embedded server runs in .nodeflow\n"
        assert "100 items done" in project.run("run", "flow.py", "--quiet").stdout
        shown = project.run("server", "status").stdout
        assert "Valkey" in shown
        assert str(tmp_path / ".nodeflow") in shown
        with closing(socket.socket(socket.AF_UNIX)) as client:
            client.connect(str(embedded.ServerPaths.of(tmp_path / ".nodeflow").socket))
            assert "1 connection to the embedded server" in project.run("server", "stop", status=1).stderr
        assert project.run("server", "stop").stdout == "stopped\n"
        project.run("server", "status", status=1)
    finally:
        embedded.stop(tmp_path / ".nodeflow")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0004, "0 ms"), (0.35, "350 ms"), (2.13, "2.1 s"), (90, "2 min"), (7200, "2 h"), (500000, "6 days")],
)
def test_seconds(seconds: float, text: str) -> None:
    assert seconds_text(seconds) == text


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (5 << 20, "5.0 MiB"), (3 << 30, "3.0 GiB")]
)
def test_sizes(size: int, text: str) -> None:
    assert size_text(size) == text


def test_counts_and_long_values() -> None:
    assert (plural(1, "item"), plural(1200, "item")) == ("1 item", "1,200 items")
    assert shortened("a" * 300, 20) == '"aaaaaaaaaaaaaaaaaa…'
