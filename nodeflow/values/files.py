"""Files as values: their bytes travel, and whoever receives one has a file of its own."""

from __future__ import annotations

import mimetypes
import os
import shutil
import tempfile
import weakref
from collections.abc import Iterator
from pathlib import Path

from nodeflow.values.attachment import BINARY, Attachment
from nodeflow.values.frames import Parts
from nodeflow.values.kinds import always_attached
from nodeflow.values.registry import TYPES

_PART_BYTES = 8 << 20
_LONGEST_NAME = 255


class File:
    """A file: what a node returns to send its bytes on, and what the next one receives.

    What was received lies in a private folder and goes with this object: move or copy what shall stay.

    Args:
        path: the file. It is read when the value is sent, so it must stay as it is until then.
        media_type: what it holds; None guesses by its name.

    Raises:
        TypeError: the path is none.
        FileNotFoundError: it isn't there, or is no file.
    """

    def __init__(self, path: Path | str, media_type: str | None = None) -> None:
        if not isinstance(path, Path | str):
            raise TypeError(f"a File needs a path, not {type(path).__name__}")
        self._path: Path | None = Path(path).absolute()
        self._data = memoryview(b"")
        if not self._path.is_file():
            raise FileNotFoundError(f"there is no file {self._path}")
        self.name = self._path.name
        self.media_type = media_type or media_type_of(self.name)

    def __repr__(self) -> str:
        return f"File({str(self._path) if self._path else self.name!r})"

    def __fspath__(self) -> str:
        return str(self.path)

    @property
    def path(self) -> Path:
        """Where it lies on this machine."""
        if self._path is None:
            path = _private_folder(self) / self.name
            path.write_bytes(self._data)
            self._path, self._data = path, memoryview(b"")
        return self._path

    @property
    def size(self) -> int:
        """How many bytes it has."""
        return len(self._data) if self._path is None else self._path.stat().st_size

    def read_bytes(self) -> bytes:
        """All of them."""
        return bytes(self._data) if self._path is None else self._path.read_bytes()

    def read_text(self, encoding: str = "utf-8") -> str:
        """All of it as text."""
        return self.read_bytes().decode(encoding)

    def parts(self) -> Iterator[Parts]:
        """Its bytes in parts."""
        if self._path is None:
            yield self._data
            return
        with self._path.open("rb") as file:
            while part := file.read(_PART_BYTES):
                yield part

    def attached(self) -> Attachment:
        """Its bytes beside a value's JSON."""
        if self._path is not None and not self._path.is_file():
            raise ValueError(f"there is no file {self._path} any more")
        try:
            self.name.encode()
        except UnicodeEncodeError:
            raise ValueError(f"the file's name {self.name!a} is no text: rename it") from None
        return Attachment(self.media_type, self.size, self.parts, is_mapped=False, name=self.name)

    @classmethod
    def of_bytes(cls, data: memoryview, name: str, media_type: str = "") -> File:
        """A file that is written when somebody asks for its path.

        Raises:
            ValueError: the name could be a path to anything else.
        """
        found = cls._named(name, media_type)
        found._data = data
        return found

    @classmethod
    def to_be_filled(cls, name: str, media_type: str = "") -> File:
        """An empty file in a folder of its own, which the caller fills.

        Raises:
            ValueError: the name could be a path to anything else.
        """
        found = cls._named(name, media_type)
        found._path = _private_folder(found) / name
        found._path.touch(0o600)
        return found

    @classmethod
    def _named(cls, name: str, media_type: str) -> File:
        is_plain = (
            isinstance(name, str) and Path(name).name == name and name not in ("", ".", "..") and "\0" not in name
        )
        if not is_plain or len(os.fsencode(name)) > _LONGEST_NAME:
            raise ValueError(f"{name!r:.60} is no name of a file")
        found = cls.__new__(cls)
        found._path, found._data = None, memoryview(b"")
        found.name, found.media_type = name, str(media_type) or media_type_of(name)
        return found


def _private_folder(owner: object) -> Path:
    """A new folder that only this user can read, and that goes with its owner."""
    folder = tempfile.mkdtemp(prefix="nodeflow-")
    weakref.finalize(owner, shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


def media_type_of(name: str) -> str:
    """What a file holds, by its name."""
    return mimetypes.guess_type(name)[0] or BINARY


TYPES.add(File, always_attached("file", File.attached, File.of_bytes))
