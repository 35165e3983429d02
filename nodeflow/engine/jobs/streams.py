"""Small things about streams that several modules of the engine need."""

from __future__ import annotations

import codecs
from collections.abc import AsyncIterator

from anyio.abc import ByteReceiveStream

_LONGEST_LINE = 1 << 16


async def lines_of(stream: ByteReceiveStream) -> AsyncIterator[str]:
    """The lines of a process's output, without their ends; one of more than 64 Ki characters comes in parts."""
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    rest = ""
    async for chunk in stream:
        *lines, rest = (rest + decoder.decode(chunk)).split("\n")
        for line in lines:
            yield line
        if len(rest) > _LONGEST_LINE:
            yield rest
            rest = ""
    if rest:
        yield rest
