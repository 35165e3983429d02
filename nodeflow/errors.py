"""Every exception that a caller of nodeflow can catch.

NodeflowError
├── UsageError                  the command or call was wrong: no such file, graph or node
├── GraphError                  the graph was written wrongly, at the line that the message names
│   └── GraphInvalidError       all the problems that the post-processors found
├── PayloadError                a value that can't be encoded, or bytes that can't be decoded
│   ├── BlobMissingError        a value lies in a blob that isn't there any more
│   └── BlobDamagedError        a value lies in a blob whose bytes aren't the ones that were written
├── StorageError                the server refused or failed
│   ├── StorageConnectionError  no server there, or it refused us
│   ├── StorageTimeoutError     the server didn't answer in time
│   ├── StorageFullError        the server's memory is full
│   ├── QueueFullError          a queue has held as many items as it may for too long
│   ├── LeaseLostError          the items of a lease were given to another consumer
│   ├── WriterLostError         a queue's writer is gone and nobody goes on for it
│   ├── UnsafeServerError       the server may throw data away
│   ├── BlobStoreError          the place of the blobs can't be read or written
│   ├── StoreClosedError        a call after close()
│   └── EmbeddedServerError     the embedded server can't be started
├── NodeFailedError             a node raised while it was stepped
├── ChoiceError                 a logical node chose what is no branch of it
├── KeyMissingError             a value has no key by which a loop could take it
├── InputChangedError           a node changed the value that it was given
├── NoneReturnedError           a node gave None, though it is annotated to give something else
└── JobError                    a job can't start or can't go on
    ├── AlreadyRunningError     another supervisor runs this graph
    └── LoopDiedError           a process of a loop died
"""

from __future__ import annotations

from collections.abc import Sequence


class NodeflowError(Exception):
    """The root of all errors that nodeflow raises on purpose."""


class UsageError(NodeflowError):
    """The command or call was wrong; the message says what to do instead."""


class GraphError(NodeflowError):
    """The graph was written wrongly.

    Args:
        problem: what is wrong and what to do.
        location: `file:line` of the user's code, or None where there is none.
    """

    def __init__(self, problem: str, location: str | None = None) -> None:
        super().__init__(problem, location)
        self.problem, self.location = problem, location

    def __str__(self) -> str:
        return f"{self.location}: {self.problem}" if self.location else self.problem


class GraphInvalidError(GraphError):
    """All the problems that the post-processors found in a graph, a line for each."""

    def __init__(self, graph: str, problems: Sequence[str]) -> None:
        super().__init__(graph, None)
        self.args = (graph, tuple(problems))
        self.graph, self.problems = graph, tuple(problems)

    def __str__(self) -> str:
        count = len(self.problems)
        head = f"graph {self.graph!r} has {count} problem{'' if count == 1 else 's'}:"
        return "\n".join([head, *(f"  {problem}" for problem in self.problems)])


class PayloadError(NodeflowError):
    """A value that can't be encoded, or bytes that can't be decoded.

    Args:
        path: where in the value, as in `$.rows[3].when`.
        reason: what stands there and why it is refused.
    """

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, reason)
        self.path, self.reason = path, reason

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


class BlobError(PayloadError):
    """A value lies in a blob that can't be used.

    Args:
        blob: its id.
        problem: what is wrong with it.
    """

    node: str = ""
    """The node whose value it is, where that is known."""

    run: str = ""
    """The job in which the node gave it; empty in development mode."""

    def __init__(self, blob: str, problem: str) -> None:
        super().__init__("$", f"blob {blob} {problem}")
        self.args = (blob, problem)
        self.blob = blob

    def __str__(self) -> str:
        run = f" in run {self.run}" if self.run else ""
        return f"{self.reason}; it holds what node {self.node!r} gave{run}" if self.node else self.reason


class BlobMissingError(BlobError):
    """A value lies in a blob that isn't there: it was removed, or never arrived in this place.

    Args:
        blob: its id.
        place: where the blobs are.
    """

    def __init__(self, blob: str, place: str) -> None:
        super().__init__(blob, f"is not in {place}")
        self.args = (blob, place)


