"""What JSON can't hold comes back equal and of the same type too; and bad bytes give a value or `PayloadError`."""

from __future__ import annotations

import dataclasses
import math
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta, timezone, tzinfo
from decimal import Decimal
from typing import Any

import attrs
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nodeflow.errors import PayloadError
from nodeflow.values import decode, decode_each, digest, encode, register
from nodeflow.values.codec import VERSION, encode_small
from nodeflow.values.registry import Registry
from tests.values.given import HASHABLE, VALUES, Colour, Hashed, Model, Order, Point, Record, Slotted, Word, typed


@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(VALUES)
def test_every_value_comes_back_equal_and_of_the_same_types_at_all_depths(value: Any) -> None:
    found = decode(encode(value))
    assert found == value
    assert typed(found) == typed(value)


@pytest.mark.slow
@settings(max_examples=2_000, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(VALUES)
def test_every_value_comes_back_in_2000_examples(value: Any) -> None:
    data = encode(value)
    assert typed(decode(data)) == typed(value)
    assert [typed(each) for each in decode_each([data, b"1"])] == [typed(value), typed(1)]
    assert digest(value) == digest(decode(data))


@pytest.mark.parametrize(
    "value",
    [math.nan, Decimal("NaN"), Decimal("sNaN"), Decimal("-Infinity"), complex(math.nan, -0.0), [1.5, -math.inf]],
    ids=repr,
)
def test_what_is_no_number_stays_so(value: Any) -> None:
    assert typed(decode(encode(value))) == typed(value)


@pytest.mark.parametrize("number", [2**64, -(2**63) - 1, 10**4_000, -(10**10_000)], ids=lambda n: str(n.bit_length()))
def test_whole_numbers_have_no_limit(number: int) -> None:
    assert decode(encode([number])) == [number]


def test_json_values_are_plain_json_and_all_else_is_readable_in_it() -> None:
    assert encode({"a": [1, None, 2.5]}) == b'{"a":[1,null,2.5]}'
    assert encode({"at": (1, Decimal("1.50"))}) == (
        b'{"$nodeflow":1,"value":{"at":{"$type":"tuple","value":[1,{"$type":"decimal","value":"1.50"}]}}}'
    )
    order = b'{"$nodeflow":1,"value":{"$type":"tests.values.given:Order","fields":{"id":7,"lines":[],"_total":0}}}'
    assert encode(Order(7)) == order


@pytest.mark.parametrize(
    "value",
    [
        {"$type": "tuple", "value": [1]},
        {"$nodeflow": 1, "value": {"$type": "tuple", "value": [1]}},
        {"type": "external_ref", "storage_id": "output_0"},
        {"a": (1,), "$type": "tuple", "value": [1]},
        {"$type": ({"$type": "set"},)},
    ],
    ids=repr,
)
def test_a_users_dict_that_looks_like_ours_survives(value: Any) -> None:
    assert decode(encode(value)) == value
    assert decode(encode([value, (1,)])) == [value, (1,)]


def test_the_same_local_time_on_both_sides_of_the_clocks_change_stays_two_times() -> None:
    from zoneinfo import ZoneInfo

    zone = ZoneInfo("Europe/Berlin")
    for fold in (0, 1):
        moment = datetime(2025, 10, 26, 2, 30, tzinfo=zone, fold=fold)
        found = decode(encode(moment))
        assert (found.fold, found.utcoffset(), found.tzinfo) == (fold, timedelta(hours=2 - fold), zone)


class Zone(tzinfo):
    """A zone of a user's own, of which nothing is known."""

    def utcoffset(self, moment: datetime | None) -> timedelta:
        return timedelta(0)

    dst = utcoffset

    def tzname(self, moment: datetime | None) -> str:
        return "own"


def test_a_zone_of_an_unknown_kind_is_refused() -> None:
    with pytest.raises(PayloadError, match=r"^\$\.at: a zone of type Zone"):
        encode({"at": datetime(2026, 1, 1, tzinfo=Zone())})


def test_equal_sets_and_dicts_have_equal_digests() -> None:
    words = [f"word {number}" for number in range(50)]
    assert digest({*words}) == digest({*reversed(words)})
    assert digest({(1,): 2, (3,): 4}) == digest({(3,): 4, (1,): 2})
    assert digest([1, 2]) != digest((1, 2))
    assert digest({1: 2}) != digest({"1": 2})


def test_a_hash_that_is_kept_with_an_instance_is_made_anew() -> None:
    value = Hashed(("a", 1))
    hash(value)
    assert hash(decode(encode(value))) == hash(value)


def test_no_code_of_a_class_runs_when_its_instance_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    data = [encode(value) for value in (Record(1), Order(2), Slotted(3), Model(a=4), Point(5))]
    for cls in (Record, Order, Slotted, Model, Point):
        monkeypatch.setattr(cls, "__init__", None)
    monkeypatch.setattr(Record, "__post_init__", None)
    assert [typed(decode(each))[0] for each in data] == [Record, Order, Slotted, Model, Point]


NEW = {
    "a field that is new gets its default": (b'{"id":1}', None),
    "a field that is missing is named": (b'{"lines":[]}', "its field 'id' is missing"),
    "a field that is gone is named": (b'{"id":1,"gone":2}', "it has no field 'gone'"),
}


@pytest.mark.parametrize("case", NEW)
def test_classes_may_get_fields_with_defaults_and_lose_none(case: str) -> None:
    fields, why = NEW[case]
    data = b'{"$nodeflow":1,"value":{"$type":"tests.values.given:Order","fields":%b}}' % fields
    if why is None:
        assert decode(data) == Order(1)
    else:
        with pytest.raises(PayloadError, match=why):
            decode(data)


@attrs.define
class Money:
    cents: int


class Plain:
    def __init__(self, text: str) -> None:
        self.text = text


def test_a_class_that_nobody_declared_is_refused_until_it_is_registered() -> None:
    with pytest.raises(PayloadError, match=r"^\$\[0\]: .*test_kinds.Money is of no known type: .*register"):
        encode([Money(1)])
    with pytest.raises(PayloadError, match=r"no type of the name 'tests.values.test_kinds:Money' is known"):
        decode(b'{"$nodeflow":1,"value":{"$type":"tests.values.test_kinds:Money","fields":{"cents":1}}}')
    assert register(Money) is Money
    assert decode(encode([Money(1)])) == [Money(1)]


def test_a_type_may_have_functions_of_its_own() -> None:
    registry = Registry()
    registry.register(Plain, "plain", lambda plain: {"text": plain.text}, lambda data: Plain(data["text"]))
    register(Plain, "plain", lambda plain: {"text": (plain.text,)}, lambda data: Plain(data["text"][0]))
    assert decode(encode({"a": Plain("x")}))["a"].text == "x"
    with pytest.raises(PayloadError, match=r"^\$\.a: not a plain: KeyError"):
        decode(b'{"$nodeflow":1,"value":{"a":{"$type":"plain","value":{}}}}')


BAD_REGISTRATIONS: dict[str, tuple[type[Exception], Callable[[Registry], Any]]] = {
    "give encode= and decode=": (TypeError, lambda registry: registry.register(Plain)),
    "with both encode and decode": (TypeError, lambda registry: registry.register(Plain, encode=str)),
    "is another type's name": (ValueError, lambda registry: registry.register(Plain, "tuple", str, Plain)),
}


@pytest.mark.parametrize("why", BAD_REGISTRATIONS)
def test_a_bad_registration_is_refused(why: str) -> None:
    kind, call = BAD_REGISTRATIONS[why]
    with pytest.raises(kind, match=why):
        call(Registry())


def test_local_classes_and_those_with_the_state_of_a_container_are_not_declared() -> None:
    @dataclasses.dataclass
    class Local:
        a: int

    @dataclasses.dataclass
    class Table(dict):  # type: ignore[type-arg] # what a user may write
        a: int

    registry = Registry()
    registry.declare("here", {"Local": Local, "Table": Table})
    assert registry.form_of(Local) is None
    assert registry.form_of(Table) is None


def test_a_class_that_a_module_gets_later_is_found() -> None:
    namespace: dict[str, Any] = {"__name__": "__main__"}
    registry = Registry()
    registry.declare("notebook", namespace)
    exec("import enum\nclass Later(enum.Enum): A = 1", namespace)  # as a cell of a notebook does
    found = registry.form_of(namespace["Later"])
    assert found is not None
    assert found[0] == "notebook:Later"


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b'{"$nodeflow":%d,"value":1}' % (VERSION + 1), f"of format version {VERSION + 1}; .* up to version {VERSION}"),
        (b'{"$nodeflow":"1","value":1}', "of format version '1'"),
        (b'{"$nodeflow":1}', "begins as what nodeflow writes"),
        (b'{"$nodeflow":1,"value":{"$type":"os:system","value":"x"}}', "no type of the name 'os:system' is known"),
        (b'{"$nodeflow":1,"value":{"$type":["tuple"],"value":[]}}', "must be a type's name"),
        (b'{"$nodeflow":1,"value":{"$type":"tuple","value":[],"more":1}}', "must be a type's name"),
        (b'{"$nodeflow":1,"value":{"a":[{"$type":"set","value":[[]]}]}}', r"^\$\.a\[0\]: not a set: TypeError"),
        (b'{"$nodeflow":1,"value":{"$type":"datetime","value":{"at":"2026-01-01","zone":"../x"}}}', "not a datetime"),
        (b'{"$nodeflow":1,"value":{"$type":"tests.values.given:Colour","member":"__class__"}}', "has no member"),
        (b'{"$nodeflow":1,"value":' + b"[" * 5_000, "not JSON"),
    ],
    ids=repr,
)
def test_what_nobody_wrote_is_refused_with_the_reason(data: bytes, why: str) -> None:
    for read in (decode, lambda each: decode_each([each])):
        with pytest.raises(PayloadError, match=why):
            read(data)


