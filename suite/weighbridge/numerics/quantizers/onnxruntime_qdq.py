"""QuantizeLinear and DequantizeLinear as ONNX Runtime's CPU provider runs them, one entry an opset."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from weighbridge.contracts import Requirement
from weighbridge.numerics.elements import Array, Integer
from weighbridge.numerics.quantizer import QUANTIZERS, KnownDifference
from weighbridge.numerics.reference import SMALLEST_SCALE, Quotient
from weighbridge.numerics.schemes import Parameters, Scheme

if TYPE_CHECKING:
    from weighbridge.numerics.trial import Trial

_BYTES = ("int8", "uint8")
_FLOATS = ("float8_e4m3fn", "float8_e5m2")
_ELEMENTS = {
    13: _BYTES,
    19: _BYTES + _FLOATS,
    21: _BYTES + _FLOATS + ("int16", "uint16", "int4", "uint4"),
    23: _BYTES + _FLOATS + ("int16", "uint16", "int4", "uint4"),
    25: _BYTES + _FLOATS + ("int16", "uint16", "int4", "uint4", "int2", "uint2"),
}
"""What each opset's QuantizeLinear takes; blocks came with 21."""


class OnnxRuntimeQDQ:
    """One opset's operators. Codes that numpy has no type for are cast inside the graph, which is exact."""

    requires = (Requirement("package", "onnxruntime", "pip install onnxruntime"),)
    bit_exact: Quotient | None = "float32"
    smallest_scale = SMALLEST_SCALE

    def __init__(self, opset: int, floats: bool) -> None:
        self.opset, self.floats = opset, floats
        # The exporters and quantizers of today write opset 21 and less; one entry is enough for a case.
        self.engines = ("onnxruntime",) if opset == 21 else ()
        self.name = f"onnxruntime_opset{opset}{'_floats' if floats else ''}"
        self.nan: Literal["refused", "kept"] = "kept" if floats else "refused"
        self.known: Sequence[KnownDifference] = _known_floats() if floats else _known(opset)

    def supports(self, scheme: Scheme) -> bool:
        return (
            scheme.element in _ELEMENTS[self.opset]
            and isinstance(scheme.type, Integer) != self.floats
            and scheme.rounding == "half_even"
            and scheme.scaled
            and not scheme.narrow
            and (scheme.group_size is None or self.opset >= 21)
        )

    def accepts(self, scheme: Scheme, shape: tuple[int, ...]) -> bool:
        # A single scale is taken for per-tensor, and then a block size is refused.
        return scheme.group_size is None or math.prod(scheme.parameter_shape(shape)) > 1

    def quantize(self, x: Array, parameters: Parameters, scheme: Scheme) -> Array:
        return self._run("QuantizeLinear", x, parameters, scheme)

    def dequantize(self, codes: Array, parameters: Parameters, scheme: Scheme) -> Array:
        return self._run("DequantizeLinear", codes.astype(_carrier(scheme)), parameters, scheme)

    def _run(self, operator: str, tensor: Array, parameters: Parameters, scheme: Scheme) -> Array:
        axis = 1 if scheme.axis is None else scheme.axis % tensor.ndim
        session = _session(
            operator, self.opset, scheme.element, axis, scheme.group_size or 0, scheme.saturate
        )
        feed = {
            "tensor": np.ascontiguousarray(tensor).reshape(tensor.shape),
            "scale": np.ascontiguousarray(parameters.scale).reshape(parameters.scale.shape),
            "zero_point": parameters.zero_point.astype(_carrier(scheme)),
        }
        result: Array = session.run(None, feed)[0]
        return result


def _carrier(scheme: Scheme) -> str:
    """The numpy type that carries the codes in and out."""
    if not isinstance(scheme.type, Integer):
        return "float32"
    width = 8 if scheme.bits <= 8 else 16
    return f"{'' if scheme.type.signed else 'u'}int{width}"


@cache
def _session(operator: str, opset: int, element: str, axis: int, block: int, saturate: bool) -> Any:
    """An inference session of Cast, `operator`, Cast, without optimizations."""
    import onnxruntime
    from onnx import TensorProto, helper

    narrow = getattr(TensorProto, element.upper().replace("_E", "E"))
    carrier = helper.np_dtype_to_tensor_dtype(np.dtype(_carrier(Scheme(element, saturate=saturate))))
    to_codes = operator == "QuantizeLinear"
    attributes: dict[str, Any] = {"axis": axis}
    if block:
        attributes["block_size"] = block
    if to_codes and not saturate:
        attributes["saturate"] = 0
    source, result = ("tensor", "codes") if to_codes else ("codes", "result")
    nodes = [
        helper.make_node("Cast", ["zero_point"], ["narrow_zero_point"], to=narrow),
        helper.make_node(operator, [source, "scale", "narrow_zero_point"], [result], **attributes),
    ]
    if to_codes:
        nodes.append(helper.make_node("Cast", ["codes"], ["result"], to=carrier))
    else:
        nodes.insert(0, helper.make_node("Cast", ["tensor"], ["codes"], to=narrow))
    given, gives = (TensorProto.FLOAT, carrier) if to_codes else (carrier, TensorProto.FLOAT)
    inputs = [("tensor", given), ("scale", TensorProto.FLOAT), ("zero_point", carrier)]
    graph = helper.make_graph(
        nodes,
        operator,
        [helper.make_tensor_value_info(name, kind, None) for name, kind in inputs],
        [helper.make_tensor_value_info("result", gives, None)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    model.ir_version = 10 if opset <= 23 else 12
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 4  # what is refused is raised; it need not be printed as well
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


_VERSION = "onnxruntime 1.31.1"
_ONE = Parameters(np.ones((), np.float32), np.zeros((), np.int64))


def _known(opset: int) -> tuple[KnownDifference, ...]:
    """What the integer operators do otherwise: see docs/known-differences.md."""
    version, one = _VERSION, _ONE
    nan = KnownDifference(
        "nan_is_never_a_number", lambda trial: True, Scheme("int8"), [0.0], one, "NaN becomes a code", version
    )
    if opset < 21:
        return (nan,)
    rows = Scheme("int4", axis=0)
    two = Parameters(np.ones(2, np.float32), np.zeros(2, np.int64))
    note = "ratios past 32 bits get the wrong extreme code in the paths for blocks, int4 and int2"
    far = [
        KnownDifference(name, _past_32_bits, rows, [0.0, 0.0], two, note, version)
        for name in ("saturates_far_outside", "infinities_saturate")
    ]
    return (nan, *far)


def _known_floats() -> tuple[KnownDifference, ...]:
    """What the float8 operators do otherwise: see docs/known-differences.md."""
    note = "between 480 and 496 there is a largest code where NaN was asked for"
    scheme = Scheme("float8_e4m3fn", saturate=False)
    return (KnownDifference("matches_the_reference", _next_to_nan, scheme, [480.0], _ONE, note, _VERSION),)


def _next_to_nan(trial: Trial) -> bool:
    if trial.scheme.element != "float8_e4m3fn" or trial.scheme.saturate:
        return False
    ratio = np.abs(trial.ratio)
    return bool(((ratio >= 480) & (ratio < 496)).any())


def _past_32_bits(trial: Trial) -> bool:
    return trial.scheme.group_size is not None or trial.scheme.bits <= 4


for _opset in _ELEMENTS:
    for _floats in (False, True):
        if not _floats or _opset >= 19:
            _quantizer = OnnxRuntimeQDQ(_opset, _floats)
            QUANTIZERS.add(_quantizer.name, _quantizer)
