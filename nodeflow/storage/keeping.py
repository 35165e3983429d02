"""Blobs that this process has in its hands: now and then it says so to the server, so that no sweep takes them.

A blob is safe while it is young, and while anything in the server refers to it. Between the two, as when a handle is
passed on long after the item that it came in was acknowledged, it is safe because a process has it in its hands.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any, Protocol
from uuid import uuid4
from weakref import WeakSet

KEEP_SECONDS = 7200
"""For how long a blob is in use after somebody has said so; twice the age from which blobs are swept."""

KEY = "nodeflow:blobs-in-use"
"""The sorted set of the blobs in use, each with who says so, by when that was said, on the server's clock."""

SWEEPS = "nodeflow:blob-sweeps"
"""The sorted set of the sweeps that are under way, by when they began."""

SWEEP_MOST_SECONDS = 86400
"""After how long a sweep that has not ended is taken for dead."""

_SAY_SECONDS = 600.0
_MOST_REMEMBERED = 10_000


class Held(Protocol):
    """What refers to blobs, in this process."""

    def every_blob(self) -> Iterable[str]:
        """Their ids."""


class InFlight:
    """Blobs to which a payload refers that is on its way to the server.

    Args:
        blobs: their ids.
    """

    def __init__(self, blobs: Iterable[str]) -> None:
        self._blobs = tuple(blobs)

    def every_blob(self) -> tuple[str, ...]:
        """Their ids."""
        return self._blobs


class Keeper:
    """What a process has in its hands, and when it has said so."""

    def __init__(self) -> None:
        self.is_new = False
        """Whether something came into its hands since `due` was asked."""
        self._name = uuid4().hex[:8]
        self._live: WeakSet[Any] = WeakSet()
        self._said: dict[str, float] = {}

    def add(self, held: Held) -> None:
        """Note what refers to blobs, for as long as it lives."""
        self._live.add(held)
        self.is_new = True

    def due(self, more: Iterable[str] = ()) -> list[str]:
        """The blobs of which it is to be said again that they are in use.

        Args:
            more: further ones that may be due.
        """
        self.is_new = False
        held = {*more, *(blob for each in self._snapshot() for blob in each.every_blob())}
        limit = time.monotonic() - _SAY_SECONDS
        return [blob for blob in held if blob and self._said.get(blob, limit) <= limit]

    def named(self, blobs: Iterable[str]) -> list[str]:
        """What is said of blobs: who has them in hand."""
        return [f"{self._name}:{blob}" for blob in blobs]

    @property
    def all_said(self) -> list[str]:
        """All that was said of late."""
        return self.named(self._said)

    @property
    def holds(self) -> bool:
        """Whether there is anything in its hands."""
        return len(self._live) > 0

    def said(self, blobs: Iterable[str]) -> None:
        """Note that it was said of these; of new ones it need not be."""
        now = time.monotonic()
        if len(self._said) > _MOST_REMEMBERED:
            self._said = {blob: at for blob, at in self._said.items() if at > now - _SAY_SECONDS}
        self._said |= dict.fromkeys(blobs, now)

    def _snapshot(self) -> list[Held]:
        while True:
            try:
                return list(self._live)
            except RuntimeError:  # another thread added one meanwhile
                continue
