"""What an artifact holds is read back: each way to break the promise is one finding that names it."""

from dataclasses import replace

import numpy as np
import pytest

from weighbridge.contracts import Promise, Quantization, StoredTensor
from weighbridge.numerics import Scheme, reference
from weighbridge.numerics.round_trip import read_back

PROMISE = Promise(bits=8, granularity="channel", symmetric=True, signed=True)


@pytest.fixture
def weight():
    values = np.random.default_rng(3).normal(size=(6, 4, 3, 3)).astype(np.float32)
    return values * np.arange(1, 7, dtype=np.float32).reshape(6, 1, 1, 1)


def quantized(weight, scheme=None, name="conv1.weight", **changes):
    """`weight` as an artifact would store it, with some field of the StoredTensor or the Quantization changed."""
    scheme = scheme or Scheme("int8", axis=0)
    parameters = reference.choose(weight, scheme)
    codes = reference.quantize(weight, parameters, scheme).astype(np.int16)
    fields = {
        "bits": scheme.bits,
        "scale": parameters.scale,
        "zero_point": parameters.zero_point,
        "axis": scheme.axis,
        "group_size": scheme.group_size,
    }
    codes = changes.pop("codes", codes)
    dtype = changes.pop("dtype", "int8" if scheme.type.signed else "uint8")
    return StoredTensor(
        name, codes, dtype, codes.size, Quantization(**{**fields, **changes}), name.rpartition(".")[0]
    )


def messages(stored, weight, promise=PROMISE):
    return [str(finding) for finding in read_back([stored], {"conv1.weight": weight}, promise).findings]


def test_what_was_asked_for_has_no_findings(weight):
    result = read_back([quantized(weight)], {"conv1.weight": weight}, PROMISE)
    assert result.findings == ()
    assert result.notes == ()
    assert result.weights[0].original is not None


def test_a_weight_that_was_folded_with_a_factor_near_one_is_not_held_to_the_float(weight):
    """Of a fresh normalization the factor is 1 / sqrt(1 + 1e-5): a few numbers round the other way."""
    factor = np.float32(1 / np.sqrt(1 + 1e-3))
    folded = read_back(
        [quantized(weight * factor, name="ConvMulFusion_W_conv1.weight")], {"conv1.weight": weight}, PROMISE
    )
    assert folded.findings == ()
    assert folded.weights[0].original is None
    assert "codes were not compared" in folded.notes[0]


def test_a_weight_of_another_name_is_held_to_the_float_that_it_approximates(weight):
    factor = np.float32(1 / np.sqrt(1 + 1e-3))
    assert messages(quantized(weight, name="val_3"), weight) == []
    assert "more than half a step away" in messages(quantized(weight * factor, name="val_3"), weight)[0]


def test_per_tensor_where_per_channel_was_asked(weight):
    stored = quantized(weight, Scheme("int8"))
    assert messages(stored, weight) == ["conv1: asked for per-channel, got per-tensor"]


def test_per_channel_where_per_tensor_was_asked(weight):
    found = messages(quantized(weight), weight, replace(PROMISE, granularity="tensor"))
    assert found == ["conv1: asked for per-tensor, got per-channel"]


def test_one_channel_is_both(weight):
    stored = quantized(weight[:1], Scheme("int8"))
    assert messages(stored, weight[:1]) == []


def test_group_size(weight):
    matrix = weight.reshape(6, 36)
    promise = Promise(bits=4, granularity="group", group_size=12)
    right = quantized(matrix, Scheme("int4", axis=1, group_size=12))
    assert messages(right, matrix, promise) == []
    wrong = quantized(matrix, Scheme("int4", axis=1, group_size=18))
    assert messages(wrong, matrix, promise) == ["conv1: asked for per-group of 12, got per-group of 18"]


def test_another_width(weight):
    found = messages(quantized(weight, Scheme("int4", axis=0)), weight)
    assert found == ["conv1: asked for 8 bits, got 4"]


def test_unsigned_where_signed_was_asked(weight):
    found = messages(quantized(weight, Scheme("uint8", axis=0)), weight)
    assert found == ["conv1: asked for signed codes, got unsigned"]


def test_a_zero_point_where_symmetric_was_asked(weight):
    stored = quantized(weight + 9, Scheme("int8", axis=0, symmetric=False))
    (found,) = messages(stored, weight + 9)
    assert found.startswith("conv1: asked for symmetric, got zero point ")
    assert found.endswith("in channel 0, not 0")


def test_a_code_that_is_not_the_nearest_is_named(weight):
    stored = quantized(weight)
    stored.array[2, 1, 0, 2] += 3
    (finding,) = read_back([stored], {"conv1.weight": weight}, PROMISE).findings
    assert (finding.layer, finding.channel, finding.index) == ("conv1", 2, (2, 1, 0, 2))
    value, code = float(weight[2, 1, 0, 2]), stored.array[2, 1, 0, 2]
    assert f"value {value:.9g} is stored as code {code} " in finding.message
    assert "so are 1 of 216 numbers" in finding.message


