"""The decorator `node`: options that a function carries with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, overload

from attrs import frozen

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
    """

    def carry(function: F) -> F:
        setattr(function, _ATTRIBUTE, Options(id=id))
        return function

    return carry if function is None else carry(function)


def options_of(target: object) -> Options:
    """The options that a function carries; the defaults where it carries none."""
    return getattr(target, _ATTRIBUTE, None) or Options()
