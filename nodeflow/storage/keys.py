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
_TAG = re.compile(r"[^{]*\{[^}]+\}")  # only the first brace can open a tag


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
        if "}" in value and not _TAG.match(value):
            raise ValueError(f"prefix {value!r} has a '}}' that closes no hash tag: write '{{name}}:' or no braces")
        _check_text("prefix", value)

    def queue(self, name: str) -> str:
        """The list of the items that wait; its right end is popped."""
        if not isinstance(name, str):
            raise TypeError(f"a queue's name must be str, not {type(name).__name__}")
        if problem := _problem(name):
            raise ValueError(f"queue name {name!r}: {problem}")
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
        _check_text("cache key", key)
        return f"{self.prefix}cache:{key}"

    def job(self, job: str) -> str:
        """The hash of a job's counts and marks."""
        if not job:
            raise ValueError("a job's id must not be empty")
        return f"{self.prefix}job:{job}"

    def claim(self, right: str) -> str:
        """The string that holds the name of who has a right."""
        return f"{self.prefix}claim:{right}"

    def queue_patterns(self) -> tuple[str, ...]:
        """The glob patterns that match every key in which items of a queue wait."""
        escaped = re.sub(r"([*?\[\]\\^])", r"\\\1", self.prefix)
        main = f"{escaped}queue:*"
        return (main,) if _TAG.match(self.prefix) else (main, f"{{{main}}}:returned")

    def queue_name(self, key: str) -> str | None:
        """The queue whose items wait in this key, or None when the key is of another kind."""
        main = re.escape(f"{self.prefix}queue:")
        found = re.fullmatch(rf"\{{?{main}([^{{}}]+?)\}}?(?::returned)?", key)
        if found is None or _problem(found[1]):
            return None
        name = found[1]
        return name if key in (self.queue(name), self.returned(name)) else None

    def _beside(self, name: str, suffix: str) -> str:
        main = self.queue(name)
        return f"{main}:{suffix}" if _TAG.match(main) else f"{{{main}}}:{suffix}"


def _problem(name: str) -> str | None:
    """Why this can't be the name of a queue."""
    if not name or not name.isprintable() or "{" in name or "}" in name:
        return "it must not be empty, nor hold braces or control characters"
    own = _OWN.search(f":{name}")
    return own and f"{own.group().strip(':')!r} between colons is used by nodeflow itself"


def _check_text(what: str, text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{what} {text!a} holds a lone surrogate, which UTF-8 can't hold") from None
