"""Codes of a few bits in bytes, and the names of the types below float32."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import onnx
import pytest

from weighbridge.core.codes import is_reduced_float, numpy_dtype, unpack_codes
from weighbridge.formats.onnx_constants import dtype_of


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("bits", [1, 2, 3, 4, 5, 6, 7, 8, 16])
def test_codes_come_back_in_every_row(bits: int, signed: bool) -> None:
    """Written one bit after the other, by plain arithmetic."""
    random = np.random.default_rng(bits)
    low = -(1 << (bits - 1)) if signed else 0
    codes = random.integers(low, low + (1 << bits), (3, 16))
    codes[0, :2] = low, low + (1 << bits) - 1
    rows = []
    for row in codes:
        number = sum((int(code) % (1 << bits)) << (bits * index) for index, code in enumerate(row))
        rows.append(list(number.to_bytes(2 * bits, "little")))
    assert (unpack_codes(np.array(rows, np.uint8), bits, signed) == codes).all()


def test_onnx_own_packing_is_read_alike() -> None:
    tensor = onnx.helper.make_tensor("codes", onnx.TensorProto.INT4, [6], [-8, -1, 0, 1, 7, 3])
    data = np.frombuffer(tensor.raw_data or bytes(tensor.int32_data), np.uint8)
    assert unpack_codes(data, 4, signed=True).tolist() == [-8, -1, 0, 1, 7, 3]


def test_bits_that_are_left_over_are_dropped() -> None:
    assert unpack_codes(np.array([0xFF, 0x01], np.uint8), 3).tolist() == [7, 7, 7, 0, 0]


@pytest.mark.parametrize("name", ["float16", "bfloat16", "float8_e4m3fn", "float8_e5m2", "float4_e2m1fn"])
def test_reduced_floats_are_told_from_others(name: str) -> None:
    assert is_reduced_float(name)
    assert numpy_dtype(name) == np.dtype(getattr(ml_dtypes, name, name))


@pytest.mark.parametrize("name", ["float32", "float64", "int8", "uint16", "bool"])
def test_other_types_are_numpys(name: str) -> None:
    assert not is_reduced_float(name)
    assert numpy_dtype(name) == np.dtype(name)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("FLOAT", "float32"),
        ("float", "float32"),
        ("DOUBLE", "float64"),
        ("INT4", "int4"),
        ("BFLOAT16", "bfloat16"),
    ],
)
def test_onnx_names(name: str, expected: str) -> None:
    assert dtype_of(name) == expected
