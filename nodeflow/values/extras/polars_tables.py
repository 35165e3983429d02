"""polars' data frames and series as Arrow files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from nodeflow.values.attachment import Attachment
from nodeflow.values.extras.arrow_tables import attached, read_table
from nodeflow.values.kinds import Kind, always_attached


def kinds() -> Mapping[type, Kind]:
    """How data frames and series are written."""
    return {
        pl.DataFrame: always_attached("polars.DataFrame", _attached, _frame, is_checked=True),
        pl.Series: always_attached("polars.Series", _series_attached, _series, is_checked=True),
    }


def _attached(frame: Any) -> Attachment:
    for name, dtype in frame.schema.items():
        if dtype == pl.Object:
            raise ValueError(f"column {name!r} is of dtype Object: give it a dtype")
    try:
        table = frame.to_arrow(compat_level=pl.CompatLevel.newest())
        kept = _of(table.slice(0, 0))
    except Exception as error:
        raise ValueError(f"Arrow can't hold it: {error}") from error
    for name, dtype in frame.schema.items():
        if kept.schema[name] != dtype:
            raise ValueError(f"column {name!r} of dtype {dtype} would come back as {kept.schema[name]}")
    return attached(table)


def _frame(data: memoryview) -> Any:
    return _of(read_table(data))


def _of(table: Any) -> Any:
    return pl.from_arrow(table)


def _series_attached(series: Any) -> Attachment:
    return _attached(series.to_frame())


def _series(data: memoryview) -> Any:
    frame = _frame(data)
    if frame.width != 1:
        raise ValueError(f"{frame.width} columns, not one")
    return frame.to_series()
