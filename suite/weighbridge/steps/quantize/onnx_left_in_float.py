"""What a static model keeps in float stays so when ONNX Runtime loads the file.

Its optimizer (WeightBiasQuantization, `core/optimizer/qdq_transformer`, seen in 1.31) quantizes the float weight of a Conv,
ConvTranspose or Gemm that stands between a DequantizeLinear of one scale and a QuantizeLinear, with one scale for the whole
weight: what `exclude` asked for is undone. Where the same scale stands once a channel, the numbers are the same and the
layer is left alone.
"""

from __future__ import annotations

from typing import Any

from weighbridge.steps.onnx_edits import set_nodes

_PER_CHANNEL = 13
"""The first opset whose DequantizeLinear takes a scale a channel."""


def keep_in_float(model: Any) -> None:
    """Give the layers with a float weight and a dequantized input a DequantizeLinear of their own, in place."""
    import numpy as np
    import onnx
    from onnx import numpy_helper

    opset = next((each.version for each in model.opset_import if each.domain in ("", "ai.onnx")), 0)
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    sources = {node.output[0]: node for node in model.graph.node if node.op_type == "DequantizeLinear"}
    nodes = []
    for node in model.graph.node:
        source = sources.get(node.input[0]) if node.input else None
        channels, axis = _channels(node, stored)
        if (
            opset >= _PER_CHANNEL
            and channels
            and source is not None
            and _is_single(stored.get(source.input[1]))
        ):
            result = f"{node.input[0]}.{node.name}"
            inputs = [source.input[0]]
            for name, what in zip(source.input[1:], ("scale", "zero_point"), strict=False):
                repeated = np.full(channels, numpy_helper.to_array(stored[name]).reshape(()))
                inputs.append(f"{result}_{what}")
                model.graph.initializer.append(numpy_helper.from_array(repeated, inputs[-1]))
            nodes.append(
                onnx.helper.make_node("DequantizeLinear", inputs, [result], f"{result}.dequantize", axis=axis)
            )
            node.input[0] = result
        nodes.append(node)
    set_nodes(model.graph, nodes)


def _channels(node: Any, stored: dict[str, Any]) -> tuple[int, int]:
    """The channels of a layer's input and their axis; (0, 0) where it is no such layer or its weight is no float constant."""
    import onnx

    kinds = ("Conv", "ConvTranspose", "Gemm")
    weight = stored.get(node.input[1]) if node.op_type in kinds and len(node.input) > 1 else None
    if weight is None or weight.data_type != onnx.TensorProto.FLOAT:
        return 0, 0
    options = {attribute.name: attribute.i for attribute in node.attribute}
    if node.op_type == "Conv":
        return weight.dims[1] * options.get("group", 1), 1
    if node.op_type == "ConvTranspose":
        return weight.dims[0], 1
    return weight.dims[1 if options.get("transB") else 0], 0 if options.get("transA") else 1


def _is_single(scale: Any) -> bool:
    import math

    return scale is not None and math.prod(scale.dims) == 1
