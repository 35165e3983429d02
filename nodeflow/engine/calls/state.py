"""What nodes remember: in memory while the process lives, and each change in the hop of the item that made it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from operator import itemgetter
from typing import Any, NamedTuple

from attrs import define, field

from nodeflow.errors import PayloadError
from nodeflow.graph import Loop
from nodeflow.values import decode, encode

_UNCHANGEABLE = frozenset({str, int, float, bool, type(None), bytes})
_EXACT = 2**53
"""Below which a whole number is the same in every program that reads JSON."""
_NOTHING: Any = object()
_LATER: Any = object()


def state_hash(node: str, partition: int) -> str:
    """The job's hash of what a node remembers in a partition."""
    return f"state:{node}:{partition}"


class _Before(NamedTuple):
    """What a key held before the item: the value itself where nobody can change it, else its bytes; and its number."""

    value: Any
    data: bytes | None
    number: int

    def restored(self) -> Any:
        return self.value if self.data is None else decode(self.data)


def _before(value: Any, number: int) -> _Before:
    if value is _NOTHING or type(value) in _UNCHANGEABLE:
        return _Before(value, None, number)
    return _Before(None, encode(value), number)


@define(eq=False)
class State(MutableMapping[Any, Any]):
    """What one node remembers in one partition, by key, in the order in which the keys came: another process knows it.

    Args:
        name: the job's hash in which it is saved.
        values: what it is now: by the key when that is a str, else by the key's bytes.
        numbers: what the keys are sorted by.
    """

    name: str
    _values: dict[str | bytes, Any] = field(factory=dict)
    _numbers: dict[str | bytes, int] = field(factory=dict)
    _next: int = field(default=0, init=False)
    _touched: dict[str | bytes, _Before] = field(factory=dict, init=False)
    _unsaved: dict[str | bytes, Any] = field(factory=dict, init=False)

    @classmethod
    def load(cls, name: str, fields: Mapping[str, Any]) -> State:
        """What was saved, by field."""
        inner = {_inner(decode(field.encode())): saved for field, saved in fields.items()}
        numbers = dict(sorted(((key, number) for key, (number, _) in inner.items()), key=itemgetter(1)))
        state = cls(name, {key: inner[key][1] for key in numbers}, numbers)
        state._next = 1 + max(numbers.values(), default=-1)
        return state

    def __getitem__(self, key: Any) -> Any:
        inner = _inner(key)
        value = self._values[inner]
        if type(value) not in _UNCHANGEABLE and inner not in self._touched:
            self._touched[inner] = _before(value, self._numbers[inner])
        return value

    def __setitem__(self, key: Any, value: Any) -> None:
        inner = self._touch(key)
        if inner not in self._values:
            self._numbers[inner] = self._next
            self._next += 1
        self._values[inner] = value

    def __delitem__(self, key: Any) -> None:
        if key not in self:
            raise KeyError(key)
        inner = self._touch(key)
        del self._values[inner], self._numbers[inner]

    def __contains__(self, key: object) -> bool:
        return _inner(key) in self._values

    def __iter__(self) -> Iterator[Any]:
        return iter([inner if isinstance(inner, str) else decode(inner) for inner in self._values])

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"State({dict(self.items())!r})"

    def _touch(self, key: Any) -> str | bytes:
        inner = _inner(key)
        if inner not in self._touched:
            self._touched[inner] = _before(self._values.get(inner, _NOTHING), self._numbers.get(inner, -1))
        return inner

    def changes(self) -> dict[str, bytes | None]:
        """What has changed since `keep` or `undo` was called last, by field; None for what was removed.

        Raises:
            PayloadError: something can't be kept; with its key.
        """
        if not self._touched:
            return {}
        found: dict[str, bytes | None] = {}
        for inner, before in self._touched.items():
            value = self._values.get(inner, _NOTHING)
            if value is _NOTHING:
                if before.value is not _NOTHING:
                    found[_field(inner)] = None
                continue
            try:
                data = encode(value)
            except PayloadError as error:
                shown = inner if isinstance(inner, str) else decode(inner)
                raise PayloadError(f"ctx.state[{shown!r}]{error.path.removeprefix('$')}", error.reason) from error
            is_as_before = before.value is not _NOTHING and before.number == self._numbers[inner]
            if not is_as_before or data != (before.data or encode(before.value)):
                found[_field(inner)] = self._saved(inner)
        return found

    def _saved(self, inner: str | bytes) -> bytes:
        return encode([self._numbers[inner], self._values[inner]])

    def keep(self, changes: Mapping[str, bytes | None]) -> None:
        """Note that these changes will be saved."""
        for inner in self._touched:
            if inner in self._unsaved and _field(inner) in changes:
                del self._unsaved[inner]
        self._touched.clear()

    def note(self) -> None:
        """Note what has changed since `keep` or `undo` was called last, to be saved with what other items change.

        Raises:
            PayloadError: something can't be kept; with its key.
        """
        for inner in self._touched:
            if not _can_be_kept(self._values.get(inner)):
                changes = self.changes()
                for each in self._touched:
                    if _field(each) in changes:
                        self._unsaved[each] = changes[_field(each)]
                break
            self._unsaved[inner] = _LATER
        self._touched.clear()

    def unsaved(self) -> dict[str, bytes | None]:
        """What was noted, by field, as it is now; None for what was removed."""
        found: dict[str, bytes | None] = {}
        for inner, data in self._unsaved.items():
            if data is _LATER:
                value = self._values.get(inner, _NOTHING)
                data = None if value is _NOTHING else self._saved(inner)
            found[_field(inner)] = data
        self._unsaved.clear()
        return found

    def undo(self) -> None:
        """Put back what has changed since `keep` was called last."""
        is_moved = False
        for inner, before in self._touched.items():
            if before.value is _NOTHING:
                self._values.pop(inner, None)
                self._numbers.pop(inner, None)
            else:
                is_moved = is_moved or self._numbers.get(inner) != before.number
                self._values[inner], self._numbers[inner] = before.restored(), before.number
        self._touched.clear()
        if is_moved:
            self._values = dict(sorted(self._values.items(), key=lambda pair: self._numbers[pair[0]]))


