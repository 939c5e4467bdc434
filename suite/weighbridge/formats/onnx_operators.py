"""What ONNX operators do with constants: where the quantized ones keep weights, scales and zero points, which multiply,
which only pass numbers on.

Sources: the ONNX operator specification (QLinearConv, QLinearMatMul, ConvInteger, MatMulInteger, DequantizeLinear, LSTM,
GRU, Einsum) and the schemas of ONNX Runtime's contrib operators.
"""

from __future__ import annotations

from typing import Any, NamedTuple

STANDARD = ("", "ai.onnx", "ai.onnx.ml")
KNOWN = (*STANDARD, "com.microsoft", "com.ms.internal.nhwc")
"""The domains whose operators are meant here. An operator of the same name elsewhere is another one."""


class Slot(NamedTuple):
    """Positions of a quantized tensor among an operator's inputs, and of what dequantizes it."""

    codes: int
    scale: int | None
    zero: int | None


QUANTIZED: dict[str, tuple[Slot, ...]] = {
    "DequantizeLinear": (Slot(0, 1, 2),),
    "QLinearConv": (Slot(3, 4, 5), Slot(0, 1, 2)),
    "QLinearMatMul": (Slot(3, 4, 5), Slot(0, 1, 2)),
    "QGemm": (Slot(3, 4, 5), Slot(0, 1, 2)),
    "QLinearAdd": (Slot(3, 4, 5), Slot(0, 1, 2)),
    "QLinearMul": (Slot(3, 4, 5), Slot(0, 1, 2)),
    "QLinearWhere": (Slot(1, 2, 3), Slot(4, 5, 6)),
    "MatMulInteger": (Slot(1, None, 3), Slot(0, None, 2)),
    "ConvInteger": (Slot(1, None, 3), Slot(0, None, 2)),
    "MatMulIntegerToFloat": (Slot(1, 3, 5), Slot(0, 2, 4)),
    "DynamicQuantizeMatMul": (Slot(1, 2, 3),),
    "DynamicQuantizeLSTM": (Slot(1, 8, 9), Slot(2, 10, 11)),
    "QAttention": (Slot(1, 4, 7), Slot(0, 3, 6)),
    "QEmbedLayerNormalization": tuple(Slot(2 + i, 8 + i, 13 + i) for i in range(5)),
    "QOrderedMatMul": (Slot(2, 3, None), Slot(0, 1, None)),
    "QOrderedAttention": (Slot(5, 8, None), Slot(6, 9, None), Slot(7, 10, None)),
    "QOrderedLongformerAttention": (Slot(2, 3, None), Slot(8, 9, None)),
    "MatMulNBits": (Slot(1, 2, 3),),
    "MatMulNBitsQkv": (Slot(3, 4, None), Slot(6, 7, None), Slot(9, 10, None)),
    "MatMulNBitsMlp": (Slot(3, 4, None), Slot(6, 7, None)),
    "GatherBlockQuantized": (Slot(0, 2, 3),),
    "MatMulBlockQuantizedFp8Weight": (Slot(1, 2, None),),
    "GemmFloat8": (Slot(1, 4, None), Slot(0, 3, None)),
}
"""Operator -> its quantized inputs, the weight first."""
PACKED = ("MatMulNBits", "MatMulNBitsQkv", "MatMulNBitsMlp", "GatherBlockQuantized")
"""Several codes a byte, in blocks."""
INT32_BIASES = {"QLinearConv": (8,), "QGemm": (6,)}
"""Whose scale is the product of the two inputs' scales."""
_BIASES = {
    **INT32_BIASES,
    "Gemm": (2,),
    "Conv": (2,),
    "ConvTranspose": (2,),
    "FusedGemm": (2,),
    "FusedConv": (2,),
    "LSTM": (3,),
    "GRU": (3,),
    "RNN": (3,),
    "DynamicQuantizeLSTM": (3,),
    "QAttention": (2,),
    "MatMulNBits": (5,),
    "DynamicQuantizeMatMul": (4,),
    "MatMulIntegerToFloat": (6,),
}
"""Operator -> the input that it adds to its product."""
PARAMETERS: dict[str, tuple[int, ...]] = {
    "QuantizeLinear": (1, 2),
    "QLinearConv": (6, 7),
    "QLinearMatMul": (6, 7),
    "QGemm": (7, 8),
    "QLinearAdd": (6, 7),
    "QLinearMul": (6, 7),
    "QLinearWhere": (7, 8),
    "QLinearConcat": (0, 1),
    "QLinearSigmoid": (1, 2, 3, 4),
    "QLinearLeakyRelu": (1, 2, 3, 4),
    "QLinearSoftmax": (1, 2, 3, 4),
    "QLinearReduceMean": (1, 2, 3, 4),
    "QLinearAveragePool": (1, 2, 3, 4),
    "QLinearGlobalAveragePool": (1, 2, 3, 4),
    "QOrderedMatMul": (4, 7),
    "GemmFloat8": (5,),
    "MatMulNBits": (4,),
}
"""Scales and zero points of activations, and orders of channels: no weights."""

