"""The settings of nodeflow and how they are read from the environment."""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TypedDict

from attrs import field, frozen
from attrs.validators import in_, le

SEVEN_DAYS = 7 * 24 * 3600.0

_KEY_BYTES = 32

MOST_RECONNECT_SECONDS = 600.0
"""The server knows for 900 s what a step did (`lib_once.lua`); one that is sent again must not come after that."""


class Options(TypedDict, total=False):
    """The settings that every door of `DataStore` takes; see `Settings`."""

    lease_seconds: float
    max_deliveries: int
    reconnect_seconds: float
    max_payload_bytes: int
    max_inline_bytes: int
    blobs: str | None
    compress_above: int | None
    keys: str | None


def _positive(instance: Settings, attribute: object, value: float) -> None:
    if value <= 0:
        raise ValueError(f"{getattr(attribute, 'name', 'the setting')} must be more than 0, not {value!r}")


@frozen(kw_only=True)
class Settings:
    """What can be set about where and how nodeflow keeps its data.

    Args:
        url: the server's address, as in `redis://localhost:6379/0`; None means the embedded server.
            It may hold a password and is left out of the repr.
        folder: where the embedded server keeps its data and its socket.
        pool_size: how many connections one process may hold to the server, at least 4.
        output_ttl: how long development mode keeps a node's output, in seconds.
        server_idle: after how many seconds without a client the embedded server stops.
        server_fsync: when the embedded server forces what it writes to the disk: `everysec` or `always`. Its death
            alone loses nothing confirmed, but for a slow disk; a crash of the machine costs up to two seconds of
            writes, or none. `no` leaves it to the operating system. Where the server runs already, `always` sets it
            so for as long as it runs; anything else leaves it.
        lease_seconds: for how many seconds a consumer may show no sign of life before its items go to others.
        max_deliveries: how often an item is delivered alone and fails before it goes to the dead letters.
        reconnect_seconds: for how long a call goes on trying when the server is gone or not ready, in
            seconds; at most 600.
        verify_tls: False accepts any certificate of a `rediss://` server; for tests only.
        max_payload_bytes: how many bytes a value may have in the server.
        max_inline_bytes: how many of its stored bytes lie in the server where there are blobs; what has more is a blob.
        blobs: where large values go: a folder, or `s3://…`, `gs://…`, `az://…`, `memory://`; None keeps all values in
            the server.
        compress_above: how many bytes a value has at least to be compressed where that pays; None compresses nothing.
        keys: what values are encrypted with, as in `id2:BASE64,id1:BASE64` of 32 bytes each: the first one writes, all
            read. None encrypts nothing.
        allow_eviction: True runs graphs also on a server that throws data away when its memory is full.
    """

    url: str | None = field(default=None, repr=False)
    folder: Path = field(default=Path(".nodeflow"), converter=Path)
    pool_size: int = field(default=10, validator=_positive)
    output_ttl: float = field(default=SEVEN_DAYS, validator=_positive)
    server_idle: float = field(default=60.0, validator=_positive)
    server_fsync: str = field(default="everysec", validator=in_(("everysec", "always", "no")))
    lease_seconds: float = field(default=30.0, validator=_positive)
    max_deliveries: int = field(default=3, validator=_positive)
    reconnect_seconds: float = field(default=30.0, validator=[_positive, le(MOST_RECONNECT_SECONDS)])
    verify_tls: bool = True
    max_payload_bytes: int = field(default=64 << 20, validator=_positive)
    max_inline_bytes: int = field(default=1 << 20, validator=_positive)
    blobs: str | None = field(default=None, repr=False)
    compress_above: int | None = 4096
    keys: str | None = field(default=None, repr=False)
    allow_eviction: bool = False

    def __attrs_post_init__(self) -> None:
        self.encryption_keys  # noqa: B018 - a bad key is met here

    @property
    def encryption_keys(self) -> dict[str, bytes]:
        """The keys by id, the one that writes first.

        Raises:
            ValueError: one is no `id:key`, or its key has not 32 bytes; the message doesn't show it.
        """
        found = {}
        for number, text in enumerate(filter(None, (self.keys or "").split(",")), 1):
            name, separator, key = text.strip().partition(":")
            try:
                found[name] = base64.b64decode(key, altchars=b"-_" if "-" in key or "_" in key else None, validate=True)
            except ValueError:
                raise ValueError(f"key {number} of NODEFLOW_KEYS is no base64: write id:BASE64") from None
            if not separator or not re.fullmatch(r"[A-Za-z0-9_.-]{1,32}", name) or len(found[name]) != _KEY_BYTES:
                raise ValueError(
                    f"key {number} of NODEFLOW_KEYS must be id:BASE64 of {_KEY_BYTES} bytes; an id is up to 32 "
                    "letters, digits and '_.-'"
                )
            if len(found) < number:
                raise ValueError(f"key {number} of NODEFLOW_KEYS has the id of another one")
        return found

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ) -> Settings:
        """Read the settings from environment variables.

        Args:
            environ: `NODEFLOW_URL`, else `REDIS_URL`; `NODEFLOW_FOLDER`; `NODEFLOW_FSYNC`; `NODEFLOW_KEYS`;
                `NODEFLOW_BLOBS`, else the folder `blobs` beside the embedded server's data; `NODEFLOW_ALLOW_EVICTION`.
        """
        url = environ.get("NODEFLOW_URL") or environ.get("REDIS_URL") or None
        folder = Path(environ.get("NODEFLOW_FOLDER") or ".nodeflow")
        return cls(
            url=url,
            folder=folder,
            blobs=environ.get("NODEFLOW_BLOBS") or (None if url else str(folder / "blobs")),
            server_fsync=environ.get("NODEFLOW_FSYNC") or "everysec",
            keys=environ.get("NODEFLOW_KEYS") or None,
            allow_eviction=environ.get("NODEFLOW_ALLOW_EVICTION", "") not in ("", "0"),
        )
