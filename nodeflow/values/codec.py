"""JSON that comes back equal and of the same types, or is refused with the path of what is wrong.

orjson is strict about most types, but writes tuples as lists, NaN as null and enums and UUIDs as
their values without a word, so those are looked for here.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable
from datetime import date, datetime
from typing import Any

import orjson

from nodeflow.errors import PayloadError

_OPTIONS = orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_SUBCLASS
_ATOMS = frozenset({str, int, bool, type(None)})
_INT_RANGE = range(-(2**63), 2**64)
_INSTEAD: dict[type, str] = {
    tuple: "a list",
    set: "a sorted list",
    frozenset: "a sorted list",
    bytes: "its hex()",
    datetime: "its isoformat()",
    date: "its isoformat()",
}
_MAX_DEPTH = 254  # where orjson stops


class Encoded(bytes):
    """A value that was encoded already, so that it can be passed on without being encoded again."""


def encode(value: Any) -> bytes:
    """Encode a value as JSON.

    Args:
        value: dicts with str keys, lists, str, int (64 bit), finite float, bool and None, of these exact types.

    Returns:
        the JSON, in UTF-8.

    Raises:
        PayloadError: with the path of the first part that JSON can't hold.
    """
    if type(value) is Encoded:
        return value
    try:
        data = orjson.dumps(value, option=_OPTIONS)
    except (orjson.JSONEncodeError, RecursionError) as error:
        _refuse(value, "$", ())
        raise PayloadError("$", str(error)) from error
    if not _is_exact(value):
        _refuse(value, "$", ())
    return data


def decode(data: bytes | str) -> Any:
    """Decode JSON; whole numbers beyond 64 bits, which `encode` doesn't write, become floats.

    Raises:
        PayloadError: when it isn't JSON.
    """
    try:
        return orjson.loads(bytes(data) if type(data) is Encoded else data)  # orjson takes no subclass
    except orjson.JSONDecodeError as error:
        raise PayloadError("$", f"not JSON ({error}): {data[:60]!r}") from error


def decode_each(elements: Iterable[bytes]) -> list[Any]:
    """Decode many values at once, which is faster than one by one.

    Raises:
        PayloadError: one of them isn't JSON; `decode` says which.
    """
    try:
        return list(map(orjson.loads, elements))
    except orjson.JSONDecodeError as error:
        raise PayloadError("$", f"not JSON ({error})") from error


def digest(value: Any) -> str:
    """A short digest that is equal for values of the same JSON, in whatever order their keys stand.

    Raises:
        PayloadError: as `encode`.
    """
    encoded = encode(value)
    if type(value) is Encoded:
        value = decode(encoded)
    data = orjson.dumps(value, option=_OPTIONS | orjson.OPT_SORT_KEYS)
    return hashlib.blake2b(data, digest_size=12).hexdigest()


def _is_exact(value: Any) -> bool:
    parts = [value]
    for part in parts:
        kind = type(part)
        if kind in _ATOMS:
            continue
        if kind is float:
            if not math.isfinite(part):
                return False
        elif kind is dict:
            parts.extend(part.values())
        elif kind is list:
            parts.extend(part)
        else:
            return False
    return True


def _refuse(value: Any, path: str, parents: tuple[int, ...]) -> None:
    """Raise for the first part that can't be encoded; return when there is none."""
    kind = type(value)
    if kind in (dict, list):
        if id(value) in parents:
            raise PayloadError(path, "refers back to a value that holds it")
        if len(parents) >= _MAX_DEPTH:
            raise PayloadError(path, f"nested more than {_MAX_DEPTH} levels deep")
        for step, part in _parts(value, path):
            _refuse(part, step, (*parents, id(value)))
    elif reason := _reason(value, kind):
        raise PayloadError(path, reason)


def _parts(value: Any, path: str) -> list[tuple[str, Any]]:
    if type(value) is list:
        return [(f"{path}[{index}]", part) for index, part in enumerate(value)]
    for key in value:
        if type(key) is not str:
            raise PayloadError(path, f"{type(key).__name__} as the key {key!r}: JSON's keys are str")
        if reason := _reason(key, str):
            raise PayloadError(path, f"key {key!a}: {reason}")
    return [(f"{path}.{key}" if key.isidentifier() else f"{path}[{key!r}]", part) for key, part in value.items()]


def _reason(value: Any, kind: type) -> str | None:
    if kind is float:
        return None if math.isfinite(value) else f"{value}: JSON has no such number"
    if kind is int:
        return None if value in _INT_RANGE else "int that doesn't fit into 64 bits"
    if kind is str:
        return None if _is_utf8(value) else "str with a lone surrogate, which UTF-8 can't hold"
    if kind in _ATOMS:
        return None
    hint = f"; give {_INSTEAD[kind]}" if kind in _INSTEAD else ""
    return f"{kind.__qualname__} can't be kept as JSON without becoming something else{hint}"


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
