"""What stands behind each entry of a loop, by the fan-outs that it stands below: made once, read for every item."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property

from attrs import field, frozen

from nodeflow.engine.core.evaluation import Outcome, Source, on_branch
from nodeflow.engine.core.partitioning import Partitioning
from nodeflow.graph import Kind, NodeSpec

_NOT_CALLED = (Kind.PRODUCER, Kind.READER, Kind.WRITER, Kind.COLLECT)


@frozen(eq=False)
class Channel:
    """A queue from one loop to another.

    Args:
        queue: its name.
        source_loop: whose done mark closes it.
        target_loop: who reads it.
        branches: the branches of the source that the target loop takes; None for what has no branches.
        source: the node whose output goes through it.
        takes_value: whether the target loop takes what has no branch.
        tells_absence: whether it is also told there of items for which there is nothing, as joins need to know.
        partitioning: how the target loop's processes share what goes through it; None when any takes any.
    """

    queue: str
    source_loop: str
    target_loop: str
    branches: frozenset[str] | None
    source: NodeSpec
    takes_value: bool = True
    tells_absence: bool = False
    partitioning: Partitioning | None = None

    @property
    def queues(self) -> list[str]:
        """The queues that it consists of, one for each process where these have parts of their own."""
        return [self.queue] if self.partitioning is None else self.partitioning.queues(self.queue)


@frozen(eq=False)
class Write:
    """A queue into which what a node gives goes.

    Args:
        spec: the writer.
        queue: the queue's name.
        branch: the branch that it takes.
        channel: the channel that the queue belongs to; None when other programs read it.
    """

    spec: NodeSpec
    queue: str
    branch: str | None
    channel: Channel | None

    @cached_property
    def is_simple(self) -> bool:
        """Whether each value goes there as it is."""
        channel = self.channel
        return self.branch is None and (channel is None or (channel.branches is None and channel.takes_value))

    def taken(self, outcome: Outcome) -> Outcome:
        """What of a node's outcome goes there: all of it where branches go through one channel."""
        is_whole = self.channel is not None and self.channel.branches is not None
        return outcome if is_whole else on_branch(outcome, self.branch)


@frozen(eq=False)
class Join:
    """A record in which what belongs to one item is gathered, from all entries that it comes by.

    Args:
        node: the node that runs when all is there.
        loop: its loop.
        parts: how many there are; None when that is counted, by the fan-out whose children it gathers.
        takes_dead: whether a dead part counts as skipped; else the record waits until the dead letter is dealt with.
    """

    node: str
    loop: str
    parts: int | None
    takes_dead: bool = False


@frozen(eq=False)
class Step:
    """A node of a stage.

    Args:
        spec: the node.
        place: where its outcome lies.
        sources: what its ports take, each with the place of the outcome.
        writes: the queues into which its outcome goes.
        closes: the records of which it counts the parts, when it is a fan-out.
        branches: those that it may choose, when it is a logical node.
    """

    spec: NodeSpec
    place: int
    sources: tuple[Source, ...] = ()
    writes: tuple[Write, ...] = ()
    closes: tuple[Join, ...] = ()
    branches: frozenset[str] = frozenset()


@frozen(eq=False)
class Part:
    """What one entry gives to a join: a part of the item's record.

    Args:
        join: the join.
        name: the part's name, that of the entry; None names it after the child's number.
        sources: the nodes whose outcomes it holds, each with its place.
    """

    join: Join
    name: str | None
    sources: tuple[tuple[str, int], ...]


@frozen(eq=False)
class FanOut:
    """A generator of a stage, and what stands behind each of its values.

    Args:
        step: the generator.
        stage: what runs once for each of its values.
        is_needed: False when it runs only for what stands behind it.
    """

    step: Step
    stage: Stage
    is_needed: bool = True

    @cached_property
    def outer(self) -> frozenset[int]:
        """The places of what is taken there from above the generator, but for what it takes itself."""
        return self.stage.taken - {self.step.place}


