"""What onnx can tell of the types and shapes of a graph's values."""

from __future__ import annotations

import math
from typing import Any

from weighbridge.environment.quiet import quiet
from weighbridge.steps.onnx_edits import bodies

_SMALL = 1024
"""Numbers of a tensor whose values shape inference may need."""


def inferred(proto: Any) -> Any:
    """A copy without its large numbers, in which every value that onnx understands has its type and shape."""
    import onnx

    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    for graph in (copy.graph, *bodies(copy)):
        for tensor in graph.initializer:
            if math.prod(tensor.dims) > _SMALL:
                tensor.ClearField("raw_data")
                tensor.ClearField("float_data")
    with quiet():
        return onnx.shape_inference.infer_shapes(copy)
