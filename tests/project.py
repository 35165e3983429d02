"""A folder with a user's files in it, in which a test runs the command `nodeflow`."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from textwrap import dedent
from typing import Any

from attrs import frozen


@frozen
class Project:
    """A user's folder.

    Args:
        folder: where it is.
        url: the server that its commands use.
        token: what stands for `TOKEN` in its files, so that no two tests share a graph's name.
    """

    folder: Path
    url: str
    token: str

    def write(self, name: str, text: str) -> Path:
        """Write a file; `TOKEN` in it becomes the test's own token."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text).replace("TOKEN", self.token))
        return path

    def replace(self, name: str, old: str, new: str) -> None:
        """Edit a file: one text for another, which must be there."""
        path = self.folder / name
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    def run(
        self, *arguments: str, status: int | None = 0, program: str = "nodeflow"
    ) -> subprocess.CompletedProcess[str]:
        """Run `nodeflow` (or `python`) to its end.

        Args:
            arguments: what stands behind the command's name.
            status: the exit status that it must have; None takes any.
            program: `nodeflow` or `python`.
        """
        done = subprocess.run(
            self._command(program, arguments),
            cwd=self.folder,
            env=self._environment(),
            capture_output=True,
            text=True,
            timeout=50,
            check=False,
        )
        if status is not None:
            assert done.returncode == status, f"exit status {done.returncode}:\n{done.stdout}\n{done.stderr}"
        return done

    def on_a_terminal(self, *arguments: str, answer: str = "", status: int = 0) -> str:
        """What `nodeflow` shows on a terminal when it is run to its end.

        Args:
            arguments: what stands behind the command's name.
            answer: what is typed there when it asks; "\x03" is Ctrl-C.
            status: the exit status that it must have.
        """
        outer, inner = pty.openpty()
        shown = b""
        with subprocess.Popen(
            self._command("nodeflow", arguments),
            cwd=self.folder,
            env=self._environment(),
            stdin=inner if answer else subprocess.DEVNULL,
            stdout=inner,
            stderr=inner,
            start_new_session=True,
            preexec_fn=partial(fcntl.ioctl, inner, termios.TIOCSCTTY, 0),
        ) as process:
            os.close(inner)
            with suppress(OSError):  # how Linux says that the other end is closed
                while part := os.read(outer, 65536):
                    shown += part
                    if b"[y/N]" in part:
                        os.write(outer, answer.encode())
        os.close(outer)
        assert process.returncode == status, shown.decode()
        return shown.decode()

    @contextmanager
    def started(self, *arguments: str, program: str = "nodeflow") -> Iterator[subprocess.Popen[str]]:
        """Run `nodeflow` in the background, ended when the context ends."""
        with subprocess.Popen(
            self._command(program, arguments),
            cwd=self.folder,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            try:
                yield process
            finally:
                process.kill()

    def lines(self, name: str) -> list[Any]:
        """The JSON values that nodes wrote into a file, a line each; none when it isn't there."""
        path = self.folder / name
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def status(self, file: str) -> dict[str, dict[str, Any]]:
        """What `nodeflow status` says, by node."""
        found = map(json.loads, self.run("status", file, "--json").stdout.splitlines())
        return {each["node"]: each for each in found}

    def states(self, file: str) -> dict[str, str]:
        """What state the kept output of each node is in."""
        return {node: found["state"] for node, found in self.status(file).items()}

    def _command(self, program: str, arguments: tuple[str, ...]) -> list[str]:
        module = ["-P", "-m", "nodeflow"] if program == "nodeflow" else []
        return [sys.executable, *module, *arguments]

    def _environment(self) -> dict[str, str]:
        return {**os.environ, "NODEFLOW_URL": self.url, "COLUMNS": "200"}
