"""The dead letters of a queue: items that can't be handled, kept until somebody decides about them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

import redis

from nodeflow.errors import StorageError, UsageError
from nodeflow.storage.arguments import clean, whole
from nodeflow.storage.connection import RedisConnection
from nodeflow.storage.envelopes import DeadLetter, open_letter, split
from nodeflow.storage.keys import Keys
from nodeflow.storage.payloads import Payloads

_SHOWN_BYTES = 1 << 20
_PORTION = 500


async def read_letters(
    connection: RedisConnection, keys: Keys, payloads: Payloads, name: str, start: int, stop: int
) -> list[DeadLetter]:
    """The dead letters of a queue, oldest first, from place start to stop; -1 is the last one of all."""
    whole("start", start, 0)
    whole("stop", stop, -1)
    arguments = [start, stop, _SHOWN_BYTES]
    found = await connection.run_script("letters", keys.all_of(name), arguments, f"read the dead letters of '{name}'")
    elements = [split(data)[1] for data, _ in found]
    values = await payloads.unpack_each(elements, keys.queue(name))
    return [open_letter(data, int(size), value) for (data, size), value in zip(found, values, strict=True)]


async def settle_letters(
    connection: RedisConnection, keys: Keys, name: str, what: Literal["requeue", "discard"], ids: Iterable[str] | None
) -> int:
    """Put dead letters back in front of what waits, or remove them for good; how many those were.

    Args:
        ids: which; None means all.

    Raises:
        UsageError: one of them is no dead letter; nothing was done.
    """
    if ids is None:
        count = more = await _settle(connection, keys, name, what, ["all", _PORTION])
        while more == _PORTION:
            more = await _settle(connection, keys, name, what, ["all", _PORTION])
            count += more
        return count
    chosen = [clean(ids)] if isinstance(ids, str) else list(dict.fromkeys(map(clean, ids)))
    return await _settle(connection, keys, name, what, ["some", *chosen]) if chosen else 0


async def replace_letters(connection: RedisConnection, keys: Keys, name: str, elements: Mapping[str, bytes]) -> int:
    """Put something else in front of what waits, in place of each dead letter; how many those were.

    Args:
        elements: what goes on, by the letter's id; some hundreds are replaced in one step.

    Raises:
        UsageError: one of them is no dead letter.
    """
    count, pairs = 0, list(elements.items())
    for first in reversed(range(0, len(pairs), _PORTION)):  # each portion goes in front of those behind it
        some = [each for pair in pairs[first : first + _PORTION] for each in pair]
        count += await _settle(connection, keys, name, "replace", ["some", *some])
    return count


async def _settle(connection: RedisConnection, keys: Keys, name: str, what: str, which: list[Any]) -> int:
    session = await connection.session()
    every = keys.all_of(name)
    with session.lane() as (lane, number):
        try:
            arguments = [lane, number, what, *which]
            sent = keys.sent(every[0], session.id)
            return int(await connection.step("settle_letters", [*every, sent], arguments, f"{what} from '{name}'"))
        except StorageError as error:
            if isinstance(error.__cause__, redis.ResponseError) and "NOLETTER" in str(error):
                letter = str(error).partition("NOLETTER ")[2].partition(" script:")[0]
                raise UsageError(f"queue {name!r} has no dead letter {letter!r}; nothing was changed") from error
            raise
