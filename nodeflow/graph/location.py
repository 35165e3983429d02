"""Where in the user's code something was written."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from attrs import frozen

from nodeflow.errors import GraphError

_NAMES = ("nodeflow", "nodes", "postprocess")
_PACKAGES = tuple(str(Path(__file__).parents[2] / name) + "/" for name in _NAMES)
_GENERATED = tuple(f"<attrs generated methods {name}." for name in _NAMES)


@frozen
class Location:
    """A line of the user's code; as text it is `file:line`, the file relative to the working folder if below it."""

    file: str
    line: int

    def __str__(self) -> str:
        path = Path(self.file)
        shown = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
        return f"{shown}:{self.line}"


def is_own(file: str) -> bool:
    """Whether a file belongs to nodeflow and not to its user."""
    return file.startswith((*_PACKAGES, *_GENERATED))


def caller() -> Location:
    """The innermost line on the call stack that isn't nodeflow's own."""
    frame = sys._getframe(1)
    while frame.f_back is not None and is_own(frame.f_code.co_filename):
        frame = frame.f_back
    return Location(frame.f_code.co_filename, frame.f_lineno)


@contextmanager
def errors_at(where: Location) -> Iterator[None]:
    """Say in each GraphError within which line of the user's code it is about."""
    try:
        yield
    except GraphError as error:
        raise GraphError(error.problem, str(where)) from error.__cause__
