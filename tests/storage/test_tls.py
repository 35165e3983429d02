"""TLS: verified unless an argument says otherwise, never by the URL alone, and for the heartbeat, too."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from nodeflow.errors import StorageConnectionError
from nodeflow.settings import Settings
from nodeflow.storage import DataStore
from tests.storage.looking import balanced, calls, values
from tests.storage.servers import Server, played, relay_to
from tests.storage.waiting import started
from tests.support import until

PEM = Path(__file__).with_name("localhost.pem")


@pytest.fixture
async def port(server: Server) -> AsyncIterator[int]:
    """The port of a server with a certificate that nobody vouches for."""
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(PEM)
    relay = relay_to(server.socket)

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await relay(reader, writer)
        finally:
            writer.transport.abort()  # closing politely may take longer than the test

    async with played(handle, tls) as port:
        yield port


@pytest.mark.parametrize("scheme", ["rediss", "valkeys"])
async def test_a_certificate_is_accepted_unseen_when_the_call_says_so(port: int, scheme: str) -> None:
    url = f"{scheme}://127.0.0.1:{port}"
    with pytest.raises(StorageConnectionError, match="certificate verify failed"):
        async with DataStore.from_url(url) as store:
            await store.queue.push("jobs", 1)
    async with DataStore.from_url(url, verify_tls=False) as store:
        await store.queue.push("jobs", 1)
        assert await store.queue.pop("jobs") == 1
        assert store.settings.verify_tls is False
    async with DataStore.open(Settings(url=url, verify_tls=False)) as store:
        assert await store.queue.length("jobs") == 0


@pytest.mark.parametrize(
    "parameter", ["ssl_cert_reqs=none", "ssl_cert_reqs=optional", "ssl_check_hostname=false", "ssl_cert_reqs="]
)
def test_a_url_cannot_switch_the_verification_off(parameter: str) -> None:
    for url in (f"rediss://localhost?{parameter}", f"rediss://localhost?ssl_ca_certs={PEM}&{parameter}"):
        with pytest.raises(ValueError, match=f"unknown parameters: {parameter.partition('=')[0]}"):
            DataStore.from_url(url)


@pytest.mark.parametrize("url", ["redis://localhost", "valkey://localhost", "unix:///tmp/socket"])
def test_what_has_no_certificate_cannot_be_left_unverified(url: str) -> None:
    with pytest.raises(ValueError, match="verify_tls=False is for rediss:// URLs"):
        DataStore.from_url(url, verify_tls=False)


@pytest.mark.parametrize("verify", [True, False])
async def test_the_heart_beats_over_tls_too(server: Server, port: int, verify: bool) -> None:
    url = f"rediss://localhost:{port}" + (f"?ssl_ca_certs={PEM}" if verify else "")
    async with (
        DataStore.from_url(url, verify_tls=verify, lease_seconds=1) as store,
        DataStore.from_url(server.url, lease_seconds=1) as other,
    ):
        await store.queue.push("jobs", 1)
        async with store.queue.lease("jobs", timeout=0) as lease:
            await until_beaten(other, 9)  # each a quarter of a second: more than two leases
            assert values(lease) == [1]
            async with other.queue.lease("jobs", timeout=0) as nothing:
                assert not nothing
        await balanced(other, done=1)


async def until_beaten(store: DataStore, times: int) -> None:
    """Wait until the server has heard so many signs of life."""
    client = await store.connection.ensure_connection()
    before = await calls(client, "pexpire")

    async def are_heard() -> bool:
        return await calls(client, "pexpire") >= before + times

    await until(are_heard, 10, f"{times} signs of life")


async def test_waiting_and_many_calls_go_over_tls(port: int) -> None:
    url = f"rediss://localhost:{port}"
    async with DataStore.from_url(url, verify_tls=False) as store, started(store.queue.pop("late")) as popping:
        await asyncio.gather(*(store.queue.push("jobs", number) for number in range(300)))
        popped = await asyncio.gather(*(store.queue.pop("jobs") for _ in range(300)))
        assert sorted(popped) == list(range(300))
        await store.queue.push("late", "x" * 1_000_000)
        assert await asyncio.wait_for(popping, 10) == "x" * 1_000_000
