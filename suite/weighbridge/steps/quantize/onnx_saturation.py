"""How much of a model's int8 weights could overflow on other processors.

x86 without VNNI multiplies uint8 by int8 and adds two neighbouring products in 16 bits, saturating: 255 * (w + v) must stay
within 32767. Source: Intel's `VPMADDUBSW`, and ONNX Runtime's notes on `reduce_range`.
"""

from __future__ import annotations

from typing import Any

_MOST = 32767 // 255
_MOVES = ("DequantizeLinear", "Transpose", "Reshape")
_FLOAT = ("Conv", "Gemm", "MatMul")
"""Operators that ONNX Runtime multiplies in int8 where both sides are dequantized just before."""


def saturating(model: Any) -> list[str]:
    """A sentence with the share of neighbouring int8 weights whose sum is too large; none where there are none."""
    found = overflowing(model).values()
    over, pairs = sum(one for one, _ in found), sum(all_ for _, all_ in found)
    if not over:
        return []
    return [
        f"{max(over / pairs, 1e-4):.2%} of the neighbouring int8 weights could overflow on x86 processors without VNNI; "
        "`reduce_range: true` keeps them to 7 bits, for every processor"
    ]


def overflowing(model: Any) -> dict[str, tuple[int, int]]:
    """By the name of an operator: how many of its pairs of weights could overflow, and how many pairs it has."""
    import numpy as np
    from onnx import TensorProto, numpy_helper

    codes = {
        tensor.name: tensor for tensor in model.graph.initializer if tensor.data_type == TensorProto.INT8
    }
    read = dict(codes)
    dequantized = {node.output[0] for node in model.graph.node if node.op_type == "DequantizeLinear"}
    found = {}
    for node in model.graph.node:
        if node.op_type in _MOVES and node.input[0] in read:
            read[node.output[0]] = read[node.input[0]]
            continue
        if node.op_type in _FLOAT and node.input[0] not in dequantized:
            continue  # its weights alone are quantized, and it multiplies floats
        for weight in {read[name].name for name in node.input if name in read}:
            if weight not in codes:
                continue
            rows = _summed_last(node, numpy_helper.to_array(codes[weight]))
            if rows is None:
                continue
            del codes[weight]
            sums = rows[:, : rows.shape[1] // 2 * 2].astype(np.int16).reshape(-1, 2).sum(1)
            found[node.name or node.output[0]] = int((np.abs(sums) > _MOST).sum()), sums.size
    return found


def _summed_last(node: Any, array: Any) -> Any:
    """The weights as [outputs, summed], in the order in which ONNX Runtime's kernels sum them.

    Channels of a convolution are innermost. None for an operator that sums no products of theirs, or, as a depthwise
    convolution, sums them in 32 bits. All of it was seen on an emulated processor without VNNI.
    """
    import numpy as np

    if array.ndim < 2:
        return None
    if node.op_type in ("Conv", "QLinearConv", "ConvInteger"):
        groups = next((each.i for each in node.attribute if each.name == "group"), 1)
        depthwise = groups > 1 and array.shape[1] == 1
        return None if depthwise else np.moveaxis(array, 1, -1).reshape(array.shape[0], -1)
    if node.op_type in ("Gemm", "QGemm"):
        turned = any(each.name == "transB" and each.i for each in node.attribute)
        return array if turned else array.T
    if node.op_type in ("MatMul", "MatMulInteger", "QLinearMatMul", "DynamicQuantizeLSTM"):
        return array.swapaxes(-1, -2).reshape(-1, array.shape[-2])
    return None
