"""A store's life: in a forked child, in a second event loop, left open, and at the end of the interpreter."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import threading
from collections.abc import Callable
from textwrap import dedent, indent
from typing import Any

import pytest

from nodeflow.errors import StorageError, StoreClosedError
from nodeflow.storage import DataStore
from tests.storage.looking import balanced, values
from tests.support import until

PROGRAM = """
import asyncio, gc, logging, os, sys, threading, time
from contextlib import aclosing, suppress
from nodeflow.errors import *
from nodeflow.storage import DataStore

# Development mode also tells which callbacks took long, as they do on a busy machine.
logging.getLogger("asyncio").addFilter(lambda record: not record.getMessage().startswith("Executing"))
store = DataStore.from_url(sys.argv[1], prefix=sys.argv[2], lease_seconds=1)

async def use():
    await store.queue.push("jobs", 1)
    assert await store.queue.pop("jobs", timeout=0) == 1

"""

USES = {
    "push": "await store.queue.push('jobs', 1); await store.queue.pop('jobs', timeout=0)",
    "waiting pop": "await store.queue.pop('jobs', timeout=0.1)",
    "cancelled pop": """
        with suppress(TimeoutError):
            async with asyncio.timeout(0.1):
                await store.queue.pop('jobs')
        """,
    "lease": """
        await store.queue.push('jobs', 1)
        async with store.queue.lease('jobs') as lease:
            assert lease[0].value == 1
        """,
    "waiting lease": """
        async with store.queue.lease('jobs', timeout=0.1):
            pass
        """,
    "writer": """
        async with store.queue.write_as('jobs', 'w'):
            pass
        """,
    "stream": """
        await store.queue.close('jobs')
        assert [item async for item in store.queue.stream('jobs')] == []
        """,
}
USES["everything"] = "\n".join(map(dedent, USES.values()))


def run(url: str, prefix: str, program: str) -> str:
    """Run a program that knows `store` with all of Python's warnings shown; what it wrote to standard error."""
    text = PROGRAM + dedent(program)
    command = [sys.executable, "-X", "dev", "-c", text, url, prefix]
    done = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == 0, done.stderr
    return done.stderr


def main_of(use: str, ending: str = "") -> str:
    """A coroutine function `main` that uses the store."""
    return "async def main():\n" + indent(dedent(USES[use]).strip("\n"), "    ") + "\n" + indent(ending, "    ") + "\n"


@pytest.mark.parametrize("use", ["push", "everything"])
def test_nothing_is_said_at_the_end_of_an_interpreter_whose_store_was_closed(
    server_url: str, token: str, use: str
) -> None:
    program = main_of(use, "await store.close()") + "asyncio.run(main())\n"
    assert run(server_url, token, program) == ""


@pytest.mark.parametrize("end", ["at exit", "collected"])
@pytest.mark.parametrize("use", ["push", "writer", "everything"])
def test_a_store_that_was_left_open_is_warned_of_once(server_url: str, token: str, use: str, end: str) -> None:
    program = main_of(use) + "asyncio.run(main())\n"
    if end == "collected":
        program += "del store\ngc.collect()\n"
    lines = run(server_url, token, program).splitlines()
    complaints = [line for line in lines if "Warning: " in line or line.startswith(("Exception", "Traceback"))]
    complaints = [line for line in complaints if "Enable tracemalloc" not in line]
    assert [line.partition(": ")[2].partition(": ")[0] for line in complaints] == ["ResourceWarning"], complaints
    assert "a store on" in complaints[0]
    assert "was not closed" in complaints[0]


def test_a_store_that_was_never_used_need_not_be_closed(server_url: str, token: str) -> None:
    assert run(server_url, token, "repr(store)") == ""


async def test_a_store_that_is_forgotten_with_a_lease_warns_and_stops_its_heart(
    server_url: str, store: DataStore
) -> None:
    async def is_silent() -> bool:
        gc.collect()  # the forgotten lease gives its items back first
        return not any(thread.name == "nodeflow heartbeat" for thread in threading.enumerate())

    async def use_and_forget() -> None:
        await hold(DataStore.from_url(server_url, prefix=store.prefix, lease_seconds=1))
        await until(is_silent, 5, "the heart of the forgotten store beats no more")

    with pytest.warns(ResourceWarning) as warned:
        await use_and_forget()
    assert ["was not closed" in str(each.message) for each in warned] == [True]
    async with store.queue.lease("jobs", timeout=10) as lease:
        assert values(lease) == [1]
    await balanced(store, done=1)


