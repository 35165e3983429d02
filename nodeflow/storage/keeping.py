"""Blobs that this process has in its hands: now and then it says so to the server, so that no sweep takes them.

A blob is safe while it is young, and while anything in the server refers to it. Between the two, as when a handle is
passed on long after the item that it came in was acknowledged, it is safe because a process has it in its hands.
"""

from __future__ import annotations

import math
import threading
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
_LOOK_SECONDS = 60.0
"""How often all that is in a process's hands is looked through; what is new is said at once."""

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
    """What a process has in its hands, and when it has said so; the heartbeat's thread asks it, too."""

    def __init__(self) -> None:
        self._name = uuid4().hex[:8]
        self._live: WeakSet[Any] = WeakSet()
        self._new: set[str] = set()
        self._said: dict[str, float] = {}
        self._looked_at = -math.inf
        self._lock = threading.Lock()

    def add(self, held: Held) -> None:
        """Note what refers to blobs, for as long as it lives."""
        with self._lock:
            self._live.add(held)
            self._new.update(held.every_blob())

    @property
    def has_new(self) -> bool:
        """Whether something came into its hands of which nothing was said yet."""
        return bool(self._new)

    @property
    def holds(self) -> bool:
        """Whether there is anything in its hands."""
        return len(self._live) > 0

    def due(self, more: Iterable[str] = ()) -> list[str]:
        """The blobs of which it is to be said that they are in use.

        Args:
            more: ids of further blobs that may be due.
        """
        with self._lock:
            found, self._new = {*more, *self._new}, set()
            now = time.monotonic()
            if now - self._looked_at >= _LOOK_SECONDS:
                self._looked_at = now
                found.update(blob for held in list(self._live) for blob in held.every_blob())
            return [blob for blob in found if self._said.get(blob, -math.inf) <= now - _SAY_SECONDS]

    def said(self, blobs: Iterable[str]) -> None:
        """Note that it was said of these; of new ones it need not be."""
        with self._lock:
            now = time.monotonic()
            if len(self._said) > _MOST_REMEMBERED:
                self._said = {blob: at for blob, at in self._said.items() if at > now - _SAY_SECONDS}
            self._said.update(dict.fromkeys(blobs, now))

    def named(self, blobs: Iterable[str]) -> list[str]:
        """What is said of blobs: who has them in hand."""
        return [f"{self._name}:{blob}" for blob in blobs]

    def all_said(self) -> list[str]:
        """All that was said of late."""
        with self._lock:
            return self.named(self._said)