@frozen(eq=False)
class Stage:
    """The nodes behind an entry that stand below the same fan-outs.

    Args:
        level: the fan-outs.
        steps: those that give one outcome, each behind those that it takes from.
        parts: what goes from here to joins.
        fan_outs: the generators.
        fed: the places of the steps that run only for what stands behind them.
    """

    level: tuple[str, ...]
    steps: tuple[Step, ...] = ()
    parts: tuple[Part, ...] = ()
    fan_outs: tuple[FanOut, ...] = ()
    fed: frozenset[int] = frozenset()

    @cached_property
    def taken(self) -> frozenset[int]:
        """The places of what its steps, and those of the stages below it, take from above it."""
        steps, parts = list(self.every_step()), self.every_part()
        taken = {place for step in steps for _, place, _ in step.sources}
        taken |= {place for part in parts for _, place in part.sources}
        return frozenset(taken - {step.place for step in steps})

    def every_step(self) -> Iterator[Step]:
        """Its steps and generators, and those of the stages below it."""
        yield from self.steps
        for fan_out in self.fan_outs:
            yield fan_out.step
            yield from fan_out.stage.every_step()

    def every_part(self) -> Iterator[Part]:
        """What goes from it to joins, and from the stages below it."""
        yield from self.parts
        for fan_out in self.fan_outs:
            yield from fan_out.stage.every_part()

    def only(self, run: frozenset[int], known: frozenset[int] = frozenset()) -> Stage | None:
        """What is left of it when only some steps run; None for nothing.

        Args:
            run: the places of the steps that run; generators before them run, too, and below these what they take from.
            known: the places of those that don't, but whose outcome is new to joins.
        """
        steps = tuple(step for step in self.steps if step.place in run)
        parts = tuple(part for part in self.parts if any(place in run or place in known for _, place in part.sources))
        fan_outs = []
        for fan_out in self.fan_outs:
            is_needed = fan_out.step.place in run
            below = fan_out.stage if is_needed else fan_out.stage.only(run, known)
            if below is not None:
                below = below if is_needed else below.with_fed(fan_out.stage)
                fan_outs.append(FanOut(fan_out.step, below, is_needed and fan_out.is_needed))
        return Stage(self.level, steps, parts, tuple(fan_outs)) if steps or parts or fan_outs else None

    def with_fed(self, whole: Stage) -> Stage:
        """Itself, and of the whole stage, of which it is a part, the steps that it takes from."""
        taken, fed = set(self.taken), set()
        for step in reversed(whole.steps):
            if step.place in taken and step not in self.steps:
                fed.add(step.place)
                taken.update(place for _, place, _ in step.sources)
        steps = tuple(step for step in whole.steps if step.place in fed or step in self.steps)
        return Stage(self.level, steps, self.parts, self.fan_outs, frozenset(fed))


@frozen(eq=False)
class Entry:
    """Where items come into a loop's nodes: a head, a join, or a `Collect`; and what stands behind it.

    Args:
        spec: the head, the join or the `Collect`.
        places: where the outcome of each node lies.
        step: the head itself: where what it gives goes at once; None for a join, which runs in the stage.
        stage: what stands behind it.
    """

    spec: NodeSpec
    places: Mapping[str, int]
    step: Step | None
    stage: Stage
    _restricted: dict[tuple[tuple[str, ...], frozenset[str], frozenset[str]], Stage] = field(factory=dict, init=False)

    def behind(self, level: tuple[str, ...], run: frozenset[str], known: frozenset[str] = frozenset()) -> Stage:
        """Some nodes of the stage at a level, and all that takes from them.

        Args:
            level: the fan-outs that the stage stands below.
            run: nodes that run.
            known: nodes that don't run themselves: what they give is known.
        """
        key = (level, run, known)
        if key not in self._restricted:
            own = frozenset(self.places[node] for node in known)
            whole = self.stage_at(level)
            reached = self.reached(run) | (self.reached(known) - own)
            self._restricted[key] = (whole and whole.only(reached, own)) or Stage(level)
        return self._restricted[key]

    def fed(self, level: tuple[str, ...], generators: frozenset[str], news: frozenset[str]) -> Stage:
        """Generators at a level, and of what stands below them that only to which something is news.

        Args:
            level: the fan-outs that they stand below.
            generators: they.
            news: the nodes above them that give something new.
        """
        fan_outs = self.behind(level, frozenset(), news).fan_outs
        return Stage(level, fan_outs=tuple(each for each in fan_outs if each.step.spec.id in generators))

    def reached(self, nodes: Iterable[str]) -> frozenset[int]:
        """The places of some nodes and of all that takes from them."""
        reached = {self.places[node] for node in nodes}
        for step in self.stage.every_step():
            if any(place in reached for _, place, _ in step.sources):
                reached.add(step.place)
        return frozenset(reached)

    def called(self, run: Sequence[str]) -> list[str]:
        """The nodes that are called with values when some of them run; when none is said, with what comes in."""
        reached = self.reached(run or [self.spec.id])
        steps = [step for step in self.steps.values() if step.place in reached and step.spec.kind not in _NOT_CALLED]
        return [step.spec.id for step in sorted(steps, key=lambda step: step.place)]

    def stage_at(self, level: tuple[str, ...]) -> Stage | None:
        """The stage below these fan-outs; None when there is none."""
        stage: Stage | None = self.stage
        for node in level:
            fan_outs = stage.fan_outs if stage is not None else ()
            stage = next((fan_out.stage for fan_out in fan_outs if fan_out.step.spec.id == node), None)
        return stage

    @cached_property
    def steps(self) -> Mapping[str, Step]:
        """All steps by node."""
        found = {step.spec.id: step for step in self.stage.every_step()}
        return found if self.step is None else {self.step.spec.id: self.step, **found}
