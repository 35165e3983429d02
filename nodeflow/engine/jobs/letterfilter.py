"""Which dead letters are meant, of all that a graph has."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from attrs import evolve, frozen

if TYPE_CHECKING:
    from nodeflow.engine.jobs.letters import Letter


@frozen(kw_only=True)
class LetterFilter:
    """Dead letters for which all that is said holds.

    Args:
        ids: what they are named by; None for any.
        node: the node that raised, or that could not take them in.
        error: the type of what was raised, or a part of its message, whatever the case.
        job: the job's id.
        limit: how many at most, the oldest of them.
    """

    ids: Collection[str] | None = None
    node: str | None = None
    error: str | None = None
    job: str | None = None
    limit: int | None = None

    @property
    def is_open(self) -> bool:
        """Whether nothing is said, so that all are meant."""
        return self == LetterFilter()

    @property
    def unlimited(self) -> LetterFilter:
        """The same, however many those are."""
        return evolve(self, limit=None)

    def takes(self, letter: Letter) -> bool:
        """Whether a letter is one of those, the limit apart."""
        return (
            (self.ids is None or letter.id in self.ids)
            and self.node in (None, letter.shown["node"])
            and self.job in (None, letter.job)
            and (self.error is None or self._is_error(letter.shown["error"]["type"], letter.shown["error"]["message"]))
        )

    def _is_error(self, kind: str, message: str) -> bool:
        assert self.error is not None
        return self.error in (kind, kind.rpartition(".")[2]) or self.error.lower() in message.lower()
