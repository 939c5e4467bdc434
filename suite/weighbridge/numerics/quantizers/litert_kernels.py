"""QUANTIZE and DEQUANTIZE as LiteRT runs them: by XNNPACK where that takes them, and by LiteRT's own kernels."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from weighbridge.contracts import Requirement
from weighbridge.environment.quiet import quiet
from weighbridge.numerics.elements import Array
from weighbridge.numerics.quantizer import QUANTIZERS, KnownDifference
from weighbridge.numerics.reference import SMALLEST_SCALE, Quotient
from weighbridge.numerics.schemes import Parameters, Scheme

if TYPE_CHECKING:
    from weighbridge.numerics.trial import Trial

VERSION = "ai-edge-litert 2.3.0"
UNIT = Parameters(np.ones((), np.float32), np.zeros((), np.int64))
NAN = KnownDifference(
    "nan_is_never_a_number", lambda trial: True, Scheme("int8"), [0.0], UNIT, "NaN becomes a code", VERSION
)


class LiteRTKernels:
    """Both operators on integers. A model of one operator is written for each trial: it holds the parameters."""

    name = "litert_kernels"
    engines: tuple[str, ...] = ("litert",)
    requires = (Requirement("package", "ai_edge_litert", "pip install 'weighbridge[litert]'"),)
    nan: Literal["refused", "kept"] = "refused"
    bit_exact: Quotient | None = None
    smallest_scale = SMALLEST_SCALE
    xnnpack = False

    @property
    def known(self) -> Sequence[KnownDifference]:
        eight = [0.5] * 8
        shifted = Parameters(np.array(0.996078432, np.float32), np.array(128))
        far = "a ratio past 31 bits gets the lowest code"
        ties = "the last numbers of a tensor, which fill no vector, have their ties away from zero"
        offset = (
            "code * scale - zero_point * scale, each rounded: wrong in the last bits of zero_point * scale"
        )
        return (
            NAN,
            KnownDifference("saturates_far_outside", _anything, Scheme("int8"), eight, UNIT, far, VERSION),
            KnownDifference("infinities_saturate", _anything, Scheme("int8"), eight, UNIT, far, VERSION),
            KnownDifference("ties_round_as_named", _per_tensor, Scheme("int8"), [0.5], UNIT, ties, VERSION),
            KnownDifference("order_is_irrelevant", _ties, Scheme("int8"), [*eight, 1.0], UNIT, ties, VERSION),
            KnownDifference(
                "dequantizes_exactly", _shifted, Scheme("uint8"), eight, shifted, offset, VERSION
            ),
        )

    def supports(self, scheme: Scheme) -> bool:
        # The specification leaves int16 no zero point; DEQUANTIZE takes no int16 per channel, QUANTIZE no int4.
        if scheme.group_size is not None or scheme.narrow:
            return False
        if scheme.element in ("int8", "uint8"):
            return scheme.rounding == ("half_even" if scheme.axis is None else "half_away")
        if scheme.axis is not None or not scheme.symmetric:
            return False
        return (scheme.element, scheme.rounding) in (("int16", "half_even"), ("int4", "half_away"))

    def accepts(self, scheme: Scheme, shape: tuple[int, ...]) -> bool:
        # A single channel is run as per-tensor. No channels are an error, empty ones end the process.
        return scheme.axis is None or (shape[scheme.axis] > 1 and 0 not in shape)

    def quantize(self, x: Array, parameters: Parameters, scheme: Scheme) -> Array:
        return self._run("QUANTIZE", x, parameters, scheme)

    def dequantize(self, codes: Array, parameters: Parameters, scheme: Scheme) -> Array:
        carrier = f"{'' if scheme.type.signed else 'u'}int{max(8, scheme.bits)}"
        return self._run("DEQUANTIZE", codes.astype(carrier), parameters, scheme)

    def _run(self, operator: str, tensor: Array, parameters: Parameters, scheme: Scheme) -> Array:
        scale, zero_point = parameters.scale.tobytes(), parameters.zero_point.tobytes()
        interpreter = _interpreter(self.xnnpack, operator, tensor.shape, scale, zero_point, scheme)
        interpreter.set_tensor(0, np.ascontiguousarray(tensor).reshape(tensor.shape))
        interpreter.invoke()
        result: Array = interpreter.get_tensor(1)
        return result


class LiteRTXNNPack(LiteRTKernels):
    """8 bits per tensor, which XNNPACK takes: what scales the inputs and outputs of a `.tflite` by default."""

    name = "litert_xnnpack"
    xnnpack = True
    known = (NAN,)

    def supports(self, scheme: Scheme) -> bool:
        return super().supports(scheme) and scheme.bits == 8 and scheme.axis is None


class LiteRTFloat16(LiteRTKernels):
    """CAST to float16, and the DEQUANTIZE with which a `.tflite` widens its float16 weights."""

    name = "litert_float16"
    nan = "kept"
    known = ()

    def supports(self, scheme: Scheme) -> bool:
        return scheme == Scheme("float16", scaled=False, saturate=False)

    def quantize(self, x: Array, parameters: Parameters, scheme: Scheme) -> Array:
        return self._run("CAST", x, parameters, scheme)

    def dequantize(self, codes: Array, parameters: Parameters, scheme: Scheme) -> Array:
        return self._run("DEQUANTIZE", codes.astype(np.float16), parameters, scheme)


def _anything(trial: Trial) -> bool:
    return True


def _per_tensor(trial: Trial) -> bool:
    """By the kernel that has vectors; int4 has none."""
    return trial.scheme.axis is None and trial.scheme.bits > 4


def _ties(trial: Trial) -> bool:
    distance = np.abs(np.abs(trial.ratio - np.trunc(trial.ratio)) - 0.5)
    return _per_tensor(trial) and bool(np.any(distance <= trial.slack))


def _shifted(trial: Trial) -> bool:
    return _per_tensor(trial) and bool(np.any(trial.zero_point != 0))


@lru_cache(maxsize=8)
def _interpreter(
    xnnpack: bool, operator: str, shape: tuple[int, ...], scale: bytes, zero_point: bytes, scheme: Scheme
) -> Any:
    """An interpreter of one operator from tensor 0 to tensor 1; most properties ask again for the last few."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    model = _model(
        operator, shape, np.frombuffer(scale, np.float32), np.frombuffer(zero_point, np.int64), scheme
    )
    resolver = OpResolverType.BUILTIN if xnnpack else OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    with quiet():
        interpreter = Interpreter(model_content=model, num_threads=1, experimental_op_resolver_type=resolver)
        interpreter.allocate_tensors()
    return interpreter


