"""Context: what a node may know of where and on what it runs."""

from __future__ import annotations

from attrs import frozen


@frozen(kw_only=True)
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
    """

    graph: str
    node: str
    loop: str
    job: str = ""
    slot: str = ""
    item_id: str = ""
    attempt: int = 1