async def hold(store: DataStore) -> None:
    """Lease an item and never end the lease."""
    await store.queue.push("jobs", 1)
    await store.queue.lease("jobs", timeout=0).__aenter__()


@pytest.mark.parametrize("use", ["push", "everything"])
def test_a_store_may_be_used_in_one_event_loop_after_another(server_url: str, token: str, use: str) -> None:
    program = main_of(use) + "for _ in range(2):\n    asyncio.run(main())\nasyncio.run(store.close())\n"
    assert run(server_url, token, program) == ""


def test_a_store_cannot_be_used_in_two_event_loops_at_once(server_url: str, token: str) -> None:
    program = """
        begun, over = threading.Event(), threading.Event()

        async def first():
            await use()
            begun.set()
            await asyncio.to_thread(over.wait)
            await use()
            await store.close()

        async def second():
            try:
                await use()
            except StorageError as error:
                assert "at work in another event loop" in str(error), error
            else:
                raise AssertionError("it was used")

        thread = threading.Thread(target=asyncio.run, args=(first(),))
        thread.start()
        begun.wait()
        asyncio.run(second())
        over.set()
        thread.join()
        """
    assert run(server_url, token, program) == ""


FORK_IN_LOOP = """
async def child():
    await store.queue.push("children", os.getpid())
    async with store.queue.lease("others", timeout=0) as lease:
        assert not lease
    assert await store.queue.pop("jobs", timeout=5) == "for the child"
    await store.close()

async def main():
    await store.queue.push("others", "the parent's")
    async with store.queue.lease("others") as lease:
        process = os.fork()
        if process == 0:
            status = 1
            try:
                asyncio.run(child())
                status = 0
            finally:
                os._exit(status)
        await store.queue.push("jobs", "for the child")
        for _ in range(200):
            await store.cache.get("key")
        _, status = await asyncio.to_thread(os.waitpid, process, 0)
        assert status == 0
        assert await store.queue.pop("children", timeout=0) == process
        await lease.commit()
    await use()
    await store.close()

asyncio.run(main())
"""

FORK_OUTSIDE = """
asyncio.run(use())
process = os.fork()
if process == 0:
    asyncio.run(use())
    asyncio.run(store.close())
else:
    asyncio.run(use())
    assert os.waitpid(process, 0)[1] == 0
    asyncio.run(use())
    asyncio.run(store.close())
"""

FORK_UNUSED = """
async def main():
    await use()
    async with store.queue.lease("jobs", timeout=0):
        process = os.fork()
        if process == 0:
            os._exit(0)
        await asyncio.to_thread(os.waitpid, process, 0)
        for _ in range(10):
            await use()
    await store.close()

asyncio.run(main())
"""

FORK_CLOSED_IN_CHILD = """
async def main():
    await use()
    process = os.fork()
    if process == 0:
        asyncio.run(store.close())
        os._exit(0)
    await asyncio.to_thread(os.waitpid, process, 0)
    await use()
    await store.close()

asyncio.run(main())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="fork is for Linux")
@pytest.mark.parametrize(
    "program",
    [FORK_IN_LOOP, FORK_OUTSIDE, FORK_UNUSED, FORK_CLOSED_IN_CHILD],
    ids=["in the loop", "outside of it", "unused in the child", "closed in the child"],
)
def test_a_forked_child_has_connections_of_its_own_and_its_parents_go_on(
    server_url: str, token: str, program: str
) -> None:
    quiet = 'import warnings\nwarnings.filterwarnings("ignore", message=".*fork.*", category=DeprecationWarning)\n'
    assert run(server_url, token, quiet + program) == ""


HEART_ALONE = """
class Watch:
    def find_spec(self, name, path=None, target=None):
        if threading.current_thread().name == "nodeflow heartbeat":
            print("imports", name, file=sys.stderr)

