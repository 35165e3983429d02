"""Values as text that is equal in every process for equal contents."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import fractions
import functools
import re
import sys
import uuid
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from pathlib import PurePath
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any, TypeGuard, TypeVar

import attrs

from nodeflow.graph.modules import module_name

T = TypeVar("T")

REFERENCES = (FunctionType, BuiltinFunctionType, type, ModuleType)

_TIMES = (datetime.date, datetime.time, datetime.timedelta)
_BY_REPR = (*_TIMES, decimal.Decimal, fractions.Fraction, uuid.UUID, range, re.Pattern)
_PLAIN = (type(None), bool, int, float, complex, str, bytes, type(...))
_IMMUTABLE = (*_PLAIN, *_BY_REPR, tuple, frozenset, PurePath, enum.Enum, *REFERENCES)


class Contents:
    """Writes values as text, and notes the functions, classes and modules in them as `references`."""

    def __init__(self) -> None:
        self.references: list[object] = []
        self._around: set[int] = set()

    def text(self, value: object) -> str:
        """Write a value; one that can't be read, or of an unknown kind, counts by its type."""
        if id(value) in self._around:
            return "<around>"
        self._around.add(id(value))
        try:
            return self._text(value)
        except Exception:
            return label(type(value))
        finally:
            self._around.discard(id(value))

    def _text(self, value: Any) -> str:
        kind = type(value)
        if kind in _PLAIN:
            return repr(value)
        if issubclass(kind, REFERENCES):
            self.references.append(value)
            return f"<{label(value)}>"
        if issubclass(kind, PurePath):
            return f"Path({value.as_posix()!r})"
        if kind.__module__ != "builtins":
            self.references.append(kind)
        return f"{label(kind)}({self._parts(value)})"

    def _parts(self, value: Any) -> str:
        kind = type(value)
        if issubclass(kind, enum.Enum):
            return f"{value._name_}={self.text(value._value_)}"
        if issubclass(kind, functools.partial):
            return self.text([value.func, value.args, value.keywords])
        if issubclass(kind, MethodType):
            return self.text([value.__func__, value.__self__])
        if issubclass(kind, Mapping):
            return ",".join(sorted(f"{self.text(key)}:{self.text(value[key])}" for key in value))
        if issubclass(kind, set | frozenset):
            return ",".join(sorted(map(self.text, value)))
        if issubclass(kind, list | tuple | deque):
            return ",".join(map(self.text, value))
        if attrs.has(kind) or dataclasses.is_dataclass(kind):
            return self.text(attributes(value))
        kinds = (*_BY_REPR, int, float, complex, str, bytes, bytearray)
        return next((base.__repr__(value) for base in kinds if issubclass(kind, base)), "")


def attributes(value: object) -> dict[str, object]:
    """Give what configures an instance: the fields that its `__init__` takes, else all attributes."""
    kind: Any = type(value)
    if attrs.has(kind):
        names = [field.name for field in attrs.fields(kind) if field.init]
    elif dataclasses.is_dataclass(kind):
        names = [field.name for field in dataclasses.fields(kind) if field.init]
    else:
        slots = [vars(each).get("__slots__", ()) for each in kind.__mro__]
        names = [name for each in slots for name in ([each] if isinstance(each, str) else each)]
        with suppress(Exception):
            names += list(vars(value))
    found = {}
    for name in names:
        with suppress(Exception):
            found[name] = getattr(value, name)
    return found


def stable_text(value: object) -> str:
    """Write a value that stays as it is while nodes run; another one counts by its type."""
    return Contents().text(value) if isa(value, _IMMUTABLE) else label(type(value))


def isa(value: object, kinds: type[T] | tuple[type[T], ...]) -> TypeGuard[T]:
    """Say whether a value is an instance, by its own type: a mock's or a proxy's `__class__` is another's."""
    return issubclass(type(value), kinds)


def label(value: object) -> str:
    """Name a function, class or module, as `module.qualname`."""
    name = getattr(value, "__qualname__", None) or getattr(value, "__name__", "")
    module = str(getattr(value, "__module__", ""))
    if module == "__main__" and module in sys.modules:
        module = module_name(vars(sys.modules[module]))
    return f"{module}.{name}"
