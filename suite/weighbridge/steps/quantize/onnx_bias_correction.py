"""Biases that make up for what quantizing adds to the mean of each output channel, which costs nothing where it is served.

Source: Nagel et al., Data-Free Quantization Through Weight Equalization and Bias Correction, 2019, section 4.2, with the
mean taken of samples. Each product reads its input of the float model, rounded as the quantized model rounds it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from weighbridge.contracts import Array, Inputs
from weighbridge.formats.onnx_file import write_onnx
from weighbridge.formats.onnx_operators import attributes, integer
from weighbridge.steps.onnx_edits import drop_unused, free_name, names, readers
from weighbridge.steps.quantize.onnx_calibration import feeds

_PRODUCTS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
_OWN = "weighbridge//"
"""In front of every name that measuring adds."""


def correct_biases(source: Path, quantized: Path, samples: Sequence[Inputs], sequence: bool) -> int:
    """Write what the quantized model lost on average into the biases of the float model `source`; gives how many changed.

    A product without a bias gets one where its operator takes it. A layer in float, one whose output is not followed by a
    bias, and one of which no finite mean is known stay as they are.
    """
    import onnx

    model = onnx.load(source)
    biased = _biased(model)
    lost = _lost(model, onnx.load(quantized), biased, source, samples, sequence)
    changed = _write(model, biased, lost)
    if changed:
        write_onnx(model, source)
    return changed


def _biased(model: Any) -> dict[str, tuple[Any, int]]:
    """For each product that can be corrected, by its name, the node that adds its bias and the input that is it."""
    stored = {tensor.name for tensor in model.graph.initializer}
    outputs = {value.name for value in model.graph.output}
    behind: dict[str, list[Any]] = {}
    for node in model.graph.node:
        for name in node.input:
            behind.setdefault(name, []).append(node)
    found = {}
    for node in model.graph.node:
        if node.op_type not in _PRODUCTS:
            continue
        if node.op_type == "MatMul":
            read = behind.get(node.output[0], [])
            if len(read) == 1 and read[0].op_type == "Add" and node.output[0] not in outputs:
                position = 1 if read[0].input[0] == node.output[0] else 0
                if read[0].input[position] in stored:
                    found[node.name] = read[0], position
            continue
        grouped = node.op_type == "ConvTranspose" and integer(node, "group", 1) > 1
        own = len(node.input) < 3 or not node.input[2] or node.input[2] in stored
        if own and not grouped and "beta" not in attributes(node):
            found[node.name] = node, 2
    return found


def _lost(
    model: Any,
    quantized: Any,
    biased: Mapping[str, Any],
    source: Path,
    samples: Sequence[Inputs],
    sequence: bool,
) -> dict[str, Array]:
    """Of each product in `biased` that is quantized, what its outputs lost on average, [channels]."""
    from weighbridge.engines.onnxruntime import OnnxRuntimeSession

    measured, axes = _with_twins(model, quantized, biased)
    if not axes:
        return {}
    path = source.with_name(f"{source.stem}.twins.onnx")
    files = write_onnx(measured, path)
    try:
        session = OnnxRuntimeSession(str(path))
    finally:
        for file in files:
            file.unlink()
    # The float model tells what to feed: a sequence's state is in its last outputs, and here further ones follow.
    float_model = OnnxRuntimeSession(str(source))
    sums: dict[str, Any] = {}
    counts: dict[str, int] = {}
    for feed in (feed for sample in samples for feed in feeds(float_model, sample, sequence)):
        differences = session.session.run([_OWN + name for name in axes], feed)
        for (name, axis), lost in zip(axes.items(), differences, strict=True):
            channels = lost.swapaxes(axis, -1).reshape(-1, lost.shape[axis])
            sums[name] = sums.get(name, 0.0) + channels.sum(0, dtype="float64")
            counts[name] = counts.get(name, 0) + len(channels)
    return {name: total / counts[name] for name, total in sums.items()}


def _with_twins(model: Any, quantized: Any, biased: Mapping[str, Any]) -> tuple[Any, dict[str, int]]:
    """The float model, in which each product has a twin beside it that computes with codes, and gives what the twin lacks.

    Also the axis of the output channels of each such product, by its name.
    """
    import onnx
    from onnx import helper, numpy_helper

    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in quantized.graph.initializer}
    opened = {node.output[0]: node for node in quantized.graph.node if node.op_type == "DequantizeLinear"}
    there = {node.name: node for node in quantized.graph.node}
    measured = onnx.ModelProto()
    measured.CopyFrom(model)
    graph, axes = measured.graph, {}
    for node in model.graph.node:
        if node.name not in biased or node.name not in there:
            continue
        weight = opened.get(there[node.name].input[1])
        if weight is None or weight.input[0] not in stored:
            continue
        own = f"{_OWN}{node.name}"
        twin = onnx.NodeProto()
        twin.CopyFrom(node)
        twin.name, twin.input[1], twin.output[0] = f"{own}//twin", f"{own}//weight", f"{own}//output"
        graph.initializer.append(numpy_helper.from_array(_dequantized(weight, stored), twin.input[1]))
        rounded = opened.get(there[node.name].input[0])
        if rounded is not None and _is_of_bytes(rounded, stored):
            grid = [f"{own}//{name}" for name in rounded.input[1:]]
            for name, source in zip(grid, rounded.input[1:], strict=True):
                graph.initializer.append(numpy_helper.from_array(stored[source], name))
            codes, twin.input[0] = f"{own}//codes", f"{own}//input"
            graph.node.append(helper.make_node("QuantizeLinear", [node.input[0], *grid], [codes], codes))
            graph.node.append(
                helper.make_node("DequantizeLinear", [codes, *grid], [twin.input[0]], twin.input[0])
            )
        graph.node.append(twin)
        graph.node.append(helper.make_node("Sub", [node.output[0], twin.output[0]], [own], f"{own}//lost"))
        graph.output.append(onnx.ValueInfoProto(name=own))
        axes[node.name] = 1 if node.op_type.startswith("Conv") else -1
    return measured, axes


def _is_of_bytes(node: Any, stored: Mapping[str, Array]) -> bool:
    """Whether a DequantizeLinear reads 8-bit codes of an activation; what 16 bits lose is nothing beside the weights."""
    return node.input[0] not in stored and len(node.input) > 2 and stored[node.input[2]].dtype.itemsize == 1


def _dequantized(node: Any, stored: Mapping[str, Array]) -> Array:
    """What a DequantizeLinear gives for stored codes."""
    import numpy as np

    codes, scale, *zero = (stored[name] for name in node.input)
    values = codes.astype(np.float32)
    axis = next((each.i for each in node.attribute if each.name == "axis"), 1)
    shape = [1] * codes.ndim
    if scale.size > 1:
        shape[axis] = -1
    for each in zero:
        values -= each.astype(np.float32).reshape(shape)
    result: Array = (values * scale.reshape(shape)).astype(np.float32)
    return result


def _write(model: Any, biased: Mapping[str, tuple[Any, int]], lost: Mapping[str, Array]) -> int:
    """Add what was lost to the biases, each product's to one of its own."""
    import numpy as np
    from onnx import numpy_helper

    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    taken = names(model)
    read = readers(model)
    changed = 0
    for name, more in lost.items():
        node, position = biased[name]
        had = node.input[position] if position < len(node.input) else ""
        bias = numpy_helper.to_array(stored[had]) if had else np.zeros(len(more), np.float32)
        # A stored operand of as many numbers along another axis is added to rows, and is no bias of the channels.
        if bias.dtype != np.float32 or bias.size != len(more) or bias.shape[-1:] != more.shape:
            continue
        if not np.isfinite(more).all():
            continue
        corrected = (bias + more.reshape(bias.shape)).astype(np.float32)
        # A bias of one product keeps its name, by which reports and patterns find the layer.
        alone = bool(had) and read[had] == 1
        new = had if alone else free_name(f"{had or name}_corrected", taken)
        tensor = stored[had] if alone else model.graph.initializer.add()
        tensor.CopyFrom(numpy_helper.from_array(corrected, new))
        if position < len(node.input):
            node.input[position] = new
        else:
            node.input.append(new)
        changed += 1
    drop_unused(model)
    return changed
