"""How much memory a process needs beside a value that it writes to a blob and reads back."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SCRIPT = """
import asyncio, sys
import numpy as np
from nodeflow.storage import DataStore

def of_process(name):
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(name))

def let_the_peak_begin_anew():
    open("/proc/self/clear_refs", "w").write("5")

async def main(small, large, url, prefix, folder, keys):
    async with DataStore.from_url(url, prefix=prefix, blobs=folder, keys=keys or None) as store:
        await store.cache.set("warm", eval(small), ttl=600)
        await store.cache.get("warm")
        value = eval(large)
        count = len(value)
        let_the_peak_begin_anew()
        before = of_process("VmRSS")
        await store.cache.set("big", value, ttl=600)
        written = of_process("VmHWM") - before
        del value
        let_the_peak_begin_anew()
        back = await store.cache.get("big")
        print(written, of_process("VmHWM") - of_process("VmRSS"))
        assert len(back) == count

asyncio.run(main(*sys.argv[1:]))
"""


def beside(small: str, large: str, *, url: str, prefix: str, folder: Path, keys: str = "") -> tuple[int, int]:
    """How many KiB are needed beside a value while it is written, and while it is read.

    Args:
        small: an expression of a value of the same sort that warms the way up.
        large: an expression of the value; it may use numpy as `np`.
        url: the server.
        prefix: the prefix of all keys.
        folder: where the blobs lie.
        keys: the keys that encrypt.
    """
    command = [sys.executable, "-c", SCRIPT, small, large, url, prefix, str(folder), keys]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    written, read = map(int, done.stdout.split())
    return written, read
