"""What a hop carries, made ready: each value as it is stored where it will lie."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from attrs import frozen

from nodeflow.storage.arguments import seconds_of
from nodeflow.storage.keys import Keys
from nodeflow.storage.payloads import Payloads


@frozen
class Packing:
    """Makes the values of a hop ready.

    Args:
        keys: the names of the keys.
        payloads: what makes stored payloads of values.
    """

    keys: Keys
    payloads: Payloads

    async def values(self, what: str, values: Mapping[str, Sequence[Any]]) -> dict[str, list[bytes]]:
        """Values by queue; `what` they are, for an error."""
        packed = {}
        for name, lot in values.items():
            packed[name] = await self.payloads.pack_each(f"{what}[{name!r}]", lot, self.keys.all_of(name)[0])
        return {name: lot for name, lot in packed.items() if lot}

    async def later(self, later: Mapping[str, Sequence[tuple[float, Any]]]) -> dict[str, list[tuple[int, bytes]]]:
        """Values that are pushed later by queue, each with its seconds of delay, which become microseconds."""
        packed = {}
        for name, lot in later.items():
            values = await self.payloads.pack_each(
                f"later[{name!r}]", [value for _, value in lot], self.keys.queue(name)
            )
            delays = [round(seconds_of("delay", delay) * 1e6) for delay, _ in lot]
            packed[name] = list(zip(delays, values, strict=True))
        return packed

    async def moved(self, moved: Mapping[str, Sequence[tuple[int, Any]]]) -> dict[str, list[tuple[int, bytes]]]:
        """Values that go on in other queues by queue, each with its place in the lease."""
        packed = {}
        for name, lot in moved.items():
            values = [value for _, value in lot]
            data = await self.payloads.pack_each(f"moved[{name!r}]", values, self.keys.queue(name))
            packed[name] = list(zip([place for place, _ in lot], data, strict=True))
        return packed

    async def states(self, states: Mapping[str, Any]) -> dict[str, bytes]:
        """States by their entry of the cache, by the entry's key in the server."""
        named = [(key, self.keys.cache(key), value) for key, value in states.items()]
        return {place: await self.payloads.pack_as(f"states[{key!r}]", value, place) for key, place, value in named}
