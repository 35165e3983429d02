"""An edit of what a node depends on changes its fingerprint and says what it was; other edits change nothing."""

from __future__ import annotations

import re

import pytest

from nodeflow.graph.fingerprint import changes, fingerprint
from tests.graph.test_fingerprint_project import Project
from tests.graph.test_fingerprint_project import project_fixture as project_fixture


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
        # lambdas that begin on the same line are one definition
        ("shorter", "nodes_file.py", "line[:2]", "line[:9]", ["nodes_file.<lambda> changed"]),
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


STATEMENTS = """import functools
from star import *

TABLE = {}
TABLE["one"] = 1
if TABLE:
    LATE = 2


def other(x):
    return x


def helper(x, by=other):
    return by(x), TABLE, LATE, STARRED


@functools.cache
def node(x):
    return helper(x)


both = [
    lambda x: x + 1,
    lambda x: x + 2,
]
"""


@pytest.mark.parametrize(
    ("file", "old", "new", "reason"),
    [
        ("one.py", '["one"] = 1', '["one"] = 2', "one.TABLE changed"),
        ("one.py", "LATE = 2", "LATE = 3", "one.LATE changed"),
        ("one.py", "return x\n", "return 1\n", "one.other changed"),
        ("one.py", "return helper(x)", "return helper(1)", "one.node changed"),
        ("one.py", "x + 1", "x + 3", "one.<lambda> changed"),
        ("one.py", "x + 2", "x + 3", "one.<lambda> changed"),
        ("star.py", "STARRED = []", "STARRED = [1]", "star.STARRED changed"),
    ],
)
def test_a_statement_counts_wherever_it_stands(project: Project, file: str, old: str, new: str, reason: str) -> None:
    project.write("star.py", "STARRED = []\n")
    project.write("one.py", STATEMENTS)
    module = project.load("one")
    before = fingerprint(module.node, {"both": module.both})
    project.edit(file, old, new)
    module = project.load("one")
    assert changes(before, fingerprint(module.node, {"both": module.both})) == [reason]
