"""pandas' data frames and series as Arrow files: dtypes, index and the order of the columns kept, or refused."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from nodeflow.values.attachment import Attachment
from nodeflow.values.extras.arrow_tables import attached, read_table
from nodeflow.values.kinds import Kind, always_attached

_OURS = b"nodeflow"
"""Under which key of the schema's metadata it stands what Arrow leaves out."""


def kinds() -> Mapping[type, Kind]:
    """How data frames and series are written."""
    return {
        pd.DataFrame: always_attached("pandas.DataFrame", _attached, _frame, is_checked=True),
        pd.Series: always_attached("pandas.Series", _series_attached, _series, is_checked=True),
    }


def _attached(frame: Any, **more: Any) -> Attachment:
    _refuse_objects(frame)
    try:
        table = pa.Table.from_pandas(frame)
    except Exception as error:
        raise ValueError(f"Arrow can't hold it: {error}") from error
    facts = {"index": _freq(frame.index), "columns": _freq(frame.columns), "range": _range(frame.columns), **more}
    table = table.replace_schema_metadata({**table.schema.metadata, _OURS: json.dumps(facts).encode()})
    try:
        kept = _restored(table, facts)
    except Exception as error:
        raise ValueError(f"Arrow can't hold it: {error}") from error
    _refuse_changes(frame, kept)
    return attached(table)


def _refuse_objects(frame: Any) -> None:
    for name, dtype in zip(frame.columns, frame.dtypes, strict=True):
        if _is_object(dtype):
            raise ValueError(f"column {name!r} is of dtype object: give it a dtype, as by astype('str')")
    levels = frame.index.levels if isinstance(frame.index, pd.MultiIndex) else [frame.index]
    if any(_is_object(level.dtype) and len(level) for level in levels):
        raise ValueError("its index is of dtype object: give it a dtype, as by index.astype('str')")


def _is_object(dtype: Any) -> bool:
    return isinstance(dtype, np.dtype) and dtype.hasobject


def _refuse_changes(frame: Any, kept: Any) -> None:
    if len(kept) != len(frame):
        raise ValueError("Arrow can't hold rows without columns")
    for number, name in enumerate(frame.columns):
        column, found = frame.iloc[:, number], kept.iloc[:, number]
        if found.dtype != column.dtype:
            raise ValueError(f"column {name!r} of dtype {column.dtype} would come back as {found.dtype}")
        if _has_both(column):
            raise ValueError(f"column {name!r} holds NaN beside missing values: Arrow would make one of both")
    for what, index, found in (("index", frame.index, kept.index), ("columns", frame.columns, kept.columns)):
        if _facts_of(found) != _facts_of(index) or not found.equals(index):
            raise ValueError(f"Arrow can't hold its {what}: it would come back as {found!r:.200}")
    if kept.attrs != frame.attrs or not frame.flags.allows_duplicate_labels:
        raise ValueError("Arrow can't hold its attrs or its flags")


def _has_both(column: Any) -> bool:
    """Whether a nullable column of floats holds NaN, which isn't missing there."""
    if not isinstance(column.array, pd.arrays.FloatingArray):
        return False
    return bool(np.isnan(column.to_numpy("f8", na_value=0.0)).any())


def _facts_of(index: Any) -> tuple[Any, ...]:
    dtypes = list(index.dtypes) if isinstance(index, pd.MultiIndex) else [index.dtype]
    return dtypes, list(index.names), [type(name) for name in index.names], getattr(index, "freq", None)


def _freq(index: Any) -> str | None:
    return getattr(index, "freqstr", None) if isinstance(index, pd.DatetimeIndex | pd.TimedeltaIndex) else None


def _range(columns: Any) -> list[int] | None:
    return [columns.start, columns.stop, columns.step] if isinstance(columns, pd.RangeIndex) else None


def _frame(data: memoryview) -> Any:
    table = read_table(data)
    facts = json.loads((table.schema.metadata or {})[_OURS])
    frame = _restored(table, facts)
    columns = {number: _writable(frame.iloc[:, number].array, data) for number in range(frame.shape[1])}
    found = pd.DataFrame(columns, index=frame.index, copy=False)
    found.columns, found.attrs = frame.columns, frame.attrs
    return found


def _restored(table: Any, facts: Mapping[str, Any]) -> Any:
    frame = table.to_pandas(split_blocks=True)
    if facts["index"]:
        frame.index.freq = facts["index"]
    if facts["range"]:
        frame.columns = pd.RangeIndex(*facts["range"], name=frame.columns.name)
    if facts["columns"]:
        frame.columns.freq = facts["columns"]
    return frame


def _writable(column: Any, data: memoryview) -> Any:
    """A column that can be changed: upon the bytes, where it lies upon them and these can be written to."""
    if not isinstance(column, pd.arrays.NumpyExtensionArray):
        return column.copy()
    values = column.to_numpy()
    if values.flags.writeable:
        return values
    start = _address(values) - _address(np.frombuffer(data, np.uint8))
    if data.readonly or not values.flags.c_contiguous or not 0 <= start <= len(data) - values.nbytes:
        return values.copy()
    return np.ndarray(values.shape, values.dtype, data, start)


def _address(array: Any) -> int:
    return int(array.__array_interface__["data"][0])


def _series_attached(series: Any) -> Attachment:
    if type(series.name) not in (str, tuple, int, type(None)):
        raise ValueError(f"its name {series.name!r} is of type {type(series.name).__name__}: give it a str")
    return _attached(series.to_frame(), is_unnamed=series.name is None, is_int=type(series.name) is int)


def _series(data: memoryview) -> Any:
    frame = _frame(data)
    facts = json.loads(read_table(data).schema.metadata[_OURS])
    if frame.shape[1] != 1:
        raise ValueError(f"{frame.shape[1]} columns, not one")
    series = frame.iloc[:, 0]
    if facts["is_unnamed"]:
        return series.rename(None)
    return series.rename(int(series.name)) if facts["is_int"] else series
