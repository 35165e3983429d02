"""The names of a job's marks: how far producers are, and which loops have come to their end."""

from __future__ import annotations

from nodeflow.engine.plan import LoopPlan
from nodeflow.engine.results import loop_queue
from nodeflow.engine.work import Again, Work
from nodeflow.graph import Kind
from nodeflow.storage import LoopEnd


def position_mark(producer: str, shard: int) -> str:
    """How many values of a producer are committed."""
    return f"at:{producer}/{shard}"


def epoch_mark(loop: str, slot: int) -> str:
    """How often a process has taken a slot: the hops of those before are refused."""
    return f"epoch:{loop}/{slot}"


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
            queues.append(channel.queue)
        else:
            needed += [end_mark(head.id, shard) for shard in range(plan.loop.processes)]
    name = plan.loop.name
    return LoopEnd(
        queues=[*queues, loop_queue(name)],
        needed=list(dict.fromkeys(needed)),
        finished=finished_mark(name),
        closed=closed_mark(name),
    )


def finishers(plan: LoopPlan, job: str) -> list[Work]:
    """The work of letting a loop's nodes finish, one after the other."""
    return [
        Work(
            item=f"{job}.{spec.id}:finish",
            entry=plan.entry_of[spec.id],
            run=(Again(node=spec.id, given={}),),
            finishes=True,
        )
        for spec in plan.finishers
    ]
