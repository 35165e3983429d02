"""The server that the settings name: its address, how to reach it, and how to bring the embedded one back."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import Any

import anyio
import anyio.to_thread
import redis

from nodeflow.errors import StorageConnectionError, StorageError, StorageTimeoutError
from nodeflow.settings import Settings
from nodeflow.storage.address import parse_url, shown_address
from nodeflow.storage.failures import is_refusal, translated
from nodeflow.storage.link import Link


class Target:
    """Where to connect to.

    Args:
        settings: the server's URL, or the folder of the embedded server; the number of connections.

    Raises:
        ValueError: when the URL is wrong.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._options = None if settings.url is None else parse_url(settings.url, verify_tls=settings.verify_tls)
        self._bringing_back = anyio.Lock()

    @property
    def address(self) -> str:
        """Where the server is, without its password."""
        if self._options is None:
            return f"the embedded server in {self._settings.folder}"
        return shown_address(self._options)

    @property
    def blocking(self) -> int:
        """How many connections may block at the same time."""
        return self._settings.pool_size // 2

    async def connect(self) -> Link:
        """A link to the server; the embedded one is started when it isn't there.

        Raises:
            StorageConnectionError: no server answers, or it refuses us.
            EmbeddedServerError: the embedded server can't be started.
        """
        if self._options is not None:
            return await self._connect_to(self._options)
        try:
            link = await self._connect_to(await self._start_embedded())
        except StorageConnectionError:  # it stopped for want of a client in the moment between
            link = await self._connect_to(await self._start_embedded())
        if self._settings.server_fsync == "always":  # who started it may have asked for less
            await link.client.config_set("appendfsync", "always")
        return link

    async def bring_back(self, link: Link, error: BaseException) -> None:
        """Start the embedded server again when it died together with its watchdog; one that was stopped stays so."""
        is_gone = isinstance(error, redis.ConnectionError | OSError) and not is_refusal(error)
        if self._options is not None or not is_gone:
            return
        with suppress(StorageError):
            async with self._bringing_back:
                if await anyio.Path(link.options["path"]).exists():  # only an orderly end removes it
                    await self._start_embedded()

    async def _connect_to(self, options: dict[str, Any]) -> Link:
        commands = self._settings.pool_size - 1 - self.blocking  # one is the heartbeat's
        try:
            return await Link.to(options, commands, self.blocking)
        except (redis.RedisError, OSError) as error:
            failure = translated(error, "connect", self.address, was_sent=False)
            if isinstance(failure, StorageTimeoutError):
                raise StorageConnectionError(self.address, "it doesn't answer") from error
            raise failure from error

    async def _start_embedded(self) -> dict[str, Any]:
        from nodeflow.storage import embedded

        settings = self._settings
        begin = partial(embedded.start, settings.folder, settings.server_idle, fsync=settings.server_fsync)
        socket = await anyio.to_thread.run_sync(begin, abandon_on_cancel=True)
        return parse_url(f"unix://{socket}")
