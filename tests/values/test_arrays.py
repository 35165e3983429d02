"""numpy's arrays and scalars come back equal, of the same dtype and order, and can be written to."""

from __future__ import annotations

import io
import math
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as of_numpy

from nodeflow.errors import PayloadError
from nodeflow.values import decode, digest, encode, is_plain, to_tree
from nodeflow.values.bundle import ALIGNMENT, Bundle, opened_bundle
from nodeflow.values.codec import decode_kind, prepare
from tests.values.given import VALUES, typed

DTYPES = of_numpy.scalar_dtypes() | of_numpy.array_dtypes(allow_subarrays=True).filter(
    lambda dtype: all(ord(character) < 256 for character in str(dtype.descr))
)


@given(of_numpy.arrays(DTYPES, of_numpy.array_shapes(min_dims=0, min_side=0)), st.sampled_from("CFS"))
def test_arrays_come_back_as_they_were(array: Any, order: str) -> None:
    array = array[..., ::2] if order == "S" and array.ndim else np.array(array, order="F" if order == "F" else "C")
    for data in (encode(array), bytearray(encode(array))):
        back = decode(data)
        assert type(back) is np.ndarray
        assert (back.dtype, back.shape, back.tobytes()) == (array.dtype, array.shape, array.tobytes())
        assert back.flags.writeable
    assert digest(array) == digest(back)
    assert decode(encode(to_tree([array]))) == to_tree([array])


@given(of_numpy.arrays(of_numpy.scalar_dtypes(), 1))
def test_scalars_come_back_as_they_were(array: Any) -> None:
    scalar = array[0]
    back = decode(encode({"a": scalar}))["a"]
    assert type(back) is type(scalar)
    assert (back.dtype, back.tobytes()) == (scalar.dtype, scalar.tobytes())


@pytest.mark.parametrize(
    "value",
    [
        np.longlong(3),
        np.ulonglong(3),
        np.longdouble("1.1"),
        np.str_("a\0"),
        np.bytes_(b"a\0"),
        np.datetime64("NaT", "s"),
    ],
    ids=repr,
)
def test_scalars_of_kinds_that_are_easily_mixed_up(value: Any) -> None:
    back = decode(encode(value))
    assert type(back) is type(value)
    assert repr(back) == repr(value)


def test_an_array_is_an_npy_file_within_the_payload_and_lies_upon_it() -> None:
    array = np.arange(12.0).reshape(3, 4)
    data = bytearray(encode({"a": [array, array.T], "b": 1}))
    assert len(data) < 1_000
    _, view, _ = opened_bundle(data)
    assert np.load(io.BytesIO(bytes(view[(start := bytes(view).index(b"\x93NUMPY")) :]))).tolist() == array.tolist()
    assert start % ALIGNMENT == 0
    back = decode(data)["a"]
    back[0][0, 0] = math.pi
    assert np.frombuffer(bytes(data)[start + 128 :], "f8")[0] == math.pi, "it lies upon the bytes"
    assert back[1].flags.f_contiguous
    assert array[0, 0] == 0


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (np.array([object()]), r"\$\.a\[1\]: an array of dtype object holds Python objects: give a list"),
        (np.array([(1, "x")], [("i", int), ("o", object)]), "holds Python objects"),
        (np.array(["x"], np.dtypes.StringDType()), "can't hold dtype|holds Python objects"),
        (np.zeros(1, [("漢", int)]), "npy holds no field names beyond Latin-1"),
        (np.zeros(1, np.dtype("f8", metadata={"a": 1})), r"dtype float64 has metadata, .* astype\('float64'\)"),
        (np.ma.array([1]), r"numpy\.ma\..*MaskedArray is of no known type"),
        (np.dtype("f8"), "of no known type"),
    ],
)
def test_what_npy_can_not_hold_is_refused_with_its_path(value: Any, reason: str) -> None:
    with pytest.raises(PayloadError, match=reason):
        encode({"a": [1, value]})


