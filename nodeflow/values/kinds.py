"""The types of the standard library that JSON can't hold, and how each is written beside its name."""

from __future__ import annotations

import base64
import uuid
from collections.abc import Callable
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any
from zoneinfo import ZoneInfo

from attrs import frozen

from nodeflow.values.attachment import BINARY, Attachment

_MANY_BYTES = 16 << 10
"""From how many on bytes stand beside the JSON, and not in it as base64."""

_DECIMAL_BITS = 10_000
"""Larger whole numbers are written in hexadecimal: Python itself refuses to write more than 4,300 decimal digits."""


@frozen
class Kind:
    """How the values of one type are written.

    Args:
        name: what stands for the type in a payload.
        encode: gives what is written instead; it may hold further values of any kind.
        decode: gives the value back. It may raise what bad input makes it raise: that becomes a `PayloadError`.
        is_unordered: whether `encode` gives a list whose order does not make two values unequal.
        attach: gives the bytes that stand for a value beside the JSON; None for one that `encode` writes.
        from_bytes: gives the value back of what `attach` gave: of the bytes and, for a file, its name. Bytes that can
            be written to are the value's own.
        is_checked: whether that trusts the bytes, so that they must be known to be unchanged.
    """

    name: str
    encode: Callable[[Any], Any]
    decode: Callable[..., Any]
    is_unordered: bool = False
    attach: Callable[[Any], Attachment | None] | None = None
    from_bytes: Callable[..., Any] | None = None
    is_checked: bool = False


def always_attached(
    name: str, attach: Callable[[Any], Attachment], from_bytes: Callable[..., Any], *, is_checked: bool = False
) -> Kind:
    """How the values of a type are written that always stand beside the JSON."""

    def encode(value: Any) -> Any:
        raise ValueError("it can't stand within the JSON")

    def decode(data: Any) -> Any:
        raise ValueError("its bytes are missing")

    return Kind(name, encode, decode, attach=attach, from_bytes=from_bytes, is_checked=is_checked)


def _exactly(kind: type) -> Callable[[Any], Any]:
    """A check that a part is of this type; what takes more than it was given would make something else of it."""

    def check(data: Any) -> Any:
        if type(data) is not kind:
            raise TypeError(f"{kind.__name__} is needed, not {type(data).__name__}")
        return data

    return check


def _int_text(value: int) -> str:
    return str(value) if value.bit_length() <= _DECIMAL_BITS else hex(value)


def _moment(value: datetime | time) -> Any:
    """ISO 8601, and beside it what that leaves out: the zone's name, and which of two equal times it is."""
    zone = value.tzinfo
    more: dict[str, Any] = {"fold": value.fold} if value.fold else {}
    if type(zone) is ZoneInfo:
        if zone.key is None:
            raise ValueError("a ZoneInfo without a key")
        more["zone"] = zone.key
        value = value.replace(tzinfo=None)
    elif type(zone) is timezone:
        offset = zone.utcoffset(None)
        if zone.tzname(None) != timezone(offset).tzname(None):
            more["zone_name"] = zone.tzname(None)
        if offset.microseconds:  # which `fromisoformat` doesn't read
            more["offset"] = [offset.days, offset.seconds, offset.microseconds]
            value = value.replace(tzinfo=None)
    elif zone is not None:
        raise ValueError(f"a zone of type {type(zone).__qualname__}; give a ZoneInfo or a timezone")
    return {"at": value.isoformat(), **more} if more else value.isoformat()


def _moment_of(kind: type[datetime] | type[time]) -> Callable[[Any], Any]:
    def decode(data: Any) -> Any:
        if isinstance(data, str):
            return kind.fromisoformat(data)
        moment: Any = kind.fromisoformat(data["at"])
        zone = moment.tzinfo
        if "zone" in data:
            zone = ZoneInfo(data["zone"])
        elif "offset" in data:
            zone = timezone(timedelta(*data["offset"]), *filter(None, [data.get("zone_name")]))
        elif "zone_name" in data:
            zone = timezone(zone.utcoffset(None), data["zone_name"])
        return moment.replace(tzinfo=zone, fold=data.get("fold", 0))

    return decode


def _bytes(data: str) -> bytes:
    return base64.b64decode(data, validate=True)


def _bytes_kind(kind: type[bytes] | type[bytearray]) -> Kind:
    def encode(value: bytes) -> str:
        return base64.b64encode(value).decode()

    def attach(value: bytes) -> Attachment | None:
        is_large = len(value) >= _MANY_BYTES
        return Attachment(BINARY, len(value), lambda: [value], is_mapped=False) if is_large else None

    return Kind(kind.__name__, encode, lambda data: kind(_bytes(data)), attach=attach, from_bytes=kind)


def _of_pairs(data: list[Any]) -> dict[Any, Any]:
    return {key: value for key, value in data}  # noqa: C416 - of pairs only, which dict() doesn't look at


STANDARD: dict[type, Kind] = {
    tuple: Kind("tuple", list, tuple),
    set: Kind("set", list, set, is_unordered=True),
    frozenset: Kind("frozenset", list, frozenset, is_unordered=True),
    dict: Kind("dict", lambda value: [list(pair) for pair in value.items()], _of_pairs),
    int: Kind("int", _int_text, lambda data: int(data, 0)),
    float: Kind("float", str, float),
    complex: Kind("complex", lambda value: [value.real, value.imag], lambda data: complex(*map(_exactly(float), data))),
    bytes: _bytes_kind(bytes),
    bytearray: _bytes_kind(bytearray),
    datetime: Kind("datetime", _moment, _moment_of(datetime)),
    time: Kind("time", _moment, _moment_of(time)),
    date: Kind("date", date.isoformat, date.fromisoformat),
    timedelta: Kind(
        "timedelta", lambda value: [value.days, value.seconds, value.microseconds], lambda data: timedelta(*data)
    ),
    Decimal: Kind("decimal", str, lambda data: Decimal(_exactly(str)(data))),
    uuid.UUID: Kind("uuid", str, uuid.UUID),
    type(Path()): Kind("path", str, Path),
    PurePosixPath: Kind("pure_posix_path", str, PurePosixPath),
    PureWindowsPath: Kind("pure_windows_path", str, PureWindowsPath),
}
"""By exact type: a subclass is another type, and would come back as this one."""
