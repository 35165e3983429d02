"""The names of all Redis keys.

A queue is `{prefix}queue:{name}`, a cache entry `{prefix}cache:{key}`. Whatever belongs to a queue
shares its slot in a cluster: where the queue's key has a hash tag, its helpers are that key with a
suffix; where it has none, the whole key becomes the tag of its helpers (`{queue:jobs}:returned`).
The rule of the hash tag: https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/#hash-tags
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

from attrs import field, frozen

_SUFFIXES = (
    "returned",
    "delayed",
    "leases",
    "leased",
    "heartbeat",
    "dead",
    "dead-letters",
    "tally",
    "max-length",
    "push-waits",
    "push-wakes",
    "done-steps",
    "writer-states",
    "writer-heartbeat",
    "blob-in-flight",
)
_SCRIPT_SUFFIXES = _SUFFIXES[:11]
RETURNED, BOUND, PUSH_WAITS, PUSH_WAKES = 1, 9, 10, 11
"""The places of some keys in `Keys.all_of`."""

_HOLDING = {"returned": "list", "delayed": "zset", "leases": "hash", "dead": "zset"}
"""The suffixes of the keys beside a queue that hold items of it, or say where some are; and their types."""

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

    def all_of(self, name: str) -> tuple[str, ...]:
        """The keys of a queue in the order in which the scripts take them, see `lib_keys.lua`.

        They are: the main list; the list of what came back, as envelopes; the sorted set of what is due later;
        the hash of the open leases; what begins the name of each lease's processing list, and of each consumer's
        sign of life; the dead letters' ids by time, and their envelopes; the hash of counts; the most that the
        queue may hold; the mark of those who wait for room, and the list on which they are woken.
        """
        if not isinstance(name, str):
            self.queue(name)  # which says so
        return _all_of(self, name)

    def leased(self, name: str, lease: str) -> str:
        """The processing list of one lease."""
        return self._beside(name, f"leased:{lease}")

    def sent(self, main: str, session: str) -> str:
        """The hash of the steps of one session that were done, by lane; beside the main key that they change."""
        return _suffixed(main, f"done-steps:{session}")

    def writers(self, name: str) -> tuple[str, str]:
        """The hash of a queue's writers, and what begins the name of each one's sign of life."""
        return self._beside(name, "writer-states"), self._beside(name, "writer-heartbeat")

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

    def jobs(self) -> str:
        """The hash of what is known of each job."""
        return f"{self.prefix}jobs"

    def job_hash(self, job: str, name: str) -> str:
        """A further hash of a job."""
        return f"{self.job(job)}:{name}"

    def claim(self, right: str) -> str:
        """The string that holds the name of who has a right."""
        return f"{self.prefix}claim:{right}"

    def queue_patterns(self) -> Iterator[tuple[str, str]]:
        """The glob patterns that match every key in which items of a queue are, and the type of those keys."""
        escaped = re.sub(r"([*?\[\]\\^])", r"\\\1", self.prefix)
        main = f"{escaped}queue:*"
        yield main, "list"
        for suffix, kind in _HOLDING.items():
            yield main if _TAG.match(self.prefix) else f"{{{main}}}:{suffix}", kind

    def queue_name(self, key: str, kind: str) -> str | None:
        """The queue whose items are in this key of this type, or None when it is none of a queue's."""
        main = re.escape(f"{self.prefix}queue:")
        found = re.fullmatch(rf"\{{?{main}([^{{}}]+?)\}}?(?::(?:{'|'.join(_HOLDING)}))?", key)
        if found is None or _problem(found[1]):
            return None
        name = found[1]
        beside = [self._beside(name, suffix) for suffix, each in _HOLDING.items() if each == kind]
        return name if key in beside or (kind == "list" and key == self.queue(name)) else None

    def _beside(self, name: str, suffix: str) -> str:
        return _suffixed(self.queue(name), suffix)


def queue_keys(key: str) -> list[tuple[str, ...]]:
    """The keys of each queue, below whatever prefix, that a key may belong to, as `Keys.all_of`.

    A prefix may look like anything, also like a queue or like what lies beside one: then there are several.
    """
    mains = set()
    if beside := re.fullmatch(rf"\{{(.*)\}}:(?:{'|'.join(_SUFFIXES)})(?::.*)?", key, re.DOTALL):
        mains.add(beside[1])
    for place in (found.end() for found in re.finditer("queue:", key)):
        own = _OWN.search(key, place)
        mains.add(key if own is None else key[: own.start()])
    every = [main for main in mains if "queue:" in main]
    return [(main, *(_suffixed(main, suffix) for suffix in _SCRIPT_SUFFIXES)) for main in every]


@lru_cache(maxsize=4096)
def _all_of(keys: Keys, name: str) -> tuple[str, ...]:
    return (keys.queue(name), *(keys._beside(name, suffix) for suffix in _SCRIPT_SUFFIXES))


def _suffixed(main: str, suffix: str) -> str:
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
