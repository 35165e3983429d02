"""A Python value to JSON and back: plain JSON where that holds it, else with types beside what JSON can't hold.

orjson writes tuples as lists, NaN as null and enums and UUIDs as their values without a word, so those are looked for
here.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import orjson
from attrs import evolve

from nodeflow.errors import PayloadError
from nodeflow.values.attachment import JSON, Attachment
from nodeflow.values.bundle import Bundle, is_bundle, opened_bundle, parts_of
from nodeflow.values.descriptor import Inline
from nodeflow.values.frames import Parts
from nodeflow.values.lines import LARGE_BYTES, OPTIONS, lines_of, weight_of
from nodeflow.values.registry import TYPES
from nodeflow.values.tagged import MAX_DEPTH, TYPE, dumps, read, write

VERSION = 1
"""The version of the format that this nodeflow writes; it reads this one and all before it."""

_ATOMS = frozenset({str, int, bool, type(None)})
_MARK = "$nodeflow"
_RESERVED = (b'{"$nodeflow"', b'{"type":"external_ref"')
"""How what isn't plain JSON begins; a user's dict that begins so is written with types."""

_COPIED = 16_384
"""Below how many bytes a copy is made: orjson's were made with room for more, and to keep many of them costs more."""

_MANY = 10_000
"""After how many lists and dicts it is made sure that none of them holds itself."""

_MUCH = 100_000
"""After how many parts of theirs."""

_SOME = 64
"""Up to how many parts it isn't asked whether a value is large."""

_FEW = 16
"""Up to how many parts looking at each by itself is faster than looking at all of their types."""


class Encoded(bytes):
    """A value that was encoded already, so that it can be passed on without being encoded again."""


def encode(value: Any) -> bytes:
    """Encode a value as JSON; with arrays, tables or large bytes in it as a bundle of JSON and their bytes.

    Args:
        value: what JSON holds; the standard library's types that `kinds` lists; arrays and tables of numpy, pandas,
            polars and pyarrow; enums, named tuples, attrs classes, dataclasses and pydantic models of the graph's
            modules; what was registered; lists and dicts of all these.

    Returns:
        the JSON, in UTF-8: the bare value where plain JSON holds it.

    Raises:
        PayloadError: with the path of the first part that can't be kept.
    """
    found = prepare(value)
    return found.to_bytes() if isinstance(found, Bundle) else found


def prepare(
    value: Any, needs_blob: Callable[[Any, Attachment | None], bool] | None = None, *, in_lines: bool = False
) -> bytes | Bundle:
    """Encode a value, but for the bytes that stand beside its JSON, which are not copied yet.

    Args:
        value: the value.
        needs_blob: whether a reference, with its bytes if they lie here, must be saved first. If there are such, the
            bundle has them as `unsaved`, and is of no other use. None writes all without a blob into the JSON.
        in_lines: whether large JSON may be encoded later, in lines.

    Raises:
        PayloadError: as `encode`.
    """
    if type(value) is Encoded:
        return value
    if parts := _exact_parts(value):  # before orjson sees it, which ends the process on tuples that are nested too deep
        if in_lines and parts > _SOME and _weight(value, parts) >= LARGE_BYTES:
            with suppress(orjson.JSONEncodeError, RecursionError):  # then it needs types beside the JSON, or is refused
                size = sum(map(len, lines_of(value)))
                return Bundle(b"", (), whole=Attachment(JSON, size, partial(lines_of, value), is_mapped=False))
        try:
            data = orjson.dumps(value, None, OPTIONS)
        except (orjson.JSONEncodeError, RecursionError):
            data = _RESERVED[0]
        if not data.startswith(_RESERVED):
            return b"%b" % data if len(data) < _COPIED else data
    beside = _Beside(needs_blob)
    tree = write(value, TYPES, beside=beside)
    if beside.unsaved:
        return Bundle(b"", (), unsaved=beside.unsaved)
    head: dict[str, Any] = {_MARK: VERSION}
    if beside.blobs:
        head["blobs"] = list(beside.blobs)
    if beside.attachments:
        head["parts"] = [attachment.size for attachment in beside.attachments]
    json = dumps({**head, "value": tree})
    if len(head) == 1:
        return json
    is_alone = isinstance(tree, dict) and tree.get("part") == 0 and TYPE in tree and len(head) == 2
    alone = evolve(beside.attachments[0], kind=tree[TYPE]) if is_alone else None
    return Bundle(json, beside.attachments, tuple(beside.blobs), alone, refs=beside.refs)