class BlobDamagedError(BlobError):
    """A value lies in a blob whose bytes aren't the ones that were written.

    Args:
        blob: its id.
        problem: what is wrong with it.
    """

    def __init__(self, blob: str, problem: str) -> None:
        super().__init__(blob, f"is damaged: {problem}")
        self.args = (blob, problem)


class StorageError(NodeflowError):
    """The server refused a command or failed at it."""

    may_have_happened: bool = False
    """Whether the call may have been carried out all the same: its answer was lost, and asking again was in vain."""


class StorageConnectionError(StorageError):
    """There is no server at the address, or it refused us.

    Args:
        address: the server's address, without its password.
        reason: what the system or the server said.
        operation: what was under way when the connection was lost and may have been carried out; else empty.
    """

    def __init__(self, address: str, reason: str, operation: str = "") -> None:
        super().__init__(address, reason, operation)
        self.address, self.reason, self.operation = address, reason, operation
        self.may_have_happened = bool(operation)

    def __str__(self) -> str:
        if self.may_have_happened:
            return (
                f"{self.operation}: the connection to {self.address} was lost ({self.reason}); "
                "whether it was carried out is not known"
            )
        if self.address.startswith("the embedded server"):
            return (
                f"can't reach {self.address}: {self.reason}. It was stopped, or it died: "
                "what is started now starts it again on what it had saved"
            )
        return (
            f"can't reach the server at {self.address}: {self.reason}. "
            "Start a Redis or Valkey server there (and set NODEFLOW_URL to its address), "
            "or use the embedded one: DataStore.embedded('.nodeflow'), which is also what "
            "DataStore.open() gives when neither NODEFLOW_URL nor REDIS_URL is set"
        )


class StorageTimeoutError(StorageError):
    """The server didn't answer in time; whether the command was carried out is not known."""

    may_have_happened = True

    def __init__(self, operation: str, address: str) -> None:
        super().__init__(operation, address)
        self.operation, self.address = operation, address

    def __str__(self) -> str:
        return f"{self.operation}: no answer in time from {self.address}; whether it was carried out is not known"


class StorageFullError(StorageError):
    """The server's memory is full, so nothing was stored; what takes items out still works.

    Args:
        operation: what was refused.
        address: the server's address, without its password.
    """

    def __init__(self, operation: str, address: str) -> None:
        super().__init__(operation, address)
        self.operation, self.address = operation, address

    def __str__(self) -> str:
        return (
            f"{self.operation}: the memory of {self.address} is full, so nothing was stored. Consume or clear queues, "
            "raise its maxmemory, or bound queues with queue.bound(), so that pushes wait before it comes to that"
        )


class QueueFullError(StorageError):
    """A queue had no room for as long as the call could wait.

    Args:
        queue: its name.
        max_length: how many items it may hold.
        pushed: how many of the call's values were pushed; the others were not.
    """

    def __init__(self, queue: str, max_length: int, pushed: int = 0) -> None:
        super().__init__(queue, max_length, pushed)
        self.queue, self.max_length, self.pushed = queue, max_length, pushed

    def __str__(self) -> str:
        some = f"; the first {self.pushed} values were pushed, the others were not" if self.pushed else ""
        return f"queue {self.queue!r} may hold {self.max_length} items, and had no room in time{some}"


class LeaseLostError(StorageError):
    """The items of a lease are given to another consumer, because this one showed no sign of life for too long.

    Args:
        queue: the queue's name.
        reason: what the server said.
    """

    def __init__(self, queue: str, reason: str) -> None:
        super().__init__(queue, reason)
        self.queue, self.reason = queue, reason

    def __str__(self) -> str:
        return (
            f"the lease from {self.queue!r} is lost: {self.reason}. Nothing of this call was done; "
            "the items are delivered again, to this consumer or another"
        )


class WriterLostError(StorageError):
    """A writer of a queue is gone without having said that it is done, so the queue's end will never come.

    Args:
        queue: the queue's name.
        writers: the names of the lost ones.
    """

    def __init__(self, queue: str, writers: Sequence[str]) -> None:
        super().__init__(queue, tuple(writers))
        self.queue, self.writers = queue, tuple(writers)

    def __str__(self) -> str:
        return (
            f"queue {self.queue!r} has lost its writer {', '.join(self.writers)}, which never said that it was done: "
            "start one under the same name, or say that it is done with queue.end_writers()"
        )


