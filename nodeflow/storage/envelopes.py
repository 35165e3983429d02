"""Elements as they lie in the server: bare JSON, or in an envelope with what is known about the item."""

from __future__ import annotations

from collections.abc import Mapping
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


def item_of(head: Mapping[str, Any], value: Any) -> Item:
    """The item of an envelope whose value was unpacked."""
    return Item(head["id"], value, head["attempt"], head.get("error", ""), head.get("deaths", 0))


def open_letter(data: bytes, size: int, value: Any) -> DeadLetter:
    """The dead letter in an envelope.

    Args:
        data: the envelope, or its beginning.
        size: how long the whole envelope is, in bytes.
        value: its value, or the `PayloadError` that came of it.
    """
    head, element = split(data)
    raw = b""
    if isinstance(value, PayloadError):
        value, raw = None, element[:1000]
    at = datetime.fromtimestamp(head["at"] / 1000, UTC)
    return DeadLetter(head["id"], value, head["error"], head["attempt"], at, size - len(data) + len(element), raw)


def split(data: bytes) -> tuple[dict[str, Any], bytes]:
    """What an envelope says of its item, and what was pushed.

    Raises:
        PayloadError: it isn't one of this version.
    """
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
