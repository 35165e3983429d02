"""Context: what a node may know of where and on what it runs, and what it may do beside giving a value."""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from typing import Any, Self

from attrs import field, frozen

from nodeflow.errors import UsageError


@frozen(kw_only=True, slots=False)
class Context:
    """Given to `setup`, `produce` and `finish`, and to a function that has a parameter `ctx`.

    Args:
        graph: the graph's name.
        node: the node's id.
        loop: the name of the node's loop.
        job: the id of the job; empty in development mode.
        slot: which process of the loop this is, as in `parse/1`; empty in development mode.
        item_id: the id of the item that the node runs on; empty in `setup`, `produce` and `finish`.
        attempt: 1 when the item is delivered for the first time.
        shard: which part of its values a producer is to give, from 0 on.
        shards: how many parts there are.
    """

    graph: str
    node: str
    loop: str
    job: str = ""
    slot: str = ""
    item_id: str = ""
    attempt: int = 1
    shard: int = 0
    shards: int = 1
    _state: MutableMapping[Any, Any] | None = field(default=None, repr=False, eq=False)
    _why_stateless: str = field(
        default="ctx.state is for execute, choose and finish of nodes that block", repr=False, eq=False
    )
    _push: Callable[[str, Any], None] | None = field(default=None, repr=False, eq=False)
    _seek: Callable[[], int] | None = field(default=None, repr=False, eq=False)

    def on(self, item_id: str, attempt: int, state: MutableMapping[Any, Any] | None) -> Self:
        """The same, for one item; made for each item, so it is not made the usual way, which takes five times as long.

        Args:
            item_id: the item's id.
            attempt: which delivery of it this is.
            state: what the node remembers.
        """
        found, facts = object.__new__(type(self)), self.__dict__.copy()
        facts["item_id"], facts["attempt"], facts["_state"] = item_id, attempt, state
        object.__setattr__(found, "__dict__", facts)
        return found

    @property
    def state(self) -> MutableMapping[Any, Any]:
        """What the node remembers, by key: it is saved with what comes of the item, in one step.

        A key may be any value that can be kept, and so may what is remembered, which may also be changed in place. When
        the node raises, all is as it was before the item. Each node has a state of its own.

        Raises:
            UsageError: there is none here, as in `setup`, in a `NonBlockingNode`, or in a loop with several processes
                that has no `by=`.
        """
        if self._state is None:
            raise UsageError(f"node {self.node!r} has no state here: {self._why_stateless}")
        return self._state

    def push(self, queue: str, value: Any) -> None:
        """Push a value to a queue that other programs read, in the step that commits the item: once, whatever dies.

        Args:
            queue: the queue's name; no channel of the graph.
            value: the value.

        Raises:
            UsageError: there is no item here, as in `setup`.
            PayloadError: the value can't be sent.
        """
        if self._push is None:
            raise UsageError(f"node {self.node!r} can't push here: ctx.push is for execute, choose and finish")
        self._push(queue, value)

    @property
    def position(self) -> int:
        """How many values of this producer are committed; one that asks for it begins behind them.

        A producer that never asks is run from its beginning, and its first values are dropped.
        """
        return 0 if self._seek is None else self._seek()