class UnsafeServerError(StorageError):
    """The server may throw queued data away; the message says which setting and what to do."""


class BlobStoreError(StorageError):
    """The place of the blobs can't be read or written; the message says why."""


class StoreClosedError(StorageError):
    """A call on a store after its `close()`."""

    def __str__(self) -> str:
        return "this store is closed: make a new DataStore, or close it later"


class EmbeddedServerError(StorageError):
    """The embedded server can't be started or used; the message says why and what to do."""


class NodeFailedError(NodeflowError):
    """A node raised while it was stepped.

    Args:
        node: the node's id.
        item: the id of the item on which it raised; empty in `setup` and `cleanup`.
        trace: the traceback, from the first frame of the user's own code on.
        given: what it was called with, in words.
    """

    def __init__(self, node: str, item: str, trace: str, given: str = "") -> None:
        super().__init__(node, item, trace, given)
        self.node, self.item, self.trace, self.given = node, item, trace, given

    def __str__(self) -> str:
        where = f" on item {self.item}" if self.item else ""
        given = f" ({self.given})" if self.given else ""
        return f"node {self.node!r} failed{where}{given}:\n{self.trace}"


class InputChangedError(NodeflowError):
    """A node changed the value that it was given, which other nodes share with it."""

    def __init__(self, node: str, item: str) -> None:
        super().__init__(node, item)
        self.node, self.item = node, item

    def __str__(self) -> str:
        return (
            f"node {self.node!r} changed its own input on item {self.item}; other nodes share that value: "
            "make a copy and change the copy"
        )


class NoneReturnedError(NodeflowError, TypeError):
    """A node gave None, though it is annotated to give something else; it is said in development and in tests."""

    def __init__(self, node: str, item: str, function: str, annotation: str) -> None:
        super().__init__(node, item, function, annotation)
        self.node, self.item, self.function, self.annotation = node, item, function, annotation

    def __str__(self) -> str:
        return (
            f"node {self.node!r} gave None on item {self.item}, but {self.function} is annotated `-> {self.annotation}`"
            f": return a value on every way through it, or annotate it `-> {self.annotation} | None`"
        )


class ChoiceError(NodeflowError, TypeError):
    """A logical node chose what is no branch of it, or a node of another kind gave a `Branch`."""


class KeyMissingError(NodeflowError, LookupError):
    """What a loop's `by=` gives no key for: it can't be known which process should have it."""


class JobError(NodeflowError):
    """A job can't start or can't go on."""


class AlreadyRunningError(JobError):
    """Another supervisor runs the graph.

    Args:
        graph: the graph's name.
        holder: who that is, as in `host, process 4711`.
    """

    def __init__(self, graph: str, holder: str) -> None:
        super().__init__(graph, holder)
        self.graph, self.holder = graph, holder

    def __str__(self) -> str:
        return f"graph {self.graph!r} is being run already by {self.holder}: stop that job, or wait for its end"


class LoopDiedError(JobError):
    """A process of a loop died again and again, so the job was stopped.

    Args:
        loop: the loop's name.
        slot: which of its processes, as in `parse/1`.
        cause: how it died, as in `killed by SIGKILL`.
        output: the last lines that it wrote to its standard error.
    """

    def __init__(self, loop: str, slot: str, cause: str, output: str = "") -> None:
        super().__init__(loop, slot, cause, output)
        self.loop, self.slot, self.cause, self.output = loop, slot, cause, output

    def restart_line(self, seconds: float) -> str:
        """What happened, and that the process is started again in so many seconds."""
        return f"process {self.slot} of loop {self.loop!r} {self.cause}: it is started again in {seconds:g} s"

    @property
    def headline(self) -> str:
        """What happened, without what the process wrote."""
        return f"process {self.slot} of loop {self.loop!r} {self.cause}, so the job was stopped"

    def __str__(self) -> str:
        return f"{self.headline}:\n{self.output}" if self.output else self.headline
