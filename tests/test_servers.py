"""The core of the tests is run on two servers."""

from __future__ import annotations

import redis


def test_the_core_of_the_tests_is_run_on_a_redis_too(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        found = client.info("server")
    assert "redis_version" in found
    assert "valkey_version" not in found
