"""Values as the elements of a list, in the portions that one command carries."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from nodeflow.errors import PayloadError
from nodeflow.values import encode

_COMMAND_ITEMS = 1_000
_COMMAND_BYTES = 1 << 20


def encode_each(values: Iterable[Any]) -> list[bytes]:
    """Each value as JSON.

    Raises:
        PayloadError: one can't be held; the path begins with its place, as in `$[3].when`.
    """
    encoded = []
    for place, value in enumerate(values):
        try:
            encoded.append(encode(value))
        except PayloadError as error:
            raise PayloadError(f"$[{place}]{error.path.removeprefix('$')}", error.reason) from None
    return encoded


def batches(elements: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    """Cut elements into the parts that one command carries: neither too many nor too many bytes."""
    start = size = 0
    for place, element in enumerate(elements):
        if place > start and (place - start == _COMMAND_ITEMS or size + len(element) > _COMMAND_BYTES):
            yield elements[start:place]
            start, size = place, 0
        size += len(element)
    if start < len(elements):
        yield elements[start:]
