"""Names of graphs and loops, ids of nodes: what may stand in them, and what a node's id is unless said."""

from __future__ import annotations

import re
from collections.abc import Container
from functools import partial
from typing import Any

from nodeflow.errors import GraphError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_ID = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")


_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kMGT]?)(i?)B")
_POWERS = {"": 0, "k": 1, "M": 2, "G": 3, "T": 4}


def size_in_bytes(what: str, given: str | int) -> int:
    """A size, as in "1GB" or "512MiB", in bytes.

    Raises:
        GraphError: it is none.
    """
    if isinstance(given, int) and not isinstance(given, bool) and given > 0:
        return given
    found = _SIZE.fullmatch(given) if isinstance(given, str) else None
    if found is None or float(found[1]) == 0:
        raise GraphError(f"{what}: {given!r} is no size: write it as in '512MB' or '1GiB', or give a number of bytes")
    return int(float(found[1]) * (1024 if found[3] else 1000) ** _POWERS[found[2]])


def check_name(what: str, name: object) -> None:
    """Refuse what can't be the name of a graph or loop.

    Args:
        what: whose name it is, as in `graph`.
        name: the name.

    Raises:
        GraphError: it is no str, or has other characters than a key may have.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise GraphError(f"{what} name {name!r}: use ASCII letters, digits, '_', '-' and '.', a letter or digit first")


def check_id(given: object) -> None:
    """Refuse what can't be the id of a node.

    Raises:
        GraphError: it is no str, or has other characters than an id may have.
    """
    if not isinstance(given, str) or not _ID.fullmatch(given):
        raise GraphError(f"id {given!r}: use ASCII letters, digits, '_' and '-', a letter or '_' first")


def free_id(wanted: str, taken: Container[str]) -> str:
    """The id that was wanted, or the first of `wanted_2`, `wanted_3`, … that isn't taken."""
    number, found = 1, wanted
    while found in taken:
        number += 1
        found = f"{wanted}_{number}"
    return found


def default_id(target: Any) -> str:
    """The name of a function, or of a node's class, in snake_case."""
    name = getattr(innermost(target), "__name__", None) or type(target).__name__
    return "lambda" if name == "<lambda>" else _snake_case(str(name))


def innermost(target: Any) -> Any:
    """What `functools.partial` objects call in the end."""
    while isinstance(target, partial):
        target = target.func
    return target


def _snake_case(name: str) -> str:
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name)
    return re.sub(r"[^A-Za-z0-9_]", "_", spaced).lower()
