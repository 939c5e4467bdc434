"""Nonzeros and values of stored weights, for every way an artifact holds them."""

import ml_dtypes
import numpy as np
import pytest

from weighbridge.contracts import Quantization, StoredTensor


def stored(array, quantization=None):
    return StoredTensor("w", array, str(array.dtype), array.nbytes, quantization)


def affine(scale, zero_point, *, bits=8, axis=None, group_size=None):
    return Quantization(bits, np.asarray(scale, np.float32), np.asarray(zero_point), axis, group_size)


def test_per_tensor_zero_point_is_the_zero():
    tensor = stored(np.array([[128, 0], [255, 128]], np.uint8), affine(0.5, 128))
    assert tensor.nonzero() == 2
    assert tensor.values().tolist() == [[0, -64], [63.5, 0]]


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_per_channel_uses_the_channel_of_its_axis(axis):
    codes = np.array([[1, 2], [1, 2]], np.int8)
    tensor = stored(codes, affine([1.0, 10.0], [1, 2], axis=axis))
    expected = [[0, 1], [-10, 0]] if axis == 0 else [[0, 0], [0, 0]]
    assert tensor.values().tolist() == expected
    assert tensor.nonzero() == np.count_nonzero(expected)


def test_a_single_channel_is_still_per_channel():
    assert stored(np.array([[3, 4]], np.int8), affine([2.0], [3], axis=0)).values().tolist() == [[0, 2]]


def test_groups_run_along_their_axis_and_the_last_may_be_short():
    codes = np.ones((2, 5), np.int8)
    scales = np.array([[1, 2, 3], [4, 5, 6]], np.float32)
    tensor = stored(codes, affine(scales, np.zeros((2, 3), np.int8), bits=4, axis=1, group_size=2))
    assert tensor.values().tolist() == [[1, 1, 2, 2, 3], [4, 4, 5, 5, 6]]
    along_rows = stored(codes.T, affine(scales.T, np.zeros((3, 2), np.int8), bits=4, axis=0, group_size=2))
    assert along_rows.values().T.tolist() == tensor.values().tolist()


def test_extreme_codes_do_not_wrap():
    assert stored(np.array([-128], np.int8), affine(1.0, 127)).values().tolist() == [-255]
    assert stored(np.array([0], np.uint8), affine(1.0, 255)).values().tolist() == [-255]
    biases = stored(np.array([2**31 - 1], np.int32), affine(1.0, 0, bits=32))
    assert biases.values().tolist() == [2**31 - 1]


def test_a_scale_of_zero_makes_zeros():
    tensor = stored(np.array([[5, 6], [7, 8]], np.int8), affine([0.0, 1.0], [0, 0], axis=0))
    assert tensor.nonzero() == 2


@pytest.mark.parametrize("name", ["float16", "bfloat16", "float8_e4m3fn", "float8_e5m2"])
def test_reduced_floats_as_numbers_or_as_bits(name):
    narrow = np.array([0.0, -0.0, 1.5, -2.0, np.nan]).astype(getattr(ml_dtypes, name, np.float16))
    quantization = Quantization(
        8 * narrow.dtype.itemsize, np.float32(2.0), np.zeros((), np.int8), scheme=name
    )
    bits = narrow.view(f"u{narrow.dtype.itemsize}")
    for array in (narrow, bits):
        tensor = stored(array, quantization)
        assert tensor.nonzero() == 3
        np.testing.assert_array_equal(tensor.values(), np.array([0, -0.0, 3, -4, np.nan], np.float32))


def test_int4_arrays_of_ml_dtypes_are_numbers():
    codes = np.array([-8, 0, 7]).astype(ml_dtypes.int4)
    assert stored(codes, affine(0.5, 0, bits=4)).values().tolist() == [-4, 0, 3.5]


def test_unquantized_weights_count_as_they_are():
    assert stored(np.array([0, -0.0, 1e-45, 2], np.float32)).nonzero() == 2
    assert stored(np.array([0.0, 1.0]).astype(ml_dtypes.bfloat16)).nonzero() == 1


def test_scales_that_do_not_fit_are_an_error():
    with pytest.raises(ValueError, match="3 scales do not fit"):
        stored(np.ones((2, 2), np.int8), affine([1, 2, 3], [0, 0, 0], axis=0)).values()


def test_an_empty_tensor_has_nothing():
    assert stored(np.zeros((0, 3), np.int8), affine(1.0, 0)).nonzero() == 0
