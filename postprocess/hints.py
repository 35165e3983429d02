"""Annotations in a form in which they can be compared, and what the annotations of a node say."""

from __future__ import annotations

import collections.abc
import inspect
import types
import typing
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from nodeflow.graph import Kind, LogicalNode, NodeSpec, ProducerNode

_known: WeakKeyDictionary[Any, dict[str, Any]] = WeakKeyDictionary()
"""The annotations of functions that were looked at: to evaluate them is most of what the validator takes."""

_MANY = (collections.abc.Iterable, collections.abc.AsyncIterable)


def takes(spec: NodeSpec, port: str) -> Any:
    """The type that a port of a node takes; Any where it isn't said."""
    if spec.kind is Kind.COLLECT:
        return Any
    return _annotations(spec.function).get(port, Any)


def gives(spec: NodeSpec) -> Any:
    """The type of one value that a node gives; Any where it isn't said."""
    if spec.kind in (Kind.READER, Kind.WRITER, Kind.COLLECT):
        return Any
    if isinstance(spec.target, ProducerNode | LogicalNode):
        declared = plain(_argument(type(spec.target), (ProducerNode, LogicalNode)))
        if declared is not Any or spec.kind is Kind.LOGICAL:
            return declared
    returned = _annotations(spec.function).get("return", Any)
    return _element(returned) if spec.fans_out else _awaited(returned)


def plain(hint: Any) -> Any:
    """A type without what doesn't matter for a value: Any for a type variable, the type itself for `Annotated`."""
    if isinstance(hint, TypeVar) or hint is inspect.Parameter.empty:
        return Any
    if hint is None:
        return type(None)
    if hint is typing.LiteralString:
        return str
    if typing.get_origin(hint) in (typing.Annotated, typing.Required, typing.NotRequired):
        return plain(typing.get_args(hint)[0])
    return hint


def members(hint: Any) -> tuple[Any, ...]:
    """The members of a union, or of a literal one by one; of another type, the type itself."""
    if typing.get_origin(hint) is typing.Literal:
        return tuple(typing.Literal[each] for each in typing.get_args(hint))
    return typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)


def shown(hint: Any) -> str:
    """A type as one would write it."""
    if hint in (None, type(None)):
        return "None"
    if isinstance(hint, type) and not typing.get_args(hint):
        return hint.__qualname__
    return str(hint).replace("typing.", "").replace("NoneType", "None")


def _annotations(function: Callable[..., Any]) -> dict[str, Any]:
    while isinstance(function, partial):
        function = function.func
    called = function if inspect.isroutine(function) else getattr(function, "__call__", function)  # noqa: B004
    try:
        written = inspect.unwrap(called)
        written = getattr(written, "__func__", written)
        if written not in _known:
            _known[written] = typing.get_type_hints(written)
        return _known[written]
    except Exception:  # an annotation that is text may raise anything when it is evaluated
        return {}


def _element(returned: Any) -> Any:
    """What iterating over a value of a type gives."""
    origin, arguments = typing.get_origin(returned), typing.get_args(returned)
    iterable = isinstance(origin, type) and issubclass(origin, _MANY) and arguments
    return plain(arguments[0]) if iterable and (origin is not tuple or arguments[1:] == (...,)) else Any


def _awaited(returned: Any) -> Any:
    """What waiting for a value of a type gives; the type itself where it isn't waited for."""
    origin, arguments = typing.get_origin(returned) or returned, typing.get_args(returned)
    if not isinstance(origin, type) or not issubclass(origin, collections.abc.Awaitable):
        return returned
    return plain(arguments[-1]) if arguments else Any


def _argument(kind: type, generics: tuple[type, ...]) -> Any:
    """What stands for `T` of `ProducerNode[T]` or `LogicalNode[T]` in a class; a type variable may be its own."""
    for base in vars(kind).get("__orig_bases__", kind.__bases__):
        origin, arguments = typing.get_origin(base) or base, typing.get_args(base)
        if not issubclass(origin, generics):
            continue
        if origin in generics:
            return arguments[0] if arguments else Any
        found = _argument(origin, generics)
        if isinstance(found, TypeVar):
            return arguments[origin.__parameters__.index(found)] if arguments else Any
        return found
    return Any
