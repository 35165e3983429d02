"""Values as JSON in which what JSON can't hold stands beside its type's name: `{"$type": "tuple", "value": […]}`."""

from __future__ import annotations

import base64
import json
import math
import zlib
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import orjson

from nodeflow.errors import PayloadError
from nodeflow.values.attachment import Attachment
from nodeflow.values.classes import form_of
from nodeflow.values.registry import Registry

TYPE = "$type"
MAX_DEPTH = 200
"""How many lists, dicts and objects may lie in one another."""

_LABELS = {"part", "base64"}
"""Under what the bytes of an attachment stand: their place among the payload's parts, or they themselves."""

_FACTS = ("name", "media_type", "crc32")
"""What may stand beside them."""

_BUILT_IN = (dict, list, str, int, float, set, frozenset, tuple, bytes)
_INT64 = range(-(2**63), 2**64)
_TOO_DEEP = f"nested more than {MAX_DEPTH} levels deep"


class _Refusal(Exception):  # noqa: N818 - it never gets out of this module
    """What is wrong with a part; the steps to it are added on the way out."""

    def __init__(self, reason: str, back_to: int | None = None) -> None:
        super().__init__(reason)
        self.reason, self.back_to = reason, back_to
        self.steps: list[str] = []

    def to_error(self) -> PayloadError:
        steps = self.steps[::-1]
        reason = self.reason
        if self.back_to is not None:
            reason = f"refers back to {''.join(['$', *steps[: self.back_to]])}"
        return PayloadError("".join(["$", *steps]), reason)


REF = "ref"
"""The name of references, whose descriptors aren't looked into."""


class Beside(Protocol):
    """What becomes of the parts of a value that don't stand within its JSON."""

    def attach(self, attachment: Attachment) -> dict[str, Any]:
        """What is written of an attachment beside the name of its type."""

    def refer(self, ref: Any) -> dict[str, Any]:
        """What is written of a reference."""


class Within:
    """They stand within it after all, so that the tree says all."""

    def attach(self, attachment: Attachment) -> dict[str, Any]:
        """Its bytes as text."""
        return {"base64": base64.b64encode(attachment.to_bytes()).decode(), **attachment.facts()}

    def refer(self, ref: Any) -> dict[str, Any]:
        """Its descriptor."""
        return {"descriptor": ref.descriptor_now()}


def write(value: Any, registry: Registry, *, beside: Beside | None = None, is_canonical: bool = False) -> Any:
    """A value as a tree that JSON can hold.

    Args:
        value: what is to be kept.
        registry: the types that it may hold.
        beside: what becomes of attachments and references; None writes them into the tree.
        is_canonical: whether equal sets and dicts become equal trees, whatever order they are in.

    Raises:
        PayloadError: with the path of the first part that can't be kept.
    """
    try:
        return _Writer(registry, beside or Within(), is_canonical).write(value)
    except _Refusal as refusal:
        raise refusal.to_error() from refusal.__cause__
    except RecursionError:
        raise PayloadError("$", _TOO_DEEP) from None


def read(
    data: Any, registry: Registry, parts: Sequence[memoryview] = (), blobs: Any = None, *, are_checked: bool = False
) -> Any:
    """The value that `write` made such a tree of.

    Args:
        data: the tree.
        registry: the types that it may hold.
        parts: the attachments that stand in it by place, under the label `part`.
        blobs: where the blobs of its references lie.
        are_checked: whether the parts are known to be unchanged.

    Raises:
        PayloadError: with the path of the first part that can't be read.
    """
    try:
        return _Reader(registry, parts, blobs, are_checked).read(data)
    except _Refusal as refusal:
        raise refusal.to_error() from refusal.__cause__
    except RecursionError:
        raise PayloadError("$", _TOO_DEEP) from None


