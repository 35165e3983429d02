"""Partitioning: which process of a loop gets an item, by its key, so that items of one key stay in order."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any
from zlib import crc32

from attrs import field, frozen

from nodeflow.engine.core.traces import safe_text
from nodeflow.errors import KeyMissingError, NodeflowError
from nodeflow.graph import PARTITIONS, By, Loop
from nodeflow.values import encode

_MOST_SHOWN = 100
_MOST_KNOWN = 10_000


def slot_queue(name: str, slot: int) -> str:
    """The part of a queue that one process of a loop reads."""
    return f"{name}.{slot}"


def gathered_queue(name: str) -> str:
    """Where items of all slots are while they are given to other slots."""
    return f"{name}.moved"


@lru_cache(_MOST_KNOWN)
def partition_of(key: str) -> int:
    """The partition of a key: CRC-32 (ISO 3309, as in zlib) of its JSON in UTF-8, modulo 64."""
    return crc32(key.encode()) % PARTITIONS


@frozen
class Partitioning:
    """How the items of a loop are divided among its processes.

    Args:
        loop: the loop's name.
        by: what gives an item's key.
        processes: how many processes there are; the one of slot n has the partitions n, n + processes, and so on.
    """

    loop: str
    by: By
    processes: int
    _known: dict[tuple[type, Any], tuple[str, int]] = field(factory=dict, init=False, repr=False, eq=False)
    _get: Callable[[Any], Any] = field(init=False, repr=False, eq=False)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "_get", _field_getter(self.by) if isinstance(self.by, str) else self.by)

    @classmethod
    def of(cls, loop: Loop) -> Partitioning | None:
        """That of a loop; None when any process may have any item."""
        return None if loop.by is None else cls(loop.name, loop.by, loop.processes)

    def key(self, value: Any) -> tuple[str, int]:
        """The key of an item's value, as JSON, and its partition.

        Raises:
            KeyMissingError: it has none, or one that JSON can't hold.
        """
        try:
            found = self._get(value)
            kind = type(found)
            if (kind is str or kind is int) and (known := self._known.get((kind, found))) is not None:
                return known
            if isinstance(found, Mapping):
                raise TypeError("a mapping is no key, since its order would count")
            key = encode(found).decode()
        except Exception as error:
            raise self._missing(value, error) from error
        if kind is not str and kind is not int:
            return key, partition_of(key)
        if len(self._known) >= _MOST_KNOWN:
            self._known.clear()
        known = self._known[kind, found] = (key, partition_of(key))
        return known

    def queue(self, name: str, partition: int) -> str:
        """The part of a queue in which the items of a partition go."""
        return slot_queue(name, partition % self.processes)

    def queues(self, name: str) -> list[str]:
        """All parts of a queue."""
        return [slot_queue(name, slot) for slot in range(self.processes)]

    def partitions(self, slot: int) -> range:
        """The partitions of a process."""
        return range(slot, PARTITIONS, self.processes)

    def _missing(self, value: Any, error: Exception) -> KeyMissingError:
        shown = safe_text(repr, value)
        shown = shown if len(shown) <= _MOST_SHOWN else f"{shown[:_MOST_SHOWN]}…"
        by = repr(self.by) if isinstance(self.by, str) else getattr(self.by, "__qualname__", repr(self.by))
        why = str(error) if isinstance(error, NodeflowError) else f"{type(error).__name__}: {safe_text(str, error)}"
        return KeyMissingError(f"loop {self.loop!r} takes items by={by}, which gives no key for {shown} ({why})")


def _field_getter(name: str) -> Callable[[Any], Any]:
    def get(value: Any) -> Any:
        return value[name] if type(value) is dict or isinstance(value, Mapping) else getattr(value, name)

    return get
