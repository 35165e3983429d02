"""Whether a constant fits an annotation: every element of a list, tuple, set or dict is looked at."""

from __future__ import annotations

import collections.abc
import typing
from collections.abc import Mapping
from typing import Any

from beartype import BeartypeConf
from beartype.door import is_bearable
from beartype.roar import BeartypeException

from postprocess.hints import members, plain

_CONF = BeartypeConf(is_pep484_tower=True)


def holds(value: Any, wanted: Any) -> bool:
    """Whether a value is one of a type; True where it can't be told."""
    wanted = plain(wanted)
    if len(members(wanted)) > 1:
        return any(holds(value, each) for each in members(wanted))
    if typing.is_typeddict(wanted):
        return isinstance(value, dict) and _record_holds(value, wanted)
    # beartype looks at one element of a container, by chance; the same graph must give the same problems each time
    if not _bearable(value, typing.get_origin(wanted) or wanted):
        return False
    elements = _elements(value, wanted)
    return all(holds(element, hint) for element, hint in elements) if elements else _bearable(value, wanted)


def _elements(value: Any, wanted: Any) -> list[tuple[Any, Any]]:
    """What a container holds, each with the type that it must have; empty where that isn't known."""
    origin, arguments = typing.get_origin(wanted), typing.get_args(wanted)
    if isinstance(value, tuple) and origin is tuple and arguments[1:] != (...,):
        return list(zip(value, arguments, strict=True)) if len(value) == len(arguments) else []
    if isinstance(value, Mapping) and len(arguments) == 2:
        return [(part, hint) for pair in value.items() for part, hint in zip(pair, arguments, strict=True)]
    if isinstance(value, list | tuple | set | frozenset) and _is_collection(origin):
        return [(element, arguments[0]) for element in value]
    return []


def _is_collection(origin: Any) -> bool:
    return isinstance(origin, type) and issubclass(origin, collections.abc.Iterable)


def _record_holds(value: dict[Any, Any], wanted: Any) -> bool:
    hints = typing.get_type_hints(wanted, include_extras=True)
    # Python doesn't see a NotRequired that is text, as all annotations are after `from __future__ import annotations`
    required = {key for key in wanted.__required_keys__ if typing.get_origin(hints[key]) is not typing.NotRequired}
    return required <= value.keys() <= hints.keys() and all(holds(value[key], hints[key]) for key in value)


def _bearable(value: Any, wanted: Any) -> bool:
    try:
        return bool(is_bearable(value, wanted, conf=_CONF))
    except (BeartypeException, TypeError):
        return True
