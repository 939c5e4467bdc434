"""How much of a model's int8 weights could overflow on other processors.

x86 without VNNI multiplies uint8 by int8 and adds two neighbouring products in 16 bits, saturating: 255 * (w + v) must stay
within 32767. Source: Intel's `VPMADDUBSW`, and ONNX Runtime's notes on `reduce_range`.
"""

from __future__ import annotations

from typing import Any

_MOST = 32767 // 255
_MOVES = ("DequantizeLinear", "Transpose", "Reshape")


def saturating(model: Any) -> list[str]:
    """A sentence with the share of neighbouring int8 weights whose sum is too large; none where there are none."""
    import numpy as np
    from onnx import TensorProto, numpy_helper

    codes = {
        tensor.name: tensor for tensor in model.graph.initializer if tensor.data_type == TensorProto.INT8
    }
    read = dict(codes)
    pairs = over = 0
    for node in model.graph.node:
        if node.op_type in _MOVES and node.input[0] in read:
            read[node.output[0]] = read[node.input[0]]
            continue
        for weight in {read[name].name for name in node.input if name in read}:
            if weight not in codes:
                continue
            array = numpy_helper.to_array(codes.pop(weight))
            rows = _summed_last(node, array)
            if rows is None:
                continue
            sums = rows[:, : rows.shape[1] // 2 * 2].astype(np.int16).reshape(-1, 2).sum(1)
            pairs, over = pairs + sums.size, over + int((np.abs(sums) > _MOST).sum())
    if not over:
        return []
    return [
        f"{max(over / pairs, 1e-4):.2%} of the neighbouring int8 weights could overflow on x86 processors without VNNI; "
        "`reduce_range: true` keeps them to 7 bits, for every processor"
    ]


def _summed_last(node: Any, array: Any) -> Any:
    """The weights as [outputs, summed]; None for an operator that sums no products of theirs."""
    if array.ndim < 2:
        return None
    if node.op_type in ("Conv", "QLinearConv", "ConvInteger"):
        return array.reshape(array.shape[0], -1)
    if node.op_type in ("Gemm", "QGemm"):
        turned = any(each.name == "transB" and each.i for each in node.attribute)
        return array if turned else array.T
    if node.op_type in ("MatMul", "MatMulInteger", "QLinearMatMul", "DynamicQuantizeLSTM"):
        return array.swapaxes(-1, -2).reshape(-1, array.shape[-2])
    return None
