"""Tracebacks as the user wants them: from the first frame of their own code on."""

from __future__ import annotations

import traceback

from nodeflow.errors import NodeflowError
from nodeflow.graph import is_own


def user_trace(error: BaseException) -> str:
    """The traceback of an error without nodeflow's own frames at its top; just the message of an error of nodeflow."""
    summary = traceback.TracebackException.from_exception(error)
    frames = list(summary.stack)
    while frames and is_own(frames[0].filename):
        frames.pop(0)
    if not frames and isinstance(error, NodeflowError):
        return str(error)
    summary.stack = traceback.StackSummary.from_list(frames or list(summary.stack))
    return "".join(summary.format()).rstrip()
