"""A float ONNX model made ready for ONNX Runtime's quantizers, in the first of several ways that works."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import chdir
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from weighbridge.core.errors import StageError
from weighbridge.environment.quiet import quiet
from weighbridge.formats.onnx_file import copy_fields, needs_data_file, whole, write_onnx
from weighbridge.formats.onnx_weights import graphs
from weighbridge.steps.onnx_edits import name_nodes, remove
from weighbridge.steps.onnx_fold import constants_to_initializers, fold
from weighbridge.steps.onnx_types import SMALL

_OPSET = 13
"""The first with an axis on QuantizeLinear and DequantizeLinear."""
_Result = TypeVar("_Result")


@dataclass(frozen=True)
class Way:
    """What ONNX Runtime's own preparation is asked to do beside shape inference."""

    name: str
    optimize: bool = False
    symbolic: bool = False
    infer: bool = True


OPTIMIZED = Way("with graph optimization and symbolic shapes", optimize=True, symbolic=True)
OPTIMIZED_ONLY = Way("with graph optimization, without symbolic shapes", optimize=True)
SYMBOLIC = Way("without graph optimization, with symbolic shapes", symbolic=True)
SHAPES = Way("with plain shape inference only")
AS_IT_IS = Way("without shape inference", infer=False)

STATIC_WAYS = (OPTIMIZED, OPTIMIZED_ONLY, SYMBOLIC, SHAPES, AS_IT_IS)
"""Optimization fuses what has an integer kernel together; on some models it gives what the quantizer refuses."""
DYNAMIC_WAYS = (SYMBOLIC, SHAPES, AS_IT_IS)
"""Optimization stores a tied weight twice, and the dynamic quantizer needs none of its fusions."""


@dataclass
class Prepared:
    """A model that the edits of a step may still change; all nodes have names of their own."""

    model: Any
    origins: dict[str, str] = field(default_factory=dict)
    """What a folded weight was called before, where it could not keep its name."""


def first_that_works(
    proto: Any,
    folder: Path,
    ways: Sequence[Way],
    quantize: Callable[[Prepared, Path], _Result],
    step: str,
) -> tuple[_Result, tuple[str, ...]]:
    """`quantize(prepared, folder)` on the model prepared in the first way in which both succeed.

    Returns its result and, where it was not the first way, a note which one it was and what was wrong with those
    before. `StageError`s of `quantize` pass. Raises `StageError` with the reason of each way where none works.
    """
    failures: list[tuple[Way, str]] = []
    for number, way in enumerate(ways):
        own = folder / str(number)
        own.mkdir()
        try:
            with quiet():
                prepared, notes = _prepared(proto, own, way)
                result = quantize(prepared, own)
        except StageError:
            raise
        except Exception as error:  # the libraries raise whatever a pass of theirs raises
            failures.append((way, _first_line(error)))
            continue
        taken = (f"the model was prepared {way.name}; {_reasons(failures)}",) if failures else ()
        return result, (*notes, *taken)
    raise StageError(
        "quantize",
        "ONNX Runtime cannot quantize the model, in whatever way it is prepared; leave the layer or operator type that "
        f"it stumbles over to `exclude`. {_reasons(failures)}",
        step,
    )


def _reasons(failures: Sequence[tuple[Way, str]]) -> str:
    """What went wrong, each reason once."""
    ways: dict[str, list[str]] = {}
    for way, text in failures:
        ways.setdefault(text, []).append(way.name)
    return "; ".join(f"{' and '.join(names)} it failed: {text}" for text, names in ways.items())


_QUANTIZED = ("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "QLinearConv", "QLinearMatMul",
              "ConvInteger", "MatMulInteger", "MatMulNBits", "DynamicQuantizeLSTM", "QGemm", "QAttention")  # fmt: skip


def refuse_without_floats(model: Any, step: str) -> None:
    """Raise `StageError` where no float32 matrix is stored, and another width is: there is nothing to start from."""
    import onnx

    kinds = Counter(
        tensor.data_type for graph in graphs(model) for tensor in stored_protos(graph) if len(tensor.dims) > 1
    )
    operators = Counter(node.op_type for graph in graphs(model) for node in graph.node)
    there = [f"{operators[name]} {name}" for name in _QUANTIZED if operators[name]]
    half = [name for name in ("FLOAT16", "BFLOAT16") if kinds[getattr(onnx.TensorProto, name)]]
    if kinds[onnx.TensorProto.FLOAT] or not (there or half):
        return
    what = (
        f"is quantized already ({', '.join(there)})" if there else f"keeps its weights in {half[0].lower()}"
    )
    raise StageError(
        "quantize",
        f"the model {what}, and no float32 weight is left to convert; start from its float32 original",
        step,
    )


