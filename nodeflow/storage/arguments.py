"""Counts and time-outs as callers pass them, checked."""

from __future__ import annotations

import math

import anyio


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
