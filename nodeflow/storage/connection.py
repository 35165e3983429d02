"""The one connection to the server: lazy, shared by all stores, its failures waited out or translated here."""

from __future__ import annotations

import asyncio
import os
import warnings
import weakref
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any, TypeVar

import anyio
import redis
from redis.asyncio import Redis
from redis.backoff import ExponentialWithJitterBackoff

from nodeflow.errors import NodeflowError, StorageError, StorageFullError, StoreClosedError
from nodeflow.settings import Settings
from nodeflow.storage.arguments import whole
from nodeflow.storage.endings import awaited, to_the_end
from nodeflow.storage.failures import NotSent, copy_of, is_passing, is_refusal, translated
from nodeflow.storage.keeping import Keeper
from nodeflow.storage.link import BLOCK_SECONDS, Link, pack
from nodeflow.storage.scripts import script
from nodeflow.storage.session import Session
from nodeflow.storage.stats import Stats
from nodeflow.storage.target import Target

T = TypeVar("T")

_LEAST_BLOCK = 0.01
_END_SECONDS = 2.0
_LEAST_POOL = 4
_FIRST_PAUSE = 0.01
_PAUSES = ExponentialWithJitterBackoff(cap=1.0, base=_FIRST_PAUSE)


class RedisConnection:
    """A server's address and, from the first use on, one client for all stores.

    One connection is the heartbeat's. Half of the others are for commands that block in the server, so that those
    never keep the others waiting. redis-py's own retries are off: they would send an LPUSH whose reply was lost a
    second time. What is tried again here does nothing when it was done already.

    Args:
        settings: the server's URL, or the folder of the embedded server; the number of connections.

    Raises:
        ValueError: when the URL is wrong, or `pool_size` is below 4.
    """

    def __init__(self, settings: Settings) -> None:
        whole("pool_size", settings.pool_size, _LEAST_POOL)
        self.settings = settings
        self.stats = Stats()
        self.is_closed = False
        self.keeper = Keeper()
        self._target = Target(settings)
        self._session: Session | None = None
        self._finalizer: weakref.finalize[Any, Any] | None = None
        self._opening = anyio.Lock()
        self._failure: tuple[float, StorageError] | None = None

    def __repr__(self) -> str:
        return f"RedisConnection({self.address})"

    @property
    def address(self) -> str:
        """Where the server is, without its password."""
        return self._target.address

    @property
    def blocking_slots(self) -> int:
        """How many connections may block at the same time."""
        return self._target.blocking

    async def ensure_connection(self) -> Redis:
        """The client of redis-py, connected on the first call, the same one for all callers.

        Raises:
            StorageConnectionError: no server answers, or it refuses us.
            EmbeddedServerError: the embedded server can't be started.
            StoreClosedError: after `close()`.
        """
        return (await self.session()).link.client

    async def session(self) -> Session:
        """What belongs to this process and event loop; connected.

        Raises:
            StorageError: as `ensure_connection`, or the store is at work in another event loop.
        """
        session = self._session
        if self.is_closed:
            raise StoreClosedError
        if session is not None:
            if session.is_here:
                return session
            if session.is_at_work_elsewhere:
                raise StorageError("this store is at work in another event loop: give each loop a store of its own")
            self._leave()
        asked = anyio.current_time()
        async with self._opening:
            if self._session is None and not self.is_closed:
                await self._open(asked)
        if self.is_closed:
            raise StoreClosedError
        assert self._session is not None
        return self._session

    async def call(self, *command: Any, operation: str, is_repeatable: bool = True) -> Any:
        """Send one command and read its reply; failures that pass are waited out.

        Args:
            command: its parts.
            operation: what is being done, for the message of an error, as in `set 'a'`.
            is_repeatable: whether sending it twice does no more than sending it once.
        """
        packed = pack(command)
        return await self._persist(lambda link: link.exchange(packed), operation, is_repeatable)

    async def pipeline(self, commands: Sequence[Sequence[Any]], operation: str) -> list[Any]:
        """Send commands that only read, together; their replies."""
        packed = b"".join(map(pack, commands))

        async def attempt(link: Link) -> list[Any]:
            replies = await link.exchange(packed, replies=len(commands))
            replies = [replies] if len(commands) == 1 else replies
            if error := next((reply for reply in replies if isinstance(reply, Exception)), None):
                raise error
            return replies

        return await self._persist(attempt, operation)

    async def run_script(
        self,
        name: str,
        keys: Sequence[str],
        arguments: Sequence[Any],
        operation: str,
        *,
        hurry: asyncio.Event | None = None,
        is_repeatable: bool = True,
    ) -> Any:
        """Run the script `scripts/{name}.lua` in the server; it is sent again when its reply was lost.

        Args:
            name: the file's name.
            keys: its KEYS.
            arguments: its ARGV.
            operation: what is being done, for the message of an error.
            hurry: when it is set, nothing is tried again.
            is_repeatable: whether sending it twice does no more than sending it once.
        """
        evaluate = _evaluation(name, keys, arguments)
        return await self._persist(evaluate, operation, is_repeatable, hurry)

    async def last_words(self, name: str, keys: Sequence[str], arguments: Sequence[Any]) -> None:
        """Run a script while the store is being closed; nothing is tried again, and failures are nobody's concern."""
        with suppress(Exception):
            if self._session is not None:
                await _evaluation(name, keys, arguments)(self._session.link)

    async def step(
        self,
        name: str,
        keys: Sequence[str],
        arguments: Sequence[Any],
        operation: str,
        heard: Callable[[Any], None] | None = None,
    ) -> Any:
        """Run a script that must not be left half-done: when the caller is cancelled it still ends first.

        Args:
            name: the file's name.
            keys: its KEYS.
            arguments: its ARGV.
            operation: what is being done, for the message of an error.
            heard: called with the reply, also when the caller was cancelled meanwhile.
        """
        hurry = asyncio.Event()
        session = await self.session()

        async def work() -> Any:
            reply = await self.run_script(name, keys, arguments, operation, hurry=hurry)
            if heard is not None:
                heard(reply)
            return reply

        return await to_the_end(session.start(work()), hurry)

    async def step_after(
        self,
        waiting: Sequence[Any],
        seconds: float,
        name: str,
        keys: Sequence[str],
        arguments: Sequence[Any],
        operation: str,
    ) -> tuple[bool, Any]:
        """Send a command that blocks in the server and, together with it, a script; it runs when that is over.

        Callers see to it that no more than `blocking_slots` block. One who is cancelled isn't kept waiting: whether
        the script was run, or is run later, isn't known then, and has to be undone.

        Args:
            waiting: the parts of the command, which changes nothing; where `None` stands, the seconds are put.
            seconds: how long it may block; cut to `BLOCK_SECONDS`.
            name: the script's file.
            keys: its KEYS.
            arguments: its ARGV; it does nothing when it was done already.
            operation: what is being done, for the message of an error.

        Returns:
            whether there was room in the server's memory for the command to block; and the script's reply.
        """
        session = await self.session()
        digest = script(name, session.link.has_flags).digest
        packed = _packed_wait(waiting, seconds) + pack(("EVALSHA", digest, len(keys), *keys, *arguments))

        async def work() -> tuple[bool, Any]:
            try:
                waited, reply = await session.link.exchange(packed, blocks=True, replies=2)
            except Exception as raised:
                error = self._known(raised)
                if not is_passing(error):
                    raise translated(
                        error, operation, self.address, was_sent=not isinstance(raised, NotSent)
                    ) from error
                self.stats.reconnects += 1
                await session.pause(_FIRST_PAUSE)
                waited, reply = None, error
            if isinstance(reply, Exception):  # it isn't known there, or failed in passing
                reply = await self.run_script(name, keys, arguments, operation)
            is_refused = isinstance(waited, Exception) and not is_passing(waited)
            failure = translated(waited, operation, self.address, was_sent=False) if is_refused else None
            if failure is not None and not isinstance(failure, StorageFullError):
                raise failure from waited
            return failure is None, reply

        return await awaited(session.start(work()))

    async def block(self, command: Sequence[Any], seconds: float, operation: str, *, is_repeatable: bool) -> Any:
        """Send a command that blocks in the server, once; callers see to it that no more than `blocking_slots` do.

        A failure that passes is as if nothing had come: what the caller asks next waits it out.

        Args:
            command: its parts; where `None` stands, the seconds are put.
            seconds: how long it may block; cut to `BLOCK_SECONDS`.
            operation: what is being done, for the message of an error.
            is_repeatable: whether sending it twice does no more than sending it once.
        """
        packed = _packed_wait(command, seconds)
        session = await self.session()
        try:
            return await session.link.exchange(packed, blocks=True)
        except Exception as raised:
            error = self._known(raised)
            is_in_vain = isinstance(raised, NotSent) or is_refusal(error) or is_repeatable
            if not is_passing(error) or not is_in_vain:
                raise translated(error, operation, self.address, was_sent=not is_in_vain) from error
            self.stats.reconnects += 1
        await session.pause(_FIRST_PAUSE)
        return None

    async def close(self) -> None:
        """Close all connections; calls that wait raise `StoreClosedError`. A second call does nothing."""
        self.is_closed = True
        with anyio.CancelScope(shield=True):
            async with self._opening:
                session = self._session
                if session is not None and not session.is_here:
                    self._leave()
                elif session is not None:
                    await session.close(_END_SECONDS)
                    self._forget()
                    await session.link.close()

    def _leave(self) -> None:
        """Begin anew in another process or event loop; the connections of the old one can't be used here."""
        session = self._session
        self._forget()
        self._opening = anyio.Lock()
        if session is not None:
            is_ours = session.process == os.getpid()
            if is_ours:
                session.abandon()
            session.link.drop(is_ours=is_ours)

    def _forget(self) -> None:
        self._session = None
        if self._finalizer is not None:
            self._finalizer.detach()

    async def _open(self, asked: float) -> None:
        """Connect, unless it failed since the caller asked: then nobody waits for a second failure."""
        if self._failure is not None and self._failure[0] > asked:
            raise copy_of(self._failure[1])
        try:
            self._session = session = Session(await self._target.connect())
        except StorageError as error:
            self._failure = anyio.current_time(), error
            raise
        # It keeps the sockets until the store is gone: else they would warn before it, each by itself.
        self._finalizer = weakref.finalize(
            self, _left_open, self.address, session.process, session.link, session.endings
        )

    async def _persist(
        self,
        attempt: Callable[[Link], Awaitable[T]],
        operation: str,
        is_repeatable: bool = True,
        hurry: asyncio.Event | None = None,
    ) -> T:
        """Try until it is done; failures that pass are waited out for `reconnect_seconds`, with growing pauses."""
        session = await self.session()
        end, failures = 0.0, 0
        lost: BaseException | None = None  # the first failure after which it isn't known what was done
        while True:
            try:
                return await attempt(session.link)
            except Exception as raised:
                error = self._known(raised)
                if not isinstance(raised, NotSent) and not is_refusal(error):
                    lost = lost or error
                failures += 1
                end = end or anyio.current_time() + self.settings.reconnect_seconds
                pause = _PAUSES.compute(failures)
                is_hopeless = not is_passing(error) or (lost and not is_repeatable)
                if is_hopeless or (hurry and hurry.is_set()) or anyio.current_time() + pause > end:
                    if is_repeatable and is_refusal(error) and not is_passing(error):
                        lost = None  # the server has answered what it knows of the first time
                    raise translated(lost or error, operation, self.address, was_sent=bool(lost)) from error
                self.stats.reconnects += 1
            await session.pause(pause, hurry)
            await self._target.bring_back(session.link, error)

    def _known(self, raised: Exception) -> Exception:
        """What redis-py raised; whatever else it is goes on at once."""
        error = raised.__cause__ if isinstance(raised, NotSent) else raised
        if self.is_closed:  # under way, redis-py stumbles over whatever is gone
            raise StoreClosedError from raised
        if isinstance(error, NodeflowError) or not isinstance(error, redis.RedisError | OSError):
            raise raised
        return error


def _left_open(address: str, process: int, link: Link, endings: list[Callable[[], None]]) -> None:
    """What remains to be done for a store that nobody closed."""
    is_ours = process == os.getpid()
    if is_ours:
        warnings.warn(f"a store on {address} was not closed", ResourceWarning, stacklevel=2)
        for ending in endings:
            ending()
    link.drop(is_ours=is_ours)


def _packed_wait(command: Sequence[Any], seconds: float) -> bytes:
    blocked = max(_LEAST_BLOCK, min(BLOCK_SECONDS, seconds))
    return pack(tuple(f"{blocked:.3f}" if part is None else part for part in command))


def _evaluation(name: str, keys: Sequence[str], arguments: Sequence[Any]) -> Callable[[Link], Awaitable[Any]]:
    rest = (len(keys), *keys, *arguments)

    async def evaluate(link: Link) -> Any:
        source = script(name, link.has_flags)
        try:
            return await link.exchange(pack(("EVALSHA", source.digest, *rest)))
        except redis.exceptions.NoScriptError:
            return await link.exchange(pack(("EVAL", source.text, *rest)))

    return evaluate