def encode_small(content: dict[str, Any], value: Any) -> bytes | None:
    """Encode what holds a small value and beside it only texts, in a fraction of the time that `prepare` needs.

    Args:
        content: what holds it.
        value: the value.

    Returns:
        what `prepare` would give; None when it isn't small, or plain JSON doesn't hold it.
    """
    containers: list[Any] = [(value,)]
    for container in containers:
        for part in container.values() if type(container) is dict else container:
            kind = type(part)
            if kind is str or kind is int or part is None:
                continue
            if kind is dict:
                containers.append(part)
            elif kind is list:
                if not _ATOMS.issuperset(map(type, part)):
                    containers.append(part)
            elif kind is not bool and (kind is not float or not math.isfinite(part)):
                return None
        if len(containers) > _FEW or len(container) > _SOME:
            return None
    try:
        return b"%b" % orjson.dumps(content, None, OPTIONS)
    except orjson.JSONEncodeError:
        return None


def encode_text(value: Any) -> tuple[bytes, Sequence[str]]:
    """A value as one line of JSON, whatever stands in it, and the ids of the blobs that it refers to.

    Raises:
        PayloadError: as `encode`.
    """
    found = prepare(value)
    if not isinstance(found, Bundle):
        return found, ()
    head = {_MARK: VERSION, **({"blobs": list(found.blobs)} if found.blobs else {})}
    return dumps({**head, "value": write(value, TYPES)}), found.blobs


def size_of(value: Any) -> int:
    """How many bytes a value has when it is encoded, those of its references included.

    Raises:
        PayloadError: as `encode`.
    """
    refs: list[Any] = []

    def note(ref: Any, alone: Attachment | None) -> bool:
        refs.append(ref)
        return True

    found = prepare(value, note)
    if refs:
        return sum(ref.size for ref in refs)
    return found.size if isinstance(found, Bundle) else len(found)


def decode(data: Parts | str, blobs: Any = None) -> Any:
    """Decode what `encode` gave, or plain JSON; whole numbers beyond 64 bits in that become floats.

    Args:
        data: the bytes. Arrays lie upon them, where they can be written to, and else upon copies.
        blobs: where the blobs of its references lie.

    Raises:
        PayloadError: it isn't JSON, of a newer version, or names a type that isn't known.
    """
    if not isinstance(data, str) and is_bundle(data):
        return _marked(*opened_bundle(data), blobs=blobs)
    if type(data) is not bytes:
        data = data.encode(errors="surrogatepass") if isinstance(data, str) else bytes(data)  # orjson takes no subclass
    try:
        if data.startswith(_RESERVED):
            return _marked(data, blobs=blobs)
        return orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise PayloadError("$", f"not JSON ({error}): {data[:60]!r}") from error


def decode_kind(kind: str, data: memoryview, *, crc32: int | None = None, **of_file: str) -> Any:
    """The value that is nothing but an attachment.

    Args:
        kind: the name of its type.
        data: the attachment's bytes.
        of_file: the name and the media type of the file that it is.
        crc32: their checksum, for types that need one; None when they are known to be unchanged.

    Raises:
        PayloadError: the type isn't known, or the bytes aren't a value of it.
    """
    return read({TYPE: kind, "part": 0, **of_file, "crc32": crc32}, TYPES, [data], are_checked=crc32 is None)


def decode_each(elements: Iterable[bytes], blobs: Any = None) -> list[Any]:
    """Decode many values at once, which is faster than one by one.

    Args:
        elements: the bytes of each; no bundles.
        blobs: where the blobs of their references lie.

    Raises:
        PayloadError: one of them can't be decoded; `decode` says which.
    """
    try:
        loads = orjson.loads
        return [_marked(data, blobs=blobs) if data.startswith(_RESERVED) else loads(data) for data in elements]
    except orjson.JSONDecodeError as error:
        raise PayloadError("$", f"not JSON ({error})") from error


def to_tree(value: Any) -> Any:
    """A value as a tree that JSON holds, with the types of what it doesn't hold in it; for programs to read.

    Raises:
        PayloadError: as `encode`.
    """
    return write(value, TYPES)


def is_plain(value: Any) -> bool:
    """Whether plain JSON holds a value as it is."""
    try:
        found = prepare(value)
    except PayloadError:
        return False
    return isinstance(found, bytes) and not found.startswith(_RESERVED)