PRODUCTS: dict[str, tuple[int, ...]] = {
    "MatMul": (1, 0),
    "Gemm": (1, 0),
    "Conv": (1,),
    "ConvTranspose": (1,),
    "DeformConv": (1,),
    "LSTM": (1, 2),
    "GRU": (1, 2),
    "RNN": (1, 2),
    "FusedMatMul": (1, 0),
    "TransposeMatMul": (1, 0),
    "FusedGemm": (1, 0),
    "FusedConv": (1,),
    "NhwcFusedConv": (1,),
    "Attention": (1,),
    "QLinearConv": (3,),
    "QLinearMatMul": (3, 0),
    "QGemm": (3, 0),
    "MatMulInteger": (1, 0),
    "ConvInteger": (1,),
    "MatMulIntegerToFloat": (1, 0),
    "DynamicQuantizeMatMul": (1,),
    "DynamicQuantizeLSTM": (1, 2),
    "QAttention": (1,),
    "QOrderedMatMul": (2,),
    "QOrderedAttention": (5, 6, 7),
    "QOrderedLongformerAttention": (2, 8),
    "MatMulNBits": (1,),
    "MatMulNBitsQkv": (3, 6, 9),
    "MatMulNBitsMlp": (3, 6),
    "MatMulBlockQuantizedFp8Weight": (1,),
    "GemmFloat8": (1, 0),
}
"""Operator -> the inputs that are multiplied with an activation and summed: matrices, filters, recurrent weights."""
TABLES: dict[str, tuple[int, ...]] = {
    "Gather": (0,),
    "GatherElements": (0,),
    "GatherND": (0,),
    "GatherBlockQuantized": (0,),
    "TorchEmbedding": (0,),
    "EmbedLayerNormalization": (2, 3, 4),
    "QEmbedLayerNormalization": (2, 3, 4),
}
"""Operator -> the inputs whose rows are looked up."""

_MOVING = (
    "Identity Transpose Reshape Squeeze Unsqueeze Flatten Expand Tile Slice Split Pad Gather GatherElements GatherND "
    "DepthToSpace SpaceToDepth Dropout Cast CastLike BitCast"
)
CARRIERS: dict[str, tuple[int, ...]] = dict.fromkeys(_MOVING.split(), (0,))
"""Operator -> the inputs whose numbers come out as they went in, in another shape, order, selection or type."""
SAME_AXES = ("Identity", "Dropout", "Cast", "CastLike", "Slice", "Split", "Pad", "Tile")


def is_known(node: Any) -> bool:
    return node.domain in KNOWN


def is_product(node: Any, position: int) -> bool:
    """Whether the input at `position` is multiplied with another and summed over. Einsum's every input is."""
    if node.op_type == "Attention" and node.domain in STANDARD:
        return False  # ONNX's own operator of this name takes keys where ONNX Runtime's takes weights
    return is_known(node) and (node.op_type == "Einsum" or position in PRODUCTS.get(node.op_type, ()))


def is_bias(node: Any, position: int) -> bool:
    return is_known(node) and position in _BIASES.get(node.op_type, ())


def attributes(node: Any) -> dict[str, Any]:
    """Name -> AttributeProto."""
    return {attribute.name: attribute for attribute in node.attribute}


def integer(node: Any, name: str, default: int) -> int:
    found = attributes(node).get(name)
    return default if found is None else int(found.i)


def layout(node: Any, position: int, rank: int) -> str:
    """The axes of a product's constant input, a letter each (`Use.layout`); empty where it is not known.

    Axes in front of a matrix (stacked matrices) are digits.
    """
    kind = node.op_type
    if kind in ("LSTM", "GRU", "RNN"):
        return "doi" if rank == 3 else ""
    if kind == "DynamicQuantizeLSTM":
        return "dio" if rank == 3 else ""
    if kind in ("Conv", "ConvInteger", "QLinearConv", "FusedConv"):
        return "oi" + "".join(map(str, range(rank - 2))) if rank >= 2 else ""
    if kind == "ConvTranspose":
        return "io" + "".join(map(str, range(rank - 2))) if rank >= 2 else ""
    second = PRODUCTS.get(kind, (-1,))[0]
    if kind == "Einsum" or position != second or rank < 2:
        return ""
    if kind in ("Gemm", "FusedGemm", "QGemm"):
        return "oi" if integer(node, "transB", 0) else "io"
    if kind in (
        "MatMul",
        "MatMulInteger",
        "QLinearMatMul",
        "MatMulIntegerToFloat",
        "DynamicQuantizeMatMul",
        "QAttention",
    ):
        return "".join(map(str, range(rank - 2))) + "io"
    return "oi" if kind in ("MatMulNBits", "MatMulNBitsQkv", "MatMulNBitsMlp") else ""
