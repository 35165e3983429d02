"""The names of a job's marks: how far producers are, and which loops have come to their end."""

from __future__ import annotations

from nodeflow.engine.core.plan import LoopPlan
from nodeflow.engine.core.results import loop_queue
from nodeflow.engine.core.work import Again, Work
from nodeflow.graph import Kind, Loop
from nodeflow.storage import LoopEnd


def position_mark(producer: str, shard: int) -> str:
    """How many values of a producer are committed."""
    return f"at:{producer}/{shard}"


def epoch_mark(loop: str, slot: int) -> str:
    """How often a process has taken a slot: the hops of those before are refused."""
    return f"epoch:{loop}/{slot}"


def ahead_mark(producer: str, shard: int) -> str:
    """How many values of a producer its process may have in hand that aren't committed; none once that ended well."""
    return f"ahead:{producer}/{shard}"


def tried_mark(producer: str, shard: int) -> str:
    """Behind which of a producer's values the one is that was tried alone last: its number, and one more."""
    return f"tried:{producer}/{shard}"


def tries_mark(producer: str, shard: int) -> str:
    """How often that value was tried alone."""
    return f"tries:{producer}/{shard}"


def caution_marks(producer: str, shard: int) -> list[str]:
    """What says that values of a producer may be in hand, and which one is tried alone."""
    return [ahead_mark(producer, shard), tried_mark(producer, shard), tries_mark(producer, shard)]


def end_mark(head: str, shard: int) -> str:
    """That a producer has no more values."""
    return f"end:{head}/{shard}"


def closed_mark(loop: str) -> str:
    """That a loop is done, and closes the channels behind it."""
    return f"closed:{loop}"


def committed_count(loop: str, slot: int) -> str:
    """How many hops the process of a slot has made."""
    return f"hops:{loop}/{slot}"


def finished_mark(loop: str) -> str:
    """How many of a loop's nodes were told to finish."""
    return f"finished:{loop}"


def loop_end(plan: LoopPlan) -> LoopEnd:
    """When a loop has come to its end; one that reads what other programs push never has."""
    needed = []
    queues = []
    for head in plan.heads:
        channel = plan.channels.get(str(head.target.queue)) if head.kind is Kind.READER else None
        if channel is not None:
            needed.append(closed_mark(channel.source_loop))
            queues += channel.queues
        else:
            needed += [end_mark(head.id, shard) for shard in range(plan.loop.processes)]
    name = plan.loop.name
    if plan.partitioning is not None:
        queues.append(loop_queue(name))  # what was requeued, before it is with the process that has its key
    return LoopEnd(
        queues=[*queues, *plan.own_queues],
        needed=list(dict.fromkeys(needed)),
        finished=finished_mark(name),
        closed=closed_mark(name),
    )


def finishers(plan: LoopPlan, job: str) -> list[list[Work]]:
    """The work of letting a loop's nodes finish, one after the other, each in all partitions at once."""
    return [
        [
            Work(
                item=f"{job}.{finish_item(spec.id, partition, plan.loop)}",
                entry=plan.entry_of[spec.id],
                run=(Again(node=spec.id, given={}),),
                finishes=True,
                partition=partition,
            )
            for partition in range(plan.loop.partitions)
        ]
        for spec in plan.finishers
    ]


def finish_item(node: str, partition: int, loop: Loop) -> str:
    """The id, without the job's, of the item that a node finishes on."""
    return f"{node}:finish" if loop.by is None else f"{node}:finish/{partition}"
