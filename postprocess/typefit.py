"""Whether each value of one type is one of another, as far as their annotations tell."""

from __future__ import annotations

import collections.abc
import typing
from typing import Any

from beartype.door import is_subhint
from beartype.roar import BeartypeException

from nodeflow.values import RefValue
from postprocess.hints import members, plain

_TOWER: dict[Any, tuple[Any, ...]] = {float: (int,), complex: (int, float)}
"""PEP 484: an int fits where a float is wanted, and both where a complex is."""


def fits(given: Any, wanted: Any) -> bool:
    """Whether each value of one type is one of another; True where it can't be told."""
    given, wanted = plain(given), plain(wanted)
    if given in (Any, typing.Never, typing.NoReturn) or wanted in (Any, object):
        return True
    if _is_ref(given) or _is_ref(wanted):  # whoever wants the handle gets it, all others the value
        return True
    if isinstance(given, typing.NewType) and given is not wanted:
        return fits(given.__supertype__, wanted)
    if len(members(given)) > 1:
        return all(fits(each, wanted) for each in members(given))
    if len(members(wanted)) > 1:
        return any(fits(given, each) for each in members(wanted))
    if typing.get_origin(given) is typing.Literal and typing.get_origin(wanted) is not typing.Literal:
        return fits(type(*typing.get_args(given)), wanted)
    if typing.is_typeddict(wanted):
        return given is wanted or (not typing.is_typeddict(given) and _is_a(given, collections.abc.Mapping))
    if typing.is_typeddict(given):
        return fits(dict[str, Any], wanted)
    return any(_class_fits(given, each) for each in (wanted, *_TOWER.get(wanted, ())))


def _is_ref(hint: Any) -> bool:
    return any(isinstance(each, type) and issubclass(each, RefValue) for each in members(hint))


def _class_fits(given: Any, wanted: Any) -> bool:
    if not (_is_class(given) and _is_class(wanted)):
        return _told(given, wanted)
    inner, outer = typing.get_args(given), typing.get_args(wanted)
    if not (inner and outer):
        return _is_a(given, wanted)
    origin = typing.get_origin(given)
    if origin is tuple:
        return _tuple_fits(inner, wanted)
    if len(inner) == len(outer) and origin not in (collections.abc.Callable, type):
        return _is_a(given, wanted) and all(map(fits, inner, outer))
    return _told(given, wanted)


def _tuple_fits(inner: tuple[Any, ...], wanted: Any) -> bool:
    origin, outer = typing.get_origin(wanted), typing.get_args(wanted)
    elements = tuple(each for each in inner if each is not ...)
    if origin is not tuple or outer[1:] == (...,):
        return _is_a(tuple, wanted) and all(fits(each, outer[0]) for each in elements)
    return ... not in inner and len(inner) == len(outer) and all(map(fits, inner, outer))


def _is_class(hint: Any) -> bool:
    return isinstance(typing.get_origin(hint) or hint, type)


def _is_a(given: Any, wanted: Any) -> bool:
    try:
        return issubclass(typing.get_origin(given) or given, typing.get_origin(wanted) or wanted)
    except TypeError:  # a Protocol that can't be asked at run time
        return True


def _told(given: Any, wanted: Any) -> bool:
    try:
        return bool(is_subhint(given, wanted))
    except (BeartypeException, TypeError):
        return True
