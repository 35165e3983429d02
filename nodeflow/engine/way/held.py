"""Held keys: while an item waits for its retry, those behind it of the same key wait, too."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection

from attrs import define, evolve, field

from nodeflow.engine.core.partitioning import partition_of
from nodeflow.engine.core.plan import LoopPlan
from nodeflow.engine.core.results import Results
from nodeflow.engine.core.work import Work
from nodeflow.engine.way.packing import Packing
from nodeflow.storage import Ledger
from nodeflow.values import encode

MOST_HELD = 10_000
"""How many items of one process wait for others of their keys before it takes no more."""


def held_hash(loop: str) -> str:
    """The job's hash of the keys of a loop that are held.

    It has a field for each key, with how many items hold it, and one for each item behind these, in order.
    """
    return f"held:{loop}"


@define
class _Key:
    holders: int = 0
    behind: deque[tuple[int, Work]] = field(factory=deque)


@define(eq=False)
class Held:
    """The keys of one process whose items wait for an item before them.

    Args:
        plan: the loop.
        packing: makes what waits ready to be kept.
    """

    plan: LoopPlan
    packing: Packing
    _keys: dict[str, _Key] = field(factory=dict, init=False)
    _count: int = field(default=0, init=False)

    async def load(self, ledger: Ledger, partitions: Collection[int]) -> None:
        """Read what was held when the processes before ended.

        Args:
            ledger: the job's records.
            partitions: those of this process.
        """
        for name, data in sorted((await ledger.table(self._hash)).items()):
            key, _, number = name.partition("\n")
            if partition_of(key) not in partitions:
                continue
            known = self._keys.setdefault(key, _Key())
            if number:
                known.behind.append((int(number), Work.from_data(data)))
                self._count += 1
            else:
                known.holders = int(data)

    @property
    def is_full(self) -> bool:
        """Whether so much waits that no more should be taken in."""
        return self._count >= MOST_HELD

    @property
    def keys(self) -> Collection[str]:
        """The keys that are held now and later."""
        return self._keys.keys()

    def __contains__(self, key: str) -> bool:
        return key in self._keys

    async def begin(self, key: str, results: Results) -> None:
        """An item of a key is to be tried again: from now on those behind it wait."""
        known = self._keys.setdefault(key, _Key())
        known.holders += 1
        await self._note(key, known, results)

    async def add(self, work: Work, results: Results) -> None:
        """Let an item wait for those before it."""
        known = self._keys[work.key]
        number = known.behind[-1][0] + 1 if known.behind else 0
        known.behind.append((number, work))
        self._count += 1
        data = encode((await self.packing.kept_work(work)).to_data())
        results.remember(self._hash, _field(work.key, number), await self.packing.field(self._hash, data))

    async def end(self, key: str, results: Results) -> None:
        """An item for which others waited is done, or dead: the next of them goes on, and the others wait for that."""
        known = self._keys.get(key)
        if known is None:
            return
        known.holders -= 1
        if not known.holders and known.behind:
            number, work = known.behind.popleft()
            self._count -= 1
            known.holders = 1
            queue = self.plan.own_queue(work.partition)
            results.push(queue, await self.packing.work(queue, evolve(work, holds=True)))
            results.remember(self._hash, _field(key, number), None)
        await self._note(key, known, results)

    async def _note(self, key: str, known: _Key, results: Results) -> None:
        if known.holders > 0:
            results.remember(self._hash, key, await self.packing.field(self._hash, encode(known.holders)))
        else:
            results.remember(self._hash, key, None)
            del self._keys[key]

    @property
    def _hash(self) -> str:
        return held_hash(self.plan.loop.name)


def _field(key: str, number: int) -> str:
    return f"{key}\n{number:012}"