class _Writer:
    def __init__(self, registry: Registry, beside: Beside, is_canonical: bool) -> None:
        self._registry, self._beside, self._is_canonical = registry, beside, is_canonical
        self._open: dict[int, int] = {}  # the containers around the part at hand, and how deep each lies

    def write(self, value: Any) -> Any:
        kind = type(value)
        if kind is str:
            return _checked(value)
        if value is None or kind is bool or (kind is int and value in _INT64):
            return value
        if kind is float and math.isfinite(value):
            return value
        if id(value) in self._open:
            raise _Refusal("", back_to=self._open[id(value)])
        if len(self._open) >= MAX_DEPTH:
            raise _Refusal(_TOO_DEEP)
        self._open[id(value)] = len(self._open)
        written: Any
        if kind is list:
            written = self._list(value)
        elif kind is dict and TYPE not in value and all(type(key) is str for key in value):
            written = self._dict(value)
        elif kind is dict:
            written = {TYPE: "dict", "value": self._pairs(value)}
        else:
            written = self._tagged(kind, value)
        del self._open[id(value)]
        return written

    def _tagged(self, kind: type, value: Any) -> dict[str, Any]:
        label, is_unordered = "value", False
        try:
            if (known := self._registry.kind_of(kind)) is not None:
                if known.attach is not None and (attachment := known.attach(value)) is not None:
                    return {TYPE: known.name, **self._beside.attach(attachment)}
                if known.name == REF:
                    return {TYPE: REF, **self._beside.refer(value)}
                name, content, is_unordered = known.name, known.encode(value), known.is_unordered
            elif (found := self._registry.form_of(kind)) is not None:
                name, form = found
                label, content = form.label, form.encode(value)
            else:
                raise _Refusal(_why_not(kind))
        except _Refusal:
            raise
        except Exception as error:  # what a user's function makes of it
            name = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
            raise _Refusal(f"{name}{error}") from error
        if type(content) is list:
            content = self._list(content)
        elif type(content) is dict and label != "value":
            content = self._dict(content)
        else:
            content = self.write(content)
        return {TYPE: name, label: self._sorted(content) if is_unordered else content}

    def _sorted(self, written: list[Any]) -> list[Any]:
        """In an order of their own where equal values must be written equally."""
        return sorted(written, key=lambda part: dumps(part, orjson.OPT_SORT_KEYS)) if self._is_canonical else written

    def _pairs(self, value: dict[Any, Any]) -> list[Any]:
        written, key = [], None
        try:
            for key, part in value.items():
                written.append([self.write(key), self.write(part)])
        except _Refusal as refusal:
            refusal.steps.append(f"[{_shown(key)}]")
            raise
        return self._sorted(written)

    def _list(self, value: list[Any]) -> list[Any]:
        written: list[Any] = []
        try:
            for part in value:
                written.append(self.write(part))  # noqa: PERF401 - how many there are says where it stopped
        except _Refusal as refusal:
            refusal.steps.append(f"[{len(written)}]")
            raise
        return written

    def _dict(self, value: dict[str, Any]) -> dict[str, Any]:
        written, key = {}, ""
        try:
            for key, part in value.items():
                written[_checked(key)] = self.write(part)
        except _Refusal as refusal:
            refusal.steps.append(_step_to(key))
            raise
        return written


