"""Elements as they lie in the server: bare JSON, or in an envelope with what is known about the item."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import orjson
from attrs import frozen

from nodeflow.errors import PayloadError
from nodeflow.storage.lease import Item

VERSION = 1
"""The version of the envelopes that this nodeflow writes and reads; see `lib_envelopes.lua`."""


@frozen
class DeadLetter:
    """An item that can't be handled.

    Args:
        id: the item's id, for `requeue` and `discard`.
        value: what was pushed; None when it isn't JSON or is too large to be shown.
        error: why it is here.
        attempt: which delivery was the last one.
        at: when it came here, by the server's clock.
        size: how many bytes its value has.
        raw: the first bytes of a value that can't be shown, else empty.
    """

    id: str
    value: Any
    error: str
    attempt: int
    at: datetime
    size: int
    raw: bytes = b""


def open_envelope(data: bytes, unpack: Callable[[bytes], Any]) -> Item:
    """The item in an envelope: a line of JSON, then what was pushed.

    Args:
        data: the envelope.
        unpack: gives the value of what was pushed.

    Raises:
        PayloadError: it isn't one of this version, or what was pushed can't be read.
    """
    head, element = _opened(data)
    return Item(head["id"], unpack(element), head["attempt"], head.get("error", ""))


def open_letter(data: bytes, size: int, unpack: Callable[[bytes], Any]) -> DeadLetter:
    """The dead letter in an envelope.

    Args:
        data: the envelope, or its beginning.
        size: how long the whole envelope is, in bytes.
        unpack: gives the value of what was pushed.
    """
    head, element = _opened(data)
    value, raw = None, b""
    try:
        value = unpack(element)
    except PayloadError:
        raw = element[:1000]
    at = datetime.fromtimestamp(head["at"] / 1000, UTC)
    return DeadLetter(head["id"], value, head["error"], head["attempt"], at, size - len(data) + len(element), raw)


def _opened(data: bytes) -> tuple[dict[str, Any], bytes]:
    line, _, element = data.partition(b"\n")
    try:
        head = orjson.loads(line)
        version = head["v"]
    except (orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise PayloadError("$", f"not an item that came back ({error}): {data[:60]!r}") from error
    if version != VERSION:
        raise PayloadError("$", f"an item of version {version!r}; this nodeflow reads version {VERSION}")
    if not isinstance(head.get("id"), str) or not isinstance(head.get("attempt"), int):
        raise PayloadError("$", f"an item without an id or the number of its attempt: {data[:60]!r}")
    return head, element