def digest(value: Any) -> str:
    """A short digest that is equal for equal values of the same types, in whatever order their keys stand.

    Raises:
        PayloadError: as `encode`.
    """
    if type(value) is Encoded:
        value = decode(value)
    data = dumps(write(value, TYPES, beside=_Hashing(), is_canonical=True), orjson.OPT_SORT_KEYS)
    return hashlib.blake2b(data, digest_size=12).hexdigest()


def _exact_parts(value: Any) -> int:
    """How many parts a value has, if all are of JSON's own types, finite, not too deep, and come to an end; else 0."""
    containers, atoms, parts, ends = 0, 0, [value], False
    for part in parts:
        kind = type(part)
        if kind in _ATOMS:
            continue
        if kind is dict:
            containers += 1
            parts += part.values()
        elif kind is list:
            containers += 1
            if len(part) <= _FEW or not _are_atoms(part):
                parts += part
            else:
                atoms += len(part)
        elif kind is not float or not math.isfinite(part):
            return 0
        else:
            continue
        if not ends and (containers == _MANY or len(parts) > _MUCH):
            ends = _ends(value)
            if not ends:
                return 0
    is_exact = containers <= MAX_DEPTH or ends or _ends(value)
    return len(parts) + atoms if is_exact else 0


def _weight(value: Any, parts: int) -> int:
    """About how many bytes a value has; of a smaller one less is looked at."""
    return weight_of(value) if parts > _MANY else weight_of(value, depth=2, width=3)


def _are_atoms(parts: list[Any]) -> bool:
    """Whether nothing in a list needs a closer look."""
    kinds = list(map(type, parts))
    if kinds.count(float) == len(parts):
        return math.isfinite(sum(parts))
    return _ATOMS.issuperset(kinds)


def _ends(value: Any) -> bool:
    """Whether no list or dict holds itself, or lies too deep."""
    around: list[int] = []
    left = [iter([value])]
    while left:
        for part in left[-1]:
            if type(part) is dict or type(part) is list:
                if id(part) in around or len(around) >= MAX_DEPTH:
                    return False
                around.append(id(part))
                left.append(iter(part.values() if type(part) is dict else part))
                break
        else:
            left.pop()
            if around:
                around.pop()
    return True


class _Beside:
    """Attachments and references of a value that is being encoded."""

    def __init__(self, needs_blob: Callable[[Any, Attachment | None], bool] | None) -> None:
        self.attachments: list[Attachment] = []
        self.blobs: dict[str, None] = {}
        self.refs: list[Any] = []
        self.unsaved: list[Any] = []
        self._needs_blob = needs_blob

    def attach(self, attachment: Attachment) -> dict[str, Any]:
        self.attachments.append(attachment)
        return {"part": len(self.attachments) - 1, **attachment.facts()}

    def refer(self, ref: Any) -> dict[str, Any]:
        alone = ref.attachment() if ref.descriptor is None else None
        if self._needs_blob is not None and self._needs_blob(ref, alone):
            self.unsaved.append(ref)
            return {}
        self.refs.append(ref)
        self.blobs |= dict.fromkeys(alone.blobs if alone else ref.descriptor.every_blob())
        return {"descriptor": Inline.of(alone).to_data() if alone else ref.descriptor.to_data()}


class _Hashing:
    """Writes digests instead of bytes."""

    def attach(self, attachment: Attachment) -> dict[str, Any]:
        return {"digest": attachment.digest()}

    def refer(self, ref: Any) -> dict[str, Any]:
        return {"digest": ref.digest()}


def _marked(data: bytes, whole: memoryview | None = None, start: int = 0, *, blobs: Any = None) -> Any:
    """The value of what nodeflow wrote: of JSON, or of a bundle with further parts from a place on."""
    try:
        found = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise PayloadError("$", f"not JSON ({error}): {data[:60]!r}") from error
    needed = {_MARK, "value"} if whole is None else {_MARK, "parts", "value"}
    if not isinstance(found, dict) or found.keys() - {"blobs"} != needed:
        raise PayloadError("$", f"begins as what nodeflow writes, but isn't that: {data[:60]!r}")
    version = found[_MARK]
    if type(version) is not int or not 1 <= version <= VERSION:
        raise PayloadError("$", f"is of format version {version!r}; this nodeflow reads up to version {VERSION}")
    parts = [] if whole is None else parts_of(found["parts"], whole, start)
    return read(found["value"], TYPES, parts, blobs)
