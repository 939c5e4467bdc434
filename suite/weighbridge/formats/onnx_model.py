"""ONNX: a file, or a callable that gives a path or a `ModelProto`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from weighbridge.contracts import FORMATS, Model, Port, StoredTensor
from weighbridge.core.errors import StageError, first_line
from weighbridge.core.references import call
from weighbridge.core.results import Artifact
from weighbridge.formats.base import FormatBase
from weighbridge.formats.called import by_ports
from weighbridge.formats.onnx_file import leave_outside, tensor_protos, whole, write_onnx
from weighbridge.formats.onnx_training import in_training
from weighbridge.formats.opened import opened
from weighbridge.formats.training_mode import check_training


class OnnxModel(FormatBase):
    name = "onnx"
    suffixes = (".onnx",)
    engine = "onnxruntime"
    declares_inputs = True

    def load(self, reference: str, weights: Path | None, folder: Path) -> Model:
        import onnx

        if weights is not None:
            raise StageError("load", "an ONNX model carries its weights; `weights` belongs to torch")
        target: Any = folder / reference
        if ":" in reference and not target.exists():
            target = call(reference, folder)
        if isinstance(target, onnx.ModelProto):
            return Model("onnx", target)
        if isinstance(target, str | Path):
            return Model("onnx", read_onnx(Path(target)))
        raise StageError(
            "load", f"{reference}() gave a {type(target).__name__}, not a path or an onnx.ModelProto"
        )

    def save(self, model: Model, folder: Path, stem: str) -> Artifact:
        files = write_onnx(model.value, folder / f"{stem}.onnx")
        return Artifact("onnx", files[0], files, model.source)

    def open(self, artifact: Artifact) -> Model:
        return Model("onnx", read_onnx(artifact.path), artifact.source)

    def whole(self, model: Model) -> Model:
        proto = whole(model.value)
        return model if proto is model.value else replace(model, value=proto)

    def tensors(self, model: Model) -> Iterator[StoredTensor]:
        from weighbridge.formats.onnx_weights import stored_tensors

        return stored_tensors(model.value)

    def operators(self, model: Model) -> Mapping[str, int]:
        from weighbridge.formats.onnx_weights import graphs

        return dict(Counter(node.op_type for graph in graphs(model.value) for node in graph.node))

    def inputs(self, model: Model) -> tuple[Mapping[str, tuple[int, ...]] | None, Mapping[str, str]]:
        """No shapes where an inner axis is dynamic, or an input has no batch axis: none can be made up for those."""
        import onnx

        stored = {tensor.name for tensor in model.value.graph.initializer}
        shapes, dtypes, known = {}, {}, True
        batches: set[int] = set()
        for value in model.value.graph.input:
            if value.name in stored:
                continue
            tensor = value.type.tensor_type
            axes = tensor.shape.dim
            known &= len(axes) > 0 and all(axis.HasField("dim_value") for axis in axes[1:])
            batches.update(max(axis.dim_value, 0) for axis in axes[:1])
            shapes[value.name] = tuple(axis.dim_value for axis in axes[1:])
            if tensor.elem_type:
                dtypes[value.name] = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type).name
        # Of two inputs with unlike first sizes not both begin with the batch: a recurrent state begins with its layers.
        return (shapes if known and len(batches) < 2 else None), dtypes

    def recipes(self, data: bool) -> tuple[tuple[str, ...], ...]:
        calibrated = (("quantize: static",), ("quantize: auto",))
        return (*(calibrated if data else ()), ("quantize: dynamic",))

    def companions(self, path: Path) -> tuple[Path, ...]:
        """The files of external data."""
        import onnx
        from onnx.external_data_helper import ExternalDataInfo, uses_external_data

        model = onnx.load(path, load_external_data=False)
        names = {
            ExternalDataInfo(tensor).location for tensor in tensor_protos(model) if uses_external_data(tensor)
        }
        return tuple(path.parent / name for name in sorted(names))

    def opsets(self, model: Model) -> Mapping[str, int]:
        """Of the domains that an operator is of: ONNX Runtime's tools declare all they know in every file."""
        from weighbridge.formats.onnx_weights import imports

        return {one.domain or "ai.onnx": one.version for one in imports(model.value)}

    def check_against(self, candidate: Model, original: Model) -> None:
        check_training(in_training(candidate.value), in_training(original.value))

    def in_training(self, artifact: Artifact) -> Sequence[str]:
        return in_training(opened(artifact).value)

    def called_as(self, candidate: Artifact, original: Artifact) -> Artifact:
        return by_ports(self, candidate, original)

    def ports(self, model: Model) -> tuple[list[Port], list[Port]]:
        graph = model.value.graph
        stored = {tensor.name for tensor in graph.initializer}
        return [_port(value) for value in graph.input if value.name not in stored], [
            _port(value) for value in graph.output
        ]


def _port(value: Any) -> Port:
    import onnx

    kind = value.type.WhichOneof("value") or "nothing"
    if kind != "tensor_type":
        return {"name": value.name, "dtype": kind.removesuffix("_type"), "shape": []}
    tensor = value.type.tensor_type
    shape = [
        axis.dim_value if axis.HasField("dim_value") else axis.dim_param or "?" for axis in tensor.shape.dim
    ]
    dtype = onnx.TensorProto.DataType.Name(tensor.elem_type).lower()
    return {"name": value.name, "dtype": dtype, "shape": shape}


def read_onnx(path: Path) -> Any:
    """The `ModelProto` in `path`; raises `StageError`.

    External data, which may stand inside its own folder only, stays there and is read where it is needed.
    """
    import onnx
    from google.protobuf.message import DecodeError

    if not path.is_file():
        raise StageError("load", f"no model file {path}")
    try:
        model = onnx.load(path, load_external_data=False)
        leave_outside(model, path.parent)
    except (DecodeError, onnx.checker.ValidationError, OSError, ValueError, RuntimeError) as error:
        raise StageError(
            "load", f"{path} cannot be read, it is truncated or no ONNX file: {first_line(error)}"
        ) from error
    if not model.graph.node:
        raise StageError("load", f"{path} holds no graph: it is empty or no ONNX file")
    if (name := next((name for name in _names(model) if isinstance(name, bytes)), None)) is not None:
        raise StageError("load", f"{path} is damaged: the name {name!r} is not UTF-8")
    return model


def _names(model: Any) -> Iterator[str | bytes]:
    """Of operators and what they read and give, everywhere; protobuf gives bytes where a name is not UTF-8."""
    from weighbridge.formats.onnx_weights import graphs

    for graph in graphs(model):
        yield graph.name
        for node in graph.node:
            yield from (node.op_type, node.domain, node.name, *node.input, *node.output)
            yield from (attribute.name for attribute in node.attribute)
        for value in (*graph.input, *graph.output, *getattr(graph, "initializer", ())):
            yield value if isinstance(value, str | bytes) else value.name


FORMATS.add(OnnxModel.name, OnnxModel())
