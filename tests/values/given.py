"""Values of all kinds for hypothesis, classes of users among them; and comparing them with their types."""

from __future__ import annotations

import dataclasses
import enum
import math
import uuid
from datetime import UTC, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import attrs
from hypothesis import strategies as st
from pydantic import BaseModel

from nodeflow.values import declare

ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu"]


class Colour(enum.Enum):
    RED = "red"
    BLUE = ("b", 1)
    AZURE = BLUE


class Level(enum.IntEnum):
    LOW = 1


class Word(enum.StrEnum):
    A = "a"


class Rights(enum.Flag):
    READ = 1
    WRITE = 2


class Point(NamedTuple):
    x: Any
    y: Any = 0


@attrs.frozen
class Order:
    id: Any
    lines: Any = attrs.field(factory=list)
    _total: Any = attrs.field(default=0, alias="total")

    class State(enum.Enum):
        OPEN = enum.auto()


@attrs.define(slots=False, eq=True, cache_hash=True, frozen=True)
class Hashed:
    value: Any


@dataclasses.dataclass
class Record:
    a: Any
    b: Any = dataclasses.field(default_factory=dict)
    length: int = dataclasses.field(init=False, default=0)

    def __post_init__(self) -> None:
        self.length = 7


@dataclasses.dataclass(frozen=True, slots=True)
class Slotted:
    a: Any


class Model(BaseModel, extra="allow"):
    a: Any
    b: Any = None


declare(__name__, globals())


def finite(value: Decimal) -> bool:
    return not value.is_nan()


OFFSETS = st.timedeltas(timedelta(hours=-23, minutes=-59), timedelta(hours=23, minutes=59)).map(
    lambda delta: timedelta(seconds=delta // timedelta(seconds=1))
)
TIMEZONES: st.SearchStrategy[Any] = (
    st.just(UTC)
    | st.builds(timezone, OFFSETS)
    | st.builds(timezone, OFFSETS, st.text(max_size=5))
    | st.sampled_from(ZONES).map(ZoneInfo)
)
NO_ZONE: st.SearchStrategy[Any] = st.none()
MOMENTS = st.datetimes(
    datetime(1900, 1, 1),  # noqa: DTZ001 - they are given their zones
    datetime(2200, 1, 1),  # noqa: DTZ001
    timezones=NO_ZONE | TIMEZONES,
)
HASHABLE = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary()
    | MOMENTS
    | st.dates()
    | st.times()
    | st.builds(time, st.integers(0, 23), fold=st.integers(0, 1), tzinfo=st.none() | TIMEZONES)
    | st.timedeltas()
    | st.decimals(allow_nan=False)
    | st.uuids()
    | st.complex_numbers(allow_nan=False)
    | st.sampled_from([*Colour, *Level, *Word, *Rights, Rights(0), Rights(3), *Order.State])
    | st.sampled_from([Path("/a/b"), Path("ä"), PurePosixPath("x/../y"), PureWindowsPath(r"C:\a")])
)
ODD_KEYS = st.sampled_from(["$type", "$nodeflow", "type", "value", "fields", "v", "data"])


def _containers(parts: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return (
        st.lists(parts)
        | st.lists(parts).map(tuple)
        | st.dictionaries(st.text() | ODD_KEYS, parts)
        | st.dictionaries(HASHABLE | st.tuples(HASHABLE), parts)
        | st.sets(HASHABLE)
        | st.frozensets(HASHABLE)
        | st.binary().map(bytearray)
        | st.builds(Point, parts, parts)
        | st.builds(Order, parts, parts, total=parts)
        | st.builds(Record, parts, parts)
        | st.builds(Slotted, parts)
        | st.builds(Model, a=parts, b=parts, c=parts)
    )


VALUES = st.recursive(HASHABLE, _containers, max_leaves=20)
"""Whatever can be kept and equals itself."""


def typed(value: Any) -> Any:
    """The value with the type of each part beside it, so that 1, 1.0 and True differ, as do 0.0 and -0.0."""
    kind = type(value)
    if kind is dict:
        return kind, [(typed(key), typed(part)) for key, part in value.items()]
    if kind in (list, tuple, Point):
        return kind, [typed(part) for part in value]
    if kind in (set, frozenset):
        return kind, sorted(map(repr, map(typed, value)))
    if kind in (Order, Hashed):
        return kind, typed({field.name: getattr(value, field.name) for field in attrs.fields(kind)})
    if kind in (Record, Slotted):
        return kind, typed({field.name: getattr(value, field.name) for field in dataclasses.fields(value)})
    if kind is Model:
        return kind, typed(vars(value)), typed(value.model_extra), value.model_fields_set
    if kind in (datetime, time):
        return kind, repr(value), value.fold, type(value.tzinfo), value.tzname()
    return kind, repr(value), isinstance(value, uuid.UUID) or (kind is float and math.isnan(value))
