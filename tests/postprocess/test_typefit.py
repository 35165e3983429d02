# ruff: noqa: UP006, UP007, UP045 - the older spellings must fit too
"""Whether types and constants fit: what can't be told is let pass, what is wrong is not."""

from __future__ import annotations

import collections
import os
import typing
from collections.abc import Callable, Generator, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Literal, NewType, Optional, Protocol, TypedDict, TypeVar, Union, runtime_checkable

import pytest

from postprocess.hints import shown
from postprocess.typefit import fits
from postprocess.valuefit import holds

T = TypeVar("T")
ANY_T: Any = T
UserId = NewType("UserId", int)


class Movie(TypedDict):
    name: str
    year: typing.NotRequired[int]


class Book(TypedDict):
    title: str


class CanRun(Protocol):
    def run(self) -> int: ...


@runtime_checkable
class CanRunChecked(Protocol):
    def run(self) -> int: ...


class Runner:
    def run(self) -> int:
        return 1

    def __repr__(self) -> str:
        return "Runner()"  # in the test's name, which must be the same in every process


@dataclass
class Point:
    x: int


class Point3(Point): ...


class Box(Generic[T]): ...


FITTING: list[tuple[Any, Any]] = [
    # what isn't said
    (Any, int),
    (int, Any),
    (int, object),
    (Any, Any),
    (ANY_T, int),
    (int, ANY_T),
    (list[ANY_T], list[int]),
    (typing.NoReturn, int),
    # numbers, as PEP 484 has them
    (int, float),
    (int, complex),
    (float, complex),
    (bool, int),
    (bool, float),
    (list[int], list[float]),
    (dict[str, list[int]], Mapping[str, Sequence[float]]),
    (int, float | str),
    # unions
    (int, int | str),
    (int, Union[int, str]),
    (int | str, str | int | None),
    (str, Optional[str]),
    (None, Optional[str]),
    (None, None),
    (bool | int, int),
    (list[int] | None, Optional[Sequence[int]]),
    # containers
    (list, list[int]),
    (list[int], list),
    (list[Any], list[int]),
    (dict, dict[str, int]),
    (tuple, tuple[int, str]),
    (frozenset, frozenset[int]),
    (Sequence, Sequence[int]),
    (typing.List, list[int]),
    (list[int], Iterable[int]),
    (tuple[int, int], tuple[int, ...]),
    (tuple[int, int], Sequence[int]),
    (tuple[int, str], tuple[float, str]),
    (tuple[int, ...], tuple[int, ...]),
    (collections.Counter[str], dict[str, int]),
    (str, Sequence[str]),
    (Generator[int, None, None], Iterator[int]),
    (Box, Box[int]),
    (Box[int], Box[int]),
    (dict[str, int], Hashable | dict),
    # literals and annotated
    (Literal["a"], str),
    (Literal["a"], Literal["a", "b"]),
    (Literal["a", 1], str | int),
    (typing.LiteralString, str),
    (typing.Annotated[int, "unit"], int),
    (int, typing.Annotated[int, "unit"]),
    # records
    (Movie, Movie),
    (Movie, dict),
    (Movie, dict[str, Any]),
    (Movie, Mapping[str, object]),
    (dict, Movie),
    (dict[str, Any], Movie),
    (list[Movie], list[dict[str, Any]]),
    (Point3, Point),
    (Point, Point),
    # protocols, names and callables
    (Runner, CanRun),
    (Runner, CanRunChecked),
    (UserId, int),
    (UserId, float),
    (UserId, UserId),
    (type[int], type),
    (Callable[[int], str], Callable),
    (Callable[[int], str], Callable[[int], str]),
    (Path, os.PathLike[str]),
]

WRONG: list[tuple[Any, Any]] = [
    (str, int),
    (float, int),
    (int, bool),
    (None, str),
    (int, None),
    (object, int),
    (bytes, str),
    (int | str, int),
    (Optional[str], str),
    (int | None, float),
    (str, int | None),
    (int | Any, str),
    (list[str], list[int]),
    (list[int], dict),
    (list, dict[str, int]),
    (dict[str, int], dict[str, str]),
    (Sequence[int], list[int]),
    (list[Optional[int]], list[int]),
    (list[float], list[int]),
    (set[int], list[int]),
    (tuple[int, str], tuple[int, ...]),
    (tuple[int, str], tuple[int, int]),
    (tuple[int], tuple[int, int]),
    (tuple[int, str], Sequence[int]),
    (tuple[int, ...], tuple[int, int]),
    (tuple[int], Literal["a"]),
    (Box[int], Box[str]),
    (Iterator[str], str),
    (str, Literal["a"]),
    (Literal["a", "c"], Literal["a", "b"]),
    (Literal["a", 1], str),
    (typing.Annotated[str, "unit"], int),
    (Book, Movie),
    (list, Movie),
    (str, Movie),
    (list[Movie], list[str]),
    (Point, Point3),
    (Point, dict),
    (int, CanRunChecked),
    (int, UserId),
    (Callable[[int], str], Callable[[int], int]),
    (type[int], type[str]),
    (int, Callable),
]