def _can_be_kept(value: Any) -> bool:
    """Whether a value is what JSON holds for sure, and nobody can change it."""
    kind = type(value)
    return (
        (kind is int and abs(value) < _EXACT)
        or kind is float
        or kind is bool
        or value is None
        or (kind is str and value.isascii())
    )


def _inner(key: Any) -> str | bytes:
    if type(key) is str:
        return key
    return b"%d" % key if type(key) is int and abs(key) < _EXACT else encode(key)


def _field(inner: str | bytes) -> str:
    return (encode(inner) if isinstance(inner, str) else inner).decode()


@define(eq=False)
class States:
    """What the nodes of a loop remember, in the partitions of one process."""

    _known: dict[tuple[str, int], State] = field(factory=dict, init=False)

    @classmethod
    def of_loop(cls, loop: Loop) -> States | None:
        """Where nothing is remembered yet; None for a loop whose processes would each see a part."""
        return cls() if loop.processes == 1 or loop.by is not None else None

    def load(self, node: str, partition: int, fields: Mapping[str, Any]) -> None:
        """Take what was saved of a node in a partition, by field."""
        self._known[node, partition] = State.load(state_hash(node, partition), fields)

    @property
    def all(self) -> Iterable[State]:
        """All that anything was asked of."""
        return self._known.values()

    def of(self, node: str, partition: int = 0) -> State:
        """What a node remembers in a partition."""
        known = self._known.get((node, partition))
        if known is None:
            known = self._known[node, partition] = State(state_hash(node, partition))
        return known
