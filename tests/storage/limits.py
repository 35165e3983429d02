"""Small limits, so that values needn't be large to be beyond them."""

from __future__ import annotations

import pytest
from attrs import evolve

from nodeflow.storage import DataStore


def limit_taking(store: DataStore, monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    """Let items be taken that have so many bytes, however many may be pushed."""
    monkeypatch.setattr(
        store.queue._hops, "_payloads", evolve(store._payloads, settings=evolve(store.settings, max_payload_bytes=most))
    )
