"""A fingerprint is the same in every process and however code is loaded, and is made fast."""

from __future__ import annotations

import linecache
import time
from collections.abc import Callable
from typing import Any

import pytest

from nodeflow.graph.fingerprint import changes, fingerprint
from tests.graph.test_fingerprint_project import Project
from tests.graph.test_fingerprint_project import project_fixture as project_fixture


@pytest.mark.parametrize("node", ["words", "Node(2)", "shorter", "made", "part", "decorated"])
def test_processes_agree(project: Project, node: str) -> None:
    expression = f"nodes_file.{node}, {{'a': {{'x', 'y', 'z'}}, 'b': frozenset('pqr')}}"
    one = project.in_new_process(expression, PYTHONHASHSEED="1")
    two = project.in_new_process(expression, PYTHONHASHSEED="2")
    assert one == two
    assert not any(value.startswith("loaded") for value in one.values())


SCRIPT = """import json
import enum
from nodeflow.graph.fingerprint import fingerprint

LIMIT = 3


class Size(enum.Enum):
    BIG = 1


def clean(x):
    return x[:LIMIT]


def node(x):
    return clean(x)


class Kind:
    def __call__(self, x):
        return node(x)


if __name__ == "__main__":
    found = fingerprint(Kind(), {"size": Size.BIG, "by": clean})
    print(json.dumps(found))
"""


def test_a_script_counts_as_the_module_of_its_name(project: Project) -> None:
    project.write("wordcount.py", SCRIPT)
    imported = (
        "import json, wordcount as w; print(json.dumps(w.fingerprint(w.Kind(), {'size': w.Size.BIG, 'by': w.clean})))"
    )
    found = project.run("wordcount.py")
    assert found == project.run("-c", imported)
    keys = ("Kind", "Size", "clean", "node", "LIMIT")
    assert found.keys() == {f"wordcount.{key}" for key in keys} | {"configuration"}
    assert not any(value.startswith("loaded") for value in found.values())


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


def test_a_hundred_nodes_take_less_than_a_second(project: Project) -> None:
    body = "".join(f"    x = x + len(str(x)) * {line}\n" for line in range(16))
    text = "".join(f"def node{i}(x):\n{body}    return node{(i * 7) % 100}(x)\n\n\n" for i in range(100))
    project.write("large.py", text)
    module = project.load("large")
    start = time.process_time()
    for number in range(100):
        fingerprint(getattr(module, f"node{number}"))
    assert time.process_time() - start < 1
