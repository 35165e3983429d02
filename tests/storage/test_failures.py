"""What is raised when the server isn't there, refuses, or goes away: said in our words, and never with the password."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis.asyncio import Redis

from nodeflow.errors import NodeflowError, StorageConnectionError, StorageError, StorageFullError, StorageTimeoutError
from nodeflow.settings import Settings
from nodeflow.storage import DataStore, link
from tests.storage.servers import Handler, Server, deaf_port, played, relay_to, valkey
from tests.storage.waiting import execute, started, until_blocked
from tests.support import until

SECRET = "canary@/:%20?"
QUOTED = "canary%40%2F%3A%2520%3F"
PEM = Path(__file__).with_name("localhost.pem")


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Server]:
    with valkey(tmp_path, "--requirepass", SECRET) as server:
        yield server


def shown(store: DataStore, error: BaseException) -> str:
    """All that an error, its causes and its store say of themselves."""
    every = "".join(traceback.format_exception(error))
    chain: BaseException | None = error
    while chain is not None:
        every += f"{chain!r} {chain} {chain.args}"
        chain = chain.__cause__ or chain.__context__
    return f"{every} {store!r} {store.connection!r} {store.settings!r} {store.connection.address}"


async def refusal(store: DataStore) -> StorageConnectionError:
    """The error of a first use that finds no server, in under 3 seconds."""
    began = time.monotonic()
    async with store:
        with pytest.raises(StorageConnectionError) as caught:
            await store.queue.push("jobs", 1)
    assert time.monotonic() - began < 3
    assert "canary" not in shown(store, caught.value)
    return caught.value


def impatient(server: Server) -> DataStore:
    """A store that doesn't wait long for a server to come back."""
    return DataStore.open(Settings(url=server.url, reconnect_seconds=0.3))