class _Reader:
    def __init__(self, registry: Registry, parts: Sequence[memoryview], blobs: Any, are_checked: bool) -> None:
        self._registry, self._parts, self._blobs, self._are_checked = registry, parts, blobs, are_checked

    def read(self, data: Any) -> Any:
        """All in one function, so that a value of `MAX_DEPTH` levels doesn't need more frames than Python allows."""
        kind = type(data)
        if kind is list:
            parts: list[Any] = []
            try:
                for part in data:
                    parts.append(self.read(part))  # noqa: PERF401 - how many there are says where it stopped
            except _Refusal as refusal:
                refusal.steps.append(f"[{len(parts)}]")
                raise
            return parts
        if kind is not dict:
            return data
        if data.get(TYPE) == REF:
            return self._made(dict(data))
        fields, key = {}, ""
        try:
            for key, part in data.items():
                fields[key] = self.read(part)
        except _Refusal as refusal:
            refusal.steps.append(_step_to(key))
            raise
        return self._made(fields) if TYPE in data else fields

    def _made(self, fields: dict[str, Any]) -> Any:
        name = fields.pop(TYPE)
        facts = {key: fields.pop(key) for key in _FACTS if key in fields} if fields.keys() & _LABELS else {}
        if not isinstance(name, str) or len(fields) != 1:
            raise _Refusal(f"{TYPE!r} must be a type's name and have its content beside it")
        ((label, content),) = fields.items()
        try:
            return self._decoder(name, label)(content, **facts)
        except _Refusal:
            raise
        except Exception as error:  # whatever bad content does to it, and to functions of users
            raise _Refusal(f"not a {name}: {type(error).__name__}: {error}") from error

    def _decoder(self, name: str, label: str) -> Callable[..., Any]:
        kind = self._registry.kind_named(name)
        if kind is not None and name == REF and label == "descriptor":
            return lambda content: kind.decode(content, self._blobs)
        if kind is not None and name != REF and label == "value":
            return kind.decode
        if kind is not None and label in _LABELS and (from_bytes := kind.from_bytes) is not None:
            bytes_of = self._part if label == "part" else _from_base64
            is_checked = kind.is_checked and not self._are_checked
            return lambda content, **facts: from_bytes(_checked_by(facts, bytes_of(content), is_checked), **facts)
        if (form := self._registry.form_named(name)) is not None and form.label == label:
            return form.decode
        raise _Refusal(f"no type of the name {name!r} is known: no module of the graph has it, and it isn't registered")

    def _part(self, place: Any) -> memoryview:
        if type(place) is not int or not 0 <= place < len(self._parts):
            raise ValueError(f"there is no part {place!r}")
        return self._parts[place]


def _checked_by(facts: dict[str, Any], data: memoryview, is_checked: bool) -> memoryview:
    """The bytes of an attachment; those that must be known to be unchanged are compared with their checksum."""
    crc32 = facts.pop("crc32", None)
    if is_checked and zlib.crc32(data) != crc32:
        raise ValueError("its bytes were changed")
    return data


def _from_base64(text: str) -> memoryview:
    return memoryview(base64.b64decode(text, validate=True))


def dumps(data: Any, option: int = 0) -> bytes:
    """A tree as JSON, also when it is deeper than the 254 levels that orjson writes."""
    try:
        return orjson.dumps(data, option=option)
    except orjson.JSONEncodeError:
        is_sorted = bool(option & orjson.OPT_SORT_KEYS)
        text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"), sort_keys=is_sorted)
        return text.encode()


def _step_to(key: str) -> str:
    return f".{key}" if key.isidentifier() else f"[{key!a}]"


def _shown(key: Any) -> str:
    try:
        return f"{key!a:.60}"
    except Exception:
        return type(key).__qualname__


def _checked(text: str) -> str:
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise _Refusal(f"str with a lone surrogate, which UTF-8 can't hold: {text[:60]!a}") from None
    return text


def _why_not(kind: type) -> str:
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    if kind.__name__ in ("function", "method", "builtin_function_or_method", "type", "module"):
        return f"a {kind.__name__} is code, not a value"
    if hasattr(kind, "fileno") or hasattr(kind, "acquire"):
        return f"{name} belongs to this process: open files and locks can't be kept"
    if hasattr(kind, "__next__") or hasattr(kind, "__anext__"):
        return f"{name} can be gone through only once: give a list"
    bases = [base.__name__ for base in _BUILT_IN if issubclass(kind, base)]
    if bases and form_of(kind) is None:
        return f"{name} would come back as {bases[0]}: give that, or register it with nodeflow.values.register"
    return (
        f"{name} is of no known type: make it a dataclass, an attrs class or a pydantic model of the graph's modules, "
        "or give it to nodeflow.values.register"
    )