async def main():
    await store.queue.push("jobs", 1)
    async with store.queue.lease("jobs"):
        client = await store.connection.ensure_connection()
        (sign,) = [key async for key in client.scan_iter(f"*{sys.argv[2]}*:heartbeat:*")]
        last = 1_000
        while (left := await client.pttl(sign)) <= last:  # until it is renewed
            last = left
    await store.close()

sys.meta_path.insert(0, Watch())
asyncio.run(main())
"""


def test_the_heartbeats_thread_imports_nothing(server_url: str, token: str) -> None:
    """A fork, or the end of the interpreter, in the middle of it would leave a module half-made and its lock held."""
    assert run(server_url, token, HEART_ALONE) == ""


LATER_CALLS: dict[str, Callable[[DataStore], Any]] = {
    "stream": lambda store: anext(store.queue.stream("jobs")),
    "register_writers": lambda store: store.queue.register_writers("jobs", ["w"]),
    "write_as": lambda store: store.queue.write_as("jobs", "w").__aenter__(),
    "end_writers": lambda store: store.queue.end_writers("jobs", ["w"]),
    "close": lambda store: store.queue.close("jobs"),
    "delayed": lambda store: store.queue.delayed("jobs"),
    "unbound": lambda store: store.queue.bound("jobs", None),
    "states": lambda store: store.queue.commit(states={"key": 1}),
    "check_server": lambda store: store.check_server(),
}


@pytest.mark.parametrize("is_used", [True, False], ids=["used", "never used"])
@pytest.mark.parametrize("call", LATER_CALLS)
async def test_a_call_after_the_close_says_so(server_url: str, token: str, call: str, is_used: bool) -> None:
    store = DataStore.from_url(server_url, prefix=f"{token}:")
    if is_used:
        await store.queue.length("jobs")
    await store.close()
    with pytest.raises(StoreClosedError, match="this store is closed"):
        await LATER_CALLS[call](store)


async def test_a_lease_and_a_writer_outlive_no_close(server_url: str, store: DataStore) -> None:
    other = DataStore.from_url(server_url, prefix=store.prefix)
    await other.queue.push_many("jobs", range(3))
    writing, leasing = other.queue.write_as("jobs", "w"), other.queue.lease("jobs", 3)
    await writing.__aenter__()
    lease = await leasing.__aenter__()
    await other.close()
    calls = (lease.commit(), lease.extend(), lease.retry(lease[0]), lease.dead_letter(lease[1], "no"))
    for call in calls:
        with pytest.raises(StoreClosedError):
            await call
    with pytest.raises(StoreClosedError):
        await leasing.__aexit__(None, None, None)
    with pytest.raises(StoreClosedError):
        await writing.__aexit__(None, None, None)
    async with store.queue.lease("jobs", 3, timeout=0) as again:
        assert values(again) == [0, 1, 2]
        assert {item.attempt for item in again} == {2}
    await balanced(store, done=3)


async def test_closing_with_much_under_way_ends_soon_and_loses_nothing(server_url: str, store: DataStore) -> None:
    other = DataStore.from_url(server_url, prefix=store.prefix)
    pushes = [asyncio.ensure_future(other.queue.push("jobs", number)) for number in range(500)]
    pops = [asyncio.ensure_future(other.queue.pop("jobs")) for _ in range(100)]
    await asyncio.wait(pushes, return_when=asyncio.FIRST_COMPLETED)
    async with asyncio.timeout(5):
        await other.close()
        results = await asyncio.gather(*pushes, *pops, return_exceptions=True)
    failures = [result for result in results if isinstance(result, BaseException)]
    assert all(isinstance(failure, StorageError) for failure in failures)
    popped = [result for result in results[500:] if not isinstance(result, BaseException)]
    confirmed = {number for number in range(500) if results[number] is None}
    async with store.queue.lease("jobs", 1_000, timeout=0) as lease:
        assert len(set(values(lease))) == len(lease)
        assert confirmed <= {*popped, *values(lease)}
    await balanced(store, waiting=0, leased=0)
