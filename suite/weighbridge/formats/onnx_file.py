"""An ONNX graph on disk, with its numbers beside it where protobuf's two gigabytes do not hold them, and read from there."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, BinaryIO

LIMIT = 2**31 - 1 - 2**26
"""Bytes of numbers beyond which they stand in a file of their own: protobuf's limit, with room for the graph."""

SMALL = 1024
"""So few numbers of a tensor stay in the graph, however large the model is."""
_NUMBERS = ("raw_data", "float_data", "int32_data", "int64_data", "double_data", "uint64_data")


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

    data = data_file(path)
    data.unlink(missing_ok=True)
    if not needs_data_file(model):
        onnx.save(whole(model), path)
        return (path,)
    with data.open("wb") as stream:
        onnx.save(_moved_out(model, stream, data.name), path)
    return path, data


def copy_fields(source: Any, target: Any, without: Collection[str]) -> None:
    """Give an empty message what another of its kind holds, but for some fields, which are never copied.

    Taking a field out of a copy would free nothing: protobuf keeps what a message held until the whole of it goes.
    """
    for field, value in source.ListFields():
        if field.name in without:
            continue
        if hasattr(value, "extend"):
            getattr(target, field.name).extend(value)
        elif hasattr(value, "CopyFrom"):
            getattr(target, field.name).CopyFrom(value)
        else:
            setattr(target, field.name, value)


def _moved_out(model: Any, stream: BinaryIO, location: str) -> Any:
    """A copy of the model, the numbers of its large initializers written to `stream`, one tensor at a time."""
    import onnx

    from weighbridge.formats.onnx_weights import graphs

    copy = onnx.ModelProto()
    copy_fields(model, copy, {"graph"})
    copy_fields(model.graph, copy.graph, {"initializer"})
    for tensor in model.graph.initializer:
        own = copy.graph.initializer.add()
        if _is_large(tensor):
            copy_fields(tensor, own, {*_NUMBERS, "data_location", "external_data"})
            _move(inside(tensor), own, stream, location)
        else:
            own.CopyFrom(inside(tensor))
    for graph in graphs(copy):
        for tensor in getattr(graph, "initializer", ()) if graph is not copy.graph else ():
            if _is_large(tensor):
                _move(inside(tensor), tensor, stream, location)
    return copy


def _is_large(tensor: Any) -> bool:
    import onnx

    return bool(tensor.data_type != onnx.TensorProto.STRING and math.prod(tensor.dims) > SMALL)


def _move(tensor: Any, own: Any, stream: BinaryIO, location: str) -> None:
    """Write the numbers of `tensor`, and note in `own` where they stand."""
    from onnx import numpy_helper
    from onnx.external_data_helper import set_external_data

    raw = tensor if tensor.HasField("raw_data") else numpy_helper.from_array(numpy_helper.to_array(tensor))
    offset = stream.tell()
    length = stream.write(raw.raw_data)
    for name in _NUMBERS:
        own.ClearField(name)
    own.raw_data = b""  # onnx wants one to put elsewhere
    set_external_data(own, location, offset, length)
    own.ClearField("raw_data")


def leave_outside(model: Any, folder: Path) -> None:
    """Leave external data where it is, and note in each tensor where that is; each is read once, to see that it is there.

    Raises what onnx raises for data that is missing, or lies outside of `folder`.
    """
    from onnx.external_data_helper import ExternalDataInfo, set_external_data, uses_external_data

    for tensor in tensor_protos(model):
        if uses_external_data(tensor):
            info, length = ExternalDataInfo(tensor), len(_read(tensor, str(folder)).raw_data)
            tensor.raw_data = b""  # onnx wants one to put elsewhere
            set_external_data(tensor, info.location, info.offset, length, basepath=str(folder))
            tensor.ClearField("raw_data")


def inside(tensor: Any) -> Any:
    """The tensor with its numbers: a copy, where they were left outside."""
    from onnx.external_data_helper import ExternalDataInfo, uses_external_data

    return _read(tensor, ExternalDataInfo(tensor).basepath) if uses_external_data(tensor) else tensor


def whole(model: Any) -> Any:
    """The model with all its numbers: a copy, where some were left outside."""
    import onnx
    from onnx.external_data_helper import ExternalDataInfo, uses_external_data

    if not any(map(uses_external_data, tensor_protos(model))):
        return model
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for tensor in tensor_protos(copy):
        if uses_external_data(tensor):
            _load(tensor, ExternalDataInfo(tensor).basepath)
    return copy


def _read(tensor: Any, folder: str) -> Any:
    import onnx

    copy = onnx.TensorProto()
    copy.CopyFrom(tensor)
    _load(copy, folder)
    return copy


def _load(tensor: Any, folder: str) -> None:
    import onnx
    from onnx.external_data_helper import load_external_data_for_tensor

    load_external_data_for_tensor(tensor, folder)
    tensor.data_location = onnx.TensorProto.DEFAULT  # an older onnx leaves it, and looks for the file again
    del tensor.external_data[:]


def tensor_protos(model: Any) -> Iterator[Any]:
    """Every tensor of the file, the two that make up a sparse one included."""
    from weighbridge.formats.onnx_weights import graphs

    for graph in graphs(model):
        attributes = [attribute for node in graph.node for attribute in node.attribute]
        yield from getattr(graph, "initializer", ())
        for attribute in attributes:
            yield from (attribute.t, *attribute.tensors)
        for sparse in (
            *getattr(graph, "sparse_initializer", ()),
            *(one for each in attributes for one in (each.sparse_tensor, *each.sparse_tensors)),
        ):
            yield from (sparse.values, sparse.indices)
