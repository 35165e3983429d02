"""A descriptor: what stands for a value that lies in a blob (the claim check)."""

from __future__ import annotations

import re
from typing import Any, Literal, Self
from uuid import uuid4

import attrs
import orjson
from attrs import asdict, frozen

from nodeflow.errors import PayloadError

EXTERNAL = b'{"type":"external_ref"'
"""How a descriptor begins; nothing else that is stored does."""

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
        kind: the name of the type that the bytes are a value of, as `ndarray`; empty when they are a payload.
    """

    storage_id: str
    size_bytes: int
    stored_bytes: int
    media_type: str
    digest: str
    kind: str = ""

    def to_data(self) -> dict[str, Any]:
        """As it is kept: a dict that JSON holds."""
        fields = asdict(self)
        if not self.kind:
            del fields["kind"]
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
        fields["kind"] = data.get("kind", "")
        sizes = fields["size_bytes"], fields["stored_bytes"]
        texts = fields["media_type"], fields["digest"], fields["kind"]
        if not is_blob_id(fields["storage_id"]):
            raise PayloadError("$.storage_id", f"{fields['storage_id']!r:.60} is no id of a blob")
        if any(type(size) is not int or size < 0 for size in sizes) or not all(isinstance(text, str) for text in texts):
            raise PayloadError("$", f"a descriptor of blob {fields['storage_id']} with wrong or missing fields")
        return cls(**fields)


def new_blob_id(kind: Literal["output", "streaming"] = "output") -> str:
    """The id of a new blob."""
    return f"{kind}_{uuid4().hex}"


def is_blob_id(text: object) -> bool:
    """Whether this is the id of a blob, and so can't be a path to anything else."""
    return isinstance(text, str) and _ID.fullmatch(text) is not None
