"""The scripts that run in the server, each with the parts that it includes."""

from __future__ import annotations

import hashlib
import re
from functools import cache
from importlib.resources import files

from attrs import frozen

_INCLUDE = re.compile(r"^--#include (.+)\n", re.MULTILINE)
_HEADER = re.compile(r"^#!lua.*\n")


@frozen
class Script:
    """A script as the server gets it.

    Args:
        text: its source.
        digest: the SHA-1 by which the server knows it.
    """

    text: str
    digest: str


@cache
def script(name: str, has_flags: bool) -> Script:
    """The script of a file of this folder.

    Args:
        name: the file's name without `.lua`.
        has_flags: whether the server reads a script's flags on its first line, as it does from Redis 7.0 on.
            Older ones let a script go on at full memory when its first write needs none.
    """
    text = _source(name)
    if not has_flags:
        text = _HEADER.sub("", text)
    return Script(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


def _source(name: str) -> str:
    text = files(__package__).joinpath(f"{name}.lua").read_text()
    return _INCLUDE.sub(lambda found: "".join(_HEADER.sub("", _source(part)) for part in found[1].split()), text)
