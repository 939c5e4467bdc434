"""ONNX Runtime's post-training quantization: dynamic, and static in QDQ form."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from weighbridge.contracts import STEPS, Context, Model, Options, Step
from weighbridge.core.errors import StageError, did_you_mean
from weighbridge.environment.quiet import quiet
from weighbridge.steps.quantize.calibration import CalibrationReader

_TYPES = {"int8": "QInt8", "uint8": "QUInt8", "int16": "QInt16", "uint16": "QUInt16"}
_OPSET = 13
"""The first with an axis on QuantizeLinear and DequantizeLinear."""
_METHODS = {"minmax": "MinMax", "entropy": "Entropy", "percentile": "Percentile"}


class DynamicOptions(Options):
    per_channel: bool = False
    weights: Literal["int8", "uint8"] = "int8"
    reduce_range: bool = Field(False, description="7-bit weights, for x86 processors without VNNI.")
    exclude: list[str] = Field(
        default_factory=list, description="Name patterns of nodes, weights or layers to leave in float."
    )


class StaticOptions(DynamicOptions):
    activations: Literal["int8", "uint8", "int16", "uint16"] = Field(
        "uint8", description="uint8 is the fast one on x86."
    )
    calibration: Literal["minmax", "entropy", "percentile"] = "minmax"
    samples: int = Field(512, ge=1, description="At most so many samples of the calibration split.")
    symmetric_activations: bool = False


def dynamic(model: Model, options: DynamicOptions, context: Context) -> Model:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with _workspace(context) as folder:
        source = _prepared(model.value, folder, optimize=False)
        with _quiet("quantize: dynamic"):
            quantize_dynamic(
                source,
                folder / "quantized.onnx",
                per_channel=options.per_channel,
                reduce_range=options.reduce_range,
                weight_type=QuantType[_TYPES[options.weights]],
                nodes_to_exclude=_excluded(source, options.exclude),
            )
        return _result(folder, model)


def static(model: Model, options: StaticOptions, context: Context) -> Model:
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

    with _workspace(context) as folder:
        source = _prepared(model.value, folder, optimize=True)
        histograms = options.calibration != "minmax"
        reader = CalibrationReader(context.data, source, options.samples, one_shape=histograms)
        extra: dict[str, Any] = {"ActivationSymmetric": options.symmetric_activations}
        if histograms:
            extra["CalibStridedMinMax"] = (
                reader.stride
            )  # histograms keep every activation; by strides they are let go
        with _quiet("quantize: static", blame=reader.check):
            quantize_static(
                source,
                folder / "quantized.onnx",
                reader,
                quant_format=QuantFormat.QDQ,
                per_channel=options.per_channel,
                reduce_range=options.reduce_range,
                activation_type=QuantType[_TYPES[options.activations]],
                weight_type=QuantType[_TYPES[options.weights]],
                nodes_to_exclude=_excluded(source, options.exclude),
                calibrate_method=CalibrationMethod[_METHODS[options.calibration]],
                extra_options=extra,
            )
        return _result(folder, model)


def _prepared(proto: Any, folder: Path, optimize: bool) -> Path:
    """The model on disk with shapes inferred, weights as initializers; left as it is where ONNX Runtime's preparation fails."""
    import onnx
    from onnxruntime.quantization.shape_inference import quant_pre_process

    raw, prepared = folder / "float.onnx", folder / "prepared.onnx"
    onnx.save(_constants_to_initializers(_modern(proto)), raw)
    with quiet():
        for skip_symbolic in (False, True):
            with contextlib.suppress(
                Exception
            ):  # symbolic inference fails on valid graphs; the next way needs less
                quant_pre_process(
                    raw, prepared, skip_optimization=not optimize, skip_symbolic_shape=skip_symbolic
                )
                return prepared
    return raw


