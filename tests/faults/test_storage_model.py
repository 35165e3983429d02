"""Any order of calls against a model in memory: the queue holds what the model says, in its order."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import AbstractAsyncContextManager
from typing import Any, ClassVar, TypeVar
from uuid import uuid4

import pytest
import redis
from attrs import define, field
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from nodeflow.storage import DataStore, Lease

T = TypeVar("T")

DELIVERIES = 2


@define
class Entry:
    """An item as the model knows it."""

    value: int
    attempt: int = 1
    deaths: int | None = None

    @property
    def is_suspect(self) -> bool:
        return self.deaths is not None


@define
class Held:
    """A lease as the model knows it."""

    lease: Lease
    context: AbstractAsyncContextManager[Lease]
    entries: list[Entry]
    was_alone: bool = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.was_alone = len(self.entries) == 1


class QueueMachine(RuleBasedStateMachine):
    """Drives one queue; all leases are of one consumer, whose time can be made to run out."""

    url: ClassVar[str]

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.name = f"model-{uuid4().hex[:10]}"
        self.raw = redis.Redis.from_url(self.url)
        self.store = DataStore.from_url(self.url, prefix=f"{{{self.name}}}:", max_deliveries=DELIVERIES)
        self.queue = self.store.queue
        self.numbers = 0
        self.bare: list[Entry] = []
        self.returned: list[Entry] = []
        self.delayed: list[Entry] = []
        self.letters: list[Entry] = []
        self.held: list[Held] = []
        self.pushed = self.done = self.discarded = 0

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    def teardown(self) -> None:
        self.run(self.store.close())
        self.runner.close()
        if keys := self.raw.keys(f"*{self.name}*"):
            self.raw.delete(*keys)
        self.raw.close()

    def new(self, count: int) -> list[Entry]:
        self.numbers += count
        self.pushed += count
        return [Entry(number) for number in range(self.numbers - count, self.numbers)]

    @rule(count=st.integers(1, 4))
    def push(self, count: int) -> None:
        entries = self.new(count)
        if count == 1:
            self.run(self.queue.push("q", entries[0].value))
        else:
            self.run(self.queue.push_many("q", [entry.value for entry in entries]))
        self.bare += entries

    @rule()
    def push_for_later(self) -> None:
        (entry,) = self.new(1)
        self.run(self.queue.push("q", entry.value, delay=1_000 + self.numbers))
        self.delayed.append(entry)

    @precondition(lambda self: self.delayed)
    @rule()
    def time_passes(self) -> None:
        """All that is delayed is due now, in its order."""
        key = f"{{{self.name}}}:queue:q:delayed"
        members: Any = self.raw.zrange(key, 0, -1)
        for place, member in enumerate(members):
            self.raw.zadd(key, {member: place})
        # the next to take puts them in front, behind what came back before
        self.returned += self.delayed
        self.delayed = []
        self.run(self._lease_and_give_back(self.store, None))
        self._one_came_back()

    async def _lease_and_give_back(self, store: DataStore, consumer: str | None) -> None:
        async with store.queue.lease("q", 1, timeout=0, consumer=consumer) as lease:
            await lease.give_back()

    def _one_came_back(self) -> None:
        for entry in self._take(1):
            entry.attempt += 1
            self.returned.insert(0, entry)

    def _take(self, most: int) -> list[Entry]:
        """What the model would give."""
        taken: list[Entry] = []
        while self.returned and len(taken) < most:
            if self.returned[0].is_suspect and taken:
                break
            taken.append(self.returned.pop(0))
            if taken[-1].is_suspect:
                return taken
        if not self.returned:
            while self.bare and len(taken) < most:
                taken.append(self.bare.pop(0))
        return taken

    @rule()
    def pop(self) -> None:
        expected = [*self.returned, *self.bare]
        found = self.run(self.queue.pop("q", timeout=0, default="nothing"))
        assert found == (expected[0].value if expected else "nothing")
        if expected:
            (self.returned or self.bare).pop(0)
            self.done += 1

    @rule(most=st.integers(1, 5))
    def lease(self, most: int) -> None:
        context = self.queue.lease("q", most, timeout=0)
        lease = self.run(context.__aenter__())
        entries = self._take(most)
        assert [(item.value, item.attempt) for item in lease] == [(entry.value, entry.attempt) for entry in entries]
        if entries:
            self.held.append(Held(lease, context, entries))
        else:
            self.run(context.__aexit__(None, None, None))

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def acknowledge_some(self, data: st.DataObject) -> None:
        held = data.draw(st.sampled_from(self.held))
        places = data.draw(st.sets(st.integers(0, len(held.entries) - 1), min_size=1))
        items = [item for place, item in enumerate(held.lease.held) if place in places]
        self.run(held.lease.commit(items=items, pushes={"out": [1]}))
        held.entries = [entry for place, entry in enumerate(held.entries) if place not in places]
        self.done += len(places)
        self._forget_empty(held)

    @precondition(lambda self: self.held)
    @rule(data=st.data(), error=st.booleans())
    def give_back(self, data: st.DataObject, error: bool) -> None:
        held = data.draw(st.sampled_from(self.held))
        self.run(held.lease.give_back("failed" if error else ""))
        self._come_back([held], is_suspect=error)

    @precondition(lambda self: self.held)
    @rule(data=st.data(), is_delayed=st.booleans())
    def retry_one(self, data: st.DataObject, is_delayed: bool) -> None:
        held = data.draw(st.sampled_from(self.held))
        place = data.draw(st.integers(0, len(held.entries) - 1))
        entry = held.entries.pop(place)
        self.numbers += 1
        self.run(held.lease.retry(held.lease.held[place], delay=1_000 + self.numbers if is_delayed else 0))
        entry.attempt += 1
        if is_delayed:
            self.delayed.append(entry)
        else:
            self.returned.append(entry)
        self._forget_empty(held)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def let_one_die(self, data: st.DataObject) -> None:
        held = data.draw(st.sampled_from(self.held))
        place = data.draw(st.integers(0, len(held.entries) - 1))
        self.run(held.lease.dead_letter(held.lease.held[place], "bad"))
        self.letters.append(held.entries.pop(place))
        self._forget_empty(held)

    @precondition(lambda self: self.held)
    @rule()
    def expire(self) -> None:
        """The consumer's sign of life runs out, and somebody else comes by."""
        (sign,) = self.raw.keys(f"*{self.name}*heartbeat*")
        self.raw.delete(sign)
        self.run(self._come_by())
        self._come_back(self.held, is_suspect=True)
        self._one_came_back()

    async def _come_by(self) -> None:
        async with DataStore.from_url(self.url, prefix=self.store.prefix, max_deliveries=DELIVERIES) as other:
            await self._lease_and_give_back(other, "other")
        lost = [held.lease for held in self.held]
        for lease in lost:
            with pytest.raises(Exception, match="is lost"):
                await lease.commit()

    def _come_back(self, held: list[Held], *, is_suspect: bool) -> None:
        back: list[Entry] = []
        for each in list(held):
            for entry in each.entries:
                if is_suspect:
                    entry.deaths = (entry.deaths or 0) + each.was_alone
                if is_suspect and entry.deaths is not None and entry.deaths >= DELIVERIES:
                    self.letters.append(entry)
                else:
                    entry.attempt += 1
                    back.append(entry)
            each.entries = []
            self.held.remove(each)
        self.returned = back + self.returned

    def _forget_empty(self, held: Held) -> None:
        if not held.entries:
            self.held.remove(held)

    @precondition(lambda self: self.letters)
    @rule(data=st.data(), is_requeue=st.booleans())
    def settle_letters(self, data: st.DataObject, is_requeue: bool) -> None:
        chosen = data.draw(st.sets(st.integers(0, len(self.letters) - 1), min_size=1))
        found = self.run(self.queue.dead_letters("q"))
        by_value = {letter.value: letter.id for letter in found}
        ids = [by_value[self.letters[place].value] for place in sorted(chosen)]
        settle = self.queue.requeue if is_requeue else self.queue.discard
        assert self.run(settle("q", ids)) == len(chosen)
        entries = [self.letters[place] for place in sorted(chosen)]
        self.letters = [entry for place, entry in enumerate(self.letters) if place not in chosen]
        if is_requeue:
            for entry in entries:
                entry.attempt, entry.deaths = 1, 0
            self.returned = entries + self.returned
        else:
            self.discarded += len(entries)

    @rule()
    def clear(self) -> None:
        count = len(self.bare) + len(self.returned) + len(self.delayed)
        assert self.run(self.queue.clear("q")) == count
        self.bare, self.returned, self.delayed = [], [], []
        self.discarded += count

    @rule()
    def close_and_open_again(self) -> None:
        """What is held comes back in order, and isn't suspect."""
        self.run(self.store.close())
        self._come_back(self.held, is_suspect=False)
        self.store = DataStore.from_url(self.url, prefix=self.store.prefix, max_deliveries=DELIVERIES)
        self.queue = self.store.queue

    @invariant()
    def it_balances(self) -> None:
        tally = self.run(self.queue.tally("q"))
        leased = sum(len(held.entries) for held in self.held)
        expected = (
            self.pushed,
            len(self.bare) + len(self.returned),
            len(self.delayed),
            leased,
            len(self.letters),
            self.discarded,
            self.done,
        )
        assert (
            tally.pushed,
            tally.waiting,
            tally.delayed,
            tally.leased,
            tally.dead,
            tally.discarded,
            tally.done,
        ) == expected
        assert tally.pushed == sum(expected[1:])

    @invariant()
    def it_is_in_order(self) -> None:
        found = self.run(self.queue.peek("q", 0, -1))
        assert found == [entry.value for entry in [*self.returned, *self.bare]]


@pytest.mark.timeout(900)
@pytest.mark.parametrize("examples", [40, pytest.param(500, marks=pytest.mark.slow)])
def test_a_queue_is_what_its_model_says(server_url: str, examples: int) -> None:
    QueueMachine.url = server_url
    run_state_machine_as_test(
        QueueMachine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=30,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
