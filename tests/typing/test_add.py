"""mypy --strict knows what `graph.add` gives, without a `type: ignore` in the user's code."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("mypy", reason="mypy comes with the extra `dev`; the test line of the README installs `test` only")

API = Path(__file__).with_name("api.py")


def mypy(file: Path, cache: Path) -> str:
    """What mypy says of a file, as it does in a folder of the user's."""
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", f"--cache-dir={cache}", str(file)]
    done = subprocess.run(command, cwd=cache, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mypy")


def test_add_gives_what_the_node_gives(cache: Path, tmp_path: Path) -> None:
    copy = tmp_path / "api.py"
    copy.write_text(API.read_text())
    assert mypy(copy, cache) == "Success: no issues found in 1 source file\n"


def test_a_wrong_use_is_an_error_of_the_type_checker(cache: Path, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.py"
    wrong.write_text(
        "from typing import assert_type\n"
        "from nodeflow import Graph\n"
        "from nodeflow.graph import Output\n"
        "graph = Graph('test')\n"
        "def text(n: int) -> str: ...\n"
        "assert_type(graph.add(text, 1), Output[int])\n"
        "graph.add(3)\n"
        "graph.add(text, 1, id=2)\n"
        "graph.loop('work', processes='2')\n"
    )
    said = mypy(wrong, cache)
    errors = [line.split(":")[1] for line in said.splitlines() if ": error:" in line]
    assert sorted(set(errors)) == ["5", "6", "7", "8", "9"], said
    assert 'Expression is of type "Output[str]", not "Output[int]"' in said
