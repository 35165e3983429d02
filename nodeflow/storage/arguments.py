"""Counts, times and names as callers pass them, checked."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

import anyio

from nodeflow.errors import StorageError

MAX_ERROR = 2_000
"""How many characters of an error are kept with an item."""


def whole(name: str, value: int, least: int, most: int | None = None) -> None:
    """Refuse what isn't a whole number within its limits.

    Raises:
        ValueError: it isn't, with the argument's name.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < least or (most is not None and value > most):
        limits = f"{least} or more" if most is None else f"from {least} to {most}"
        raise ValueError(f"{name} must be a whole number, {limits}, not {value!r}")


def deadline(timeout: float | None) -> float:
    """When a time-out that begins now ends, on the clock of `anyio.current_time`.

    Raises:
        ValueError: it isn't a number of seconds, 0 or more, nor None.
    """
    if timeout is None:
        return math.inf
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not 0 <= timeout < math.inf:
        raise ValueError(f"timeout must be seconds, 0 or more, or None to wait for ever, not {timeout!r}")
    return anyio.current_time() + timeout


def seconds_of(name: str, value: float) -> float:
    """A time that is to pass.

    Raises:
        ValueError: it isn't a number of seconds, 0 or more.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise ValueError(f"{name} must be seconds, 0 or more, not {value!r}")
    return float(value)


def values_of(name: str, values: Iterable[Any]) -> Iterable[Any]:
    """Refuse one value where many are to be given: of a dict its keys would be taken, of a str its letters.

    Raises:
        TypeError: it isn't a list or something of the kind.
    """
    if isinstance(values, str | bytes | bytearray | Mapping) or not isinstance(values, Iterable):
        raise TypeError(f"{name} must be a list of values, not {type(values).__name__}: {values!a:.60}")
    return values


def slot_name(name: str) -> str:
    """The name of a consumer's or writer's slot, as in `count/0`.

    Raises:
        ValueError: it holds anything but letters, digits and `_ . / -`, or is longer than 200.
    """
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9_./-]{1,200}", name):
        raise ValueError(f"a consumer's or writer's name is 1 to 200 letters, digits and '_./-', not {name!r}")
    return name


def clean(text: str) -> str:
    """A text that UTF-8 can hold, and not too long."""
    return text[:MAX_ERROR].encode(errors="backslashreplace").decode()


def blame(error: BaseException) -> str:
    """What the items are given back for; nothing when it was not their fault."""
    if not isinstance(error, Exception) or isinstance(error, StorageError):
        return ""
    return clean(f"{type(error).__qualname__}: {error}")
