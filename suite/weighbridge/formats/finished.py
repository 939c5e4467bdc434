"""A finished file as the artifact: every file that belongs to it, none of them written anew."""

from __future__ import annotations

from pathlib import Path

from weighbridge.contracts import Model
from weighbridge.core.results import Artifact


def finished_file(model: Model, path: Path) -> Artifact | None:
    """The artifact that `model` was read from; None where `path` is no file, since code built the model."""
    if not path.is_file():
        return None
    return Artifact(model.format, path, (path, *companions(model.format, path)), model.source)


def companions(format_: str, path: Path) -> tuple[Path, ...]:
    """The files beside `path` that the model cannot do without: ONNX's external data."""
    if format_ != "onnx":
        return ()
    import onnx
    from onnx.external_data_helper import ExternalDataInfo, uses_external_data

    from weighbridge.formats.onnx_weights import graphs

    model = onnx.load(path, load_external_data=False)
    tensors = [tensor for graph in graphs(model) for tensor in getattr(graph, "initializer", ())]
    tensors += [
        attribute.t
        for graph in graphs(model)
        for node in graph.node
        for attribute in node.attribute
        if attribute.HasField("t")
    ]
    names = {ExternalDataInfo(tensor).location for tensor in tensors if uses_external_data(tensor)}
    return tuple(path.parent / name for name in sorted(names))
