"""The names of all Redis keys.

A queue is `{prefix}queue:{name}`, a cache entry `{prefix}cache:{key}`. Whatever belongs to a queue
shares its slot in a cluster: where the queue's key has a hash tag, its helpers are that key with a
suffix; where it has none, the whole key becomes the tag of its helpers (`{queue:jobs}:returned`).
The rule of the hash tag: https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/#hash-tags
"""

from __future__ import annotations

import re

from attrs import field, frozen

_SUFFIXES = ("returned", "leases", "leased", "dead")
_OWN = re.compile(rf":(?:{'|'.join(_SUFFIXES)})(?::|$)")
_TAG = re.compile(r"\{[^}]+\}")


@frozen
class Keys:
    """The names of the keys below one prefix.

    Args:
        prefix: what stands before each key; a part in braces makes all keys share a slot.

    Raises:
        ValueError: when the prefix has a `}` that closes no hash tag.
    """

    prefix: str = field(default="")

    @prefix.validator
    def _is_clean(self, attribute: object, value: str) -> None:
        if not isinstance(value, str):
            raise TypeError(f"prefix must be str, not {type(value).__name__}")
        if "}" in value and not _TAG.search(value):
            raise ValueError(f"prefix {value!r} has a '}}' that closes no hash tag: write '{{name}}:' or no braces")

    def queue(self, name: str) -> str:
        """The list of the items that wait; its right end is popped."""
        if not isinstance(name, str):
            raise TypeError(f"a queue's name must be str, not {type(name).__name__}")
        if not name or not name.isprintable() or "{" in name or "}" in name:
            raise ValueError(f"queue name {name!r}: it must not be empty, nor hold braces or control characters")
        if own := _OWN.search(f":{name}"):
            raise ValueError(
                f"queue name {name!r}: {own.group().strip(':')!r} between colons is used by nodeflow itself"
            )
        return f"{self.prefix}queue:{name}"

    def returned(self, name: str) -> str:
        """The list of the items that were given back, as envelopes; taken before all others."""
        return self._beside(name, "returned")

    def leases(self, name: str) -> str:
        """The hash of the open leases: lease id to the number of its envelopes."""
        return self._beside(name, "leases")

    def leased(self, name: str, lease: str) -> str:
        """The processing list of one lease."""
        return self._beside(name, f"leased:{lease}")

    def dead(self, name: str) -> str:
        """The list of the dead letters."""
        return self._beside(name, "dead")

    def cache(self, key: str) -> str:
        """The string of a cache entry."""
        if not isinstance(key, str):
            raise TypeError(f"a cache key must be str, not {type(key).__name__}")
        if not key:
            raise ValueError("a cache key must not be empty")
        return f"{self.prefix}cache:{key}"

    def job(self, job: str) -> str:
        """The hash of a job's counts and marks."""
        return f"{self.prefix}job:{job}"

    def queue_patterns(self) -> tuple[str, ...]:
        """The glob patterns that match every key in which items of a queue wait."""
        escaped = re.sub(r"([*?\[\]\\^])", r"\\\1", self.prefix)
        main = f"{escaped}queue:*"
        return (main,) if _TAG.search(self.prefix) else (main, f"{{{main}}}:returned")

    def queue_name(self, key: str) -> str | None:
        """The queue whose items wait in this key, or None when the key is of another kind."""
        main = key.removesuffix(":returned")
        if main != key and main.startswith("{") and not _TAG.search(self.prefix):
            main = main[1:-1]
        name = main.removeprefix(f"{self.prefix}queue:")
        return None if name == main or _OWN.search(f":{name}") else name

    def _beside(self, name: str, suffix: str) -> str:
        main = self.queue(name)
        return f"{main}:{suffix}" if _TAG.search(main) else f"{{{main}}}:{suffix}"
