"""What LiteRT's operators do with a constant, by the position at which they take it; and to which layer it belongs."""

from __future__ import annotations

from weighbridge.contracts import Use

_WEIGHTS: dict[str, tuple[int, ...]] = {
    "FULLY_CONNECTED": (1,),
    "CONV_2D": (1,),
    "CONV_3D": (1,),
    "DEPTHWISE_CONV_2D": (1,),
    "TRANSPOSE_CONV": (1,),
    "CONV_3D_TRANSPOSE": (1,),
    "BATCH_MATMUL": (0, 1),
    "SVDF": (1, 2),
    "RNN": (1, 2),
    "UNIDIRECTIONAL_SEQUENCE_RNN": (1, 2),
    "BIDIRECTIONAL_SEQUENCE_RNN": (1, 2, 4, 5),
    "LSTM": tuple(range(1, 12)),
    "UNIDIRECTIONAL_SEQUENCE_LSTM": tuple(range(1, 12)),
    "BIDIRECTIONAL_SEQUENCE_LSTM": (*range(1, 12), *range(18, 29)),
    "STABLEHLO_DOT_GENERAL": (0, 1),
}
_TABLES: dict[str, tuple[int, ...]] = {"GATHER": (0,), "GATHER_ND": (0,), "EMBEDDING_LOOKUP": (1,)}
_BIASES: dict[str, tuple[int, ...]] = {
    "FULLY_CONNECTED": (2,),
    "CONV_2D": (2,),
    "CONV_3D": (2,),
    "DEPTHWISE_CONV_2D": (2,),
    "TRANSPOSE_CONV": (3,),
}
_MOVING = ("TRANSPOSE", "RESHAPE", "CAST", "SLICE", "STRIDED_SLICE", "SQUEEZE", "EXPAND_DIMS", "")
"""They show nothing of the use that comes after them, so that the tensor is taken for a weight."""


def use_of(operator: str, position: int) -> Use:
    """Of a tensor that `operator` reads as its input at `position`."""
    if operator in _MOVING or operator.startswith("CUSTOM:") or position in _WEIGHTS.get(operator, ()):
        return Use("weight")
    if position in _TABLES.get(operator, ()):
        return Use("table")
    return Use("bias" if position in _BIASES.get(operator, ()) else "operand")


def layer_of(name: str) -> str:
    """A tensor's layer, as its author knows it: `Conv2d_4` of torch, `cnn/conv2d` of Keras.

    Converters join the names of all operators that they fused, the one that owns the weight last, and number
    what would stand twice.
    """
    owner = [part for part in name.split(";") if part and not part.isdigit()][-1:] or [name]
    path, _, last = owner[0].rpartition("/")
    return last.rpartition(".")[2] if "." in last else path or last
