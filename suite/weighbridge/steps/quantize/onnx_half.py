"""Weights of an ONNX model in float16 or bfloat16: half of the file, whatever operator reads them, wherever they stand.

ONNX Runtime's CPU kernels compute in float32. So each weight is turned back by a Cast, which is carried out once, as the
file is opened: nothing is slower, and nothing but the weights is rounded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field, model_validator

from weighbridge.contracts import STEPS, Array, Context, Model, Options, Promise, Step, StoredTensor
from weighbridge.core.codes import numpy_dtype
from weighbridge.core.coverage import Coverage, LayerCoverage
from weighbridge.core.errors import StageError, first_line
from weighbridge.formats.onnx_flow import Flow
from weighbridge.formats.onnx_weights import graphs, keyed_tensors
from weighbridge.steps.onnx_answers import opened
from weighbridge.steps.onnx_edits import free_name, name_nodes, names, remove
from weighbridge.steps.quantize.onnx_half_graph import compute_in_float16
from weighbridge.steps.quantize.onnx_preparation import raised, refuse_without_floats
from weighbridge.steps.selection import Layer, matching, select

Half = Literal["float16", "bfloat16"]
_OPSETS = {"float16": 6, "bfloat16": 13}
"""The first in which Cast takes the type."""
_LOST = {"float16": 2.0**-10, "bfloat16": 2.0**-7}
"""Of a weight's norm: twice what rounding may take. More is lost where numbers are too small for the type."""


class HalfOptions(Options):
    layers: list[str] = Field(
        default_factory=list,
        description="What to store so, by names, patterns or types; all weights by default.",
    )
    exclude: list[str] = Field(
        default_factory=list,
        description="What to leave in float32: names or patterns of weights, layers or nodes, or operator types.",
    )


class Float16Options(HalfOptions):
    compute: Literal["float32", "float16"] = Field(
        "float32",
        description="float32: weights alone are float16, and turned back as the file is opened. float16: the graph "
        "computes so, for accelerators; on most CPUs ONNX Runtime computes it in float32 all the same.",
    )
    keep_io: bool = Field(
        True, description="With `compute: float16`: inputs and outputs stay float32, as callers know them."
    )

    @model_validator(mode="after")
    def _inputs_change_only_with_the_graph(self) -> Float16Options:
        if not self.keep_io and self.compute == "float32":
            raise ValueError(
                "`keep_io: false` needs `compute: float16`: a graph that computes in float32 keeps its inputs and outputs"
            )
        return self


@dataclass(frozen=True)
class _Place:
    """Where a weight stands: an initializer of `graph`, or what the Constant `node` in it holds."""

    graph: Any
    tensor: Any
    node: Any = None


def halved(model: Model, options: HalfOptions, context: Context, half: Half) -> Model:
    """The model with its float32 matrices, filters and tables stored as `half`.

    Raises `StageError` where there is none, where patterns fit nothing, or where ONNX Runtime cannot open the result.
    """
    step = f"quantize: {half}"
    refuse_without_floats(model.value, step)
    proto = _copy(model.value, _OPSETS[half], step)
    name_nodes(proto)
    places = _weights(proto)
    reasons = _passed_over(_layers(places, proto), proto, options)
    asked = places.keys() - reasons.keys()
    taken = names(proto)
    for name, (place, tensor) in places.items():
        if name in asked and (why := _unfit(tensor.array, half)):
            reasons[name] = why
        elif name in asked:
            _store(place, tensor.array, half, taken)
    coverage = Coverage(
        tuple(
            LayerCoverage(tensor.layer or name, tensor.operator, name in asked, name in asked and name not in reasons,
                          name not in reasons, reasons.get(name, ""), (name,))
            for name, (_, tensor) in places.items()
        )
    )  # fmt: skip
    notes: tuple[str, ...] = ()
    if isinstance(options, Float16Options) and _computes(options):
        notes = compute_in_float16(proto, options.exclude, reasons.keys(), options.keep_io)
    _open(proto, context, step)
    return Model("onnx", proto, model.source, (*model.notes, *notes, *coverage.sentences()), coverage)


def _copy(proto: Any, opset: int, step: str) -> Any:
    """A copy in the operator set that has the type's Cast, or a later one."""
    import onnx

    try:
        found = raised(proto, opset)
    except Exception as error:  # the converter raises RuntimeError, or what a pass of it raises
        raise StageError(
            "quantize", f"the model is of an operator set below {opset}, whose Cast has no such type, and onnx cannot "
            f"convert it: {first_line(error)}", step,
        ) from error  # fmt: skip
    if found is proto:
        found = onnx.ModelProto()
        found.CopyFrom(proto)
    return found


def _weights(proto: Any) -> dict[str, tuple[_Place, StoredTensor]]:
    """The float32 matrices of the model, each with its place, by their names; of two of one name the first."""
    flow = Flow(proto)
    places = {id(place.tensor): place for graph in graphs(proto) for place in _constants(graph)}
    found: dict[str, tuple[_Place, StoredTensor]] = {}
    for key, tensor in keyed_tensors(flow):
        place = next((places[id(each)] for each in flow.constants[key].tensors if id(each) in places), None)
        if place is not None and tensor.dtype == "float32" and tensor.is_matrix and not tensor.unread:
            found.setdefault(tensor.name, (place, tensor))
    return found


