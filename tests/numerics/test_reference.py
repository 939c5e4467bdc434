"""The reference against other people's arithmetic and against numbers worked out by hand."""

import ml_dtypes
import numpy as np
import pytest
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

from weighbridge.numerics import Parameters, Scheme, reference
from weighbridge.numerics.elements import ELEMENTS, Float, round_half
from weighbridge.numerics.packing import keep_2_4, pack, pack_2_4, unpack
from weighbridge.numerics.schemes import all_schemes


def quantize(x, scale, zero_point, scheme):
    parameters = Parameters(np.asarray(scale, np.float32), np.asarray(zero_point))
    return reference.quantize(np.asarray(x, np.float32), parameters, scheme).tolist()


def test_rounding_is_named():
    values = np.array([-2.5, -1.5, -0.5, 0.49999999999999994, 0.5, 1.5, 2.5])
    assert round_half(values, "half_even").tolist() == [-2, -2, 0, 0, 0, 2, 2]
    assert round_half(values, "half_away").tolist() == [-3, -2, -1, 0, 1, 2, 3]


def test_quantize_by_hand():
    scheme = Scheme("uint8", symmetric=False)
    assert quantize([-1.0, 0.0, 0.25, 0.75, 200.0], 0.5, 10, scheme) == [8, 10, 10, 12, 255]
    assert quantize([-np.inf, np.inf], 0.5, 10, scheme) == [0, 255]
    with pytest.raises(ValueError, match="NaN"):
        quantize([np.nan], 0.5, 10, scheme)


@pytest.mark.parametrize(
    ("scheme", "x", "scale", "zero_point"),
    [
        (Scheme("int8", narrow=True), [[-2.54, 1.0]], 0.02, 0),
        (Scheme("int8"), [[-2.55, 1.0]], 0.02, 0),
        (Scheme("uint8"), [[-2.55, 1.0]], 0.02, 128),
        (Scheme("uint8", symmetric=False), [[-1.0, 4.1]], 0.02, 50),
        (Scheme("uint8", symmetric=False), [[1.0, 5.1]], 0.02, 0),
        (Scheme("int8", symmetric=False), [[-1.0, 4.1]], 0.02, -78),
        (Scheme("int4", axis=0, symmetric=False), [[-1.4, 1.6], [0.0, 3.0]], [0.2, 0.2], [-1, -8]),
        (Scheme("int8", narrow=True, axis=1, group_size=2), [[1.27, 0, 2.54]], [[0.01, 0.02]], [[0, 0]]),
        (Scheme("float8_e4m3fn"), [[-896.0, 3.0]], 2.0, 0),
    ],
)
def test_parameters_by_hand(scheme, x, scale, zero_point):
    chosen = reference.choose(np.array(x, np.float32), scheme)
    np.testing.assert_allclose(chosen.scale, scale, rtol=1e-6)
    assert chosen.zero_point.tolist() == zero_point


def test_a_channel_of_zeros_has_a_usable_scale():
    assert reference.choose(np.zeros((2, 3), np.float32), Scheme(axis=0)).scale.tolist() == [2.0**-126] * 2


@pytest.mark.parametrize("name", [name for name, element in ELEMENTS.items() if isinstance(element, Float)])
def test_every_reduced_float_and_every_boundary_between_two(name):
    narrow = np.dtype(getattr(ml_dtypes, name, np.float16))
    patterns = np.arange(2 ** (8 * narrow.itemsize), dtype=f"u{narrow.itemsize}")
    numbers = patterns.view(narrow).astype(np.float64)
    numbers = np.unique(numbers[np.isfinite(numbers)])
    middles = ((numbers[1:] + numbers[:-1]) / 2).astype(np.float32)
    x = np.concatenate(
        [numbers.astype(np.float32), middles, *(np.nextafter(middles, np.float32(s)) for s in (-9e38, 9e38))]
    )
    scheme = Scheme(name, scaled=False, saturate=False)
    with np.errstate(over="ignore"):
        expected = x.astype(narrow).astype(np.float32)
    np.testing.assert_array_equal(reference.quantize(x, reference.choose(x, scheme), scheme), expected)


@pytest.mark.parametrize("element", ["INT8", "UINT8", "INT16", "UINT16", "INT4", "UINT4"])
@pytest.mark.parametrize("axis", [None, 0, 1])
def test_onnx_reference_evaluator_agrees(element, axis):
    kind = getattr(TensorProto, element)
    scheme = Scheme(element.lower(), symmetric=False, axis=axis)
    x = np.random.default_rng(1).normal(size=(4, 6)).astype(np.float32)
    chosen = reference.choose(x, scheme)
    node = helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"], axis=1 if axis is None else axis)
    inputs = [("x", TensorProto.FLOAT), ("s", TensorProto.FLOAT), ("z", kind)]
    graph = helper.make_graph(
        [node],
        "q",
        [helper.make_tensor_value_info(name, dtype, None) for name, dtype in inputs],
        [helper.make_tensor_value_info("q", kind, None)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)])
    feed = {"x": x, "s": chosen.scale, "z": chosen.zero_point.astype(helper.tensor_dtype_to_np_dtype(kind))}
    expected = ReferenceEvaluator(model).run(None, feed)[0].astype(np.int64)
    np.testing.assert_array_equal(reference.quantize(x, chosen, scheme, "float32"), expected)


@pytest.mark.parametrize(
    ("element", "kind"), [("int4", "INT4"), ("uint4", "UINT4"), ("int2", "INT2"), ("uint2", "UINT2")]
)
def test_packing_is_onnx_raw_data(element, kind):
    scheme = Scheme(element)
    codes = np.resize(np.arange(scheme.lowest, scheme.highest + 1, dtype=np.int64), 7)
    dtype = helper.tensor_dtype_to_np_dtype(getattr(TensorProto, kind))
    stored = helper.make_tensor("t", getattr(TensorProto, kind), [7], codes.astype(dtype))
    from onnx import numpy_helper

    raw = numpy_helper.from_array(numpy_helper.to_array(stored), "t").raw_data
    assert pack(codes, scheme).tobytes() == raw


@pytest.mark.parametrize("name", ["int3", "uint5", "int6", "int16", "bfloat16"])
def test_other_widths_come_back(name):
    scheme = Scheme(name)
    codes = np.array([scheme.lowest, 0, 1, scheme.highest, scheme.lowest])
    assert unpack(pack(codes, scheme), (5,), scheme).tolist() == codes.tolist()


def test_2_4_keeps_the_larger_half_and_refuses_the_rest():
    x = np.array([[1, -5, 2, 4, 0, 0, 7, 0]])
    assert keep_2_4(x).tolist() == [[0, -5, 0, 4, 0, 0, 7, 0]]
    with pytest.raises(ValueError, match="more than two of four"):
        pack_2_4(x, Scheme("int8"))


@pytest.mark.parametrize(
    "fields",
    [
        {"element": "int9"},
        {"group_size": 2},
        {"axis": 0, "group_size": 0},
        {"element": "bfloat16", "symmetric": False},
        {"element": "uint8", "narrow": True},
        {"element": "int8", "saturate": False},
        {"element": "float16", "scaled": False, "axis": 0},
    ],
)
def test_a_scheme_that_contradicts_itself_is_refused(fields):
    with pytest.raises(ValueError, match=r".+"):
        Scheme(**fields)


def test_every_element_in_every_granularity():
    schemes = list(all_schemes())
    assert {scheme.element for scheme in schemes} == set(ELEMENTS)
    assert len({(scheme.element, scheme.granularity.split()[0]) for scheme in schemes}) == 3 * len(ELEMENTS)
