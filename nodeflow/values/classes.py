"""Classes of users: their instances as the values of their fields, and back without running any code of theirs."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from enum import Enum, Flag
from functools import cached_property
from types import MemberDescriptorType
from typing import Any

import attrs
from attrs import frozen

_Default = Callable[[], Any] | None
_MISSING: Any = object()
_HASH = "_attrs_cached_hash"
"""Where attrs keeps the hash of an instance of a class with `cache_hash`, None until it is asked for."""


@frozen
class Form:
    """How the instances of one class are written.

    Args:
        label: under which key their content stands, as in `{"$type": "shop:Order", "fields": {…}}`.
        encode: gives the content, which may hold values of any kind.
        decode: makes an instance of content that was read; it may raise what bad content makes it raise.
    """

    label: str
    encode: Callable[[Any], Any]
    decode: Callable[[Any], Any]


def form_of(cls: type) -> Form | None:
    """How the instances of a class are written; None when it is of no kind whose state is known.

    Known are enums, named tuples, pydantic's models, and the classes of attrs and dataclasses.
    """
    if issubclass(cls, Enum):
        return Form("member", _member_text, lambda data: _member(cls, data))
    if issubclass(cls, tuple):
        return _named_tuple(cls) if hasattr(cls, "_fields") and cls.__new__ is not tuple.__new__ else None
    if any((base.__module__, base.__name__) == ("pydantic.main", "BaseModel") for base in cls.__mro__):
        return Form("model", _model_state, lambda data: _model(cls, data))
    if cls.__new__ is not object.__new__:
        return None
    if attrs.has(cls):
        fields: Mapping[str, _Default] = {field.name: _attrs_default(field) for field in attrs.fields(cls)}
        needed = frozenset(field.name for field in attrs.fields(cls) if field.init)
    elif dataclasses.is_dataclass(cls):
        fields = {field.name: _dataclass_default(field) for field in dataclasses.fields(cls)}
        needed = frozenset(field.name for field in dataclasses.fields(cls) if field.init)
    else:
        return None
    if any(_is_computed(cls, name) for name in fields):
        return None
    return Form("fields", lambda value: _state(value, fields), lambda data: _instance(cls, fields, needed, data))


def _is_computed(cls: type, name: str) -> bool:
    """Whether setting a field would run code, as a property's."""
    found = inspect.getattr_static(cls, name, None)
    return not isinstance(found, MemberDescriptorType) and hasattr(type(found), "__set__")


def _member_text(value: Any) -> Any:
    if value.name in type(value).__members__:
        return value.name
    if isinstance(value, Flag):
        return value.value
    raise ValueError(f"{value!r} is no declared member of its enum")


def _member(cls: type[Enum], data: Any) -> Any:
    if isinstance(data, str) and data in cls.__members__:
        return cls.__members__[data]
    if issubclass(cls, Flag) and type(data) is int:
        return cls(data)
    raise ValueError(f"it has no member {data!r}")


def _named_tuple(cls: Any) -> Form:
    def decode(data: Any) -> Any:
        if not isinstance(data, list) or len(data) != len(cls._fields):
            raise ValueError(f"it has {len(cls._fields)} fields: {', '.join(cls._fields)}")
        return tuple.__new__(cls, data)

    return Form("items", list, decode)


def _attrs_default(field: attrs.Attribute[Any]) -> _Default:
    default: Any = field.default
    if default is attrs.NOTHING:
        return None
    if isinstance(default, attrs.Factory):  # type: ignore[arg-type] # it is a class, which its stub hides
        return None if default.takes_self else default.factory
    return lambda: default


def _dataclass_default(field: dataclasses.Field[Any]) -> _Default:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory
    return None if field.default is dataclasses.MISSING else lambda: field.default


def _state(value: Any, fields: Mapping[str, Any]) -> dict[str, Any]:
    for name in getattr(value, "__dict__", {}):
        if name not in fields and name != _HASH and not isinstance(getattr(type(value), name, None), cached_property):
            raise ValueError(f"it has the attribute {name!r} beside its fields, which would be lost: declare it as one")
    return {name: getattr(value, name) for name in fields if getattr(value, name, _MISSING) is not _MISSING}


def _instance(cls: type, fields: Mapping[str, _Default], needed: frozenset[str], data: Any) -> Any:
    """An instance whose fields are set as they were, its `__init__` not run; new fields get their defaults."""
    if unknown := sorted(set(data) - set(fields)):
        raise ValueError(f"it has no field {unknown[0]!r}")
    value: Any = object.__new__(cls)
    for name, default in fields.items():
        if name in data:
            object.__setattr__(value, name, data[name])
        elif default is not None:
            object.__setattr__(value, name, default())
        elif name in needed:
            raise ValueError(f"its field {name!r} is missing, and has no default")
    if _HASH in getattr(getattr(cls.__hash__, "__code__", None), "co_names", ()):
        object.__setattr__(value, _HASH, None)
    return value


_MODEL_STATE = ("__dict__", "__pydantic_extra__", "__pydantic_fields_set__", "__pydantic_private__")


def _model_state(value: Any) -> dict[str, Any]:
    from pydantic import BaseModel  # it is there, since the class is one of its models

    state = BaseModel.__getstate__(value)
    fields = {name: part for name, part in state["__dict__"].items() if name in type(value).model_fields}
    state = {**state, "__dict__": fields}  # without what cached properties keep there
    return {name.strip("_").removeprefix("pydantic_"): state.get(name) for name in _MODEL_STATE}


def _model(cls: Any, data: Any) -> Any:
    from pydantic import BaseModel  # it is there, since the class is one of its models

    value: Any = object.__new__(cls)
    if unknown := sorted(set(data["dict"]) - set(cls.model_fields)):
        raise ValueError(f"it has no field {unknown[0]!r}")
    BaseModel.__setstate__(value, {name: data[name.strip("_").removeprefix("pydantic_")] for name in _MODEL_STATE})
    return value
