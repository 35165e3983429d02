"""What a refused line looks like."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from nodeflow.errors import GraphError
from nodeflow.graph import Graph, Location


def refused(wrong: Callable[[], object], *said: str) -> None:
    """Assert that a lambda's line raises a GraphError that names this line and says all of these."""
    code = wrong.__code__
    with pytest.raises(GraphError) as caught:
        wrong()
    assert caught.value.location == str(Location(code.co_filename, code.co_firstlineno))
    assert str(caught.value).startswith(f"{caught.value.location}: ")
    for each in said:
        assert each in caught.value.problem


def state(graph: Graph) -> tuple[Any, ...]:
    """All that a graph holds."""
    return dict(graph.nodes), dict(graph.loops)
