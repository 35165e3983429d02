"""A server's URL: what is understood, what is refused, and that its password never shows."""

from __future__ import annotations

import traceback
from typing import Any

import pytest
from redis.asyncio.connection import SSLConnection, UnixDomainSocketConnection

from nodeflow.storage import DataStore
from nodeflow.storage.address import parse_url, shown_address, tcp_url

TLS = {"connection_class": SSLConnection}
UNIX = {"connection_class": UnixDomainSocketConnection}

UNDERSTOOD: list[tuple[str, dict[str, Any], str]] = [
    ("redis://", {}, "redis://localhost:6379/0"),
    ("redis://server", {"host": "server"}, "redis://server:6379/0"),
    ("redis://server:1/2", {"host": "server", "port": 1, "db": 2}, "redis://server:1/2"),
    ("redis://server/?db=3", {"host": "server", "db": 3}, "redis://server:6379/3"),
    ("redis://[::1]:1", {"host": "::1", "port": 1}, "redis://[::1]:1/0"),
    ("redis://u:p%40%2F@server", {"host": "server", "username": "u", "password": "p@/"}, "redis://server:6379/0"),
    ("redis://:p@server", {"host": "server", "password": "p"}, "redis://server:6379/0"),
    ("valkey://server:1/2", {"host": "server", "port": 1, "db": 2}, "redis://server:1/2"),
    ("rediss://server", {"host": "server", **TLS}, "rediss://server:6379/0"),
    ("valkeys://u:p@server", {"host": "server", "username": "u", "password": "p", **TLS}, "rediss://server:6379/0"),
    ("rediss://server?ssl_ca_certs=/ca", {"host": "server", "ssl_ca_certs": "/ca", **TLS}, "rediss://server:6379/0"),
    ("unix:///run/x.sock?db=1", {"path": "/run/x.sock", "db": 1, **UNIX}, "unix:///run/x.sock"),
    ("unix://u:p@/a%20b", {"path": "/a b", "username": "u", "password": "p", **UNIX}, "unix:///a b"),
]

UNREADABLE = [
    "redis://:canary/b@server",
    "redis://:canary?b@server",
    "redis://:canary?b=c@server",
    "redis://:canary#b@server",
    "redis://:a/canary@server",
    "redis://:a?canary@server",
    "redis://:12/canary@server",
    "redis://:12?canary@server",
    "redis://:12?canary=@server",
    "redis://:12#canary@server",
    "redis://:a?db=canary@server",
    "redis://:canary@[::1",
    "redis://:canary@server:port",
    "redis://:canary@server:99999",
    "redis://:canary@server:0",
    "redis://:canary@server/first",
    "redis://:canary@server/-1",
    "redis://:canary@server?db=-1",
    "redis://:canary@server?db=first",
    "redis://:canary@server/1/2",
    "unix://:canary@",
    "unix://:canary@/",
    "unix://:canary@relative/path.sock",
]


@pytest.mark.parametrize(("url", "options", "shown"), UNDERSTOOD, ids=[each[0] for each in UNDERSTOOD])
def test_a_url_is_taken_apart_and_shown_without_its_user_and_password(
    url: str, options: dict[str, Any], shown: str
) -> None:
    assert parse_url(url) == options
    assert shown_address(options) == shown
    assert repr(DataStore.from_url(url, prefix="a:")) == f"DataStore({shown}, prefix='a:')"


@pytest.mark.parametrize("url", UNREADABLE)
def test_a_url_that_cannot_be_read_is_refused_without_a_piece_of_its_password(url: str) -> None:
    with pytest.raises(ValueError, match=r"can't be read.*percent-encoded") as caught:
        DataStore.from_url(url)
    assert "canary" not in "".join(traceback.format_exception(caught.value))
    assert caught.value.__context__ is None  # which others may print all the same


@pytest.mark.parametrize(
    "url", ["", "server", "server:6379", "http://server", "REDIS://server", "redis:/server", ":a@b"]
)
def test_another_scheme_is_refused_with_those_that_are_known(url: str) -> None:
    with pytest.raises(ValueError, match=r"begins with redis://, rediss://, unix://, valkey://, valkeys://$"):
        DataStore.from_url(url)


@pytest.mark.parametrize("parameter", ["ssl_cert_reqs", "ssl_check_hostname", "socket_timeout", "protocol", "DB"])
@pytest.mark.parametrize("value", ["=none", "=1", "=", ""])
def test_an_unknown_parameter_is_refused_by_name_also_one_that_would_switch_verification_off(
    parameter: str, value: str
) -> None:
    with pytest.raises(ValueError, match=f"(unknown parameters: {parameter};|can't be read)") as caught:
        DataStore.from_url(f"rediss://:canary@server?{parameter}{value}")
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize("parameter", ["ssl_ca_certs", "ssl_certfile", "ssl_keyfile"])
@pytest.mark.parametrize("url", ["redis://server", "valkey://server", "unix:///path"])
def test_a_parameter_of_tls_is_refused_where_there_is_none(url: str, parameter: str) -> None:
    with pytest.raises(ValueError, match=f"{parameter}: only a rediss:// URL has TLS"):
        DataStore.from_url(f"{url}?{parameter}=/file")


@pytest.mark.parametrize("url", [None, 1, b"redis://server"])
def test_a_url_that_is_no_str_is_refused(url: Any) -> None:
    with pytest.raises(TypeError, match="url must be str"):
        DataStore.from_url(url)


@pytest.mark.parametrize("password", [None, "", "plain", "@/:?#[]%&= ü"])
@pytest.mark.parametrize("host", ["127.0.0.1", "server.example", "::1"])
def test_host_port_db_and_password_arrive_as_they_were_given(host: str, password: str | None) -> None:
    secret = {"password": password} if password else {}
    assert parse_url(tcp_url(host, 7, 3, password)) == {"host": host, "port": 7, "db": 3, **secret}


@pytest.mark.parametrize(
    "host", ["", "a b", "user@server", "server/1", "server?db=1", "server#1", "[::1]", "redis://a"]
)
def test_a_host_that_would_say_more_than_a_host_is_refused(host: str) -> None:
    with pytest.raises(ValueError, match="host must be a name or an IP address"):
        DataStore(host=host)


@pytest.mark.parametrize(
    "arguments",
    [{"port": port} for port in (0, -1, 65536, 1.5, "6379", True, None)] + [{"db": db} for db in (-1, 1.5, "0", True)],
    ids=str,
)
def test_a_port_or_db_that_no_server_has_is_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"^{next(iter(arguments))} must be a whole number"):
        DataStore(**arguments)
