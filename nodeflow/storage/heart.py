"""The heartbeat: one thread with a connection of its own says for all consumers of a process that they live.

An event loop that a long synchronous node holds up doesn't stop it. It also looks after the leases of dead consumers
of the same queues, so that no central janitor is needed.
"""

from __future__ import annotations

import itertools
import logging
import secrets  # noqa: F401 - redis-py imports it when it connects: not in a thread, while others may import too
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import redis
from attrs import define, field, frozen
from redis import asyncio as aioredis
from redis.backoff import NoBackoff
from redis.retry import Retry

from nodeflow.storage.connection import RedisConnection
from nodeflow.storage.keeping import KEEP_SECONDS, KEY, SWEEP_MOST_SECONDS, SWEEPS, Keeper
from nodeflow.storage.link import Link
from nodeflow.storage.scripts import script
from nodeflow.storage.session import Session

_log = logging.getLogger(__name__)

_BEATS_PER_LEASE = 4
_LONGEST_PAUSE = 2.5
"""Seconds between two beats at most, so that a dead consumer's items come back soon after its lease."""

_LEAST_IDLE, _IDLE_LEASES = 60.0, 4
"""After how many seconds and lease times without any work a consumer falls silent."""

_SYNC = {
    aioredis.UnixDomainSocketConnection: redis.UnixDomainSocketConnection,
    aioredis.SSLConnection: redis.SSLConnection,
}


@define(eq=False)
class Member:
    """A consumer of one queue, as this process is it.

    Args:
        keys: the queue's keys.
        consumer: its name.
        has_begun: whether it has leased before.
    """

    keys: tuple[str, ...]
    consumer: str
    has_begun: bool = False
    held: set[int] = field(factory=set, init=False)
    """The numbers of its open leases."""
    abandoned: set[int] = field(factory=set, init=False)
    """The numbers of leases that could not be given back when they should have been."""
    seems_empty: bool = field(default=False, init=False)
    """Whether its last lease took all there was, so that what comes next comes into the main list."""
    last_use: float = field(factory=time.monotonic, init=False)


@frozen
class Rhythm:
    """How often a heart beats, and for whom.

    Args:
        session: the session whose consumers they are.
        lease_seconds: how long a consumer may be silent.
        max_deliveries: how often an item may fail alone.
    """

    session: str
    lease_seconds: float
    max_deliveries: int

    @property
    def pause(self) -> float:
        """Seconds between two beats."""
        return min(self.lease_seconds / _BEATS_PER_LEASE, _LONGEST_PAUSE)

    @property
    def milliseconds(self) -> int:
        """How long a sign of life is valid."""
        return max(1, round(self.lease_seconds * 1000))


def heart_of(connection: RedisConnection, session: Session) -> Heart:
    """The heart of a session, which leaves its queues when the store is closed."""
    return session.part("heart", lambda: _begun(connection, session))


def _begun(connection: RedisConnection, session: Session) -> Heart:
    settings, stats, loop = connection.settings, connection.stats, session.loop

    def count(back: int, dead: int) -> None:
        stats.recovered += back
        stats.dead += dead

    def report(back: int, dead: int) -> None:
        with suppress(RuntimeError):  # the event loop may be closed
            loop.call_soon_threadsafe(count, back, dead)

    async def leave() -> None:
        for member in heart.members:
            await connection.last_words("leave", member.keys, [member.consumer, session.id])
        if said := connection.keeper.all_said():
            await connection.last_words("drop_blobs", [KEY, SWEEPS], [SWEEP_MOST_SECONDS, *said])

    rhythm = Rhythm(session.id, settings.lease_seconds, settings.max_deliveries)
    heart = Heart(session.link, rhythm, report, connection.keeper)
    session.before_end(leave)
    session.at_the_end(heart.stop)
    return heart


