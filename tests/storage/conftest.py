"""What the tests of the storage share."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis


@pytest.fixture
async def client(server_url: str) -> AsyncIterator[Redis]:
    """A client of redis-py that knows nothing of nodeflow."""
    async with Redis.from_url(server_url) as client:
        yield client
