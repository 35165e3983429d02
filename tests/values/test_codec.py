"""What JSON can hold comes back equal and of the same types; all else is refused, with the path of the part."""

from __future__ import annotations

import enum
import math
import uuid
from collections import OrderedDict, namedtuple
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodeflow.errors import PayloadError
from nodeflow.values import Encoded, decode, digest, encode

ATOMS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
)
JSON = st.recursive(ATOMS, lambda parts: st.lists(parts) | st.dictionaries(st.text(), parts), max_leaves=30)


class Colour(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    LOW = 1


class Word(enum.StrEnum):
    A = "a"


class Text(str):
    pass


class Table(dict[str, int]):
    pass


class Row(list[int]):
    pass


class Number(int):
    pass


class Share(float):
    pass


@dataclass
class Record:
    a: int


Point = namedtuple("Point", "x y")

REFUSED = [
    math.nan,
    math.inf,
    -math.inf,
    2**64,
    -(2**63) - 1,
    10**5000,
    (1, 2),
    Point(1, 2),
    {1},
    frozenset({1}),
    b"bytes",
    bytearray(b"bytes"),
    datetime(2026, 1, 1, tzinfo=UTC),
    date(2026, 1, 1),
    timedelta(1),
    Decimal("1.5"),
    uuid.UUID(int=1),
    Path("x"),
    1j,
    Colour.RED,
    Level.LOW,
    Word.A,
    Text("a"),
    Table(a=1),
    OrderedDict(a=1),
    Row([1]),
    Number(1),
    Share(1.5),
    Record(1),
    object(),
    len,
    range(3),
    Encoded(b"1"),
    "a lone surrogate: \ud800",
]
"""What JSON can't hold; each of them with a type of its own, except for floats, ints and the last str."""

BAD_KEYS = [1, 1.5, True, None, (1,), b"a", Text("a"), Word.A, Level.LOW, datetime(2026, 1, 1, tzinfo=UTC), "\udfff"]


def typed(value: Any) -> Any:
    """The value with the type of each part beside it, so that 1, 1.0 and True differ, as do 0.0 and -0.0."""
    if type(value) is dict:
        return dict, [(typed(key), typed(part)) for key, part in value.items()]
    if type(value) is list:
        return list, [typed(part) for part in value]
    return type(value), repr(value)


def name(value: Any) -> str:
    return type(value).__name__


def place(steps: list[int | str], value: Any) -> Any:
    """The value at the end of a path of list places and keys, with good values around it."""
    for step in reversed(steps):
        value = [*range(step), value, "after"] if isinstance(step, int) else {"before": 0, step: value, "after": 1}
    return value


@given(JSON)
def test_every_json_value_comes_back_equal_and_of_the_same_types(value: Any) -> None:
    assert typed(decode(encode(value))) == typed(value)


@given(
    bad=st.sampled_from(REFUSED[:-2]),  # an Encoded or a surrogate at the top has a test of its own
    steps=st.lists(st.integers(0, 3) | st.sampled_from(["rows", "when", "größe", "_x1"]), max_size=6),
)
def test_a_part_that_json_cannot_hold_is_refused_with_its_path(bad: Any, steps: list[int | str]) -> None:
    with pytest.raises(PayloadError) as caught:
        encode(place(steps, bad))
    assert caught.value.path == "$" + "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps)


@pytest.mark.parametrize("bad", REFUSED, ids=name)
def test_no_type_changes_silently(bad: Any) -> None:
    with pytest.raises(PayloadError, match=r"^\$\.rows\[3\]\.when: ") as caught:
        encode({"rows": [1, 2, 3, {"when": bad}]})
    if not isinstance(bad, float | int | str) or isinstance(bad, enum.Enum):
        assert caught.value.reason.startswith(type(bad).__qualname__)


@pytest.mark.parametrize("key", BAD_KEYS, ids=name)
def test_a_key_that_is_not_a_str_of_utf8_is_refused_at_its_dict(key: Any) -> None:
    with pytest.raises(PayloadError, match=r"^\$\.rows\[0\]: .*key"):
        encode({"rows": [{"good": 1, key: 2}]})


def test_a_bad_value_behind_a_key_that_is_no_name_has_the_key_quoted() -> None:
    with pytest.raises(PayloadError, match=r"^\$\['two words'\]\[''\]: set can't"):
        encode({"two words": {"": {1}}})


@pytest.mark.parametrize(("number", "reason"), [(math.nan, "nan"), (math.inf, "inf"), (2**64, "64 bits")])
def test_a_refused_number_says_why(number: float, reason: str) -> None:
    with pytest.raises(PayloadError, match=reason):
        encode([number])


@pytest.mark.parametrize("wrap", [lambda part: [part], lambda part: {"a": part}], ids=["lists", "dicts"])
def test_values_may_be_254_levels_deep_and_no_deeper(wrap: Any) -> None:
    value: Any = 1
    for _ in range(254):
        value = wrap(value)
    assert decode(encode(value)) == value
    with pytest.raises(PayloadError, match="more than 254 levels deep"):
        encode(wrap(value))


def test_a_value_that_holds_itself_is_refused_where_it_does() -> None:
    value: dict[str, Any] = {"a": [0]}
    value["a"].append(value)
    with pytest.raises(PayloadError, match=r"^\$\.a\[1\]: refers back"):
        encode(value)


def test_a_part_that_stands_in_two_places_is_no_cycle() -> None:
    part = {"x": 1}
    assert decode(encode([part, part])) == [part, part]


def test_what_was_encoded_already_is_passed_on_as_it_is() -> None:
    data = Encoded(encode({"a": [1, None]}))
    assert encode(data) is data
    assert decode(data) == {"a": [1, None]}


@pytest.mark.parametrize(
    "data", [b"", b"{", b"abc", b"NaN", b"1e400", b"[1,]", b"\xff", b'"\\ud800"', b"1 2", b"'a'"], ids=repr
)
def test_what_is_not_json_is_refused_with_its_beginning(data: bytes) -> None:
    with pytest.raises(PayloadError, match="not JSON") as caught:
        decode(data)
    assert repr(data) in str(caught.value)


def test_an_error_quotes_no_more_than_the_beginning_of_what_is_not_json() -> None:
    with pytest.raises(PayloadError) as caught:
        decode(b"x" * 10_000)
    assert len(str(caught.value)) < 200


@given(st.dictionaries(st.text(), JSON, min_size=2))
def test_a_digest_does_not_depend_on_the_order_of_keys(value: dict[str, Any]) -> None:
    turned = dict(reversed(value.items()))
    assert digest([value]) == digest([turned])


@given(JSON, JSON)
def test_different_values_have_different_digests(one: Any, other: Any) -> None:
    if digest(one) == digest(other):
        assert one == other


def test_a_digest_is_that_of_the_value_also_when_it_was_encoded_already() -> None:
    assert digest(Encoded(b'{"b":1,"a":2}')) == digest({"a": 2, "b": 1})


def test_what_cannot_be_encoded_has_no_digest() -> None:
    with pytest.raises(PayloadError, match=r"^\$\[1\]: tuple"):
        digest([1, (2,)])
