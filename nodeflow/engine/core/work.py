"""Work: what is left to be done on an item, as it waits for its retry, in the dead letters, or in a fan-out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import field, frozen

from nodeflow.engine.core.evaluation import Absent, Branches, Outcome
from nodeflow.errors import PayloadError


@frozen(kw_only=True)
class Again:
    """A node that runs again on an item.

    Args:
        node: the node.
        given: what it is called with, by port, constants left out.
        attempt: which attempt this is.
        position: how many of its values have gone on, when it is a generator.
    """

    node: str
    given: Mapping[str, Any]
    attempt: int = 1
    position: int = 0

    def to_data(self) -> dict[str, Any]:
        """As it is kept."""
        return {"node": self.node, "input": dict(self.given), "attempt": self.attempt, "position": self.position}

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Again:
        """From how it is kept."""
        return cls(
            node=str(data["node"]),
            given=dict(data["input"]),
            attempt=int(data["attempt"]),
            position=int(data["position"]),
        )


@frozen(kw_only=True)
class Work:
    """What is left to be done on an item.

    Args:
        item: its id.
        entry: where it came into the loop.
        level: the fan-outs that it stands below, behind the entry.
        kept: what other nodes gave for it that is still needed.
        run: the nodes that run; what takes from them runs, too. Empty for all that stand behind the entry.
        dead: nodes that have failed for good: they don't run, but belong to what is left.
        errors: why each of those failed.
        finishes: whether the nodes are to finish, as their loop's input is used up.
        in_words: whether what the nodes were given could not be kept, and stands here in words only.
        key: its key, as JSON, in a loop with `by=`; empty for what has none.
        partition: in which partition it is.
        holds: whether later items of its key wait for it: it is tried again before them.
        is_given_up: whether the nodes that run or have failed are not tried again, but count as skipped.
        news: nodes whose outcome is new to what stands below the generators that run, which do so for that only: all
            else has their values already. Empty where they run for all that takes from them.
    """

    item: str
    entry: str
    level: tuple[str, ...] = ()
    kept: Mapping[str, Outcome] = field(factory=dict)
    run: tuple[Again, ...] = ()
    dead: tuple[Again, ...] = ()
    errors: tuple[Mapping[str, Any], ...] = ()
    finishes: bool = False
    in_words: bool = False
    key: str = ""
    partition: int = 0
    holds: bool = False
    is_given_up: bool = False
    news: tuple[str, ...] = ()

    @property
    def unsettled(self) -> Mapping[str, int]:
        """The nodes that gave nothing, or not all, each with how many of its values have gone on."""
        return {each.node: each.position for each in (*self.run, *self.dead)} or {self.entry: 0}

    def known(self, places: Mapping[str, int]) -> list[Outcome]:
        """What nodes gave for the item, each at its place; what isn't kept counts as skipped."""
        outcomes: list[Outcome] = [Absent.SKIPPED] * len(places)
        for node, outcome in self.kept.items():
            outcomes[places[node]] = outcome
        return outcomes

    def to_data(self) -> dict[str, Any]:
        """As it is kept."""
        return {
            "item": self.item,
            "entry": self.entry,
            "level": list(self.level),
            "kept": {node: kept_outcome(outcome) for node, outcome in self.kept.items()},
            "run": [each.to_data() for each in self.run],
            "dead": [each.to_data() for each in self.dead],
            "errors": [dict(each) for each in self.errors],
            "finishes": self.finishes,
            "in_words": self.in_words,
            "key": self.key,
            "partition": self.partition,
            "holds": self.holds,
            **({"given_up": True} if self.is_given_up else {}),
            **({"news": list(self.news)} if self.news else {}),
        }

    @classmethod
    def from_data(cls, data: Any) -> Work:
        """From how it is kept.

        Raises:
            PayloadError: it is something else.
        """
        try:
            return cls(
                item=str(data["item"]),
                entry=str(data["entry"]),
                level=tuple(data["level"]),
                kept={node: outcome_of(outcome) for node, outcome in data["kept"].items()},
                run=tuple(map(Again.from_data, data["run"])),
                dead=tuple(map(Again.from_data, data["dead"])),
                errors=tuple(data["errors"]),
                finishes=bool(data["finishes"]),
                in_words=bool(data["in_words"]),
                key=str(data["key"]),
                partition=int(data["partition"]),
                holds=bool(data["holds"]),
                is_given_up=bool(data.get("given_up")),
                news=tuple(data.get("news", ())),
            )
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise PayloadError("$", f"this is no work of a graph that could be gone on with ({error!r})") from error


def kept_outcome(outcome: Outcome) -> dict[str, Any]:
    """An outcome as it is kept, and as it travels."""
    if isinstance(outcome, Absent):
        return {"absent": outcome.value}
    return {"branches": dict(outcome.values)} if isinstance(outcome, Branches) else {"value": outcome}


def outcome_of(data: Mapping[str, Any]) -> Outcome:
    """An outcome from how it is kept.

    Raises:
        LookupError, ValueError: it is something else.
    """
    if "value" in data:
        return data["value"]
    return Absent(data["absent"]) if "absent" in data else Branches(data["branches"])
