"""A claim: at most one holder at a time, which has to renew it to keep it."""

from __future__ import annotations

from nodeflow.storage.connection import RedisConnection


class Claim:
    """The right of one process to do something, until it gives the right back or stops renewing it.

    Args:
        connection: the connection that all stores share.
        key: the key that holds the holder's name.
        holder: who this is; no two processes have the same.
        seconds: how long the claim lasts unless it is renewed.
    """

    def __init__(self, connection: RedisConnection, key: str, holder: str, seconds: float) -> None:
        self._connection = connection
        self._key = key
        self._milliseconds = round(seconds * 1000)
        self.holder = holder

    async def take(self, instead_of: str = "") -> str:
        """Take the claim, or keep it for further seconds.

        Args:
            instead_of: a holder that is known to be dead.

        Returns:
            who holds the claim now: this process, or another one.
        """
        arguments = [self.holder, self._milliseconds, instead_of]
        reply = await self._connection.run_script("claim", [self._key], arguments, f"claim {self._key}")
        return str(reply.decode())

    async def give_back(self) -> None:
        """Let others have the claim; nothing when another holds it."""
        await self._connection.run_script("unclaim", [self._key], [self.holder], f"give {self._key} back")
