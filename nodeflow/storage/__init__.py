"""Queues, cache and the one connection below them, behind the facade DataStore."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nodeflow.lazy import from_modules

if TYPE_CHECKING:
    from nodeflow.storage.cache import CacheStore
    from nodeflow.storage.changes import Changes, Gathered, Part, joins_hash
    from nodeflow.storage.claim import Claim
    from nodeflow.storage.connection import RedisConnection
    from nodeflow.storage.datastore import DataStore
    from nodeflow.storage.envelopes import DeadLetter
    from nodeflow.storage.jobs import Jobs
    from nodeflow.storage.lease import Item, Lease
    from nodeflow.storage.ledger import Ledger, LoopEnd
    from nodeflow.storage.payloads import Ready
    from nodeflow.storage.queue import QueueStore
    from nodeflow.storage.stats import Stats
    from nodeflow.storage.tally import Tally

__all__ = [
    "CacheStore",
    "Changes",
    "Claim",
    "DataStore",
    "DeadLetter",
    "Gathered",
    "Item",
    "Jobs",
    "Lease",
    "Ledger",
    "LoopEnd",
    "Part",
    "QueueStore",
    "Ready",
    "RedisConnection",
    "Stats",
    "Tally",
    "joins_hash",
]

__getattr__ = from_modules(
    __name__,
    {
        "CacheStore": "cache",
        "Changes": "changes",
        "Claim": "claim",
        "DataStore": "datastore",
        "DeadLetter": "envelopes",
        "Gathered": "changes",
        "Item": "lease",
        "Jobs": "jobs",
        "Lease": "lease",
        "Ledger": "ledger",
        "LoopEnd": "ledger",
        "Part": "changes",
        "QueueStore": "queue",
        "Ready": "payloads",
        "RedisConnection": "connection",
        "Stats": "stats",
        "Tally": "tally",
        "joins_hash": "changes",
    },
)