def stored_protos(graph: Any) -> Iterator[Any]:
    """The initializers of a graph, and the tensors of its Constant nodes."""
    yield from getattr(graph, "initializer", ())
    for node in graph.node:
        yield from (attribute.t for attribute in node.attribute if attribute.HasField("t"))


def _first_line(error: Exception) -> str:
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0][:300] if text else '(no message)'}"


def _basis(proto: Any) -> tuple[Prepared, tuple[str, ...]]:
    """What all ways begin with: an opset that has per-channel scales, names, constants folded."""
    import onnx

    model, notes = _modern(whole(proto))
    if model is proto:
        model = onnx.ModelProto()
        model.CopyFrom(proto)
    constants_to_initializers(model)
    origins = fold(model)
    name_nodes(model)
    return Prepared(model, origins), notes


def _modern(proto: Any) -> tuple[Any, tuple[str, ...]]:
    """The model in an opset that has per-channel DequantizeLinear; as it is, with a note, where it cannot be converted."""
    try:
        return raised(proto, _OPSET), ()
    except (
        Exception
    ) as error:  # the converter lacks operators; it raises RuntimeError, or what a pass of it raises
        return proto, (
            f"the model stays in opset {_opset(proto)}, which has no per-channel scales, since onnx cannot convert it: "
            f"{_first_line(error)}",
        )


def raised(proto: Any, least: int) -> Any:
    """The model, or a copy of it in opset `least` where its own is lower. Raises what onnx's converter raises."""
    import onnx

    if _opset(proto) >= least:
        return proto
    with quiet():
        return onnx.version_converter.convert_version(proto, least)


def _opset(proto: Any) -> int:
    return next((entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx")), _OPSET)


def _prepared(proto: Any, folder: Path, way: Way) -> tuple[Prepared, tuple[str, ...]]:
    """The model prepared in this way, and what is to be said of it.

    What all ways begin with is made anew for each: held until the quantizer is done, it would be one more copy of the model.
    """
    import onnx
    from onnxruntime.quantization.shape_inference import quant_pre_process

    basis, notes = _basis(proto)
    if not way.infer:
        return basis, notes
    folder = folder.resolve()
    raw, prepared = folder / "float.onnx", folder / "prepared.onnx"
    weights = [] if way.optimize else _write_without_weights(basis.model, raw)
    if way.optimize:
        write_onnx(basis.model, raw)
    with chdir(folder):  # symbolic inference that fails leaves what it has in the working directory
        quant_pre_process(
            raw,
            prepared,
            skip_optimization=not way.optimize,
            skip_symbolic_shape=not way.symbolic,
            save_as_external_data=way.optimize and needs_data_file(basis.model),
            all_tensors_to_one_file=True,
        )
    model = onnx.load(prepared)
    names = {tensor.name for tensor in weights}
    remove(model.graph.input, lambda value: value.name in names)
    model.graph.initializer.extend(weights)
    name_nodes(model)  # optimization makes nodes without names
    return Prepared(model, basis.origins), notes


def _write_without_weights(model: Any, path: Path) -> list[Any]:
    """Write the model with its large float initializers as inputs, and give these initializers.

    Of a weight, shape inference reads the shape alone, and ONNX Runtime's way there writes and reads the model four times.
    """
    import onnx

    weights = [
        tensor
        for tensor in model.graph.initializer
        if tensor.data_type == onnx.TensorProto.FLOAT and math.prod(tensor.dims) > SMALL
    ]
    names = {tensor.name for tensor in weights}
    copy = onnx.ModelProto()
    copy_fields(model, copy, {"graph"})
    copy_fields(model.graph, copy.graph, {"initializer"})
    copy.graph.initializer.extend(each for each in model.graph.initializer if each.name not in names)
    copy.graph.input.extend(
        onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims))
        for tensor in weights
    )
    onnx.save(copy, path)
    return weights