def _modern(proto: Any) -> Any:
    """The model in an opset that has per-channel DequantizeLinear; as it is where it cannot be converted."""
    import onnx

    opset = next((entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx")), _OPSET)
    if opset >= _OPSET:
        return proto
    with contextlib.suppress(Exception):  # what the quantizer then makes of it is opened before it is weighed
        return onnx.version_converter.convert_version(proto, _OPSET)
    return proto


def _constants_to_initializers(proto: Any) -> Any:
    """A copy whose Constant nodes are initializers: the quantizers look for weights there only."""
    import onnx

    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    kept = []
    for node in copy.graph.node:
        tensor = next(
            (
                attribute.t
                for attribute in node.attribute
                if attribute.name == "value" and attribute.HasField("t")
            ),
            None,
        )
        if node.op_type == "Constant" and tensor is not None:
            initializer = copy.graph.initializer.add()
            initializer.CopyFrom(tensor)
            initializer.name = node.output[0]
        else:
            kept.append(node)
    nodes = [onnx.NodeProto.FromString(node.SerializeToString()) for node in kept]
    del copy.graph.node[:]
    copy.graph.node.extend(nodes)
    return copy


def _excluded(model: Path, patterns: list[str]) -> list[str]:
    """The names of the nodes to leave in float.

    A pattern is held against a node's name and, since exporters number their nodes, against the names of the
    weights it reads and of the layers these belong to: `fc1.weight` and `fc1`. The dynamic quantizer turns a Gemm into
    a MatMul of another name, and would ignore the name that the Gemm had.
    """
    import onnx

    if not patterns:
        return []
    graph = onnx.load(model, load_external_data=False).graph
    weights = {tensor.name for tensor in graph.initializer}
    handles = {
        node.name: {node.name}
        | {part for name in node.input if name in weights for part in (name, name.rpartition(".")[0])}
        for node in graph.node
    }
    known = sorted({handle for own in handles.values() for handle in own if handle})
    for pattern in patterns:
        if not any(fnmatchcase(handle, pattern) for handle in known):
            raise StageError(
                "quantize",
                f"exclude: no node, weight or layer matches '{pattern}'{did_you_mean(pattern, known[:60])}",
            )
    excluded = [
        name
        for name, own in handles.items()
        if any(fnmatchcase(handle, pattern) for handle in own for pattern in patterns)
    ]
    gemms = {node.name for node in graph.node if node.op_type == "Gemm"}
    return [*excluded, *(f"{name}_MatMul" for name in excluded if name in gemms)]


def _result(folder: Path, model: Model) -> Model:
    import onnx

    quantized = onnx.load(folder / "quantized.onnx")
    left = _in_bodies(quantized)
    note = f"ONNX Runtime quantizes nothing inside If, Loop and Scan: {left} weights there stay in float"
    return Model("onnx", quantized, model.source, (note,) if left else ())


def _in_bodies(model: Any) -> int:
    """How many float matrices and filters stand in the bodies of control flow."""
    import onnx

    from weighbridge.formats.onnx_weights import graphs

    _, *bodies = graphs(model)
    kinds = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16)
    tensors = [tensor for body in bodies for tensor in getattr(body, "initializer", ())]
    return sum(tensor.data_type in kinds and len(tensor.dims) > 1 for tensor in tensors)


@contextlib.contextmanager
def _workspace(context: Context) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=context.workdir) as folder:
        yield Path(folder)


@contextlib.contextmanager
def _quiet(step: str, blame: Callable[[], None] = lambda: None) -> Iterator[None]:
    """The quantizers print and log; what they raise becomes a `StageError` that names the step.

    `blame` raises where the user's data, and not the quantizer, is at fault.
    """
    try:
        with quiet():
            yield
    except StageError:
        raise
    except Exception as error:
        blame()
        text = str(error).strip().splitlines()
        raise StageError(
            "quantize",
            f"ONNX Runtime raised {type(error).__name__}: {text[0] if text else '(no message)'}",
            step,
        ) from error


def scheme(options: DynamicOptions) -> Mapping[str, Any]:
    """What the options promise about weights. ONNX Runtime keeps int8 weights symmetric; uint8 ones have a zero point."""
    promise: dict[str, Any] = {
        "bits": 8,
        "per_channel": options.per_channel,
        "signed": options.weights == "int8",
        "reduce_range": options.reduce_range,
    }
    return {**promise, "symmetric": True} if options.weights == "int8" else promise


STEPS.add(
    "quantize:dynamic@onnxruntime",
    Step(
        "quantize",
        "dynamic",
        ("onnx",),
        DynamicOptions,
        dynamic,
        engine="onnxruntime",
        must="quantize",
        scheme=scheme,
    ),
)
STEPS.add(
    "quantize:static@onnxruntime",
    Step(
        "quantize",
        "static",
        ("onnx",),
        StaticOptions,
        static,
        engine="onnxruntime",
        must="quantize",
        splits=("calibration",),
        scheme=scheme,
    ),
)
