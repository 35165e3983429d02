"""The decorator `node`: options that a function carries with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypeVar, get_args, overload

from attrs import Attribute, field, frozen
from attrs.validators import optional

from nodeflow.errors import GraphError
from nodeflow.graph.location import Location, caller, errors_at
from nodeflow.graph.names import check_id, innermost
from nodeflow.graph.retry import Retry

F = TypeVar("F", bound=Callable[..., Any])
OnBlobError = Literal["fail", "skip"]
DEAD_LETTER, SKIP, STOP = "dead_letter", "skip", "stop"
POLICIES = (DEAD_LETTER, SKIP, STOP)
_ATTRIBUTE = "__nodeflow_options__"


Validator = Callable[[Any, "Attribute[Any]", Any], None]


def _rule(is_so: Callable[[Any], bool], rule: str) -> Validator:
    def check(options: object, attribute: Attribute[Any], value: Any) -> None:
        if not is_so(value):
            raise GraphError(f"{attribute.name} {rule}, not {value!r}")

    return check


def _is_id(options: object, attribute: Attribute[Any], value: str) -> None:
    check_id(value)


_is_flag = _rule(lambda value: isinstance(value, bool), "is True or False")


@frozen(kw_only=True)
class Options:
    """What `@node(…)` can say of a function.

    Args:
        id: the id of its nodes, instead of the function's name.
        on_blob_error: what becomes of an output whose blob can't be written or read.
        retry: how often it is tried again on an item on which it raised; None is never.
        on_error: what becomes of an item on which it raised for the last time.
        live: whether a producer's values come once only, as a clock's.
        shardable: whether a producer gives a part of its values in each process.
        max_in_flight: on how many items a non-blocking node runs at once.
        ordered: whether what comes behind a non-blocking node goes on in the order of the items.
        said: which of those that only some kinds of nodes heed were given.
    """

    id: str | None = field(default=None, validator=optional(_is_id))
    on_blob_error: OnBlobError = field(
        default="fail", validator=_rule(lambda value: value in get_args(OnBlobError), "must be 'fail' or 'skip'")
    )
    retry: Retry | None = field(
        default=None, validator=optional(_rule(lambda value: isinstance(value, Retry), "takes a Retry(…)"))
    )
    on_error: str = field(
        default=DEAD_LETTER,
        validator=_rule(
            lambda value: isinstance(value, str) and value != "",
            "takes 'dead_letter', 'skip', 'stop' or the name of a branch",
        ),
    )
    live: bool = field(default=False, validator=_is_flag)
    shardable: bool = field(default=False, validator=_is_flag)
    max_in_flight: int = field(
        default=16,
        validator=_rule(lambda value: type(value) is int and value > 0, "is a whole number from 1 on"),
    )
    ordered: bool = field(default=True, validator=_is_flag)
    said: frozenset[str] = frozenset()

    @property
    def error_branch(self) -> str | None:
        """The branch on which errors go on; None when they don't."""
        return None if self.on_error in POLICIES else self.on_error


@overload
def node(function: F, /) -> F: ...
@overload
def node(
    *,
    id: str | None = None,
    on_blob_error: OnBlobError = "fail",
    retry: Retry | None = None,
    on_error: str = DEAD_LETTER,
    live: bool = False,
    shardable: bool = False,
    max_in_flight: int | None = None,
    ordered: bool | None = None,
) -> Callable[[F], F]: ...
def node(
    function: F | None = None,
    /,
    *,
    id: str | None = None,  # noqa: A002 - reads as `add(…, id=)`
    on_blob_error: OnBlobError = "fail",
    retry: Retry | None = None,
    on_error: str = DEAD_LETTER,
    live: bool = False,
    shardable: bool = False,
    max_in_flight: int | None = None,
    ordered: bool | None = None,
) -> F | Callable[[F], F]:
    """Mark a function, or a node class, as a node and give it options; a function stays one, which a test calls.

    Args:
        id: the id of its nodes in a graph, instead of the function's name.
        on_blob_error: what becomes of an item when the blob of a large output can't be written, or is missing or
            damaged when it is read: "fail" makes it a dead letter; with "skip" the value counts as not produced, with a
            warning, and what follows goes on without it.
        retry: how often it is tried again on an item on which it raised.
        on_error: what becomes of an item on which it raised, when no retry is left: "dead_letter" keeps it, to be
            looked at and requeued; with "skip" the node counts as skipped; "stop" stops the job, and the item stays
            where it was; anything else is the name of a branch on which the error goes on, as a dict with `item`,
            `node`, `input` and `error`.
        live: for a producer whose values come once only, as those of a clock or a socket: it is not run from its
            beginning after a restart, and what was not committed is gone. Any other must give the same values again,
            or begin behind `ctx.position`.
        shardable: for a producer that gives its part of the values, `ctx.shard` of `ctx.shards`, in each process.
        max_in_flight: for a `NonBlockingNode`: on how many items it runs at once, in each process; 16 unless said.
        ordered: for a `NonBlockingNode`: whether what comes behind it goes on in the order of the items, which it does
            unless said, or as soon as it has given something.

    Raises:
        GraphError: the id can't be one, what is marked is no function, or an option has no such value.
    """
    where = caller()
    heeded_by_some: dict[str, tuple[Any, Any]] = {
        "retry": (retry, None),
        "live": (live, False),
        "shardable": (shardable, False),
        "max_in_flight": (max_in_flight, None),
        "ordered": (ordered, None),
    }
    said = {name: value for name, (value, default) in heeded_by_some.items() if value is not default}
    with errors_at(where):
        options = Options(id=id, on_blob_error=on_blob_error, on_error=on_error, said=frozenset(said), **said)

    def carry(function: F) -> F:
        _attach(function, options, where)
        return function

    return carry if function is None else carry(function)


_NOTHING_SAID = Options()


def options_of(target: object) -> Options:
    """The options that a function carries; the defaults where it carries none."""
    return getattr(innermost(target), _ATTRIBUTE, _NOTHING_SAID)


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
