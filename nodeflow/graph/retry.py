"""Retry: how often a node is tried again on an item that it raised on, and when."""

from __future__ import annotations

import math
import random
from typing import Any

from attrs import field, frozen

from nodeflow.errors import GraphError
from nodeflow.graph.location import caller


def _seconds(instance: Any, attribute: Any, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
        raise GraphError(f"Retry({attribute.name}=…) takes a number of seconds from 0 on, not {value!r}", str(caller()))


def _classes(value: Any) -> Any:
    return (value,) if isinstance(value, type) else tuple(value) if isinstance(value, list | tuple) else value


@frozen
class Retry:
    """A node is tried again on an item, after a delay that doubles each time; the loop goes on meanwhile.

    Args:
        times: how often, beside the first attempt.
        backoff: seconds before the second attempt; twice as many before the third, and so on.
        max_delay: the most seconds before an attempt.
        jitter: by which part of it a delay is made shorter or longer by chance, from 0 to 1: so that what failed
            together doesn't come back together.
        on: the classes of exceptions that it is for.

    Raises:
        GraphError: one of these can't be.
    """

    times: int = field(default=3)
    backoff: float = field(default=1.0, validator=_seconds)
    max_delay: float = field(default=60.0, validator=_seconds)
    jitter: float = field(default=0.1, validator=_seconds)
    on: tuple[type[BaseException], ...] = field(default=(Exception,), converter=_classes)

    def __attrs_post_init__(self) -> None:
        if isinstance(self.times, bool) or not isinstance(self.times, int) or self.times < 0:
            raise GraphError(f"Retry(times=…) takes a whole number from 0 on, not {self.times!r}", str(caller()))
        if self.jitter > 1:
            raise GraphError(f"Retry(jitter=…) takes a part from 0 to 1, not {self.jitter!r}", str(caller()))
        if not isinstance(self.on, tuple) or not all(
            isinstance(each, type) and issubclass(each, BaseException) for each in self.on
        ):
            raise GraphError(f"Retry(on=…) takes classes of exceptions, not {self.on!r}", str(caller()))

    def wait(self, error: BaseException, attempt: int) -> float | None:
        """How many seconds to wait for the next attempt; None when there is none.

        Args:
            error: what the node raised.
            attempt: which attempt that was, from 1 on.
        """
        if attempt > self.times or not isinstance(error, self.on):
            return None
        delay = min(self.max_delay, self.backoff * 2.0 ** min(attempt - 1, 64))
        return delay * (1 + random.uniform(-self.jitter, self.jitter))  # noqa: S311 - no secret
