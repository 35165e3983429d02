"""Bundles: a value whose JSON refers to attachments, and both of them as bytes.

The bytes begin with a magic and the length of the JSON, then comes the JSON, whose `parts` are the attachments' sizes;
each of them begins at a multiple of `ALIGNMENT`, so that arrays can lie upon a file that is mapped into memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import orjson
from attrs import evolve, field, frozen

from nodeflow.errors import PayloadError
from nodeflow.values.attachment import JSON, Attachment
from nodeflow.values.frames import Parts

MEDIA_TYPE = "application/vnd.nodeflow.bundle"
ALIGNMENT = 64
_MAGIC = b"\x9dNB\x01"
_HEAD = len(_MAGIC) + 4


@frozen
class Bundle:
    """A value that was encoded, with what stands beside its JSON.

    Args:
        json: the JSON, of which `parts` lists the attachments' sizes.
        attachments: what it refers to by place.
        blobs: the ids of the blobs that it refers to.
        alone: the only attachment, when the value is nothing else; or None.
        refs: the references in it.
        unsaved: the references that need a blob before the value can be encoded.
        whole: the value in lines, when it is too large to be encoded at once.
    """

    json: bytes
    attachments: Sequence[Attachment]
    blobs: Sequence[str] = ()
    alone: Attachment | None = None
    refs: Sequence[Any] = ()
    unsaved: Sequence[Any] = ()
    whole: Attachment | None = None
    size: int = field(init=False)
    """How many bytes it has."""

    def __attrs_post_init__(self) -> None:
        end = _HEAD + len(self.json) if self.attachments else len(self.json)
        for attachment in self.attachments:
            end = _aligned(end) + attachment.size
        object.__setattr__(self, "size", self.whole.size if self.whole is not None else end)

    def parts(self) -> Iterator[Parts]:
        """Its bytes.

        Raises:
            PayloadError: an attachment hasn't the size that it had.
        """
        if not self.attachments:
            yield from [self.json] if self.whole is None else self.whole.parts()
            return
        yield _MAGIC + len(self.json).to_bytes(4, "big") + self.json
        end = _HEAD + len(self.json)
        for attachment in self.attachments:
            yield bytes(_aligned(end) - end)
            yield from sized(attachment)
            end = _aligned(end) + attachment.size

    def to_bytes(self) -> bytes:
        """All of them at once."""
        return b"".join(self.parts())


def as_attachment(data: bytes | Bundle) -> Attachment:
    """A value that was encoded, as bytes: an array, table or file alone as it is, all else as its payload."""
    if not isinstance(data, Bundle):
        return Attachment(JSON, len(data), lambda: [data], is_mapped=False)
    if (alone := data.whole or data.alone) is not None:
        return evolve(alone, parts=partial(sized, alone))
    is_mapped = any(attachment.is_mapped for attachment in data.attachments)
    return Attachment(
        MEDIA_TYPE if data.attachments else JSON, data.size, data.parts, is_mapped, blobs=tuple(data.blobs)
    )


def sized(attachment: Attachment) -> Iterator[Parts]:
    """The bytes of an attachment.

    Raises:
        PayloadError: it hasn't the size that it had: a file that is being written to, for example.
    """
    left = attachment.size
    for part in attachment.parts():
        left -= memoryview(part).nbytes
        yield part
    if left:
        raise PayloadError("$", f"what it holds changed its size by {-left:,} bytes while it was read")


def is_bundle(data: Parts) -> bool:
    """Whether these are the bytes of a bundle; no JSON begins so."""
    return data[:4] == _MAGIC


def opened_bundle(data: Parts) -> tuple[bytes, memoryview, int]:
    """The JSON of a bundle, all of its bytes, and where the first attachment may begin.

    Raises:
        PayloadError: it was cut off.
    """
    view = memoryview(data)
    end = _HEAD + int.from_bytes(view[4:_HEAD], "big")
    if len(view) < max(end, _HEAD):
        raise PayloadError("$", f"a bundle that was cut off: it has {len(view):,} bytes")
    return view[_HEAD:end].tobytes(), view, end


def parts_of(sizes: Any, view: memoryview, start: int) -> list[memoryview]:
    """The attachments of a bundle.

    Args:
        sizes: what its JSON says of them.
        view: all of its bytes.
        start: where the first one may begin.

    Raises:
        PayloadError: the bytes aren't those.
    """
    if not isinstance(sizes, list) or any(type(size) is not int or size < 0 for size in sizes):
        raise PayloadError("$", f"a bundle whose parts are {orjson.dumps(sizes)[:60]!r}")
    found = []
    for size in sizes:
        start = _aligned(start)
        found.append(view[start : start + size])
        start += size
    if start != len(view) and sizes:
        raise PayloadError("$", f"a bundle that was cut off: it has {len(view):,} bytes, not {start:,}")
    return found


def _aligned(place: int) -> int:
    return -(-place // ALIGNMENT) * ALIGNMENT
