"""JSON values travel as plain JSON, equal and of the same types; what can't be kept is refused with its path."""

from __future__ import annotations

import io
import math
import threading
from collections import OrderedDict, defaultdict
from datetime import tzinfo
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


class Unknown:
    pass


class Zone(tzinfo):
    pass


REFUSED: dict[str, Any] = {
    "is code": len,
    "Text would come back as str": Text("a"),
    "Table would come back as dict": Table(a=1),
    "OrderedDict would come back as dict": OrderedDict(a=1),
    "defaultdict would come back as dict": defaultdict(int),
    "Row would come back as list": Row([1]),
    "Number would come back as int": Number(1),
    "Share would come back as float": Share(1.5),
    "Encoded would come back as bytes": Encoded(b"1"),
    "Unknown is of no known type": Unknown(),
    "range is of no known type": range(3),
    "a type is code": int,
    "a module is code": math,
    "generator can be gone through only once": (part for part in [1]),
    "TextIOWrapper belongs to this process": open("/dev/null"),  # noqa: SIM115, PTH123
    "BytesIO belongs to this process": io.BytesIO(),
    "lock belongs to this process": threading.Lock(),
    "lone surrogate": "a lone surrogate: \ud800",
}
REFUSED["TextIOWrapper belongs to this process"].close()


def typed(value: Any) -> Any:
    """The value with the type of each part beside it, so that 1, 1.0 and True differ, as do 0.0 and -0.0."""
    if type(value) is dict:
        return dict, [(typed(key), typed(part)) for key, part in value.items()]
    if type(value) is list:
        return list, [typed(part) for part in value]
    return type(value), repr(value)


def place(steps: list[int | str], value: Any) -> Any:
    """The value at the end of a path of list places and keys, with good values around it."""
    for step in reversed(steps):
        value = [*range(step), value, "after"] if isinstance(step, int) else {"before": 0, step: value, "after": 1}
    return value


@given(JSON)
def test_every_json_value_comes_back_equal_and_of_the_same_types(value: Any) -> None:
    assert typed(decode(encode(value))) == typed(value)


@given(
    why=st.sampled_from(list(REFUSED)),
    steps=st.lists(st.integers(0, 3) | st.sampled_from(["rows", "when", "größe", "_x1"]), min_size=1, max_size=6),
)
def test_what_cannot_be_kept_is_refused_with_its_path_and_why(why: str, steps: list[int | str]) -> None:
    with pytest.raises(PayloadError) as caught:
        encode(place(steps, REFUSED[why]))
    assert caught.value.path == "$" + "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps)
    assert why in caught.value.reason


@pytest.mark.parametrize("wrap", [lambda part: [part], lambda part: {"a": part}], ids=["lists", "dicts"])
def test_a_key_with_a_lone_surrogate_is_refused(wrap: Any) -> None:
    with pytest.raises(PayloadError, match="lone surrogate"):
        encode(wrap({"good": 1, "\udfff": 2}))


def test_a_bad_value_behind_a_key_that_is_no_name_has_the_key_quoted() -> None:
    with pytest.raises(PayloadError, match=r"^\$\['two words'\]\[''\]: a module"):
        encode({"two words": {"": math}})


WRAPS: dict[str, Any] = {
    "lists": lambda part: [part],
    "dicts": lambda part: {"a": part},
    "wide lists": lambda part: [*range(20), part],
    "tuples": lambda part: (part,),
    "pairs": lambda part: {1: part},
}


@pytest.mark.parametrize("wrap", WRAPS)
def test_values_may_be_200_levels_deep_and_no_deeper(wrap: str) -> None:
    value: Any = 1
    for _ in range(200):
        value = WRAPS[wrap](value)
    assert decode(encode(value)) == value
    assert digest(value) == digest(value)
    with pytest.raises(PayloadError, match="more than 200 levels deep"):
        encode(WRAPS[wrap](value))


def test_a_value_that_holds_itself_is_refused_where_it_does() -> None:
    value: dict[str, Any] = {"a": [0]}
    value["a"].append(value)
    with pytest.raises(PayloadError, match=r"^\$\.a\[1\]: refers back to \$$"):
        encode(value)
    with pytest.raises(PayloadError, match=r"^\$\[0\]\.a\[1\]: refers back to \$\[0\]$"):
        encode((value,))


def test_a_large_value_that_holds_itself_is_refused_too() -> None:
    value: list[Any] = [{"n": number} for number in range(20_000)]
    assert decode(encode(value)) == value
    value[10_000]["all"] = value
    with pytest.raises(PayloadError, match=r"^\$\[10000\]\.all: refers back to \$$"):
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
    with pytest.raises(PayloadError, match=r"^\$\[1\]: a module"):
        digest([1, math])


def test_a_ring_in_a_long_list_is_refused_before_it_fills_the_memory() -> None:
    value: list[Any] = ["x"] * 50_000
    value.append(value)
    with pytest.raises(PayloadError, match=r"\$\[50000\]: refers back to \$"):
        encode(value)
