"""Calls nodes: plain, async, generators and async generators alike, on copies of the user's instances."""

from __future__ import annotations

import asyncio
import copy
import inspect
import math
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager
from functools import partial
from typing import Any, Self

import anyio
import anyio.to_thread
from attrs import define, evolve, field

from nodeflow.engine.calls.stalls import limited
from nodeflow.engine.calls.state import State, States
from nodeflow.errors import GraphError
from nodeflow.graph import Context, Kind, Node, NodeSpec
from nodeflow.values import encode


class Nodes:
    """The nodes of one loop in one process, each with a state of its own.

    As an async context manager it calls `setup` of each on entering and `cleanup` on leaving.

    Args:
        specs: the nodes.
        context: what all of them have in common.
        states: what they remember; None where they can't, since other processes run them, too.
        patience: for how many seconds one may wait.

    Raises:
        GraphError: an instance can't be copied.
    """

    def __init__(
        self,
        specs: Iterable[NodeSpec],
        context: Context,
        states: States | None = None,
        patience: float = math.inf,
    ) -> None:
        self.states = states
        self.patience = patience
        self.partition = 0
        """In which partition the items are that nodes are called with."""
        self.pushed: list[tuple[str, bytes]] = []
        """What nodes have pushed, encoded, and to which queue."""
        self._specs = list(specs)
        self._contexts = {spec.id: evolve(context, node=spec.id, loop=spec.loop) for spec in self._specs}
        self._pushing = {spec.id: self._of_items(spec) for spec in self._specs}
        self._live = {spec.id: evolve(spec, target=_fresh(spec)) for spec in self._specs}
        self._limiters: dict[str, anyio.CapacityLimiter] = {}
        self._stack = AsyncExitStack()

    def _of_items(self, spec: NodeSpec) -> Context:
        context = evolve(self._contexts[spec.id], push=self._push)
        if self.states is not None or spec.kind is Kind.NON_BLOCKING:
            return context
        why = f"loop {spec.loop!r} has several processes, and each would see a part of it: give the loop by="
        return evolve(context, why_stateless=why)

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            for spec in self._specs:
                target = self._live[spec.id].target
                if isinstance(target, Node):
                    await _call(spec, target.setup, self._contexts[spec.id])
                    stack.push_async_callback(_call, spec, target.cleanup)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *error: Any) -> None:
        await self._stack.__aexit__(*error)

    async def call(self, spec: NodeSpec, given: Mapping[str, Any], item: str = "", attempt: int = 1) -> Any:
        """Run a node that gives one result.

        Args:
            spec: the node.
            given: what it takes, by port, constants left out.
            item: the item's id.
            attempt: which attempt this is.

        Raises:
            TypeError: it returned a generator without being one.
            Exception: whatever the node raises.
        """
        with no_stray_cancellation():
            result = await self.awaited(self._start(spec, given, item, attempt))
        return no_generator(spec, result)

    async def fly(
        self, spec: NodeSpec, given: Mapping[str, Any], item: str, attempt: int
    ) -> tuple[Any, list[tuple[str, bytes]]]:
        """As `call`, of a node that doesn't block, for one of several items at once; and what it has pushed.

        A plain function runs in a thread.
        """
        pushed: list[tuple[str, bytes]] = []
        live, arguments = self._live[spec.id], {**spec.constants, **given}
        if spec.context_port:
            arguments[spec.context_port] = evolve(
                self._contexts[spec.id],
                item_id=item,
                attempt=attempt,
                push=lambda queue, value: pushed.append((queue, encode(value))),
            )
        with no_stray_cancellation():
            if inspect.iscoroutinefunction(live.function):
                result = await self.awaited(_called(live, arguments))
            else:
                result = await self.awaited(self._in_a_thread(spec, partial(_called, live, arguments)))
        return no_generator(spec, result), pushed

    async def _in_a_thread(self, spec: NodeSpec, call: Callable[[], Any]) -> Any:
        limiter = self._limiters.setdefault(spec.id, anyio.CapacityLimiter(spec.options.max_in_flight))
        return await awaited(await anyio.to_thread.run_sync(call, limiter=limiter, abandon_on_cancel=True))

    async def awaited(self, result: Any) -> Any:
        """What a call gave, waited for where it can be, and what that gave, too; for as long as it may.

        Raises:
            TimeoutError: it took longer.
        """
        while inspect.isawaitable(result):
            result = await limited(awaited(result), self.patience)
        return result

    def fan_out(
        self, spec: NodeSpec, given: Mapping[str, Any], item: str = "", attempt: int = 1
    ) -> AsyncGenerator[Any, None]:
        """Run a generator node; the arguments are those of `call`."""
        return each_of(lambda: self._start(spec, given, item, attempt), self.patience)

    def produce(self, spec: NodeSpec) -> AsyncGenerator[Any, None]:
        """The values of a producer, from its first one on."""
        return _each(self.source(spec))

    def source(self, spec: NodeSpec, seek: Callable[[], int] | None = None) -> Values:
        """What gives the values of a producer; a function without inputs is one.

        Args:
            spec: the producer.
            seek: called when it asks for its position; gives that.
        """
        context = evolve(self._contexts[spec.id], seek=seek)
        live = self._live[spec.id]
        if isinstance(spec.target, Node):
            return Values(lambda: live.function(context), what=f"produce() of node {spec.id!r} ({spec.location})")
        given = {**spec.constants, **({spec.context_port: context} if spec.context_port else {})}
        if spec.fans_out:
            return Values(lambda: _called(live, given))
        return Values(lambda: _single(live, given))

    def finish(self, spec: NodeSpec, attempt: int = 1) -> AsyncGenerator[Any, None]:
        """What a node gives when its loop's input is used up; None is nothing."""
        context = self._context(spec, "", attempt)
        return _unless_none(lambda: self._live[spec.id].target.finish(context), self.patience)

    def undo(self, spec: NodeSpec) -> None:
        """Forget what a node did beside giving a value: it raised."""
        self.pushed.clear()
        if (state := self.state(spec)) is not None:
            state.undo()

    def state(self, spec: NodeSpec) -> State | None:
        """What a node remembers in the partition of the item that it runs on; None where it can't."""
        if self.states is None or spec.kind is Kind.NON_BLOCKING:
            return None
        return self.states.of(spec.id, self.partition)

    def _context(self, spec: NodeSpec, item: str, attempt: int) -> Context:
        return self._pushing[spec.id].on(item, attempt, self.state(spec))

    def _push(self, queue: str, value: Any) -> None:
        self.pushed.append((queue, encode(value)))

    def simple(self, spec: NodeSpec) -> Callable[[Any], Any] | None:
        """What is called with the value of a node's only input; None when there is more to a call of it."""
        live = self._live[spec.id]
        if spec.context_port or not _takes_one(spec):
            return None
        return partial(live.function, **spec.constants) if spec.constants else live.function

    def with_context(self, spec: NodeSpec) -> Callable[[Any, str, State | None], Any] | None:
        """As `simple`, of a node that takes the context, too; called with value, item's id and state."""
        if not spec.context_port or not _takes_one(spec) or spec.positional:
            return None
        port, given, function = spec.context_port, self._pushing[spec.id], self._live[spec.id].function
        constants = spec.constants
        if not constants and _is_second(function, port):
            return lambda value, item, state: function(value, given.on(item, 1, state))

        def call(value: Any, item: str, state: State | None) -> Any:
            return function(value, **constants, **{port: given.on(item, 1, state)})

        return call

    def _start(self, spec: NodeSpec, given: Mapping[str, Any], item: str, attempt: int) -> Any:
        arguments = {**spec.constants, **given}
        if spec.context_port:
            arguments[spec.context_port] = self._context(spec, item, attempt)
        return _called(self._live[spec.id], arguments)


