"""The kinds of nodes: base classes for nodes that hold a configuration or a state."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Generic, TypeVar

from nodeflow.errors import GraphError
from nodeflow.graph.context import Context

T = TypeVar("T")


class Node:
    """What all kinds share. The methods may be plain or async; `finish` may also be a generator."""

    def setup(self, ctx: Context) -> Any:
        """Open what the node needs; called once in each process, before the first item."""

    def finish(self, ctx: Context) -> Any:
        """Called once, when the loop's input is used up; what it returns (unless None) or yields goes on."""

    def cleanup(self) -> Any:
        """Close what `setup` opened; called in each process at its end, after an error too."""


class ProducerNode(Node, Generic[T]):
    """Heads a loop and yields values: `T` is the type of one."""

    def produce(self, ctx: Context) -> Any:
        """A plain or async generator, or an iterable, of the values in order."""
        raise NotImplementedError(f"{type(self).__qualname__} has no method produce(self, ctx)")


class BlockingNode(Node):
    """The loop waits for its result."""

    def execute(self, *args: Any, **kwargs: Any) -> Any:
        """Turn one item's inputs into the output; its parameters are the ports. A generator fans out."""
        raise NotImplementedError(f"{type(self).__qualname__} has no method execute(self, …)")


class NonBlockingNode(Node):
    """The loop goes on with other items while it waits for its result; what follows it runs when that is there.

    `@node(max_in_flight=…, ordered=…)` says how many items it works on at once, and whether order is kept. It is for
    what waits for others, a web service for example: many coroutines at once. A plain `execute` runs in threads.
    """

    def execute(self, *args: Any, **kwargs: Any) -> Any:
        """Turn one item's inputs into the output; its parameters are the ports."""
        raise NotImplementedError(f"{type(self).__qualname__} has no method execute(self, …)")


class LogicalNode(Node, Generic[T]):
    """Chooses which branch goes on: `T` is the type of what goes on there.

    What it may choose is known where `choose` is annotated to return a `Literal` or an `Enum`, or where `branches`
    names all of them; then a misspelled branch is found before anything runs. Else it may choose what is taken.
    """

    branches: ClassVar[Sequence[str] | None] = None

    def choose(self, *args: Any, **kwargs: Any) -> Any:
        """The branch's name, several names, or `Branch(name, value)`; its parameters are the ports.

        With a bare name, the value that goes on is the node's first input.
        """
        raise NotImplementedError(f"{type(self).__qualname__} has no method choose(self, …)")


class Gatherer(Node):
    """Gathers what came of all children of one parent, in order: a declaration; the engine keeps the parts.

    Args:
        missing: what becomes of the parent when what should come of a child lies in the dead letters: "wait" waits
            until it is dealt with, "skip" goes on without it.

    Raises:
        GraphError: `missing` is neither.
    """

    def __init__(self, missing: str = "wait") -> None:
        if missing not in ("wait", "skip"):
            raise GraphError(f"missing must be 'wait' or 'skip', not {missing!r}")
        self.missing = missing


class QueueHead(Node):
    """Heads a loop with the items of a queue: a declaration; the engine leases them.

    Args:
        queue: the queue's name; None lets the post-processor name it.
    """

    def __init__(self, queue: str | None = None) -> None:
        self.queue = queue


class QueueTail(Node):
    """Ends a way through a loop in a queue: a declaration; the engine pushes in its hop.

    Args:
        queue: the queue's name; None lets the post-processor name it.
    """

    def __init__(self, queue: str | None = None) -> None:
        self.queue = queue
