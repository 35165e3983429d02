"""polars' data frames and series as Arrow files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl
import pyarrow as pa

from nodeflow.values.attachment import Attachment
from nodeflow.values.extras.arrow_tables import attached, read_table
from nodeflow.values.kinds import Kind, always_attached

_VIEWS = (pa.types.is_string_view, pa.types.is_binary_view)


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
        table = frame.to_arrow(compat_level=pl.CompatLevel.oldest())
        kept = _of(table)
    except (Exception, pl.exceptions.PanicException) as error:
        raise ValueError(f"Arrow can't hold it: {error}") from error
    for name, dtype, found in zip(frame.columns, frame.dtypes, kept.dtypes, strict=True):
        if found != dtype:
            raise ValueError(f"column {name!r} of dtype {dtype} would come back as {found}")
    return attached(table)


def _frame(data: memoryview) -> Any:
    table = read_table(data)
    for field in table.schema:
        if any(is_view(field.type) for is_view in _VIEWS):
            raise ValueError(f"column {field.name!r} is of type {field.type}, which polars takes on trust")
    try:
        return _of(table)
    except pl.exceptions.PanicException as error:  # which is no Exception
        raise ValueError(f"polars can't read it: {error}") from error


def _of(table: Any) -> Any:
    frame: Any = pl.from_arrow(table)
    frame.columns = table.column_names  # an empty name would become another one
    return frame


def _series_attached(series: Any) -> Attachment:
    return _attached(series.to_frame())


def _series(data: memoryview) -> Any:
    frame = _frame(data)
    if frame.width != 1:
        raise ValueError(f"{frame.width} columns, not one")
    return frame.to_series()
