"""The decorator `node`: options that a function carries with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypeVar, get_args, overload

from attrs import frozen

from nodeflow.errors import GraphError
from nodeflow.graph.location import Location, caller, errors_at
from nodeflow.graph.names import check_id, innermost

F = TypeVar("F", bound=Callable[..., Any])
OnBlobError = Literal["fail", "skip"]
_ATTRIBUTE = "__nodeflow_options__"


@frozen(kw_only=True)
class Options:
    """What `@node(…)` can say of a function.

    Args:
        id: the id of its nodes, instead of the function's name.
        on_blob_error: what becomes of an output whose blob can't be written or read.
    """

    id: str | None = None
    on_blob_error: OnBlobError = "fail"


@overload
def node(function: F, /) -> F: ...
@overload
def node(*, id: str | None = None, on_blob_error: OnBlobError = "fail") -> Callable[[F], F]: ...
def node(
    function: F | None = None,
    /,
    *,
    id: str | None = None,  # noqa: A002 - reads as `add(…, id=)`
    on_blob_error: OnBlobError = "fail",
) -> F | Callable[[F], F]:
    """Mark a function as a node and give it options; it stays a function, which a test calls directly.

    Args:
        id: the id of its nodes in a graph, instead of the function's name.
        on_blob_error: what becomes of an item when the blob of a large output can't be written, or is missing or
            damaged when it is read: "fail" makes it a dead letter; with "skip" the value counts as not produced, with a
            warning, and what follows goes on without it.

    Raises:
        GraphError: the id can't be one, what is marked is no function, or an option has no such value.
    """
    where = caller()
    with errors_at(where):
        if id is not None:
            check_id(id)
        if on_blob_error not in get_args(OnBlobError):
            raise GraphError(f"on_blob_error must be 'fail' or 'skip', not {on_blob_error!r}")

    def carry(function: F) -> F:
        _attach(function, Options(id=id, on_blob_error=on_blob_error), where)
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
