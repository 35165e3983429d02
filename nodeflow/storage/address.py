"""A server's URL: checked, taken apart for redis-py, and shown without its password."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import SplitResult, parse_qsl, quote, urlsplit

from redis.asyncio.connection import SSLConnection
from redis.asyncio.connection import parse_url as redis_parse_url

from nodeflow.storage.arguments import whole

_SCHEMES = {"redis": "redis", "rediss": "rediss", "unix": "unix", "valkey": "redis", "valkeys": "rediss"}
_TLS_PARAMETERS = frozenset({"ssl_ca_certs", "ssl_certfile", "ssl_keyfile"})
_PARAMETERS = _TLS_PARAMETERS | {"db"}


def tcp_url(host: str, port: int, db: int, password: str | None) -> str:
    """The URL of a server by host and port.

    Raises:
        ValueError: when the host, the port or the database isn't one that a server can have.
    """
    if not re.fullmatch(r"[^\s/?#@\[\]]+", host):
        raise ValueError(f"host must be a name or an IP address, not {host!r}: a URL goes to DataStore.from_url()")
    whole("port", port, 1, 2**16 - 1)
    whole("db", db, 0)
    secret = f":{quote(password, safe='')}@" if password else ""
    return f"redis://{secret}{_bracketed(host)}:{port}/{db}"


def parse_url(url: str, *, verify_tls: bool = True) -> dict[str, Any]:
    """What redis-py needs to connect to this URL.

    Args:
        url: `redis://`, `rediss://` (TLS, verified), `unix://`, `valkey://` or `valkeys://`.
        verify_tls: False accepts any certificate.

    Raises:
        ValueError: when the scheme or a parameter is unknown, or the URL can't be read; never with its password.
    """
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in _SCHEMES:
        raise ValueError(f"a server's URL begins with {', '.join(f'{name}://' for name in _SCHEMES)}")
    known = f"{_SCHEMES[scheme]}://{rest}"
    options = _options(known)
    if options is None:  # what the libraries say isn't passed on: it may quote a piece of the password
        raise ValueError(
            "the server's URL can't be read: write it as redis://user:password@host:port/db or "
            "unix:///path/of/socket?db=0, with the special characters of the password percent-encoded"
        )
    _check_parameters(urlsplit(known))
    if not verify_tls:
        if _SCHEMES[scheme] != "rediss":
            raise ValueError("verify_tls=False is for rediss:// URLs: no other has a certificate to verify")
        options |= {"ssl_cert_reqs": "none", "ssl_check_hostname": False}
    return options


def shown_address(options: dict[str, Any]) -> str:
    """The address as a URL without its user and password."""
    if "path" in options:
        return f"unix://{options['path']}"
    scheme = "rediss" if options.get("connection_class") is SSLConnection else "redis"
    return (
        f"{scheme}://{_bracketed(options.get('host', 'localhost'))}:{options.get('port', 6379)}/{options.get('db', 0)}"
    )


def _options(url: str) -> dict[str, Any] | None:
    """What the URL says, None when it can't be read as one."""
    try:
        parts = urlsplit(url)
        if not _is_plain(parts):
            return None
        options: dict[str, Any] = dict(redis_parse_url(url))
    except ValueError:
        return None
    return options if options.get("db", 0) >= 0 else None


def _is_plain(parts: SplitResult) -> bool:
    """Whether nothing of the URL would be ignored, or is part of a password that was not percent-encoded."""
    if parts.fragment or "@" in parts.query:
        return False
    if parts.scheme == "unix":
        return not parts.hostname and len(parts.path) > 1
    return parts.port != 0 and re.fullmatch(r"/?\d*", parts.path) is not None


def _check_parameters(parts: SplitResult) -> None:
    names = {name for name, _ in parse_qsl(parts.query, keep_blank_values=True)}
    if unknown := names - _PARAMETERS:
        raise ValueError(
            f"the server's URL has unknown parameters: {', '.join(sorted(unknown))}; "
            f"known are {', '.join(sorted(_PARAMETERS))}"
        )
    if parts.scheme != "rediss" and (misplaced := names & _TLS_PARAMETERS):
        raise ValueError(f"{', '.join(sorted(misplaced))}: only a rediss:// URL has TLS")


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