def _is_second(function: Callable[..., Any], port: str) -> bool:
    """Whether a parameter is the second, and may be given by position."""
    parameters = list(inspect.signature(function).parameters.values())[:2]
    return parameters[-1].name == port and all(each.kind is each.POSITIONAL_OR_KEYWORD for each in parameters)


def _takes_one(spec: NodeSpec) -> bool:
    """Whether a node is called with one value, by position, beside constants."""
    if len(spec.edges) != 1 or spec.ref_ports or not spec.ports:
        return False
    (port,) = spec.edges
    first = spec.ports[0]
    is_in_the_way = any(each.name in spec.constants for each in spec.ports if each.positional)
    return first.name == port and not first.by_name and not is_in_the_way


def _called(live: NodeSpec, arguments: dict[str, Any]) -> Any:
    if live.positional:
        positional = [arguments.pop(port) for port in live.positional if port in arguments]
        return live.function(*positional, **arguments)
    return live.function(**arguments)


async def _single(live: NodeSpec, arguments: dict[str, Any]) -> list[Any]:
    return [no_generator(live, await awaited(_called(live, arguments)))]


def no_generator(spec: NodeSpec, result: Any) -> Any:
    """The result of a node, which is no generator.

    Raises:
        TypeError: it is one.
    """
    if inspect.isgenerator(result) or inspect.isasyncgen(result):
        raise TypeError(f"{spec.id!r} returned a generator: use `yield from` (or `yield`) to fan out")
    return result