def test_an_array_is_no_plain_json_and_so_is_shown_in_short() -> None:
    assert not is_plain(np.arange(3))
    assert not is_plain([b"x" * 20_000])
    assert is_plain([1, {"a": None}])


def test_a_dtype_may_have_many_fields() -> None:
    for count in (600, 5_000):
        array = np.zeros(3, [(f"field_{number:05d}", "<f8") for number in range(count)])
        assert decode(encode(array)).dtype == array.dtype


@pytest.mark.parametrize("value", [np.zeros(3, "V0"), np.void(b"")], ids=["array", "scalar"])
def test_elements_without_bytes_are_refused(value: Any) -> None:
    with pytest.raises(PayloadError, match="whose elements have no bytes"):
        encode(value)


def test_an_array_alone_is_a_value_of_its_kind() -> None:
    found = prepare(np.arange(3))
    assert isinstance(found, Bundle)
    assert found.alone is not None
    assert found.alone.kind == "numpy.ndarray"
    assert decode_kind(found.alone.kind, memoryview(found.alone.to_bytes())).tolist() == [0, 1, 2]
    nested = prepare([np.arange(3)])
    assert isinstance(nested, Bundle)
    assert nested.alone is None


@given(st.binary(min_size=1, max_size=8), st.integers(0, 400))
def test_a_changed_array_gives_a_value_or_a_payload_error(change: bytes, at: int) -> None:
    data = bytearray(encode({"a": np.arange(4), "b": b"x" * 20_000}))
    data[at : at + len(change)] = change
    with suppress(PayloadError):
        decode(data)


@pytest.mark.parametrize("size", [3, 40_000], ids=["in the JSON", "beside it"])
@pytest.mark.parametrize("kind", [bytes, bytearray])
def test_bytes_of_any_size_come_back_as_bytes(size: int, kind: type) -> None:
    value = {"a": (kind(b"\x9d" * size),)}
    back = decode(encode(value))
    assert back == value
    assert type(back["a"][0]) is kind
    assert digest(back) == digest(value) != digest({"a": (kind(b"\x9e" * size),)})


ARRAYS = of_numpy.arrays(DTYPES, of_numpy.array_shapes(min_dims=0, max_side=4))
MIXED = st.recursive(
    VALUES | ARRAYS | of_numpy.arrays(of_numpy.scalar_dtypes(), 1).map(lambda array: array[0]),
    lambda parts: st.lists(parts) | st.dictionaries(st.text(), parts) | st.tuples(parts, parts),
    max_leaves=8,
)


def typed_all(value: Any) -> Any:
    """The value with the type of each part beside it, arrays and scalars of numpy included."""
    if isinstance(value, np.ndarray | np.generic):
        return type(value), value.dtype, value.shape, value.tobytes()
    if type(value) is dict:
        return dict, [(typed_all(key), typed_all(part)) for key, part in value.items()]
    if type(value) in (list, tuple):
        return type(value), [typed_all(part) for part in value]
    return typed(value)


@pytest.mark.slow
@settings(max_examples=2_000, suppress_health_check=list(HealthCheck), deadline=None)
@given(MIXED)
def test_values_with_arrays_at_any_depth_come_back_in_2000_examples(value: Any) -> None:
    assert typed_all(decode(encode(value))) == typed_all(value)
    assert digest(value) == digest(decode(encode(value)))


@pytest.mark.slow
@settings(max_examples=3_000, suppress_health_check=list(HealthCheck), deadline=None)
@given(MIXED, st.data())
def test_3000_changed_payloads_with_arrays_give_a_value_or_are_refused(value: Any, data: st.DataObject) -> None:
    payload = bytearray(encode({"value": value, "array": np.arange(3)}))
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(payload) - 1))
        payload[place : place + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=3))
        payload = payload or bytearray(b"0")
    with suppress(PayloadError):
        decode(bytes(payload))
