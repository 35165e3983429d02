"""Tables of pandas, polars and pyarrow come back with their dtypes, index and order of columns, or are refused."""

from __future__ import annotations

from datetime import date, time, timedelta
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from nodeflow.errors import PayloadError
from nodeflow.values import RefValue, decode, digest, encode

DAYS = pd.date_range("2020-01-01", periods=2, freq="D", name="day")
BOTH = pd.arrays.FloatingArray(np.array([np.nan, 1.0]), np.array([False, True]))
ODD_DAYS = pd.offsets.CustomBusinessDay(holidays=["2020-01-06"])
FRAMES = {
    "numbers": pd.DataFrame({"b": [1.5, np.nan], "a": [1, 2], "c": np.array([1, 2], "f2"), "d": [True, False]}),
    "text": pd.DataFrame({"a": ["x", None], "b": pd.array(["y", None], "string")}),
    "nullable": pd.DataFrame({kind: pd.array([1, None], kind) for kind in ("Int64", "Float32", "boolean")}),
    "arrow": pd.DataFrame({"a": pd.array([1, None], "int64[pyarrow]")}),
    "categories": pd.DataFrame({"a": pd.Categorical(["x", "y"], ["y", "x", "z"], ordered=True)}),
    "times": pd.DataFrame(
        {"a": DAYS.tz_localize("Europe/Berlin"), "b": DAYS - DAYS[0], "c": np.array(["2020"] * 2, "M8[s]")}
    ),
    "periods": pd.DataFrame({"a": pd.period_range("2020", periods=2, freq="M"), "b": pd.interval_range(0, 2)}),
    "index": pd.DataFrame({"a": [1, 2]}, index=DAYS),
    "range": pd.DataFrame({"a": [1, 2]}, index=pd.RangeIndex(2, 6, 2, name="n")),
    "levels": pd.DataFrame({"a": [1, 2]}, index=pd.MultiIndex.from_tuples([(1, "a"), (2, "b")], names=["x", None])),
    "columns": pd.DataFrame([[1, 2]], columns=pd.MultiIndex.from_tuples([("b", 1), ("a", 2)])),
    "numbered": pd.DataFrame([[1, 2]]).rename_axis(columns="n"),
    "days": pd.DataFrame([[1, 2]], columns=DAYS),
    "no columns": pd.DataFrame(index=[1, 2]),
    "nothing": pd.DataFrame(),
    "no rows": pd.DataFrame({"a": pd.Series([], dtype="i8"), "b": pd.Series([], dtype="str")}),
}


@pytest.mark.parametrize("name", FRAMES)
def test_a_data_frame_of_pandas_comes_back_as_it_was(name: str) -> None:
    frame = FRAMES[name]
    for data in (encode([frame]), bytearray(encode([frame]))):
        (back,) = decode(data)
        pd.testing.assert_frame_equal(back, frame, check_freq=True, check_index_type=True, check_column_type=True)
        assert digest(back) == digest(frame)
        for column in range(back.shape[1] if len(back) else 0):
            back.iloc[0, column] = back.iloc[1 % len(back), column]


def test_a_large_data_frame_lies_upon_its_bytes_and_can_be_written_to() -> None:
    data = bytearray(encode(pd.DataFrame({"a": np.arange(1_000.0), "b": np.arange(1_000)})))
    start = bytes(data).index(np.arange(1_000.0).tobytes())
    frame = decode(data)
    frame.loc[0, "a"] = 7.5
    assert np.frombuffer(bytes(data[start : start + 8]), "f8")[0] == 7.5


