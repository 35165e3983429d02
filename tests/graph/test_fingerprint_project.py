"""A small project of a user, and which of its definitions each node depends on."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from nodeflow.graph.fingerprint import changes, fingerprint

HELPERS = '''"""Helpers."""
import functools
import textwrap

from pkg import tools as kit
from pkg.deep import LIMIT as MOST

STOPWORDS = {"a", "the"}
STOPWORDS |= {"of"}
UNUSED = 1


def timed(function):
    @functools.wraps(function)
    def wrapper(*args):
        return function(*args)

    return wrapper


def clean(word):
    """Clean a word."""
    return strip(word.lower()) if word not in STOPWORDS else ""


def strip(word):
    return textwrap.dedent(kit.scrub(word))[:MOST]


def unrelated(word):
    return UNUSED


@timed
def slow(word, times=2):
    return word * times


def even(number):
    return number == 0 or odd(number - 1)


def odd(number):
    return number != 0 and even(number - 1)


def late(word):
    from pkg.lazy import finish
    import pkg.lazy as lazy

    return finish(word) + lazy.more(word)


class Base:
    """A base."""

    def ready(self):
        return True


class Cleaner(Base):
    def __init__(self, limit):
        self.limit = limit

    def one(self, word):
        return self.two(word)

    def two(self, word):
        return clean(word)[: self.limit]
'''

NODES = """import functools
import json

import attrs
import helpers
import pkg.tools
from helpers import Base, Cleaner, clean as c, even, late, slow
from pkg import scrub as exported
from star import *


def words(line):
    return [c(word) for word in line.split()]


def dotted(line):
    return pkg.tools.scrub(json.dumps(line)), helpers.STOPWORDS


def reexported(line):
    return exported(line), starred(line)


def decorated(line):
    return slow(line)


def recursive(line):
    return even(len(line))


def local_import(line):
    return late(line)


def classy(line):
    return Cleaner(3).one(line)


async def coroutine(line):
    return c(line)


def generator(line):
    yield c(line)


def default(line, by=c):
    return by(line)


def nested(line):
    def inner(word):
        return c(word)

    return [inner(word) for word in line]


def make(limit, how):
    def inner(line):
        return how(line)[:limit]

    return inner


@attrs.define
class Node(Base):
    top: int = 3
    seen: int = attrs.field(default=0, init=False)

    def __call__(self, line):
        return c(line)[: self.top]


shorter, longer = (lambda line: c(line)[:1], lambda line: line[:2])
part = functools.partial(words, 1)
made = make(3, c)
"""

KINDS = """import dataclasses
import functools
import space.mod

try:
    from missing_module import fast
except ImportError:
    def fast(x):
        return x


class Opaque:
    def __init__(self, function):
        self.function = function


@Opaque
def hidden(x):
    return far(x)


def far(x):
    return space.mod.near(x)


@functools.lru_cache
def cached(x):
    return fast(x)


@dataclasses.dataclass(slots=True)
class Kind:
    x: int = 1

    @property
    def value(self):
        return self.x

    @staticmethod
    def other():
        return cached(1)


def looked_up(x):
    return x


TABLE = {"one": looked_up}


def node(x):
    far = 1
    return hidden, Kind(x).value, TABLE["one"](x), far
"""

FILES = {
    "helpers.py": HELPERS,
    "nodes_file.py": NODES,
    "star.py": "def starred(line):\n    return line\n",
    "pkg/__init__.py": "from .tools import scrub\n",
    "pkg/tools.py": "def scrub(word):\n    return word.strip()\n",
    "pkg/deep.py": "LIMIT = 100\n",
    "pkg/lazy.py": "def finish(word):\n    return word\n\n\ndef more(word):\n    return word\n",
}
CLEAN = {"helpers.clean", "helpers.strip", "helpers.STOPWORDS", "pkg.tools.scrub", "pkg.deep.LIMIT"}


class Project:
    """A user's modules in a folder: written, edited, and loaded afresh."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name, text in FILES.items():
            self.write(name, text)

    def write(self, name: str, text: str) -> None:
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        # an edit within the clock's resolution has to show
        later = time.time_ns() + 1_000_000 * len(list(self.folder.rglob("*")))
        os.utime(path, ns=(later, later))

    def edit(self, name: str, old: str, new: str) -> None:
        text = (self.folder / name).read_text()
        assert old in text
        self.write(name, text.replace(old, new))

    def load(self, name: str = "nodes_file") -> ModuleType:
        self.forget()
        return importlib.import_module(name)

    def forget(self) -> None:
        importlib.invalidate_caches()
        for name, module in list(sys.modules.items()):
            if str(getattr(module, "__file__", None)).startswith(str(self.folder)):
                del sys.modules[name]

    def fingerprint(self, name: str) -> dict[str, str]:
        return fingerprint(getattr(self.load(), name))

    def in_new_process(self, expression: str, **environ: str) -> dict[str, str]:
        code = (
            f"import json, nodes_file; from nodeflow.graph.fingerprint import fingerprint; "
            f"print(json.dumps(fingerprint({expression})))"
        )
        return self.run("-c", code, **environ)

    def run(self, *arguments: str, **environ: str) -> dict[str, str]:
        path = os.pathsep.join([str(self.folder), str(Path(__file__).parents[2])])
        env = {**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1", **environ}
        command = [sys.executable, *arguments]
        run = subprocess.run(command, env=env, cwd=self.folder, capture_output=True, text=True, check=True)
        found: dict[str, str] = json.loads(run.stdout)
        return found


@pytest.fixture(name="project")
def project_fixture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    project = Project(tmp_path)
    yield project
    project.forget()


def test_it_names_what_the_node_depends_on(project: Project) -> None:
    assert project.fingerprint("words").keys() == {"nodes_file.words", "configuration"} | CLEAN


def test_kinds_of_definitions(project: Project) -> None:
    project.write("space/mod.py", "def near(x):\n    return x\n")
    project.write("kinds.py", KINDS)
    before = fingerprint(project.load("kinds").node)
    keys = ("Kind", "Opaque", "cached", "far", "fast", "hidden", "node", "TABLE", "looked_up")
    assert before.keys() == {f"kinds.{key}" for key in keys} | {"space.mod.near", "configuration"}
    assert not any(value.startswith("loaded") for value in before.values())
    project.edit("kinds.py", "return self.x", "return -self.x")
    assert changes(before, fingerprint(project.load("kinds").node)) == ["kinds.Kind changed"]


def test_installed_code_is_not_followed() -> None:
    assert fingerprint(json.dumps).keys() == {"json.dumps", "configuration"}
    assert fingerprint(fingerprint).keys() == {"nodeflow.graph.fingerprint.fingerprint", "configuration"}
    assert fingerprint(len).keys() == {"builtins.len", "configuration"}


def test_a_file_named_like_our_packages_is_the_users_own(project: Project) -> None:
    project.write("nodes.py", "from postprocess import tidy\n\n\ndef node(x):\n    return tidy(x)\n")
    project.write("postprocess.py", "def tidy(x):\n    return x\n")
    found = project.in_new_process("__import__('nodes').node")
    assert found.keys() == {"nodes.node", "postprocess.tidy", "configuration"}


def test_a_local_named_like_a_global_is_not_followed(project: Project) -> None:
    text = "def lines():\n    return 1\n\n\ndef node(lines, clean=lambda lines: lines):\n    return clean(lines)\n"
    project.write("one.py", text)
    assert fingerprint(project.load("one").node).keys() == {"one.node", "one.<lambda>", "configuration"}
