"""What can be read off a function or node instance: its ports, its context parameter, whether it fans out."""

from __future__ import annotations

import inspect
import re
import types
import typing
from collections.abc import Callable
from typing import Any

from attrs import frozen

from nodeflow.errors import GraphError
from nodeflow.graph.context import Context
from nodeflow.graph.kinds import Node
from nodeflow.graph.names import innermost
from nodeflow.graph.roles import Kind, kind_of, method_of
from nodeflow.graph.spec import Port
from nodeflow.values import RefValue

_REF_TEXT = re.compile(r"(\w+\.)*(Optional\[)?(\w+\.)*(Memory|Json|File)?RefValue\]?( *\| *None)?")
_CONTEXT_TEXT = re.compile(r"(\w+\.)*(Optional\[)?(\w+\.)*Context\]?( *\| *None)?")


@frozen
class Description:
    """What a graph reads off a function or node instance.

    Args:
        kind: the part it plays by its type.
        ports: its inputs, in the order of its parameters.
        context_port: the parameter that takes the context, if any.
        fans_out: whether it is a generator.
        variable: whether it has a parameter as `*values` or `**values`, which makes no ports.
    """

    kind: Kind
    ports: tuple[Port, ...] = ()
    context_port: str | None = None
    fans_out: bool = False
    variable: bool = False


def describe(target: Any) -> Description:
    """What there is to know of a function or node instance before it is wired.

    Raises:
        GraphError: it can't be a node.
    """
    kind = kind_of(target)
    if isinstance(target, Node):
        _check_hooks(target, kind)
    if kind is Kind.WRITER:
        return Description(kind, (Port("value"),))
    if kind is Kind.READER:
        return Description(kind, (Port("channel", required=False),))
    if kind is Kind.COLLECT:
        return Description(kind, (Port("values"),))
    function = method_of(target)
    parameters = list(_signature(function).parameters.values())
    if kind is Kind.PRODUCER:
        return Description(kind, context_port=parameters[0].name, fans_out=True)
    named = [one for one in parameters if one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)]
    context = next((one for one in named if _takes_context(one)), None)
    if context is not None and context.kind is context.POSITIONAL_ONLY:
        raise GraphError(f"the context is given by name: in {_shown(function)}, put {context.name!r} behind the '/'")
    fans_out = is_generator(function)
    if fans_out and kind is Kind.LOGICAL:
        raise GraphError(f"{_shown(function)} is a generator: return a list of the branches instead of yielding them")
    ports = tuple(_port(one) for one in named if one is not context)
    return Description(kind, ports, context.name if context else None, fans_out, len(named) < len(parameters))


def is_generator(function: Callable[..., Any]) -> bool:
    """Whether calling it makes a generator or an async generator."""
    function = innermost(function)
    called = function if inspect.isroutine(function) else getattr(function, "__call__", function)  # noqa: B004
    return inspect.isgeneratorfunction(called) or inspect.isasyncgenfunction(called)


def _signature(function: Callable[..., Any]) -> inspect.Signature:
    try:
        return inspect.signature(function, eval_str=True)
    except Exception:  # an annotation that is text may raise anything when it is evaluated
        try:
            return inspect.signature(function)
        except (TypeError, ValueError) as error:
            raise GraphError(f"the parameters of {function!r} can't be read: wrap it in a function of yours") from error


def _port(parameter: inspect.Parameter) -> Port:
    return Port(
        parameter.name,
        required=parameter.default is parameter.empty,
        positional=parameter.kind is parameter.POSITIONAL_ONLY,
        by_name=parameter.kind is parameter.KEYWORD_ONLY,
        takes_ref=_takes_ref(parameter.annotation),
    )


def _takes_ref(annotation: Any) -> bool:
    if isinstance(annotation, str):
        return _REF_TEXT.fullmatch(annotation) is not None
    origin, within = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return _takes_ref(within[0])
    if origin in (typing.Union, types.UnionType):
        return any(map(_takes_ref, within))
    return isinstance(annotation, type) and issubclass(annotation, RefValue)


def _takes_context(parameter: inspect.Parameter) -> bool:
    annotation = parameter.annotation
    if annotation is parameter.empty:
        return parameter.name == "ctx"
    if isinstance(annotation, str):  # it can't be evaluated, as when it is imported for the type checker only
        return _CONTEXT_TEXT.fullmatch(annotation) is not None
    return annotation is Context or Context in typing.get_args(annotation)


def _check_hooks(target: Node, kind: Kind) -> None:
    hooks = {"setup": ("ctx",), "finish": ("ctx",), "cleanup": ()}
    for name, given in (hooks | ({"produce": ("ctx",)} if kind is Kind.PRODUCER else {})).items():
        try:
            inspect.signature(getattr(target, name)).bind(*given)
        except TypeError as error:
            wanted = ", ".join(("self", *given))
            raise GraphError(
                f"{_shown(getattr(target, name))} can't be called as it is ({error}): write `def {name}({wanted})`"
            ) from error


def _shown(function: Any) -> str:
    return f"{getattr(function, '__qualname__', repr(function))}()"