def test_reading_a_payload_imports_nothing() -> None:
    code = """
import sys
from nodeflow.errors import PayloadError
from nodeflow.values import decode
before = set(sys.modules)
for name in ("antigravity:fly", "this:s", "http:HTTPStatus", "os.path:join"):
    for label in ("value", "fields", "member", "items", "model"):
        try:
            decode(b'{"$nodeflow":1,"value":{"$type":"%b","%b":[]}}' % (name.encode(), label.encode()))
        except PayloadError:
            continue
        raise AssertionError(name)
assert set(sys.modules) == before, set(sys.modules) - before
"""
    subprocess.run([sys.executable, "-c", code], check=True)


@settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow])
@given(VALUES, st.data())
def test_a_payload_that_was_changed_gives_a_value_or_is_refused(value: Any, data: st.DataObject) -> None:
    mutate(encode(value), data)


@pytest.mark.slow
@settings(max_examples=10_000, suppress_health_check=list(HealthCheck), deadline=None)
@given(VALUES, st.data())
def test_10000_changed_payloads_give_a_value_or_are_refused(value: Any, data: st.DataObject) -> None:
    mutate(encode(value), data)


def mutate(payload: bytes, data: st.DataObject) -> None:
    """Change bytes, or put one part of the JSON into the place of another; then read it."""
    if data.draw(st.booleans()):
        changed = bytearray(payload)
        for _ in range(data.draw(st.integers(1, 4))):
            place = data.draw(st.integers(0, len(changed) - 1))
            changed[place : place + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=3))
            changed = changed or bytearray(b"0")
        payload = bytes(changed)
    else:
        tree = orjson.loads(payload)
        parts = [tree]
        for part in parts:
            parts += part.values() if isinstance(part, dict) else part if isinstance(part, list) else []
        holders = [part for part in parts if isinstance(part, dict | list) and part]
        if holders:
            holder = data.draw(st.sampled_from(holders))
            keys = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
            holder[data.draw(st.sampled_from(keys))] = orjson.loads(orjson.dumps(data.draw(st.sampled_from(parts))))
            payload = orjson.dumps(tree)
    with suppress(PayloadError):
        decode(payload)


