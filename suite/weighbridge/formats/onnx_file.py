"""An ONNX graph written to disk: with its numbers beside it where protobuf's two gigabytes do not hold them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

LIMIT = 2**31 - 1 - 2**26
"""Bytes of numbers beyond which they stand in a file of their own: protobuf's limit, with room for the graph."""


def needs_data_file(model: Any) -> bool:
    """Whether the model is too large for one file. Asking protobuf for its size would raise where it is."""
    import onnx

    from weighbridge.formats.onnx_weights import graphs

    sizes = (
        math.prod(tensor.dims) * onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
        for graph in graphs(model)
        for tensor in getattr(graph, "initializer", ())
        if tensor.data_type != onnx.TensorProto.STRING
    )
    return bool(sum(sizes) > LIMIT)


def data_file(path: Path) -> Path:
    """Where the numbers of a large model at `path` stand."""
    return path.with_name(f"{path.name}.data")


def write_onnx(model: Any, path: Path) -> tuple[Path, ...]:
    """Write the model, which stays as it is, and give the files: `path`, and `path.data` where it is needed."""
    import onnx
    from onnx.external_data_helper import load_external_data_for_model

    data = data_file(path)
    data.unlink(missing_ok=True)
    if not needs_data_file(model):
        onnx.save(model, path)
        return (path,)
    onnx.save(model, path, save_as_external_data=True, location=data.name)
    load_external_data_for_model(model, str(path.parent))  # `save` took them out of the model
    return path, data
