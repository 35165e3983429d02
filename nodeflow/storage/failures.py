"""What redis-py raises, sorted: what passes by itself, what was surely not carried out, and how nodeflow says it."""

from __future__ import annotations

import redis

from nodeflow.errors import (
    LeaseLostError,
    StorageConnectionError,
    StorageError,
    StorageFullError,
    StorageTimeoutError,
)


class NotSent(Exception):  # noqa: N818 - it says what happened, its cause is the error
    """No connection could be had, for the reason that is its cause."""


_NOT_READY = (
    "LOADING",
    "READONLY",
    "UNBLOCKED",
    "MISCONF",
    "MASTERDOWN",
    "NOREPLICAS",
    "CLUSTERDOWN",
    "TRYAGAIN",
    "BUSY ",
)
"""How the server begins its refusals during a start, a failover or a full disk: they pass."""

_REFUSED_US = redis.AuthenticationError | redis.exceptions.AuthorizationError


def is_passing(error: BaseException) -> bool:
    """Whether a failure may be gone when the call is made again a little later."""
    if isinstance(error, _REFUSED_US):
        return False
    if isinstance(error, redis.ConnectionError | redis.TimeoutError | OSError | redis.ReadOnlyError):
        return True
    return isinstance(error, redis.ResponseError) and _text(error).startswith(_NOT_READY)


def is_refusal(error: BaseException) -> bool:
    """Whether the server itself answered, so that nothing was carried out."""
    return isinstance(error, redis.ResponseError | redis.BusyLoadingError)


def translated(error: BaseException, operation: str, address: str, *, was_sent: bool) -> StorageError:
    """The failure in nodeflow's words.

    Args:
        error: what redis-py raised.
        operation: what was being done, as in `push to 'jobs'`.
        address: the server's address, without its password.
        was_sent: whether the server may have got the command.
    """
    if isinstance(error, redis.OutOfMemoryError) or _text(error).startswith("OOM "):
        return StorageFullError(operation, address)
    if _text(error).startswith("LEASELOST "):
        return LeaseLostError(operation.partition("'")[2].rpartition("'")[0], _text(error).removeprefix("LEASELOST "))
    if isinstance(error, redis.TimeoutError | TimeoutError) and "connecting" not in str(error):
        return StorageTimeoutError(operation, address)
    if isinstance(error, redis.TimeoutError | redis.ConnectionError | redis.InvalidResponse | OSError):
        reason = str(error).rstrip(".") or type(error).__name__
        return StorageConnectionError(address, reason, operation if was_sent else "")
    return StorageError(f"{operation}: {error}")


def _text(error: BaseException) -> str:
    """What the server said, its error code first."""
    code = getattr(error, "status_code", None)
    return f"{code} {error}" if code else str(error)


def copy_of(error: Exception) -> Exception:
    """The same error for one of several callers, who adds a traceback of its own."""
    copy = type(error)(*error.args)
    copy.__cause__ = error
    return copy