@pytest.mark.parametrize(("given", "wanted"), FITTING, ids=lambda hint: shown(hint))
def test_a_type_fits(given: Any, wanted: Any) -> None:
    assert fits(given, wanted)


@pytest.mark.parametrize(("given", "wanted"), WRONG, ids=lambda hint: shown(hint))
def test_a_type_doesnt_fit(given: Any, wanted: Any) -> None:
    assert not fits(given, wanted)


def test_what_cant_be_told_at_run_time_is_let_pass() -> None:
    assert fits(int, CanRun)
    assert fits("Missing", int)
    assert fits(int, "Missing")
    assert holds(1, CanRun)
    assert holds(1, "Missing")


HOLDING: list[tuple[Any, Any]] = [
    (1, Any),
    (1, ANY_T),
    (1, int),
    (True, int),
    (1, float),
    (1, complex),
    (None, None),
    (None, Optional[str]),
    ("a", str | int),
    ([1, 2], list[int]),
    ([], list[int]),
    ([1, None], list[Optional[int]]),
    ([1], list),
    ([1], list[float]),
    ((1, "a"), tuple[int, str]),
    ((1, 2), tuple[int, ...]),
    ((), tuple[int, ...]),
    ({1}, set[int]),
    ([1], Sequence[int]),
    ({"a": [1]}, dict[str, list[int]]),
    ({"a": 1}, Mapping[str, Any]),
    ("a", Literal["a", "b"]),
    ("abc", Sequence[str]),
    ({"name": "a"}, Movie),
    ({"name": "a", "year": 1}, Movie),
    ([{"name": "a"}], list[Movie]),
    (Point3(1), Point),
    (Runner(), CanRunChecked),
    (len, Callable[[str], int]),
    (1, UserId),
    (int, type[int]),
    (1, typing.Annotated[int, "x"]),
]

NOT_HOLDING: list[tuple[Any, Any]] = [
    ("1", int),
    (1, bool),
    (1.5, int),
    (None, str),
    (1, None),
    ("a", int | None),
    ("c", Literal["a", "b"]),
    (1, Literal["1"]),
    ([*range(99), "a"], list[int]),
    ((*range(99), "a"), tuple[int, ...]),
    ({*range(99), "a"}, set[int]),
    (dict.fromkeys("abcdefgh", 1) | {"i": "a"}, dict[str, int]),
    (dict.fromkeys("abcdefgh", 1) | {1: 1}, dict[str, int]),
    ([[1], [2], ["a"]], list[list[int]]),
    ((1, 2), tuple[int, str]),
    ((1,), tuple[int, int]),
    ((1, 2, 3), tuple[int, int]),
    ([1], tuple[int]),
    ({}, Movie),
    ({"name": 1}, Movie),
    ({"name": "a", "more": 1}, Movie),
    ([], Movie),
    ([{"name": 1}], list[Movie]),
    (Point(1), Point3),
    (1, CanRunChecked),
    ("len", Callable[[str], int]),
    (str, type[int]),
    ("1", UserId),
    ("1", typing.Annotated[int, "x"]),
]


@pytest.mark.parametrize(("value", "wanted"), HOLDING, ids=repr)
def test_a_constant_fits(value: Any, wanted: Any) -> None:
    assert holds(value, wanted)


@pytest.mark.parametrize(("value", "wanted"), NOT_HOLDING, ids=repr)
def test_a_constant_doesnt_fit(value: Any, wanted: Any) -> None:
    assert not holds(value, wanted)


def test_a_type_is_shown_as_one_writes_it() -> None:
    hints: list[Any] = [int, None, type(None), list[int], Optional[str], int | None, Movie, Any, Literal["a"]]
    expected = ["int", "None", "None", "list[int]", "Optional[str]", "int | None", "Movie", "Any", "Literal['a']"]
    assert [shown(hint) for hint in hints] == expected