@define(eq=False)
class Values:
    """A generator, an async generator, an iterable, or an awaitable of one; as a context manager what gives its values.

    Args:
        start: gives it.
        patience: for how many seconds it may be waited for.
        what: what gives it, for an error.
    """

    start: Callable[[], Any]
    patience: float = math.inf
    what: str = "it"
    _values: Any = field(default=None, init=False)

    async def __aenter__(self) -> Any:
        with no_stray_cancellation():
            self._values = await limited(awaited(self.start()), self.patience)
        if hasattr(self._values, "__aiter__"):
            return aiter(self._values)
        kind = type(self._values)
        if not hasattr(kind, "__iter__") and not hasattr(kind, "__getitem__"):
            raise TypeError(f"{self.what} gave {kind.__name__}: `yield` values, or return an iterable of them")
        return iter(self._values)

    async def __aexit__(self, *error: Any) -> None:
        if inspect.isasyncgen(self._values):
            await self._values.aclose()
        elif inspect.isgenerator(self._values) and not self._values.gi_running:
            self._values.close()


def each_of(start: Callable[[], Any], patience: float = math.inf) -> AsyncGenerator[Any, None]:
    """The values of a generator, an async generator, an iterable, or an awaitable of one; closed at the end.

    Args:
        start: gives it.
        patience: for how many seconds a value may be waited for.
    """
    return _each(Values(start, patience))


async def _each(source: Values) -> AsyncGenerator[Any, None]:
    async with source as values:
        with no_stray_cancellation():
            if is_async(values):
                while (value := await limited(_next_of(values), source.patience)) is not _END:
                    yield value
            else:
                for value in values:
                    yield value


def is_async(values: Any) -> bool:
    """Whether what an iterator gives is to be waited for."""
    return hasattr(values, "__anext__")


async def _next_of(values: AsyncIterator[Any]) -> Any:
    return await anext(values, _END)


async def _unless_none(start: Callable[[], Any], patience: float) -> AsyncGenerator[Any, None]:
    result = start()
    if inspect.isgenerator(result) or inspect.isasyncgen(result):
        async for value in each_of(lambda: result, patience):
            yield value
    else:
        with no_stray_cancellation():
            value = await limited(awaited(result), patience)
        if value is not None:
            yield value


@contextmanager
def no_stray_cancellation() -> Iterator[None]:
    """Turn a CancelledError that comes out of a node, though nobody cancelled it, into an error of the node."""
    try:
        yield
    except asyncio.CancelledError as error:
        own = nodes_error(error)
        if own is error:
            raise
        raise own from error


def nodes_error(error: BaseException) -> BaseException:
    """An error that came out of a node; for a CancelledError, though nobody cancelled it, one that says so."""
    task = asyncio.current_task() if isinstance(error, asyncio.CancelledError) else None
    if task is None or task.cancelling():
        return error
    own = RuntimeError("the node raised CancelledError, though nobody had cancelled it")
    own.__cause__ = error
    return own


async def awaited(result: Any) -> Any:
    """What a call gave, waited for where it can be."""
    return await result if inspect.isawaitable(result) else result


async def _call(spec: NodeSpec, method: Callable[..., Any], *arguments: Any) -> None:
    try:
        with no_stray_cancellation():
            await awaited(method(*arguments))
    except Exception as error:
        error.add_note(f"raised in {method.__name__}() of node {spec.id!r}")
        raise


def _fresh(spec: NodeSpec) -> Any:
    if not isinstance(spec.target, Node):
        return spec.target
    try:
        return copy.deepcopy(spec.target)
    except Exception as error:
        raise GraphError(
            f"node {spec.id!r} can't be copied ({type(error).__name__}: {error}): each process has a copy of its own, "
            "so open files, connections and locks in setup(), not in __init__",
            str(spec.location),
        ) from error


_END: Any = object()
