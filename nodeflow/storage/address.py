"""A server's URL: checked, taken apart for redis-py, and shown without its password."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit

from redis.asyncio.connection import SSLConnection
from redis.asyncio.connection import parse_url as redis_parse_url

_SCHEMES = {"redis": "redis", "rediss": "rediss", "unix": "unix", "valkey": "redis", "valkeys": "rediss"}
_PARAMETERS = frozenset({"db", "ssl_ca_certs", "ssl_certfile", "ssl_keyfile"})


def tcp_url(host: str, port: int, db: int, password: str | None) -> str:
    """The URL of a server by host and port.

    Raises:
        ValueError: when the port or the database isn't a number that a server can have.
    """
    if not 0 < port < 2**16:
        raise ValueError(f"port must be 1 to 65535, not {port}")
    if db < 0:
        raise ValueError(f"db must be 0 or more, not {db}")
    secret = f":{quote(password, safe='')}@" if password else ""
    return f"redis://{secret}{f'[{host}]' if ':' in host else host}:{port}/{db}"


def parse_url(url: str) -> dict[str, Any]:
    """What redis-py needs to connect to this URL.

    Args:
        url: `redis://`, `rediss://` (TLS, verified), `unix://`, `valkey://` or `valkeys://`.

    Raises:
        ValueError: when the scheme or a parameter is unknown, or the URL can't be read; never with its password.
    """
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in _SCHEMES:
        raise ValueError(f"a server's URL begins with {', '.join(f'{name}://' for name in _SCHEMES)}")
    unknown = {name for name, _ in parse_qsl(urlsplit(url).query, keep_blank_values=True)} - _PARAMETERS
    if unknown:
        raise ValueError(
            f"the server's URL has unknown parameters: {', '.join(sorted(unknown))}; "
            f"known are {', '.join(sorted(_PARAMETERS))}"
        )
    try:
        return dict(redis_parse_url(f"{_SCHEMES[scheme]}://{rest}"))
    except ValueError as error:
        raise ValueError(f"the server's URL can't be read: {str(error).partition(':')[0]}") from None


def shown_address(options: dict[str, Any]) -> str:
    """The address as a URL without its user and password."""
    if "path" in options:
        return f"unix://{options['path']}"
    scheme = "rediss" if options.get("connection_class") is SSLConnection else "redis"
    return f"{scheme}://{options.get('host', 'localhost')}:{options.get('port', 6379)}/{options.get('db', 0)}"