def test_truncated_codes(weight):
    scale = reference.choose(weight, Scheme("int8", axis=0)).scale.reshape(6, 1, 1, 1)
    (found,) = messages(quantized(weight, codes=np.trunc(weight / scale).astype(np.int16)), weight)
    assert "more than half a step away" in found


@pytest.mark.parametrize(
    ("factor", "effect"), [(2, "codes are left unused"), (0.8, "largest weights are cut off")]
)
def test_scales_of_another_statistic(weight, factor, effect):
    parameters = reference.choose(weight, Scheme("int8", axis=0))
    scale = (parameters.scale * np.where(np.arange(6) == 3, factor, 1)).astype(np.float32)
    changed = type(parameters)(scale, parameters.zero_point)
    codes = reference.quantize(weight, changed, Scheme("int8", axis=0)).astype(np.int16)
    (found,) = messages(quantized(weight, codes=codes, scale=scale), weight)
    assert "of channel 3" in found
    assert effect in found


def test_conventions_for_the_last_code_are_all_right(weight):
    largest = np.abs(weight).reshape(6, -1).max(axis=1)
    for steps in (127, 127.5, 128):
        scale = (largest / steps).astype(np.float32)
        codes = np.clip(np.rint(weight / scale.reshape(6, 1, 1, 1)), -128, 127).astype(np.int16)
        assert messages(quantized(weight, codes=codes, scale=scale), weight) == []


def test_reduced_range_uses_half_of_the_codes(weight):
    scale = (np.abs(weight).reshape(6, -1).max(axis=1) / 64).astype(np.float32)
    codes = np.rint(weight / scale.reshape(6, 1, 1, 1)).astype(np.int16)
    stored = quantized(weight, codes=codes, scale=scale)
    assert "codes are left unused" in messages(stored, weight)[0]
    assert messages(stored, weight, replace(PROMISE, reduce_range=True)) == []


def test_codes_outside_their_width(weight):
    stored = quantized(weight)
    stored.array[0, 0, 0, 0] = 200
    assert any("code 200 is outside [-128, 127]" in found for found in messages(stored, weight))


def test_a_scale_of_zero(weight):
    stored = quantized(weight, scale=np.zeros(6, np.float32))
    assert "conv1: a scale is not positive and finite: 0" in messages(stored, weight)


def test_a_scale_of_zero_of_a_channel_of_zeros(weight):
    weight[2] = 0
    scale = reference.choose(weight, Scheme("int8", axis=0)).scale.copy()
    scale[2] = 0
    stored = quantized(weight, scale=scale)
    assert messages(stored, weight) == []
    weight[2, 0, 0, 0] = 1e-6
    assert "conv1: a scale is not positive and finite: 0" in messages(stored, weight)


def test_nothing_quantized_at_all(weight):
    plain = StoredTensor("conv1.weight", weight, "float32", weight.nbytes)
    assert messages(plain, weight) == ["the artifact: asked for weights of 8 bits, none is quantized"]


@pytest.mark.parametrize("order", [(0, 2, 3, 1), (1, 2, 3, 0)])
def test_other_names_and_layouts_are_matched_by_value(weight, order):
    turned = np.ascontiguousarray(weight.transpose(order))
    axis = order.index(0)
    stored = quantized(turned, Scheme("int8", axis=axis), name="arith.constant3")
    decoy = np.random.default_rng(4).normal(size=weight.shape).astype(np.float32)
    result = read_back([stored], {"a": decoy, "b": weight}, PROMISE)
    assert result.findings == ()
    np.testing.assert_array_equal(result.weights[0].original, turned)


def test_a_weight_that_comes_from_nowhere_is_said(weight):
    result = read_back([quantized(weight)], {"other": weight * 3 + 1}, PROMISE)
    assert result.findings == ()
    assert result.notes[0].startswith("conv1: no weight of the model before quantization is like it")


def test_weights_of_which_the_same_is_to_be_said_share_a_note(weight):
    fused = [
        replace(quantized(weight), name=f"fused{number}", layer=f"fused{number}") for number in range(30)
    ]
    floats = [StoredTensor(f"w{number}", weight, "float32", weight.nbytes) for number in range(8)]
    result = read_back([*fused, *floats], {"other": weight * 3 + 1}, PROMISE)
    assert [note.split(":")[0] for note in result.notes] == [
        "fused0, fused1, fused2, fused3, fused4, fused5 and 24 more",
        "w0, w1, w2, w3, w4, w5 and 2 more",
    ]


def test_float16(weight):
    half = StoredTensor(
        "conv1.weight", weight.astype(np.float16).astype(np.float32), "float16", weight.nbytes // 2,
        Quantization(16, np.ones((), np.float32), np.zeros((), np.int32), scheme="float16"), "conv1",
    )  # fmt: skip
    assert messages(half, weight, Promise(bits=None, dtype="float16")) == []
    assert messages(half, weight, Promise(bits=None, dtype="bfloat16")) == [
        "conv1: asked for bfloat16, got float16"
    ]
