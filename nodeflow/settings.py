"""The settings of nodeflow and how they are read from the environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from attrs import field, frozen

SEVEN_DAYS = 7 * 24 * 3600.0


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
    """

    url: str | None = field(default=None, repr=False)
    folder: Path = field(default=Path(".nodeflow"), converter=Path)
    pool_size: int = field(default=10, validator=_positive)
    output_ttl: float = field(default=SEVEN_DAYS, validator=_positive)
    server_idle: float = field(default=60.0, validator=_positive)

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ) -> Settings:
        """Read the settings from environment variables.

        Args:
            environ: `NODEFLOW_URL`, else `REDIS_URL`; `NODEFLOW_FOLDER`.
        """
        url = environ.get("NODEFLOW_URL") or environ.get("REDIS_URL") or None
        return cls(url=url, folder=Path(environ.get("NODEFLOW_FOLDER") or ".nodeflow"))
