"""What onnx can tell of the types and shapes of a graph's values."""

from __future__ import annotations

import contextlib
import math
from typing import Any

from weighbridge.environment.quiet import quiet
from weighbridge.steps.onnx_edits import bodies

SMALL = 1024
"""Numbers of a tensor whose values shape inference may need."""


def inferred(proto: Any) -> Any:
    """A copy without its large numbers, in which every value that onnx understands has its type and shape.

    Where what the file declares contradicts itself, onnx is asked without that; failing that too, what is declared is all.
    """
    import onnx

    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    for graph in (copy.graph, *bodies(copy)):
        for tensor in graph.initializer:
            if math.prod(tensor.dims) > SMALL:
                tensor.ClearField("raw_data")
                tensor.ClearField("float_data")
    open_ = onnx.ModelProto()
    open_.CopyFrom(copy)
    for graph in (open_.graph, *bodies(open_)):
        del graph.value_info[:]
        for value in graph.output:
            value.type.tensor_type.ClearField("shape")
    for each in (copy, open_):  # what a file declares may be wrong, and engines run it all the same
        with contextlib.suppress(onnx.shape_inference.InferenceError), quiet():
            return onnx.shape_inference.infer_shapes(each, data_prop=True)
    return copy


def shapes(proto: Any) -> dict[str, list[int | None]]:
    """The shape of each value of the main graph of which it is known, None for an open axis."""
    graph = inferred(proto).graph
    return {
        value.name: [
            axis.dim_value if axis.dim_value > 0 else None for axis in value.type.tensor_type.shape.dim
        ]
        for value in (*graph.input, *graph.output, *graph.value_info)
        if value.type.tensor_type.HasField("shape")
    }
