"""Tracebacks as the user wants them: from the first frame of their own code on."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from itertools import dropwhile
from types import FrameType

from nodeflow.errors import NodeflowError
from nodeflow.graph import is_users


def user_trace(error: BaseException) -> str:
    """The traceback of an error from the first frame of the user's code on.

    Where there is none it is the whole traceback, or just the message of an error of nodeflow or of the syntax.
    """
    summary = traceback.TracebackException.from_exception(error)
    frames = list(summary.stack)
    first = next((place for place, frame in enumerate(frames) if is_users(frame.filename)), None)
    if first is None and isinstance(error, NodeflowError):
        return str(error)
    if first is None and isinstance(error, SyntaxError):
        return "".join(summary.format_exception_only()).rstrip()
    summary.stack = traceback.StackSummary.from_list(frames[first or 0 :])
    return "".join(summary.format()).rstrip()


def user_stack(frame: FrameType) -> str:
    """Where a frame is, from the user's code that nodeflow has called on; the whole stack where there is none."""
    frames = traceback.extract_stack(frame)
    below = dropwhile(lambda each: not is_users(each.filename), dropwhile(lambda each: is_users(each.filename), frames))
    return "".join(traceback.format_list(list(below) or frames))


def safe_text(shown: Callable[[object], str], value: object) -> str:
    """What `str` or `repr` say of a value; the name of its type where they raise.

    Args:
        shown: `str` or `repr`.
        value: the value.
    """
    try:
        return shown(value)
    except Exception:
        return f"<{type(value).__qualname__}, whose {shown.__name__}() raises>"
