"""What the items of a loop's queues are to it: work, or a reason to refuse them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from attrs import evolve, frozen

from nodeflow.engine.core.evaluation import Absent
from nodeflow.engine.core.partitioning import partition_of
from nodeflow.engine.core.plan import LoopPlan
from nodeflow.engine.core.refusals import RefusedError, is_refused, uncount_refusal
from nodeflow.engine.core.results import Results, failed_count, is_enveloped
from nodeflow.engine.core.stages import Entry
from nodeflow.engine.core.work import Work, outcome_of
from nodeflow.errors import PayloadError
from nodeflow.graph import Kind, NodeSpec
from nodeflow.storage import Item
from nodeflow.values import RefValue


class Parts(Protocol):
    """Where the records of joins are."""

    async def parts(self, join: str, item: str, names: Sequence[str]) -> list[Any]:
        """The parts of a record; None for one that is dead."""


@frozen
class Intake:
    """Makes work of items.

    Args:
        plan: the loop.
        records: where the records of joins are.
        job: the job's id.
    """

    plan: LoopPlan
    records: Parts
    job: str

    async def work(self, head: NodeSpec | None, item: Item, results: Results) -> Work:
        """The work of an item of a head, or with None of the loop's own queue; what it changes goes into the results.

        Raises:
            RefusedError: it is nothing that the loop could work on.
        """
        return await self.of_loop(item, results) if head is None else self.of_channel(head, item)

    def left(self, works: Any, item: Item | None, results: Results) -> list[Work]:
        """What is left of an item that was under way, the first to be done first.

        Args:
            works: as it was kept.
            item: the item; None for what a producer gave.
            results: what it changes goes into these.

        Raises:
            RefusedError: it is nothing of this graph any more.
        """
        if item is not None:
            uncount_refusal(item, self.plan.loop.name, results)
        try:
            found = list(map(Work.from_data, works))
        except (PayloadError, TypeError) as error:
            raise RefusedError(f"what was kept of how far it is can't be gone on with: {error}") from error
        for work in found:
            check(self.plan, work)
        return found

    def key(self, head: NodeSpec | None, item: Item) -> str:
        """What an item is known by, also in another queue of the loop; the arguments are those of `work`."""
        value = item.value if isinstance(item.value, Mapping) else {}
        if head is not None:
            return f"{head.id}:{value['id'] if is_enveloped(value) else item.id}"
        if "join" in value:
            return f"{value['join']}:{value.get('item')}"
        run = [again.get("node") for again in value.get("run", ()) if isinstance(again, Mapping)]
        return f"{value.get('entry')}:{value.get('item')}:{run}" if run else item.id

    def of_channel(self, head: NodeSpec, item: Item) -> Work:
        """The work of an item of a channel, or of a queue that other programs fill.

        Raises:
            RefusedError: it isn't as the graph's loops write it.
        """
        value = item.value
        if str(head.target.queue) not in self.plan.channels and self.plan.partitioning is None:
            return Work(item=item.id, entry=head.id, kept={head.id: value})
        if not is_enveloped(value):
            raise RefusedError("not an item as this graph's loops write them: another program pushed it")
        key = value.get("key", "")
        partition = partition_of(key) if self.plan.partitioning is not None else 0
        return Work(item=value["id"], entry=head.id, kept={head.id: outcome_of(value)}, key=key, partition=partition)

    async def of_loop(self, item: Item, results: Results) -> Work:
        """The work of an item of the loop's own queue: what was left, or a join whose parts are there.

        Raises:
            RefusedError: it is something else, or nothing of this graph any more.
        """
        self._uncount(item, results)
        if isinstance(item.value, Mapping) and "join" in item.value:
            return await self._of_notice(item.value, results)
        try:
            work = Work.from_data(item.value)
        except PayloadError as error:
            raise RefusedError(error.reason) from error
        check(self.plan, work)
        if work.is_given_up:
            return work
        if work.in_words:
            raise RefusedError("what the node was given could not be kept, so it can't run on it again")
        if work.run and not work.finishes and self.plan.nodes[work.run[0].node].is_head:
            return self._anew(work)
        return work

    def _anew(self, work: Work) -> Work:
        """What a head gave and could not be sent, as if it came in now."""
        again = work.run[0]
        if again.node not in again.given:
            raise RefusedError("what the producer gave could not be sent, and so was not kept")
        return evolve(work, entry=again.node, kept={again.node: again.given[again.node]}, run=(), dead=(), errors=())

    def _uncount(self, item: Item, results: Results) -> None:
        """A dead letter that was requeued counts as failed no more, unless it fails again."""
        uncount_refusal(item, self.plan.loop.name, results)
        is_letter = isinstance(item.value, Mapping) and item.value.get("job") == self.job and "error" in item.value
        if is_letter and not is_refused(item):
            results.count(failed_count(str(item.value.get("node"))), -1)

    async def _of_notice(self, notice: Mapping[str, Any], results: Results) -> Work:
        node, item, state = str(notice["join"]), str(notice["item"]), notice["state"]
        entry = self.plan.entries.get(node)
        if entry is None:
            raise RefusedError(f"loop {self.plan.loop.name!r} has no join {node!r} any more")
        if state != "ready":
            outcome = Absent.SKIPPED if state == "skipped" else Absent.FAILED
            given = [node] if entry.spec.kind is Kind.COLLECT else [edge.source for edge in entry.spec.edges.values()]
            if state == "skipped":
                results.gathered.append((node, item, self._parts(entry, int(notice["count"]))))
            return Work(item=item, entry=node, kept=dict.fromkeys(given, outcome))
        names = self._parts(entry, int(notice["count"]))
        try:
            kept = await self._kept(entry, await self.records.parts(node, item, names))
        except PayloadError as error:  # also of a blob that is gone; the parts stay, for when it is requeued
            raise RefusedError(f"the parts of item {item} for {node!r} can't be read: {error}") from error
        results.gathered.append((node, item, names))
        return Work(item=item, entry=node, kept=kept)

    def _parts(self, entry: Entry, count: int) -> list[str]:
        if entry.spec.kind is Kind.COLLECT:
            return [str(number) for number in range(count)]
        return list(dict.fromkeys(self.plan.entry_of[edge.source] for edge in entry.spec.edges.values()))

    async def _kept(self, entry: Entry, parts: list[Any]) -> dict[str, Any]:
        outcomes = [
            {node: outcome_of(data) for node, data in part.items()} if part is not None else {} for part in parts
        ]
        if entry.spec.kind is not Kind.COLLECT:
            return {node: outcome for part in outcomes for node, outcome in part.items()}
        found = [outcome for part in outcomes for outcome in part.values() if not isinstance(outcome, Absent)]
        return {entry.spec.id: [await each.read() if isinstance(each, RefValue) else each for each in found]}


def check(plan: LoopPlan, work: Work) -> None:
    """Refuse work that needs what a loop has not, or no longer.

    Raises:
        RefusedError: it does.
    """
    entry = plan.entries.get(work.entry)
    nodes = [work.entry, *work.level, *work.kept, *work.news, *(each.node for each in (*work.run, *work.dead))]
    missing = next((node for node in nodes if entry is None or node not in entry.places), None)
    if missing is not None:
        raise RefusedError(f"loop {plan.loop.name!r} has no node {missing!r} any more that this needs")
    assert entry is not None
    if entry.stage_at(work.level) is None:
        node = work.run[0].node if work.run else work.entry
        raise RefusedError(f"node {node!r} doesn't stand below {' and '.join(work.level)} any more")
