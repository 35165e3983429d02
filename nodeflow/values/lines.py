"""Large JSON in lines, so that neither writing nor reading it needs all of its bytes at once.

It is the JSON that orjson writes, but for line breaks, which no JSON of orjson's holds: a line is the beginning of a
large list or dict, behind its key if it has one; its end; or a run of whole parts of it. What it stands for is read
with one `orjson.loads` for each run.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

import orjson

from nodeflow.errors import PayloadError

LARGE_BYTES = 16 << 20
"""From about which size on JSON is written in lines."""

OPTIONS = orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_SUBCLASS
"""orjson writes nothing but JSON's own types."""

_RUN_BYTES = 1 << 20
_OPENING = (b"[\n", b"{\n")


def weight_of(value: Any, depth: int = 3, width: int = 8) -> int:
    """About how many bytes a value of JSON's own types has as JSON.

    Args:
        value: the value.
        depth: how many levels are looked at.
        width: how many parts of each list and dict are looked at, spread over it.
    """
    kind = type(value)
    if kind is str:
        return len(value) + 3
    if kind is float:
        return 19
    if (kind is not list and kind is not dict) or not value:
        return 6
    if not depth:
        return 8 * len(value)
    parts = value.values() if kind is dict else value
    sample = [weight_of(part, depth - 1, width) for part in islice(parts, 0, None, max(1, len(value) // width))]
    keys = 12 * len(value) if kind is dict else 0
    return keys + len(value) * sum(sample) // len(sample)


def lines_of(value: Any) -> Iterator[bytes]:
    """A list or dict of JSON's own types in lines.

    Raises:
        orjson.JSONEncodeError: a part is of another type, a whole number of over 64 bits, or no text.
    """
    yield from _lines(value, b"")
    yield b"\n"


def is_lines(data: bytes) -> bool:
    """Whether this is the beginning of JSON in lines."""
    return data.startswith(_OPENING)


class LineReader:
    """Makes a value of JSON in lines, as they come."""

    def __init__(self) -> None:
        self._rest = b""
        self._open: list[tuple[Any, bytes]] = []
        self._value: Any = None
        self._is_over = False
        self._failure: PayloadError | None = None

    def feed(self, data: bytes) -> None:
        """Take in further bytes; that they are wrong is said at the end, when it is known whether they were damaged."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines if self._failure is None else ():
            try:
                self._take(line)
            except (orjson.JSONDecodeError, IndexError, AttributeError, ValueError) as error:
                self._failure = PayloadError("$", f"not JSON in lines ({error}): {line[:60]!r}")
                return

    def value(self) -> Any:
        """What they stand for.

        Raises:
            PayloadError: they are no JSON in lines, or the end is missing.
        """
        if self._failure is not None:
            raise self._failure
        if not self._is_over or self._rest:
            raise PayloadError("$", "JSON in lines that was cut off")
        return self._value

    def _take(self, line: bytes) -> None:
        if self._is_over:
            raise ValueError("there is more behind its end")
        line = line.removeprefix(b",")
        if line in (b"]", b"}"):
            _, end = self._open.pop()
            if end != line:
                raise ValueError("it ends as something else than it began")
            self._is_over = not self._open
        elif line.endswith((b"[", b"{")):
            made: Any = [] if line.endswith(b"[") else {}
            self._put(line[:-1].removesuffix(b":"), made)
            self._open.append((made, b"]" if line.endswith(b"[") else b"}"))
        elif self._open[-1][1] == b"]":
            self._open[-1][0].extend(orjson.loads(b"[%b]" % line))
        else:
            self._open[-1][0].update(orjson.loads(b"{%b}" % line))

    def _put(self, key: bytes, made: Any) -> None:
        if not self._open:
            self._value = made
        elif self._open[-1][1] == b"]":
            self._open[-1][0].append(made)
        elif isinstance(name := orjson.loads(key), str):
            self._open[-1][0][name] = made
        else:
            raise ValueError("a key that is no str")


def _lines(value: Any, start: bytes) -> Iterator[bytes]:
    is_list = type(value) is list
    yield start + (b"[\n" if is_list else b"{\n")
    comma = b""
    for large, run in _runs(value):
        if large is None:
            yield b"%b%b\n" % (comma, orjson.dumps(run, None, OPTIONS)[1:-1])
        else:
            key, part = large
            if not is_list and type(key) is not str:
                raise orjson.JSONEncodeError("a key that is no str")
            yield from _lines(part, comma + (b"" if is_list else orjson.dumps(key) + b":"))
            yield b"\n"
        comma = b","
    yield b"]" if is_list else b"}"


def _runs(value: Any) -> Iterator[tuple[tuple[Any, Any] | None, Any]]:
    """The parts of a list or dict: those that are large one by one, the others in runs of about `_RUN_BYTES`."""
    is_list = type(value) is list
    run: Any = [] if is_list else {}
    weight = 0
    for key, part in enumerate(value) if is_list else value.items():
        size = weight_of(part)
        if size > _RUN_BYTES and type(part) in (list, dict) and part:
            if run:
                yield None, run
            yield (key, part), None
            run, weight = [] if is_list else {}, 0
            continue
        if is_list:
            run.append(part)
        else:
            run[key] = part
        weight += size
        if weight > _RUN_BYTES:
            yield None, run
            run, weight = [] if is_list else {}, 0
    if run:
        yield None, run