@pytest.mark.parametrize("name", ["n", None, 3, ("a", 1)])
def test_a_series_of_pandas_keeps_its_name(name: Any) -> None:
    series = pd.Series([1.5, 2.5], index=DAYS, name=name)
    pd.testing.assert_series_equal(decode(encode(series)), series, check_freq=True)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (pd.DataFrame({"a": np.array(["x", 1], object)}), r"\$: column 'a' is of dtype object: give it a dtype"),
        (pd.Series([1, 2], index=pd.Index([1, "a"])), "index is of dtype object"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "Duplicate column names"),
        (pd.DataFrame({"a": [1j]}), "Arrow can't hold it"),
        (pd.DataFrame({"a": pd.arrays.SparseArray([0, 1])}), "Sparse"),
        (pd.DataFrame({1: [1], "b": [2]}), "can't hold"),
        (pl.DataFrame({"a": [object()]}), "column 'a' is of dtype Object"),
        (pl.DataFrame({"a": pl.Series([1], dtype=pl.Int128)}), "Arrow can't hold it"),
        (pd.DataFrame(index=range(3)), "rows without columns"),
        (pd.DataFrame({"a": BOTH}), "NaN beside missing"),
        (pd.DataFrame({"a": [1, 2]}, index=pd.array([1, None], "Int64")), "its index"),
        (pd.DataFrame({"a": [1]}, index=pd.MultiIndex.from_arrays([pd.array([1], "Int8")])), "its index"),
        (pd.DataFrame([[1]], columns=pd.Index(["a"], dtype=object)), "its columns"),
        (pd.DataFrame({"a": [1]}).set_flags(allows_duplicate_labels=False), "flags"),
        (pd.DataFrame({"a": [1]}, index=pd.date_range("2020-01-01", periods=1, freq=ODD_DAYS)), "Arrow can't hold"),
        (pd.Series([1], name=1.5), "its name 1.5 is of type float"),
        (pl.DataFrame({"a": pl.Series([[]], dtype=pl.Array(pl.Int8, 0))}), "Arrow can't hold it"),
        (pl.LazyFrame({"a": [1]}), "of no known type"),
        (pa.array([1]), "of no known type"),
    ],
)
def test_what_arrow_can_not_hold_is_refused(value: Any, reason: str) -> None:
    with pytest.raises(PayloadError, match=reason):
        encode(value)


def test_a_series_of_polars_needs_no_name() -> None:
    for value in (pl.Series([1, 2]), pl.DataFrame({"": [1], "a": [2]})):
        assert decode(encode(value)).equals(value)


POLARS = pl.DataFrame(
    {
        "z": [1, None],
        "text": ["x", None],
        "category": pl.Series(["x", "y"], dtype=pl.Categorical),
        "enum": pl.Series(["x", "y"], dtype=pl.Enum(["y", "x"])),
        "decimal": pl.Series([1, 2], dtype=pl.Decimal(10, 2)),
        "list": [[1], [2, 3]],
        "array": pl.Series([[1, 2], [3, 4]], dtype=pl.Array(pl.Int16, 2)),
        "struct": [{"x": 1, "y": "a"}, None],
        "time": [time(1), None],
        "day": [date(2020, 1, 1), None],
        "long": [timedelta(1), None],
        "at": pl.Series([0, 1], dtype=pl.Datetime("ms", "Europe/Berlin")),
        "bytes": [b"x", None],
        "nothing": [None, None],
    }
)


@pytest.mark.parametrize("frame", [POLARS, POLARS[:0], pl.DataFrame(), POLARS.select("enum", "z")], ids=str)
def test_a_data_frame_of_polars_comes_back_as_it_was(frame: pl.DataFrame) -> None:
    back = decode(bytearray(encode(frame)))
    assert type(back) is pl.DataFrame
    assert back.schema == frame.schema
    assert back.equals(frame)
    assert digest(back) == digest(frame)
    for column in frame.columns:
        assert decode(encode(frame[column])).equals(frame[column], check_dtypes=True, check_names=True)


def test_tables_of_pyarrow_come_back_as_they_were() -> None:
    table = pa.table({"b": [1, None], "a": [["x"], None]}, metadata={"k": "v"})
    for value in (table, table[:0], pa.concat_tables([table, table])):
        back = decode(bytearray(encode({"t": value})))["t"]
        assert back.equals(value, check_metadata=True)
        assert type(back) is pa.Table
    batch = table.to_batches()[0]
    for part in (batch, batch[:0]):
        back = decode(encode(part))
        assert type(back) is pa.RecordBatch
        assert back.equals(part, check_metadata=True)


@pytest.mark.parametrize("value", [POLARS, FRAMES["text"], pa.table({"a": ["some text"] * 50})], ids=["pl", "pd", "pa"])
def test_a_damaged_table_is_a_payload_error_and_never_reaches_what_would_trust_it(value: Any) -> None:
    """polars takes what Arrow's format says for granted, and would end the process."""
    data = bytearray(encode([value]))
    start = data.index(b"ARROW1")
    for at in range(start, len(data) - 4, 7):
        changed = bytearray(data)
        changed[at : at + 4] = b"\xff\xff\xff\x7f"
        if changed != data:
            with pytest.raises(PayloadError, match="its bytes were changed"):
                decode(changed)
    descriptor = RefValue.of(value, hint="file").descriptor_now()
    ref: Any = RefValue.from_descriptor(descriptor)
    assert digest(ref._read()) == digest(value)
    for wrong in ({"crc32": 1}, {"crc32": -1}):
        ref = RefValue.from_descriptor({**descriptor, **wrong})
        with pytest.raises(PayloadError, match="its bytes were changed"):
            ref._read()
