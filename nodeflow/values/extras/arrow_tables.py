"""pyarrow's tables and record batches as Arrow IPC files; what the tables of pandas and polars are made of, too."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa

from nodeflow.values.attachment import ARROW, Attachment
from nodeflow.values.frames import Parts
from nodeflow.values.kinds import Kind, always_attached


def kinds() -> Mapping[type, Kind]:
    """How tables and record batches are written."""
    return {
        pa.Table: always_attached("pyarrow.Table", attached, read_table, is_checked=True),
        pa.RecordBatch: always_attached("pyarrow.RecordBatch", _batch_attached, _batch, is_checked=True),
    }


def attached(table: Any) -> Attachment:
    """A table as the bytes of an Arrow file; its columns are not copied."""
    sink = _Sink()
    with pa.PythonFile(sink, "w") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write(table)
    return Attachment(ARROW, sum(memoryview(part).nbytes for part in sink.parts), sink.__iter__, is_checked=True)


def read_table(data: memoryview) -> Any:
    """The table of an Arrow file, upon its bytes."""
    table = pa.ipc.open_file(pa.py_buffer(data)).read_all()
    table.validate(full=True)
    return table


def _batch_attached(batch: Any) -> Attachment:
    return attached(pa.Table.from_batches([batch]))


def _batch(data: memoryview) -> Any:
    table = read_table(data)
    batches = table.to_batches()
    if len(batches) > 1:
        raise ValueError(f"{len(batches)} record batches, not one")
    return batches[0] if batches else pa.RecordBatch.from_pylist([], schema=table.schema)


class _Sink:
    """A file that keeps what is written to it by reference."""

    closed = False

    def __init__(self) -> None:
        self.parts: list[Parts] = []
        self._size = 0

    def __iter__(self) -> Iterator[Parts]:
        return iter(self.parts)

    def write(self, data: Any) -> int:
        """Keep some bytes."""
        self.parts.append(memoryview(data))
        self._size += memoryview(data).nbytes
        return len(data)

    def tell(self) -> int:
        """How many bytes were written."""
        return self._size

    def flush(self) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing: what was written is still to be read."""