def _constants(graph: Any) -> Iterator[_Place]:
    yield from (_Place(graph, tensor) for tensor in getattr(graph, "initializer", ()))
    for node in graph.node:
        if node.op_type == "Constant":
            yield from (
                _Place(graph, attribute.t, node) for attribute in node.attribute if attribute.name == "value"
            )


def _layers(places: Mapping[str, tuple[_Place, StoredTensor]], proto: Any) -> list[Layer]:
    """Each weight as patterns may call it: by its own name, its layer's, and those of the nodes that read it."""
    readers: dict[str, set[str]] = {}
    for graph in graphs(proto):
        for node in graph.node:
            for name in node.input:
                readers.setdefault(name, set()).add(node.name)
    return [
        Layer(name, tensor.operator, frozenset({tensor.layer, *readers.get(name, ())} - {""}))
        for name, (_, tensor) in places.items()
    ]


def _passed_over(weights: Sequence[Layer], proto: Any, options: HalfOptions) -> dict[str, str]:
    """Why weights are not asked for, by their names. Raises `StageError` where patterns fit nothing.

    Where the graph computes in float16, a pattern of `exclude` may fit a node that reads no weight.
    """
    what = "no weight, layer or node"
    nodes = [Layer(node.name, node.op_type) for graph in graphs(proto) for node in graph.node]
    every = [*weights, *nodes] if _computes(options) else weights
    chosen = {*weights} & {*select("quantize", what, every, options.layers, options.exclude)}
    excluded = matching("quantize", "exclude", what, every, options.exclude)
    return {
        layer.name: "`exclude` names it" if layer in excluded else "`layers` does not name it"
        for layer in weights
        if layer not in chosen
    }


def _computes(options: HalfOptions) -> bool:
    return isinstance(options, Float16Options) and options.compute == "float16"


def _unfit(numbers: Array, half: Half) -> str:
    """Why numbers cannot be kept in so few bits; empty where they can."""
    import numpy as np

    with np.errstate(over="ignore"):
        rounded = numbers.astype(numpy_dtype(half)).astype(np.float32)
    finite = np.isfinite(numbers)
    if beyond := int((finite & ~np.isfinite(rounded)).sum()):
        largest = float(np.abs(numbers[finite]).max())
        return f"{beyond} of its numbers are beyond the largest of {half}, up to {largest:.3g}"
    exact = numbers[finite].astype(np.float64)
    if np.linalg.norm(exact - rounded[finite]) > _LOST[half] * np.linalg.norm(exact):
        return f"its numbers are too small for {half}, which would lose more than their last digits"
    return ""


def _store(place: _Place, numbers: Array, half: Half, taken: set[str]) -> None:
    """Keep the numbers as `half`, behind a Cast that bears the weight's name, so that readers stay as they are.

    `taken` are the names that are not free.
    """
    import onnx

    graph = place.graph
    name = place.node.output[0] if place.node else place.tensor.name
    codes = free_name(f"{name}_quantized", taken)
    shape = list(place.tensor.dims)
    stored = onnx.numpy_helper.from_array(numbers.reshape(shape).astype(numpy_dtype(half)), codes)
    place.tensor.CopyFrom(stored)
    cast = onnx.helper.make_node("Cast", [codes], [name], name=f"{codes}_to_float", to=onnx.TensorProto.FLOAT)
    at = 0
    if place.node:
        at = 1 + next(number for number, node in enumerate(graph.node) if name in node.output)
        place.node.output[0] = codes
    else:  # up to IR version 3 each initializer had to be an input too
        remove(graph.input, lambda value: value.name == name)
    graph.node.insert(at, cast)


def _open(proto: Any, context: Context, step: str) -> None:
    """Raise `StageError` where ONNX Runtime does not open the model."""
    try:
        opened(proto, context)
    except StageError as error:
        raise StageError(
            "quantize", f"ONNX Runtime does not open the result: {error.message}", step
        ) from error


def float16(model: Model, options: Float16Options, context: Context) -> Model:
    """Weights in float16. Raises `StageError`, see `halved`."""
    return halved(model, options, context, "float16")


def bfloat16(model: Model, options: HalfOptions, context: Context) -> Model:
    """Weights in bfloat16. Raises `StageError`, see `halved`."""
    return halved(model, options, context, "bfloat16")


def _step(half: Half, options: type[HalfOptions], apply: Callable[[Model, Any, Context], Model]) -> Step:
    return Step(
        "quantize",
        half,
        ("onnx",),
        options,
        apply,
        engine="onnxruntime",
        must="quantize",
        scheme=lambda given: Promise(bits=None, dtype=half),
        random=False,
    )


STEPS.add("quantize:float16@onnxruntime", _step("float16", Float16Options, float16))
STEPS.add("quantize:bfloat16@onnxruntime", _step("bfloat16", HalfOptions, bfloat16))
