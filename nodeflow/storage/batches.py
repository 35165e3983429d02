"""Values as the elements of a list, in the portions that one command carries."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from nodeflow.errors import PayloadError
from nodeflow.storage.arguments import values_of
from nodeflow.values import encode

COMMAND_ITEMS = 1_000
COMMAND_BYTES = 1 << 20
"""How many elements and bytes one command carries at most, so that the server is never held up for long."""

MAX_ITEM_BYTES = 64 << 20
"""How large an encoded value may be; the server itself would take 512 MiB, but would hold up all others for it."""


def encode_one(value: Any) -> bytes:
    """A value as JSON.

    Raises:
        PayloadError: it can't be held, or is too large to be sent.
    """
    data = encode(value)
    if len(data) > MAX_ITEM_BYTES:
        raise PayloadError("$", f"{len(data):,} bytes of JSON: a value may have {MAX_ITEM_BYTES:,}")
    return data


def encode_each(name: str, values: Iterable[Any]) -> list[bytes]:
    """Each value as JSON.

    Args:
        name: what the caller knows the values as, for the path of an error.
        values: a list of them, or the like.

    Raises:
        TypeError: they are no list.
        PayloadError: one can't be held; the path begins with the name and its place, as in `values[3].when`.
    """
    encoded = []
    for place, value in enumerate(values_of(name, values)):
        try:
            encoded.append(encode_one(value))
        except PayloadError as error:
            raise PayloadError(f"{name}[{place}]{error.path.removeprefix('$')}", error.reason) from None
    return encoded


def batches(elements: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    """Cut elements into the parts that one command carries: neither too many nor too many bytes."""
    start = size = 0
    for place, element in enumerate(elements):
        if place > start and (place - start == COMMAND_ITEMS or size + len(element) > COMMAND_BYTES):
            yield elements[start:place]
            start, size = place, 0
        size += len(element)
    if start < len(elements):
        yield elements[start:]
