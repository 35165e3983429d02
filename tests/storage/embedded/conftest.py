"""A folder for an embedded server, which is stopped at the end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from nodeflow.storage.embedded import stop


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / ".nodeflow"
    yield folder
    stop(folder)