def _model(operator: str, shape: tuple[int, ...], scale: Array, zero_point: Array, scheme: Scheme) -> bytes:
    """A `.tflite` of the operator."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    real, codes = schema.TensorT(), schema.TensorT()
    real.type, codes.type = schema.TensorType.FLOAT32, getattr(schema.TensorType, scheme.element.upper())
    for tensor in (real, codes):
        tensor.shape, tensor.buffer = list(shape), 0
    if scheme.scaled:
        codes.quantization = schema.QuantizationParametersT()
        codes.quantization.scale, codes.quantization.zeroPoint = scale, zero_point
        codes.quantization.quantizedDimension = 0 if scheme.axis is None else scheme.axis % len(shape)

    kind = schema.OperatorCodeT()
    kind.builtinCode = kind.deprecatedBuiltinCode = getattr(schema.BuiltinOperator, operator)
    node = schema.OperatorT()
    node.opcodeIndex, node.inputs, node.outputs = 0, [0], [1]
    graph = schema.SubGraphT()
    graph.tensors = [codes, real] if operator == "DEQUANTIZE" else [real, codes]
    graph.operators, graph.inputs, graph.outputs = [node], [0], [1]
    model = schema.ModelT()
    model.version, model.operatorCodes, model.subgraphs, model.buffers = (
        3,
        [kind],
        [graph],
        [schema.BufferT()],
    )

    builder = flatbuffers.Builder(512)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


for _quantizer in (LiteRTKernels(), LiteRTXNNPack(), LiteRTFloat16()):
    QUANTIZERS.add(_quantizer.name, _quantizer)
