"""The decorator `node`: options that a function carries with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, overload

from attrs import frozen

from nodeflow.errors import GraphError
from nodeflow.graph.location import Location, caller, errors_at
from nodeflow.graph.names import check_id, innermost

F = TypeVar("F", bound=Callable[..., Any])
_ATTRIBUTE = "__nodeflow_options__"


@frozen(kw_only=True)
class Options:
    """What `@node(…)` can say of a function.

    Args:
        id: the id of its nodes, instead of the function's name.
    """

    id: str | None = None


@overload
def node(function: F, /) -> F: ...
@overload
def node(*, id: str | None = None) -> Callable[[F], F]: ...
def node(function: F | None = None, /, *, id: str | None = None) -> F | Callable[[F], F]:  # noqa: A002 - reads as `add(…, id=)`
    """Mark a function as a node and give it options; it stays a function, which a test calls directly.

    Args:
        id: the id of its nodes in a graph, instead of the function's name.

    Raises:
        GraphError: the id can't be one, or what is marked is no function.
    """
    where = caller()
    with errors_at(where):
        if id is not None:
            check_id(id)

    def carry(function: F) -> F:
        _attach(function, Options(id=id), where)
        return function

    return carry if function is None else carry(function)


def options_of(target: object) -> Options:
    """The options that a function carries; the defaults where it carries none."""
    return getattr(innermost(target), _ATTRIBUTE, None) or Options()


def is_marked(target: object) -> bool:
    """Whether `@node` was put on a function, or on an instance's class."""
    return hasattr(innermost(target), _ATTRIBUTE)


def _attach(function: object, options: Options, where: Location) -> None:
    if isinstance(function, str):
        raise GraphError(f"@node takes no name by position: write @node(id={function!r})", str(where))
    try:
        setattr(function, _ATTRIBUTE, options)
    except AttributeError as error:
        raise GraphError(
            f"@node can't mark {function!r}: give it to graph.add(…, id=…) as it is, or wrap it in a function",
            str(where),
        ) from error
