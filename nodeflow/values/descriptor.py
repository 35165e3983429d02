"""Descriptors: what stands for a value that lies in a blob (the claim check), or that a reference carries along."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from typing import Any, Literal, Protocol, Self
from uuid import uuid4

import attrs
import orjson
from attrs import asdict, frozen

from nodeflow.errors import PayloadError
from nodeflow.values.attachment import JSON, Attachment

EXTERNAL = b'{"type":"external_ref"'
"""How a descriptor begins; nothing else that is stored does."""

INLINE = "inline_ref"
"""The type of a descriptor that holds its value."""

_OPTIONAL: dict[str, Any] = {"kind": "", "name": "", "blobs": ()}
_ID = re.compile(r"(output|streaming)_[0-9a-f]{32}")


@frozen(kw_only=True)
class Descriptor:
    """What is known of a value that lies in a blob.

    Args:
        storage_id: the blob's id, `output_` or `streaming_` and 32 hexadecimal digits.
        size_bytes: how many bytes the value has.
        stored_bytes: how many bytes the blob has.
        media_type: what the value's bytes are.
        digest: `sha256:` and the digest of the blob's bytes, in hexadecimal.
        kind: the name of the type that the bytes are a value of, as `numpy.ndarray`; empty when they are a payload.
        name: the name of the file that they are; else empty.
        blobs: the ids of further blobs that the value refers to.
        content_digest: the digest of the value's bytes, where the blob has others: compressed or encrypted ones.
    """

    storage_id: str
    size_bytes: int
    stored_bytes: int
    media_type: str
    digest: str
    kind: str = ""
    name: str = ""
    blobs: tuple[str, ...] = ()
    content_digest: str = ""

    def every_blob(self) -> tuple[str, ...]:
        """The ids of all blobs that the value needs."""
        return (self.storage_id, *self.blobs)

    def to_data(self) -> dict[str, Any]:
        """As it is kept: a dict that JSON holds."""
        fields = asdict(self)
        for name in (*_OPTIONAL, "content_digest"):
            if not fields[name]:
                del fields[name]
        return {"type": "external_ref", **fields}

    def to_json(self) -> bytes:
        """As it is stored in the place of the value."""
        return orjson.dumps(self.to_data())

    @classmethod
    def from_json(cls, data: bytes) -> Self:
        """From what is stored in the place of the value; raises as `from_data`."""
        try:
            return cls.from_data(orjson.loads(data))
        except orjson.JSONDecodeError as error:
            raise PayloadError("$", f"no descriptor of a blob: {data[:60]!r}") from error

    @classmethod
    def from_data(cls, data: Any) -> Self:
        """From how it is kept.

        Raises:
            PayloadError: it is none, or its id could be a path.
        """
        if not isinstance(data, dict) or data.get("type") != "external_ref":
            raise PayloadError("$", f"no descriptor of a blob: {str(data)[:60]!r}")
        fields: dict[str, Any] = {field.name: data.get(field.name) for field in attrs.fields(cls)}
        fields |= {name: data.get(name, default) for name, default in _OPTIONAL.items()}
        fields["content_digest"] = data.get("content_digest", "")
        blobs = fields["blobs"]
        sizes = fields["size_bytes"], fields["stored_bytes"]
        texts = fields["media_type"], fields["digest"], fields["kind"], fields["name"], fields["content_digest"]
        if not is_blob_id(fields["storage_id"]):
            raise PayloadError("$.storage_id", f"{fields['storage_id']!r:.60} is no id of a blob")
        if not _are_blob_ids(blobs):
            raise PayloadError("$.blobs", f"{blobs!r:.60} are no ids of blobs")
        fields["blobs"] = tuple(blobs)
        if any(type(size) is not int or size < 0 for size in sizes) or not all(isinstance(text, str) for text in texts):
            raise PayloadError("$", f"a descriptor of blob {fields['storage_id']} with wrong or missing fields")
        return cls(**fields)


class HasBlob(Protocol):
    """A reference that may have a blob."""

    descriptor: Descriptor | None


@frozen(kw_only=True)
class Inline:
    """A value that lies in its descriptor.

    Args:
        content: the value's bytes.
        media_type: what they are.
        kind: the name of the type that they are a value of; empty when they are a payload.
        name: the name of the file that they are; else empty.
        blobs: the ids of the blobs that the value refers to.
        crc32: the checksum of the bytes, for types that need one; else -1.
    """

    content: bytes
    media_type: str
    kind: str = ""
    name: str = ""
    blobs: tuple[str, ...] = ()
    crc32: int = -1

    @classmethod
    def of(cls, alone: Attachment) -> Self:
        """A descriptor that holds these bytes."""
        facts = {"media_type": alone.media_type, **alone.facts()}
        return cls(content=alone.to_bytes(), kind=alone.kind, blobs=alone.blobs, **facts)

    @property
    def of_file(self) -> dict[str, str]:
        """The name and the media type of the file that it is; nothing when it is none."""
        return {"name": self.name, "media_type": self.media_type} if self.name else {}

    def to_data(self) -> dict[str, Any]:
        """As it is kept: a dict that JSON holds."""
        data: dict[str, Any] = {"type": INLINE, "media_type": self.media_type, "size_bytes": len(self.content)}
        data |= {name: part for name in _OPTIONAL if (part := getattr(self, name))}
        data |= {"crc32": self.crc32} if self.crc32 >= 0 else {}
        if self.media_type == JSON and not self.kind:
            return {**data, "json": self.content.decode()}
        return {**data, "base64": base64.b64encode(self.content).decode()}

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Self:
        """From how it is kept.

        Raises:
            PayloadError: it is none, or its bytes can't be read.
        """
        fields = {name: data.get(name, default) for name, default in {"media_type": "", **_OPTIONAL}.items()}
        text, base64_text = data.get("json", ""), data.get("base64", "")
        texts = (fields["media_type"], fields["kind"], fields["name"], text, base64_text)
        fields["crc32"] = data.get("crc32", -1)
        are_texts = all(isinstance(text, str) for text in texts)
        if not are_texts or not _are_blob_ids(fields["blobs"]) or type(fields["crc32"]) is not int:
            raise PayloadError("$", f"a descriptor with wrong fields: {str(data)[:60]!r}")
        try:
            content = text.encode() if "json" in data else base64.b64decode(base64_text, validate=True)
        except ValueError as error:
            raise PayloadError("$", f"a descriptor whose bytes can't be read: {error}") from error
        return cls(**{**fields, "content": content, "blobs": tuple(fields["blobs"])})


def new_blob_id(kind: Literal["output", "streaming"] = "output") -> str:
    """The id of a new blob."""
    return f"{kind}_{uuid4().hex}"


def is_blob_id(text: object) -> bool:
    """Whether this is the id of a blob, and so can't be a path to anything else."""
    return isinstance(text, str) and _ID.fullmatch(text) is not None


def _are_blob_ids(blobs: object) -> bool:
    return isinstance(blobs, list | tuple) and all(map(is_blob_id, blobs))