class Heart:
    """The consumers of a session and the thread that beats for them, which begins with the first.

    Args:
        link: where the server is.
        rhythm: how often it beats, and for whom.
        report: called in the thread with how many items came back and how many died.
        keeper: the blobs that the process has in its hands.
    """

    def __init__(self, link: Link, rhythm: Rhythm, report: Callable[[int, int], None], keeper: Keeper) -> None:
        self.rhythm, self._keeper = rhythm, keeper
        self._options, self._has_flags, self._report = link.options, link.has_flags, report
        self._writers: set[tuple[tuple[str, str], str, str]] = set()
        self._members: dict[tuple[str, str], Member] = {}
        self._had_begun: set[tuple[str, str]] = set()
        """Slots that this session had and then had no use for: it can't take them from who has them now."""
        self._numbers = itertools.count(1)
        self._ends = threading.Event()
        self._thread: threading.Thread | None = None

    def write_as(self, keys: tuple[str, str], writer: str, token: str) -> None:
        """Beat for a writer of a queue."""
        self._writers.add((keys, writer, token))
        self.begin()

    def write_no_more(self, keys: tuple[str, str], writer: str, token: str) -> None:
        """Let a writer fall silent."""
        self._writers.discard((keys, writer, token))

    def member(self, keys: tuple[str, ...], consumer: str) -> Member:
        """The consumer of this name of this queue; from now on the heart beats for it."""
        member = self._members.get((keys[0], consumer))
        if member is None:
            member = Member(keys, consumer, (keys[0], consumer) in self._had_begun)
            self._members[keys[0], consumer] = member
        member.last_use = time.monotonic()
        self.begin()
        return member

    def next_number(self) -> int:
        """A number that no other lease of the session has."""
        return next(self._numbers)

    @property
    def members(self) -> list[Member]:
        """All consumers."""
        return list(self._members.values())

    def stop(self) -> None:
        """End the thread, and wait a moment for its connection to be closed."""
        self._writers.clear()
        self._ends.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(self.rhythm.pause)

    def begin(self) -> None:
        """Beat from now on."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="nodeflow heartbeat", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        client = self._connect()
        try:
            while not self._ends.wait(self.rhythm.pause):
                try:
                    self._beat(client)
                except (redis.RedisError, OSError):
                    continue  # the next beat tries again
                except Exception:
                    _log.exception("a heartbeat failed; the next one tries again")
        finally:
            client.connection_pool.disconnect()

    def _beat(self, client: redis.Redis) -> None:
        """One sign of life for all; what is wrong with one queue keeps none from the others."""
        self._forget_idle()
        rhythm, members = self.rhythm, self.members
        abandoned = [list(member.abandoned) for member in members]
        calls: list[tuple[str, list[Any]]] = []
        for member, numbers in zip(members, abandoned, strict=True):
            arguments = [member.consumer, rhythm.session, rhythm.milliseconds, rhythm.max_deliveries, *numbers]
            calls.append(("beat", [len(member.keys), *member.keys, *arguments]))
        for keys, writer, token in list(self._writers):
            calls.append(("writers", [2, *keys, "beat", rhythm.milliseconds, token, "", "", writer]))
        if due := self._keeper.due():
            calls.append(("keep_blobs", [1, KEY, KEEP_SECONDS, *self._keeper.named(due)]))
        replies = self._evaluate(client, calls) if calls else []
        if due and not isinstance(replies[-1], Exception):
            self._keeper.said(due)
        for member, numbers, reply in zip(members, abandoned, replies, strict=False):
            if not isinstance(reply, Exception):
                member.abandoned.difference_update(numbers)
                if any(reply):
                    self._report(*reply)

    def _forget_idle(self) -> None:
        silent = time.monotonic() - max(_LEAST_IDLE, _IDLE_LEASES * self.rhythm.lease_seconds)
        for key, member in list(self._members.items()):
            if not member.held and not member.abandoned and member.last_use < silent:
                del self._members[key]
                if member.has_begun and member.consumer != self.rhythm.session:
                    self._had_begun.add(key)

    def _evaluate(self, client: redis.Redis, calls: list[tuple[str, list[Any]]]) -> list[Any]:
        """Run scripts, sent together; the reply or the error of each."""
        sources = {name: script(name, self._has_flags) for name, _ in calls}
        replies: list[Any] = []
        for _ in range(2):
            with client.pipeline(transaction=False) as opened:
                pipeline: Any = opened  # redis-py's has no types
                for name, rest in calls:
                    pipeline.execute_command("EVALSHA", sources[name].digest, *rest)
                replies = pipeline.execute(raise_on_error=False)
            if not any(isinstance(reply, redis.exceptions.NoScriptError) for reply in replies):
                break
            for source in sources.values():
                client.script_load(source.text)
        return replies

    def _connect(self) -> redis.Redis:
        options = dict(self._options)
        kind = options.pop("connection_class", None)
        patience = max(0.5, min(10.0, self.rhythm.lease_seconds / 2))
        pool = redis.ConnectionPool(
            connection_class=_SYNC.get(kind, redis.Connection),
            **options,
            max_connections=1,
            protocol=2,
            retry=Retry(NoBackoff(), 0),
            socket_timeout=patience,
            socket_connect_timeout=patience,
        )
        return redis.Redis(connection_pool=pool)
