"""Configuration counts by its contents, and no object makes a fingerprint fail."""

from __future__ import annotations

import datetime
import decimal
import enum
import functools
import importlib
import sys
from pathlib import Path
from typing import Any

import attrs
import pytest

from nodeflow.graph.fingerprint import changes, fingerprint
from tests.graph.test_fingerprint_project import CLEAN, Project
from tests.graph.test_fingerprint_project import project_fixture as project_fixture


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


class Broken(dict[str, int]):
    def __iter__(self) -> Any:
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
    for value in (object(), Odd(), Broken(), around, iter([]), sys, Odd, type, lambda: 1, NotImplemented):
        assert fingerprint(len, {"x": value}).keys() >= {"builtins.len", "configuration"}
        assert fingerprint(value) == fingerprint(value)
    assert fingerprint(len, {"x": object()}) == fingerprint(len, {"x": object()})


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
