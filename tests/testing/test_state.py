"""What nodes remember and push: saved with the item, put back when the node raises."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from nodeflow.engine.calls.state import State
from nodeflow.errors import PayloadError, UsageError
from nodeflow.graph import BlockingNode, Context, Graph, node
from nodeflow.testing import GraphRun, run_graph
from nodeflow.values import decode
from nodes import QueueReader


def numbers() -> Iterator[int]:
    yield from range(6)


def run(node: Any) -> GraphRun:
    graph = Graph("g")
    graph.add(node, graph.add(numbers), id="node")
    return run_graph(graph)


def test_a_node_remembers_by_key_and_tells_it_at_the_end() -> None:
    class Tally(BlockingNode):
        def execute(self, n: int, ctx: Context) -> Iterator[None]:
            ctx.state[n % 2] = ctx.state.get(n % 2, 0) + n
            yield from ()

        def finish(self, ctx: Context) -> list[tuple[Any, Any]]:
            return sorted(ctx.state.items())

    assert run(Tally())["node"] == [[(0, 6), (1, 9)]]


CHANGES: dict[str, Callable[[Any], object]] = {
    "set": lambda state: state.update(a=2),
    "removed": lambda state: state.pop("a"),
    "new": lambda state: state.update(b=1),
    "changed in place": lambda state: state["list"].append(2),
    "removed and set": lambda state: (state.pop("a"), state.update(a=5)),
    "deep": lambda state: state["deep"]["x"].update(y=1),
    "all": lambda state: state.clear(),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_a_node_changed_is_put_back_when_it_raises(change: str) -> None:
    seen = []

    def fragile(n: int, ctx: Context) -> None:
        if n == 0:
            ctx.state.update({"a": 1, "list": [1], "deep": {"x": {}}, (1, "t"): None})
        if n == 2:
            CHANGES[change](ctx.state)
            raise ValueError
        seen.append(copy.deepcopy(dict(ctx.state)))

    assert len(run(fragile).failed) == 1
    assert seen == [{"a": 1, "list": [1], "deep": {"x": {}}, (1, "t"): None}] * 5


def loaded(changes: Mapping[str, bytes | None]) -> State:
    """The state as another process finds it; read from the server in whatever order."""
    return State.load("hash", {name: decode(changes[name] or b"") for name in sorted(changes)})


def test_keys_stay_in_the_order_in_which_they_came_also_in_another_process() -> None:
    state = State("hash")
    state.update({"z": 1, "y": 1, "x": 1, "w": 1})
    del state["z"]
    state["z"] = 2
    first = state.changes()
    state.keep(first)
    del state["y"]
    state["y"] = 1
    state["a"] = 1
    state.undo()
    assert list(state) == list(loaded(first)) == ["y", "x", "w", "z"]
    del state["x"]
    state["x"] = 1
    moved = state.changes()
    assert list(moved) == ['"x"']
    assert list(state) == list(loaded({**first, **moved})) == ["y", "w", "z", "x"]
    again = loaded(first)
    again["v"] = 1
    assert list(again) == ["y", "x", "w", "z", "v"]


@pytest.mark.parametrize("change", CHANGES)
def test_only_what_changed_is_saved(change: str) -> None:
    state = State("hash")
    state.update({"a": 1, "list": [1], "deep": {"x": {}}, **{f"k{n}": n for n in range(1_000)}})
    assert len(state.changes()) == 1_003
    state.keep(state.changes())
    assert state["a"] == 1
    assert state["list"] == [1]
    assert state.changes() == {}
    CHANGES[change](state)
    assert len(state.changes()) == (1_003 if change == "all" else 1)
    saved = {name: data for name, data in state.changes().items() if data is not None}
    state.keep(state.changes())
    assert state.changes() == {}
    assert set(loaded(saved)) <= set(state)


def test_keys_of_other_types_are_told_apart() -> None:
    state = State("hash")
    for key in ("1", 1, 1.0, True, None, (1, 2)):
        state[key] = repr(key)
    assert [state[key] for key in ("1", 1, 1.0, True, None, (1, 2))] == ["'1'", "1", "1.0", "True", "None", "(1, 2)"]
    assert list(map(repr, loaded(state.changes()))) == list(map(repr, state))
    del state[1]
    assert len(state) == 5
    with pytest.raises(KeyError):
        del state[1]


def test_what_cannot_be_kept_fails_its_item_with_the_key() -> None:
    def fragile(n: int, ctx: Context) -> int:
        ctx.state["n"] = n
        if n == 3:
            ctx.state["odd"] = [object()]
        return len(ctx.state)

    found = run(fragile)
    assert found["node"] == [1, 1, 1, 1, 1]
    assert "ctx.state['odd'][0]: object" in found.failed[0]["error"]["message"]


def test_pushes_go_out_once_and_not_from_an_item_that_fails() -> None:
    def pushing(n: int, ctx: Context) -> None:
        value: list[Any] = [n]
        ctx.push("seen", value)
        value.append("later")
        if n == 3:
            raise ValueError

    assert run(pushing).pushed == {"seen": [[0], [1], [2], [4], [5]]}


def test_a_push_that_cannot_be_sent_fails_its_item() -> None:
    def pushing(n: int, ctx: Context) -> None:
        ctx.push("seen", object() if n == 3 else n)

    assert run(pushing).pushed == {"seen": [0, 1, 2, 4, 5]}
    with pytest.raises(PayloadError):
        State("hash")[object()] = 1


def test_there_is_no_state_in_setup() -> None:
    class Eager(BlockingNode):
        def setup(self, ctx: Context) -> None:
            with pytest.raises(UsageError, match=r"'node' has no state here: ctx\.state is for execute"):
                _ = ctx.state
            with pytest.raises(UsageError, match="'node' can't push here"):
                ctx.push("queue", 1)

        def execute(self, n: int) -> int:
            return n

    assert len(run(Eager())["node"]) == 6


def test_a_generator_that_raises_remembers_nothing_of_its_item() -> None:
    @node(on_error="skip")
    def several(n: int, ctx: Context) -> Iterator[int]:
        for k in range(3):
            ctx.state["count"] = ctx.state.get("count", 0) + 1
            if (n, k) == (2, 1):
                raise ValueError
            yield ctx.state["count"]

    assert run(several)["node"] == [*range(1, 8), *range(7, 16)]


def test_what_cannot_be_kept_at_the_end_of_a_generator_fails_its_item() -> None:
    def several(n: int, ctx: Context) -> Iterator[int]:
        yield n
        ctx.state["odd"] = object() if n == 3 else n

    found = run(several)
    assert found["node"] == [0, 1, 2, 3, 4, 5]
    assert "ctx.state['odd']: object" in found.failed[0]["error"]["message"]


def remember(ctx: Context, n: int) -> None:
    ctx.state["n"] = n


def test_there_is_no_state_where_each_process_would_see_a_part_of_it() -> None:
    graph = Graph("g")
    with graph.loop("several", processes=2):
        graph.add(lambda n, ctx: remember(ctx, n), graph.add(QueueReader("jobs"), id="jobs"), id="remember")
    (letter,) = run_graph(graph, {"jobs": [1]}).failed
    assert "no state here: loop 'several' has several processes" in letter["error"]["message"]
    assert "give the loop by=" in letter["error"]["message"]


def test_what_a_later_item_has_saved_is_not_saved_again_as_it_was_before() -> None:
    state = State("hash")
    state["list"], state["other"] = [1], [1]
    state.note()
    state["list"].append(2)
    changes = state.changes()
    state.keep(changes)
    assert changes == {'"list"': b"[0,[1,2]]"}
    assert state.unsaved() == {'"other"': b"[1,[1]]"}
