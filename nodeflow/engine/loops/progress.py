"""Items of which more comes than one hop can carry: how far they are is kept, until they are done."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from attrs import field, frozen

from nodeflow.engine.core.results import Results
from nodeflow.engine.core.work import Work
from nodeflow.engine.loops.hops import PROGRESS
from nodeflow.engine.way.packing import Packing
from nodeflow.errors import PayloadError
from nodeflow.storage import Ledger


@frozen
class InParts:
    """What is left of items whose values are committed in parts.

    Args:
        ledger: the job's records.
        packing: makes what is left ready to be kept.
    """

    ledger: Ledger
    packing: Packing
    _noted: set[str] = field(factory=set, init=False)

    async def left(self, keys: Sequence[str]) -> dict[str, Any]:
        """What is left of those items that were under way when their process ended, for `Intake.left`.

        Args:
            keys: what the items are known by.
        """
        found: list[Any] = await self.ledger.fields(PROGRESS, keys)
        left = {key: works for key, works in zip(keys, found, strict=True) if works}
        self._noted.update(left)
        return left

    async def note(self, key: str, works: Sequence[Work], results: Results) -> bool:
        """Have the next hop keep what is left of an item; False when that can't be kept."""
        try:
            data = [(await self.packing.kept_work(work)).to_data() for work in works]
            results.progress[key] = await self.packing.store.prepare_field(self.ledger.job, PROGRESS, data)
        except PayloadError:
            return False
        self._noted.add(key)
        return True

    def over(self, key: str, results: Results) -> None:
        """Have the next hop forget an item: it is done."""
        if key in self._noted:
            self._noted.discard(key)
            results.progress[key] = None
