"""DataStore: the one door to queues and cache."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self, Unpack

from attrs import evolve

from nodeflow.errors import UsageError
from nodeflow.settings import Options, Settings
from nodeflow.storage.address import tcp_url
from nodeflow.storage.cache import CacheStore
from nodeflow.storage.claim import Claim
from nodeflow.storage.connection import RedisConnection
from nodeflow.storage.jobs import Jobs
from nodeflow.storage.keys import Keys
from nodeflow.storage.ledger import Ledger
from nodeflow.storage.payloads import Payloads
from nodeflow.storage.queue import QueueStore
from nodeflow.storage.safety import check_server
from nodeflow.storage.stats import Stats
from nodeflow.storage.sweep import SWEEP_SECONDS, Swept, claim_place, keep_in_use, sweep, used_blobs
from nodeflow.values import RefValue
from nodeflow.values.blobs import Blob, BlobStore, Growing


class DataStore:
    """Queues and a cache on one server; connects on first use.

    Args:
        host: the server's host.
        port: its port.
        db: its database.
        password: its password.
        pool_size: how many connections this process may hold, at least 4.
        prefix: what stands before each key; a part in braces makes all keys share a cluster's slot.
        options: further `Settings`: lease_seconds, max_deliveries, reconnect_seconds.

    Raises:
        ValueError: when one of them can't be right.
    """

    queue: QueueStore
    """First in, first out queues."""

    cache: CacheStore
    """Values by key."""

    connection: RedisConnection
    """The connection that both share."""

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 6379,
        db: int = 0,
        password: str | None = None,
        pool_size: int = 10,
        prefix: str = "",
        **options: Unpack[Options],
    ) -> None:
        url = tcp_url(host, port, db, password)
        self._assemble(RedisConnection(Settings(url=url, pool_size=pool_size, **options)), prefix)

    @classmethod
    def from_url(
        cls, url: str, *, pool_size: int = 10, prefix: str = "", verify_tls: bool = True, **options: Unpack[Options]
    ) -> Self:
        """A store on the server at a URL.

        Args:
            url: `redis://`, `rediss://` (TLS, verified), `unix://`, `valkey://` or `valkeys://`.
            pool_size: how many connections this process may hold, at least 4.
            prefix: what stands before each key.
            verify_tls: False accepts any certificate of a `rediss://` server; for tests only.
            options: further `Settings`: lease_seconds, max_deliveries, reconnect_seconds, max_payload_bytes,
                max_inline_bytes, blobs, compress_above, keys.

        Raises:
            ValueError: when the URL is wrong.
        """
        if not isinstance(url, str):
            raise TypeError(f"url must be str, not {type(url).__name__}: DataStore.open() works without one")
        return cls._over(
            RedisConnection(Settings(url=url, pool_size=pool_size, verify_tls=verify_tls, **options)), prefix
        )

    @classmethod
    def open(cls, settings: Settings | None = None, *, prefix: str = "") -> Self:
        """A store on the server that the settings name, else on the embedded one.

        Args:
            settings: None reads them from the environment: `NODEFLOW_URL` or `REDIS_URL`, `NODEFLOW_FOLDER`.
            prefix: what stands before each key.
        """
        if settings is not None:
            return cls._over(RedisConnection(settings), prefix)
        with _blaming(""):
            settings = Settings.from_env()
        with _blaming("NODEFLOW_URL or REDIS_URL is wrong: "):
            connection = RedisConnection(settings)
        with _blaming("NODEFLOW_BLOBS is wrong: "):
            return cls._over(connection, prefix)

    @classmethod
    def embedded(
        cls, folder: Path | str = ".nodeflow", *, pool_size: int = 10, prefix: str = "", **options: Unpack[Options]
    ) -> Self:
        """A store on the embedded server, which all processes that name this folder share.

        Args:
            folder: where the server keeps its data and its socket; large values go to `blobs` in it, unless `blobs=`
                says something else.
            pool_size: how many connections this process may hold, at least 4.
            prefix: what stands before each key.
            options: further `Settings`, as in `from_url`.
        """
        options.setdefault("blobs", str(Path(folder) / "blobs"))
        return cls._over(RedisConnection(Settings(folder=Path(folder), pool_size=pool_size, **options)), prefix)

    @property
    def settings(self) -> Settings:
        """What another process needs to open the same store; folders are absolute."""
        settings, blobs = self.connection.settings, self._payloads.blobs
        is_local = blobs is not None and "://" not in blobs.place
        place = blobs.place if blobs is not None and is_local else settings.blobs
        return evolve(settings, folder=settings.folder.absolute(), blobs=place)

    @property
    def prefix(self) -> str:
        """What stands before each key."""
        return self._keys.prefix

    def scoped(self, prefix: str) -> DataStore:
        """A view of this store with a longer prefix, over the same connection, which it doesn't close."""
        view = DataStore._over(self.connection, self.prefix + prefix, self._payloads)
        view._owns_connection = False
        return view

    @property
    def has_blobs(self) -> bool:
        """Whether large values go to blobs."""
        return self._payloads.blobs is not None

    @property
    def blobs(self) -> BlobStore:
        """The blobs of large values.

        Raises:
            UsageError: the store has none.
        """
        if self._payloads.blobs is None:
            raise UsageError("this store has no blobs: give it blobs=, or set NODEFLOW_BLOBS")
        return self._payloads.blobs

    async def offload(self, value: Any) -> RefValue | None:
        """Write a value to a blob when it has more than `max_inline_bytes`; its handle, or None for a smaller one.

        Raises:
            PayloadError: it can't be sent.
            BlobStoreError: the blob can't be written.
        """
        return await self._payloads.offload(value)

    async def grow(self, media_type: str, kind: str = "") -> Growing:
        """A new blob that grows part by part, and can be followed from its start meanwhile: `blobs.follow(id)`.

        Args:
            media_type: what its bytes are.
            kind: the name of the type that they are a value of.

        Raises:
            UsageError: the store has no blobs, or their place belongs to another database.
        """
        blobs = self.blobs
        await self._payloads.claim()
        growing = blobs.grow(media_type, kind)
        await keep_in_use(self.connection)
        return growing

    def encode(self, value: Any) -> bytes | None:
        """A value as it will lie in any queue, so that it may be changed afterwards: one of `Ready`.

        Returns:
            the bytes; `Encoded`, or None when it is large or has bytes beside its JSON: then it is for `prepare`.

        Raises:
            PayloadError: it can't be sent.
        """
        return self._payloads.encode_bare(value)

    @property
    def encode_small(self) -> Callable[[dict[str, Any], Any], bytes | None]:
        """As `encode`, faster, for small values of JSON's own types.

        It takes what holds the value, and beside it only texts; and the value. It gives the bytes, or None when
        `encode` has to see to it.
        """
        return self._payloads.encode_small

    async def prepare(self, queue: str, value: Any) -> bytes:
        """A value as it will lie in a queue, its blob written: whatever is pushed or committed there may be this.

        Args:
            queue: the queue's name; the result is of no use for another one.
            value: the value, which may be changed afterwards.

        Raises:
            PayloadError: it can't be sent.
            BlobStoreError: its blob can't be written.
        """
        return await self._payloads.pack_ready(value, self._keys.queue(queue))

    async def prepare_field(self, job: str, name: str, value: Any) -> bytes:
        """A value as a hop brings it into a field of a hash of a job; the errors are those of `prepare`.

        Args:
            job: the job's id.
            name: the hash.
            value: the value, which may be changed afterwards.
        """
        return await self._payloads.pack_ready(value, self._keys.job_hash(job, name))

    async def sweep(self, *, older_than: float = SWEEP_SECONDS, is_dry: bool = False) -> Swept:
        """Remove the blobs that nothing in the server's database refers to.

        Args:
            older_than: how many seconds old they must be; what is being pushed must have arrived in that time.
            is_dry: True only looks.

        Raises:
            UsageError: the store has no blobs, or the place of the blobs belongs to another database.
        """
        return await sweep(self.connection, self.blobs, older_than=older_than, is_dry=is_dry)

    async def blobs_in_use(self) -> list[Blob]:
        """The blobs that anything below the store's prefix refers to.

        Raises:
            UsageError: the store has no blobs.
        """
        used = await used_blobs(self.connection, self.prefix)
        return [blob async for blob in self.blobs.list() if blob.id in used]

    def ledger(self, job: str) -> Ledger:
        """The records of a job."""
        return Ledger(self.connection, self._keys, self._payloads, job)

    def jobs(self) -> Jobs:
        """What is known of the jobs below the store's prefix."""
        return Jobs(self.connection, self._keys)

    def claim(self, right: str, holder: str, seconds: float) -> Claim:
        """A right that one process at a time can have.

        Args:
            right: its name.
            holder: who wants it; no two processes have the same.
            seconds: how long it lasts unless it is renewed.
        """
        return Claim(self.connection, self._keys.claim(right), holder, seconds)

    def stats(self) -> Stats:
        """What this process has done with the store so far, all views together."""
        return self.connection.stats.copy()

    async def check_server(self) -> None:
        """Refuse a server that may throw queued data away; warn, once, of one that keeps nothing on disk.

        Raises:
            UnsafeServerError: its `maxmemory-policy` lets it evict keys, and the settings don't allow that.
        """
        await check_server(self.connection)

    async def close(self) -> None:
        """Close the connections; a second call does nothing."""
        if self._owns_connection:
            await self.connection.close()

    async def aclose(self) -> None:
        """As `close()`, for `contextlib.aclosing`."""
        await self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"DataStore({self.connection.address}, prefix={self.prefix!r})"

    @classmethod
    def _over(cls, connection: RedisConnection, prefix: str, payloads: Payloads | None = None) -> Self:
        store = cls.__new__(cls)
        store._assemble(connection, prefix, payloads)
        return store

    def _assemble(self, connection: RedisConnection, prefix: str, payloads: Payloads | None = None) -> None:
        self._keys = Keys(prefix)
        self._owns_connection = True
        self._payloads = payloads or Payloads.of(
            connection.settings, connection.keeper, partial(keep_in_use, connection), connection.stats
        )
        if payloads is None and self._payloads.blobs is not None:
            self._payloads.claims.append(partial(claim_place, connection, self._payloads.blobs))
        self.connection = connection
        self.queue = QueueStore(connection, self._keys, self._payloads)
        self.cache = CacheStore(connection, self._keys, self._payloads)


@contextmanager
def _blaming(what: str) -> Iterator[None]:
    """Say what in the environment is wrong."""
    try:
        yield
    except ValueError as error:
        raise UsageError(f"{what}{error}") from error
