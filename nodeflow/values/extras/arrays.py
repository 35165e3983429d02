"""numpy's arrays and scalars: as npy, which numpy itself reads, and as dtype, text and bytes."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from io import BytesIO
from typing import Any

import numpy as np

from nodeflow.values.attachment import NPY, Attachment
from nodeflow.values.frames import Parts
from nodeflow.values.kinds import Kind, always_attached

_MAGIC_BYTES = np.lib.format.MAGIC_LEN
_PART_BYTES = 1 << 20
_CHARS = "biufc?"
_READERS: Mapping[Any, Callable[..., Any]] = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def kinds() -> Mapping[type, Kind]:
    """How arrays and scalars are written."""
    array = always_attached("numpy.ndarray", _attached, _array)
    scalar = Kind("numpy.scalar", _scalar_content, _scalar)
    scalars = {kind for kind in np.sctypeDict.values() if kind is not np.object_} | {np.datetime64, np.timedelta64}
    return {np.ndarray: array, **dict.fromkeys(scalars, scalar)}


def _attached(array: Any) -> Attachment:
    _check(array.dtype)
    header = BytesIO()
    facts = np.lib.format.header_data_from_array_1_0(array)
    try:
        np.lib.format.write_array_header_1_0(header, facts)
    except UnicodeEncodeError:
        raise ValueError(f"dtype {array.dtype}: npy holds no field names beyond Latin-1") from None
    except ValueError:
        header = BytesIO()
        np.lib.format.write_array_header_2_0(header, facts)
    start = header.getvalue()
    return Attachment(NPY, len(start) + array.nbytes, partial(_parts, start, array))


def _check(dtype: Any) -> None:
    if dtype.hasobject:
        raise ValueError(f"an array of dtype {dtype} holds Python objects: give a list, or an array of another dtype")
    if not dtype.itemsize:
        raise ValueError(f"npy can't hold dtype {dtype}, whose elements have no bytes")
    if dtype.metadata is not None:
        raise ValueError(f"dtype {dtype} has metadata, which npy can't hold: give astype({str(dtype)!r})")
    try:
        kept = np.lib.format.descr_to_dtype(np.lib.format.dtype_to_descr(dtype))
    except Exception as error:
        raise ValueError(f"npy can't hold dtype {dtype}: {error}") from error
    if kept != dtype:
        raise ValueError(f"npy can't hold dtype {dtype}: it would come back as {kept}")


def _parts(header: bytes, array: Any) -> Iterator[Parts]:
    yield header
    if not array.nbytes:
        return
    if array.flags.c_contiguous or array.flags.f_contiguous:
        yield memoryview((array if array.flags.c_contiguous else array.T).reshape(-1).view(np.uint8))
        return
    flags: list[Any] = ["external_loop", "buffered", "zerosize_ok"]
    each: Any = np.nditer(array, flags, order="C", buffersize=max(1, _PART_BYTES // array.itemsize))
    for part in each:
        yield part.tobytes("C")


def _array(data: memoryview) -> Any:
    """An array upon the bytes, or upon a copy of them where they can't be written to."""
    version = np.lib.format.read_magic(BytesIO(data[:_MAGIC_BYTES]))
    end = _MAGIC_BYTES + (2 if version == (1, 0) else 4)
    end += int.from_bytes(data[_MAGIC_BYTES:end], "little")
    header = BytesIO(data[:end])
    header.seek(_MAGIC_BYTES)
    shape, is_fortran, dtype = _READERS[version](header, max_header_size=end)
    if dtype.hasobject:
        raise ValueError(f"an array of dtype {dtype} holds Python objects")
    content = data[header.tell() :]
    array: Any = np.ndarray(shape, dtype, content, order="F" if is_fortran else "C")
    if array.nbytes != len(content):
        raise ValueError(f"{len(content):,} bytes, not the {array.nbytes:,} that shape and dtype need")
    return array.copy(order="A") if data.readonly else array


def _scalar_content(value: Any) -> Any:
    if isinstance(value, np.str_ | np.bytes_):
        return {"dtype": value.dtype.kind, "value": str(value) if isinstance(value, np.str_) else bytes(value)}
    dtype = value.dtype
    _check(dtype)
    name = dtype.char if dtype.kind in _CHARS else np.lib.format.dtype_to_descr(dtype)
    data = value.tobytes()
    return {"dtype": name, "shown": str(value), "bytes": base64.b64encode(data).decode()}


def _scalar(data: Any) -> Any:
    if "value" in data:
        return {"U": np.str_, "S": np.bytes_}[data["dtype"]](data["value"])
    dtype = np.lib.format.descr_to_dtype(data["dtype"])
    if dtype.hasobject or not dtype.itemsize:
        raise ValueError(f"a scalar of dtype {dtype} holds Python objects, or nothing")
    content = base64.b64decode(data["bytes"], validate=True)
    if len(content) != dtype.itemsize:
        raise ValueError(f"{len(content)} bytes, not the {dtype.itemsize} of dtype {dtype}")
    return np.frombuffer(content, dtype)[0].copy()