async def silence(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()


async def another_protocol(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    await reader.read()


async def hanging_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(1)


async def test_no_server_is_said_with_its_address_and_both_remedies() -> None:
    with deaf_port() as port:
        error = await refusal(DataStore(port=port, password=SECRET))
    assert error.address == f"redis://127.0.0.1:{port}/0"
    assert str(error).startswith(f"can't reach the server at redis://127.0.0.1:{port}/0: ")
    assert "Start a Redis or Valkey server there" in str(error)
    assert "DataStore.embedded('.nodeflow')" in str(error)


async def test_a_lease_without_a_server_has_nothing_to_give_back() -> None:
    with deaf_port() as port:
        async with DataStore(port=port) as store:
            with pytest.raises(StorageConnectionError) as caught:
                async with store.queue.lease("jobs"):
                    pytest.fail("there is no server")
    assert not hasattr(caught.value, "__notes__")


@pytest.mark.parametrize("begin", ["redis://u:{}@nodeflow.invalid", "unix://u:{}@/nodeflow/nothing.sock"])
async def test_an_address_that_leads_nowhere_is_no_server(begin: str) -> None:
    error = await refusal(DataStore.from_url(begin.format(QUOTED)))
    assert begin.split("@")[1] in str(error)


@pytest.mark.parametrize("behaviour", [silence, another_protocol, hanging_up])
async def test_who_listens_but_is_no_redis_is_no_server(behaviour: Handler) -> None:
    async with played(behaviour) as port:
        error = await refusal(DataStore(port=port, password=SECRET))
    assert f"redis://127.0.0.1:{port}/0: " in str(error)
    assert ".." not in str(error)


async def test_a_host_that_swallows_everything_is_no_server() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address = listener.getsockname()
        clients = [socket.socket() for _ in range(4)]  # they fill what may wait, so that the next one hangs
        for client in clients:
            client.setblocking(False)
            client.connect_ex(address)
        await refusal(DataStore(port=address[1], password=SECRET))
        for client in clients:
            client.close()


async def test_all_callers_of_a_silent_server_hear_of_it_together() -> None:
    async with played(silence) as port, DataStore(port=port) as store:
        began = time.monotonic()
        results = await asyncio.gather(*(store.cache.get(str(key)) for key in range(20)), return_exceptions=True)
        assert time.monotonic() - began < 3.5
        assert {type(each) for each in results} == {StorageConnectionError}


async def test_a_store_connects_when_its_server_comes_up_later(server: Server) -> None:
    server.kill()
    async with DataStore.from_url(server.url) as store:
        for _ in range(2):
            with pytest.raises(StorageConnectionError):
                await store.queue.length("jobs")
        server.start()
        assert await store.queue.length("jobs") == 0


async def test_the_right_password_opens_the_server(guarded: Server) -> None:
    async with DataStore.from_url(guarded.url.replace("://", f"://:{QUOTED}@")) as store:
        await store.queue.push("jobs", 1)
        assert "canary" not in shown(store, StorageError("anything"))


@pytest.mark.parametrize("user", ["", ":canary-wrong@", "canary-user:canary-wrong@", f"canary-user:{QUOTED}@"])
async def test_a_wrong_password_is_no_connection_and_shows_nowhere(guarded: Server, user: str) -> None:
    error = await refusal(DataStore.from_url(guarded.url.replace("://", f"://{user}")))
    assert guarded.url in str(error)
    assert "assword" in str(error) or "uthentication" in str(error)


async def test_a_command_that_the_user_may_not_use_is_named(guarded: Server) -> None:
    async with Redis(unix_socket_path=str(guarded.socket), password=SECRET) as client:
        await execute(client, "ACL SETUSER reader on >canary-reader ~* +@read +ping")
    async with DataStore.from_url(guarded.url.replace("://", "://reader:canary-reader@")) as store:
        assert await store.cache.get("key") is None
        with pytest.raises(StorageError, match=r"^push to 'jobs': .*no permissions") as caught:
            await store.queue.push("jobs", 1)
        assert type(caught.value) is StorageError
        assert "canary" not in shown(store, caught.value)


@pytest.mark.parametrize(
    ("command", "reason"),
    [("CONFIG SET maxmemory 1", "is full"), ("REPLICAOF nodeflow.invalid 1", "read only replica")],
)
async def test_a_write_that_the_server_refuses_is_an_error_with_its_reason(
    server: Server, command: str, reason: str
) -> None:
    async with impatient(server) as store, Redis(unix_socket_path=str(server.socket)) as client:
        await store.queue.push("jobs", 1)
        await execute(client, command)
        for write, name in ((store.queue.push("jobs", 2), "push to 'jobs'"), (store.cache.set("a", 1), "set 'a'")):
            with pytest.raises(StorageError, match=f"^{name}: .*{reason}") as caught:
                await write
            assert type(caught.value) in (StorageError, StorageFullError)
            assert not caught.value.may_have_happened
        with pytest.raises(StorageError, match=reason):
            await store.queue.commit(pushes={"jobs": [2]}, counts={"done": 1}, job="job")
        assert await store.queue.length("jobs") == 1


async def test_a_server_that_stops_to_answer_leaves_it_open_whether_it_was_done_and_nothing_is_sent_twice(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link, "_ANSWER_SECONDS", 0.5)
    async with impatient(server) as store:
        await store.queue.push("jobs", 0)  # so that the server knows the script
        server.freeze()
        with pytest.raises(
            StorageTimeoutError, match=r"^push to 'jobs': no answer in time from unix://.*not known"
        ) as caught:
            await store.queue.push("jobs", 1)
        assert caught.value.may_have_happened
        server.thaw()

        async def is_there() -> bool:
            return await store.queue.length("jobs") > 1

        await until(is_there, 5, "the push was done after all")
        await store.queue.push("jobs", 2)  # in the lane of the one whose reply was lost
        assert await store.queue.peek("jobs") == [0, 1, 2]
        assert (await store.queue.tally("jobs")).pushed == 3


async def test_a_server_that_answers_again_in_time_is_never_noticed_and_nothing_is_done_twice(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link, "_ANSWER_SECONDS", 0.5)

    async def has_tried_again() -> bool:
        return store.stats().reconnects > 0

    async with DataStore.from_url(server.url) as store:
        await store.queue.push("jobs", 0)
        server.freeze()
        async with started(store.queue.push("jobs", 1)) as pushing:
            await until(has_tried_again, 10, "the push is sent again")
            server.thaw()
            await asyncio.wait_for(pushing, 10)
        await store.queue.push("jobs", 2)
        assert await store.queue.peek("jobs") == [0, 1, 2]
        assert (await store.queue.tally("jobs")).pushed == 3


async def test_a_waiting_call_hears_that_the_server_is_gone_and_the_next_one_connects_again(server: Server) -> None:
    async with impatient(server) as store, started(store.queue.pop("jobs")) as popping:
        async with Redis(unix_socket_path=str(server.socket)) as client:
            await until_blocked(client, "brpop")
        server.kill()
        with pytest.raises(StorageConnectionError, match=r"pop from 'jobs': the connection to unix://.*was lost"):
            await popping
        server.start()
        assert await store.queue.length("jobs") == 0


async def test_a_cut_connection_is_made_again_by_the_next_call(store: DataStore, client: Redis) -> None:
    await store.queue.push("jobs", 1)
    own = await store.connection.ensure_connection()
    await client.client_kill_filter(_id=str(await own.client_id()))  # and nobody else's on a shared server
    assert await store.queue.pop("jobs", timeout=0) == 1


async def test_the_users_error_stays_when_the_server_is_gone(server: Server) -> None:
    async with impatient(server) as store:
        await store.queue.push("jobs", 1)

        async def fail() -> None:
            async with store.queue.lease("jobs"):
                server.kill()
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError) as caught:
            await fail()
    assert ["could not be given back yet: " in note for note in caught.value.__notes__] == [True]


async def test_an_acknowledgement_that_cannot_be_made_is_an_error(server: Server) -> None:
    async with impatient(server) as store:
        await store.queue.push("jobs", 1)
        with pytest.raises(StorageConnectionError):
            async with store.queue.lease("jobs"):
                server.kill()


async def test_items_whose_acknowledgement_was_refused_are_given_back(server: Server) -> None:
    async with DataStore.from_url(server.url) as store, Redis(unix_socket_path=str(server.socket)) as client:
        await store.queue.push("jobs", 1)
        with pytest.raises(NodeflowError, match="no permissions"):
            async with store.queue.lease("jobs"):
                # The acknowledgement needs PEXPIRE, giving back doesn't.
                await execute(client, "ACL SETUSER default -pexpire")
        async with store.queue.lease("jobs", timeout=0) as lease:
            assert lease[0].attempt == 2
            await execute(client, "ACL SETUSER default +@all")


async def test_a_certificate_that_nobody_vouches_for_is_refused(server: Server) -> None:
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(PEM)
    async with played(relay_to(server.socket), tls) as port:
        error = await refusal(DataStore.from_url(f"rediss://localhost:{port}"))
        assert "certificate verify failed" in str(error)
        error = await refusal(DataStore.from_url(f"rediss://127.0.0.1:{port}?ssl_ca_certs={PEM}"))
        assert "certificate is not valid for '127.0.0.1'" in str(error)
        async with DataStore.from_url(f"rediss://localhost:{port}?ssl_ca_certs={PEM}") as store:
            await store.queue.push("jobs", 1)
            assert await store.queue.pop("jobs") == 1
