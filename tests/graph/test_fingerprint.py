"""A fingerprint changes when, and only when, what a node depends on does, and says what it was."""

from __future__ import annotations

import datetime
import decimal
import enum
import functools
import importlib
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import attrs
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

COUNTER = """CACHE = {}
COUNT = 0


def node(line):
    global COUNT
    COUNT += 1
    CACHE[line] = COUNT
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
        path = os.pathsep.join([str(self.folder), str(Path(__file__).parents[2])])
        env = {**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1", **environ}
        run = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
        found: dict[str, str] = json.loads(run.stdout)
        return found


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    project = Project(tmp_path)
    yield project
    project.forget()


def test_it_names_what_the_node_depends_on(project: Project) -> None:
    assert project.fingerprint("words").keys() == {"nodes_file.words", "configuration"} | CLEAN


@pytest.mark.parametrize(
    ("node", "file", "old", "new", "reasons"),
    [
        ("words", "nodes_file.py", "line.split()]", "line.split(',')]", ["nodes_file.words changed"]),
        ("words", "helpers.py", "word.lower()", "word.upper()", ["helpers.clean changed"]),
        ("words", "helpers.py", "def clean(word)", "def clean(word, x=1)", ["helpers.clean changed"]),
        ("words", "helpers.py", "[:MOST]", "[1:MOST]", ["helpers.strip changed"]),
        ("words", "pkg/tools.py", "strip()", "rstrip()", ["pkg.tools.scrub changed"]),
        ("words", "pkg/deep.py", "100", "99", ["pkg.deep.LIMIT changed"]),
        ("words", "helpers.py", '"the"', '"an"', ["helpers.STOPWORDS changed"]),
        ("words", "helpers.py", '"of"', '"by"', ["helpers.STOPWORDS changed"]),
        (
            "words",
            "helpers.py",
            "word not in STOPWORDS",
            "unrelated(word)",
            [
                "helpers.STOPWORDS is no longer used",
                "helpers.UNUSED is new",
                "helpers.clean changed",
                "helpers.unrelated is new",
            ],
        ),
        ("dotted", "pkg/tools.py", "strip()", "rstrip()", ["pkg.tools.scrub changed"]),
        ("dotted", "helpers.py", '"the"', '"an"', ["helpers.STOPWORDS changed"]),
        ("reexported", "pkg/tools.py", "strip()", "rstrip()", ["pkg.tools.scrub changed"]),
        ("reexported", "star.py", "return line", "return line[1:]", ["star.starred changed"]),
        ("decorated", "helpers.py", "word * times", "word + word", ["helpers.slow changed"]),
        ("decorated", "helpers.py", "times=2", "times=3", ["helpers.slow changed"]),
        (
            "decorated",
            "helpers.py",
            "return function(*args)",
            "return function(1)",
            ["helpers.timed changed"],
        ),
        ("recursive", "helpers.py", "number != 0", "number > 0", ["helpers.odd changed"]),
        (
            "local_import",
            "pkg/lazy.py",
            "finish(word):\n    return word",
            "finish(word):\n    return 1",
            ["pkg.lazy.finish changed"],
        ),
        (
            "local_import",
            "pkg/lazy.py",
            "more(word):\n    return word",
            "more(word):\n    return 1",
            ["pkg.lazy.more changed"],
        ),
        ("classy", "helpers.py", "[: self.limit]", "[self.limit :]", ["helpers.Cleaner changed"]),
        ("classy", "helpers.py", "return True", "return False", ["helpers.Base changed"]),
        ("classy", "helpers.py", "word.lower()", "word.upper()", ["helpers.clean changed"]),
        ("Node", "helpers.py", "return True", "return False", ["helpers.Base changed"]),
        ("Node", "nodes_file.py", ": self.top", "self.top :", ["nodes_file.Node changed"]),
        ("coroutine", "helpers.py", "word.lower()", "word.upper()", ["helpers.clean changed"]),
        ("generator", "nodes_file.py", "yield c", "yield 1, c", ["nodes_file.generator changed"]),
        ("default", "helpers.py", "word.lower()", "word.upper()", ["helpers.clean changed"]),
        ("nested", "helpers.py", "word.lower()", "word.upper()", ["helpers.clean changed"]),
        ("shorter", "nodes_file.py", "[:1]", "[:9]", ["nodes_file.<lambda> changed"]),
        ("shorter", "nodes_file.py", "line[:2]", "line[:9]", []),
        ("longer", "nodes_file.py", "line[:2]", "line[:9]", ["nodes_file.<lambda> changed"]),
        ("part", "nodes_file.py", "words, 1", "words, 2", ["configuration changed"]),
        ("part", "helpers.py", "word.lower()", "word.upper()", ["helpers.clean changed"]),
        ("made", "nodes_file.py", "make(3", "make(4", ["nodes_file.make.<locals>.inner.limit changed"]),
        ("made", "nodes_file.py", "how(line)", "how(line + 1)", ["nodes_file.make.<locals>.inner changed"]),
        ("made", "helpers.py", "word.lower()", "word.upper()", ["helpers.clean changed"]),
        ("words", "helpers.py", "UNUSED = 1", "UNUSED = 2", []),
        ("words", "helpers.py", "word * times", "word + word", []),
        ("words", "nodes_file.py", "[: self.top]", "", []),
    ],
)
def test_an_edit_gives_its_reason(
    project: Project, node: str, file: str, old: str, new: str, reasons: list[str]
) -> None:
    before = project.fingerprint(node)
    project.edit(file, old, new)
    assert changes(before, project.fingerprint(node)) == reasons


@pytest.mark.parametrize("node", ["words", "decorated", "classy", "Node", "shorter", "made", "local_import"])
def test_comments_formatting_and_docstrings_change_nothing(project: Project, node: str) -> None:
    before = project.fingerprint(node)
    for file in ("helpers.py", "nodes_file.py"):
        text = (project.folder / file).read_text()
        text = text.replace('"""Clean a word."""', "'''Clean\n    it.'''").replace('"""A base."""', '"""Base."""')
        text = re.sub(r"^( +)return", r"\n\1# a comment\n\1return", text, flags=re.MULTILINE).replace('"the"', "'the'")
        text = text.replace("lambda line: line[:2]", "lambda line:  ( line [:2] )")
        project.write(file, "\n\n# shifted\n" + text.replace("(word)\n", "(\n    word,\n)\n"))
    after = project.fingerprint(node)
    assert changes(before, after) == []
    assert not any(value.startswith("loaded") for value in after.values())


def test_a_wrapped_node_counts_with_its_wrapper(project: Project) -> None:
    before = fingerprint(project.load("helpers").slow)
    project.edit("helpers.py", "return function(*args)", "return function(1)")
    middle = fingerprint(project.load("helpers").slow)
    assert changes(before, middle) == ["helpers.timed changed", "helpers.timed.<locals>.wrapper changed"]
    project.edit("helpers.py", "word * times", "word + word")
    assert changes(middle, fingerprint(project.load("helpers").slow)) == ["helpers.slow changed"]


def test_an_instance_counts_with_its_class_bases_and_attributes(project: Project) -> None:
    module = project.load()
    node = module.Node()
    found = fingerprint(node)
    assert found.keys() == {"nodes_file.Node", "helpers.Base", "configuration"} | CLEAN
    assert changes(found, fingerprint(module.Node(top=4))) == ["configuration changed"]
    assert changes(found, fingerprint(node, {"limit": 1})) == ["configuration changed"]
    node.seen = 5
    assert changes(found, fingerprint(node)) == []
    assert changes(fingerprint(module.Cleaner(1)), fingerprint(module.Cleaner(2))) == ["configuration changed"]
    assert "nodes_file.Node" in fingerprint(node.__call__)


def test_functions_in_the_configuration_are_followed(project: Project) -> None:
    before = fingerprint(project.load().words, {"by": importlib.import_module("helpers").strip})
    project.edit("helpers.py", "[:MOST]", "[1:MOST]")
    after = fingerprint(project.load().words, {"by": importlib.import_module("helpers").strip})
    assert changes(before, after) == ["helpers.strip changed"]


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


@pytest.mark.parametrize("node", ["words", "Node(2)", "shorter", "made", "part", "decorated"])
def test_processes_agree(project: Project, node: str) -> None:
    expression = f"nodes_file.{node}, {{'a': {{'x', 'y', 'z'}}, 'b': frozenset('pqr')}}"
    one = project.in_new_process(expression, PYTHONHASHSEED="1")
    two = project.in_new_process(expression, PYTHONHASHSEED="2")
    assert one == two
    assert not any(value.startswith("loaded") for value in one.values())


LATER_EDITS = [
    ("words", "nodes_file.py", "line.split()]", "line.split(',')]", "nodes_file.words"),
    ("words", "helpers.py", "word.lower()", "word.upper()", "helpers.clean"),
    ("words", "pkg/deep.py", "100", "99", "pkg.deep.LIMIT"),
    ("decorated", "helpers.py", "word * times", "word + word", "helpers.slow"),
    ("default", "nodes_file.py", "by=c", "by=None", "nodes_file.default"),
    ("classy", "helpers.py", "[: self.limit]", "[self.limit :]", "helpers.Cleaner"),
    ("classy", "helpers.py", "    def two(", "    def three(", "helpers.Cleaner"),
    ("classy", "helpers.py", "    def two(", "    def extra(self): ...\n\n    def two(", "helpers.Cleaner"),
    ("shorter", "nodes_file.py", "[:1]", "[:9]", "nodes_file.<lambda>"),
    ("made", "nodes_file.py", "how(line)", "how(line + 1)", "nodes_file.make.<locals>.inner"),
]


@pytest.mark.parametrize(("node", "file", "old", "new", "key"), LATER_EDITS)
def test_an_edit_after_the_first_look_does_not_count_until_it_is_loaded(
    project: Project, node: str, file: str, old: str, new: str, key: str
) -> None:
    loaded = getattr(project.load(), node)
    before = fingerprint(loaded)
    project.edit(file, old, new)
    assert fingerprint(loaded) == before
    assert project.fingerprint(node)[key] != before[key]


# a default that is no literal leaves no trace in the loaded code
@pytest.mark.parametrize(("node", "file", "old", "new", "key"), [edit for edit in LATER_EDITS if edit[0] != "default"])
def test_an_edit_between_import_and_first_look_is_not_taken_for_the_loaded_code(
    project: Project, node: str, file: str, old: str, new: str, key: str
) -> None:
    loaded = getattr(project.load(), node)
    project.edit(file, old, new)
    assert fingerprint(loaded)[key].startswith("loaded:")
    assert not project.fingerprint(node)[key].startswith("loaded:")


def test_a_reloaded_module_counts_as_it_is_now(project: Project) -> None:
    node = project.load().words
    before = fingerprint(node)
    project.edit("helpers.py", "word.lower()", "word.upper()")
    project.edit("pkg/deep.py", "100", "99")
    helpers = importlib.import_module("helpers")
    importlib.reload(importlib.import_module("pkg.deep"))
    importlib.reload(helpers)
    assert fingerprint(node)["helpers.clean"] == before["helpers.clean"]
    node.__globals__["c"] = helpers.clean
    assert changes(before, fingerprint(node)) == ["helpers.clean changed", "pkg.deep.LIMIT changed"]


def test_only_what_is_loaded_is_followed_after_an_edit(project: Project) -> None:
    loaded = project.load().words
    project.edit("nodes_file.py", "[c(word) for word in line.split()]", "helpers.odd(line)")
    assert fingerprint(loaded).keys() == {"nodes_file.words", "configuration"} | CLEAN


def test_the_bases_of_a_loaded_class_are_followed_after_an_edit(project: Project) -> None:
    loaded = project.load().Node()
    project.edit("nodes_file.py", "class Node(Base):", "class Node:")
    project.edit("nodes_file.py", ": self.top", "self.top :")
    assert fingerprint(loaded).keys() >= {"nodes_file.Node", "helpers.Base"}


def test_a_harmless_edit_after_the_import_is_harmless(project: Project) -> None:
    loaded = project.load().words
    before = fingerprint(loaded)
    project.edit("helpers.py", '"""Clean a word."""', '"""Clean it."""\n    # and why')
    project.edit("nodes_file.py", "import functools", "\n\n# above\nimport functools")
    assert fingerprint(loaded) == before == project.fingerprint("words")


def test_a_default_that_was_edited_after_the_import_is_seen(project: Project) -> None:
    project.write("one.py", "def node(line, top=3):\n    return line[:top]\n\n\nclass Kind:\n    top = 3\n")
    module = project.load("one")
    project.edit("one.py", "3", "4")
    assert fingerprint(module.node)["one.node"].startswith("loaded:")
    assert fingerprint(module.Kind())["one.Kind"].startswith("loaded:")


def test_what_runs_does_not_count(project: Project) -> None:
    project.write("one.py", COUNTER)
    module = project.load("one")
    before = fingerprint(module.node)
    module.node("x")
    assert fingerprint(module.node) == before


def test_code_without_a_source_has_a_digest() -> None:
    def make(text: str) -> Callable[..., Any]:
        namespace: dict[str, Any] = {"__name__": "__main__", "LIMIT": 2}
        exec(text, namespace)
        function: Callable[..., Any] = namespace["node"]
        return function

    one = fingerprint(make("def node(x): return x + LIMIT"))
    assert one.keys() == {"__main__.node", "__main__.LIMIT", "configuration"}
    assert one == fingerprint(make("\ndef node(x):\n    'Doc.'\n    return x + LIMIT"))
    assert changes(one, fingerprint(make("def node(x): return x * LIMIT"))) == ["__main__.node changed"]


def test_a_notebooks_cells_have_sources() -> None:
    import linecache

    namespace: dict[str, Any] = {"__name__": "__main__"}
    for number, text in enumerate(
        ["LIMIT = 3\n", "def helper(x):\n    return x\n", "def node(x):\n    return helper(x), LIMIT\n"]
    ):
        name = f"<ipython-input-{number}>"
        linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
        exec(compile(text, name, "exec"), namespace)
    found = fingerprint(namespace["node"])
    assert found.keys() == {"__main__.node", "__main__.helper", "__main__.LIMIT", "configuration"}
    assert not found["__main__.helper"].startswith("loaded")


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


@attrs.frozen
class Options:
    size: int
    names: tuple[str, ...] = ()


class Odd:
    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(name)

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("no")

    __hash__ = None  # type: ignore[assignment]

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        raise RuntimeError("no")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, 2),
        (1, True),
        (1, 1.0),
        ("1", 1),
        ("a", b"a"),
        ([1, 2], [2, 1]),
        ([1], (1,)),
        ({"a": 1}, {"a": 2}),
        ({1, 2}, {1, 3}),
        (Path("a"), Path("b")),
        (Path("a"), "a"),
        (datetime.date(2024, 1, 1), datetime.date(2024, 1, 2)),
        (decimal.Decimal("1.0"), decimal.Decimal("1.00")),
        (Colour.RED, Colour.BLUE),
        (Options(1), Options(2)),
        (Options(1, ("a",)), Options(1, ("b",))),
        (functools.partial(print, 1), functools.partial(print, 2)),
        (None, ()),
    ],
)
def test_configuration_counts_by_content(one: object, other: object) -> None:
    assert fingerprint(len, {"x": one}) == fingerprint(len, {"x": one})
    assert changes(fingerprint(len, {"x": one}), fingerprint(len, {"x": other})) == ["configuration changed"]


def test_the_order_of_keys_and_elements_does_not_count() -> None:
    assert fingerprint(len, {"a": 1, "b": {"x", "y"}}) == fingerprint(len, {"b": {"y", "x"}, "a": 1})


def test_odd_objects_count_by_their_type() -> None:
    around: list[object] = []
    around.append(around)
    for value in (object(), Odd(), around, iter([]), sys, Odd, type, lambda: 1, NotImplemented):
        assert fingerprint(len, {"x": value}).keys() >= {"builtins.len", "configuration"}
        assert fingerprint(value) == fingerprint(value)
    assert fingerprint(len, {"x": object()}) == fingerprint(len, {"x": object()})


def test_a_hundred_nodes_take_less_than_a_second(project: Project) -> None:
    body = "".join(f"    x = x + len(str(x)) * {line}\n" for line in range(16))
    text = "".join(f"def node{i}(x):\n{body}    return node{(i * 7) % 100}(x)\n\n\n" for i in range(100))
    project.write("large.py", text)
    module = project.load("large")
    start = time.perf_counter()
    for number in range(100):
        fingerprint(getattr(module, f"node{number}"))
    assert time.perf_counter() - start < 1