def test_tuples_that_are_nested_too_deep_are_refused() -> None:
    """orjson by itself would write beyond its memory."""
    value: Any = ()
    for _ in range(5_000):
        value = (value,)
    with pytest.raises(PayloadError, match="200 levels"):
        encode([value])


def test_an_offset_of_less_than_a_second_is_kept() -> None:
    for zone in (timezone(timedelta(microseconds=1)), timezone(timedelta(seconds=1, microseconds=1), "odd")):
        value = datetime(2026, 1, 1, tzinfo=zone)
        assert typed(decode(encode(value))) == typed(value)


@given(VALUES | st.recursive(HASHABLE | st.floats(), lambda parts: st.lists(parts) | st.dictionaries(st.text(), parts)))
def test_small_values_are_encoded_as_all_are_or_left_to_that(value: Any) -> None:
    content = {"id": "item", "value": value}
    found = encode_small(content, value)
    assert found is None or found == encode(content)


@given(
    st.lists(st.integers(0, 9) | st.text()) | st.dictionaries(st.text(), st.integers(-9, 9) | st.none() | st.booleans())
)
def test_plain_values_are_small_ones(value: Any) -> None:
    assert encode_small({"value": value}, value) is not None or len(value) > 64


@pytest.mark.parametrize("odd", [(1,), math.nan, math.inf, Colour.RED, {1: 2}, 2**70, b"", {1}, Word.A, object()])
@pytest.mark.parametrize("around", [lambda odd: odd, lambda odd: [1, odd], lambda odd: {"a": [[odd]]}])
def test_what_plain_json_would_change_is_no_small_value(odd: Any, around: Any) -> None:
    assert encode_small({"value": around(odd)}, around(odd)) is None


def test_a_ring_is_no_small_value() -> None:
    ring: list[Any] = list(range(10))
    ring.append({"a": ring})
    assert encode_small({"value": ring}, ring) is None
