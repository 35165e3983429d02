"""What counts is the code that is loaded: not what was edited since, and not what changes while nodes run."""

from __future__ import annotations

import importlib

import pytest

from nodeflow.graph.fingerprint import changes, fingerprint
from tests.graph.test_fingerprint_project import CLEAN, Project
from tests.graph.test_fingerprint_project import project_fixture as project_fixture

COUNTER = """CACHE = {}
COUNT = 0


def node(line):
    global COUNT
    COUNT += 1
    CACHE[line] = COUNT
"""

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
    ("literals", "one.py", "TOP = 3", "TOP = 4", "one.TOP"),
    ("literals", "one.py", "shift=1", "shift=2", "one.literals"),
    ("Kind()", "one.py", "size = 5", "size = 6", "one.Kind"),
    ("Kind()", "one.py", "return 1", "return 2", "one.Kind"),
]
LITERALS = """TOP = 3


def literals(x, *, shift=1):
    return x[shift:TOP]


class Kind:
    size = 5

    @property
    def one(self):
        return 1
"""


@pytest.mark.parametrize(("node", "file", "old", "new", "key"), LATER_EDITS)
@pytest.mark.parametrize("looked", [False, True])
def test_code_that_was_edited_since_the_import_is_not_taken_for_the_loaded_code(
    project: Project, looked: bool, node: str, file: str, old: str, new: str, key: str
) -> None:
    project.write("one.py", LITERALS)

    def load() -> object:
        return eval(node, vars(project.load("one" if file == "one.py" else "nodes_file")))

    loaded = load()
    if looked:
        fingerprint(loaded)
    project.edit(file, old, new)
    stale = fingerprint(loaded)
    assert stale == fingerprint(loaded)
    assert stale[key] != fingerprint(load())[key]


def test_a_reloaded_module_counts_as_it_is_now(project: Project) -> None:
    node = project.load().words
    before = fingerprint(node)
    project.edit("helpers.py", "word.lower()", "word.upper()")
    project.edit("pkg/deep.py", "100", "99")
    helpers = importlib.import_module("helpers")
    importlib.reload(importlib.import_module("pkg.deep"))
    importlib.reload(helpers)
    assert fingerprint(node)["helpers.clean"].startswith("loaded:")
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


def test_what_runs_does_not_count(project: Project) -> None:
    project.write("one.py", COUNTER)
    module = project.load("one")
    before = fingerprint(module.node)
    module.node("x")
    assert fingerprint(module.node) == before


def test_a_constant_that_is_replaced_at_run_time_counts(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    node = project.load().words
    before = fingerprint(node)
    monkeypatch.setattr("pkg.deep.LIMIT", 7)
    monkeypatch.setattr("helpers.MOST", 7)
    assert changes(before, fingerprint(node)) == ["pkg.deep.LIMIT changed"]


def test_the_first_string_of_a_generator_is_no_docstring(project: Project) -> None:
    project.write("one.py", "def node(x):\n    return [*('a' for _ in x)]\n")
    loaded = project.load("one").node
    project.edit("one.py", "'a'", "'b'")
    assert fingerprint(loaded)["one.node"].startswith("loaded:")
