"""Which kind of bucket a URL means."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from nodeflow.values.blobs.bucket import Bucket
from nodeflow.values.blobs.folder import Folder

_SCHEMES = ("s3", "s3a", "gs", "az", "azure", "abfs", "abfss", "memory")


def bucket_at(url: str | Path) -> Bucket:
    """The bucket at a folder's path or a URL; nothing is read or written yet.

    Raises:
        ValueError: the URL is of no known kind, or what it needs from the environment is wrong.
    """
    parts = urlsplit(str(url))
    if isinstance(url, Path) or parts.scheme in ("", "file"):
        return Folder(Path(unquote(parts.path) if parts.scheme == "file" else url))
    if parts.scheme not in _SCHEMES:
        raise ValueError(f"blobs can't lie at {parts.scheme}://: give a folder, or {', '.join(_SCHEMES)}")
    from nodeflow.values.blobs.remote import Remote

    try:
        return Remote(str(url))
    except Exception as error:
        reason = str(error).splitlines()[0].replace(str(url), "the URL")
        raise ValueError(f"blobs can't lie at {parts.scheme}://{parts.hostname or ''}: {reason}") from None
