"""torch -> ONNX through `torch.onnx.export`, with a dynamic batch, checked against torch on real samples."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from weighbridge.contracts import CONVERTERS, Array, Context, Converter, Inputs, Model
from weighbridge.convert.unexportable import unexportable
from weighbridge.core.agreement import check_agreement
from weighbridge.core.batches import Axes, axes_of, is_one_sample
from weighbridge.core.errors import StageError, first_line
from weighbridge.core.listed import few
from weighbridge.engines.named import NamedSession
from weighbridge.environment.quiet import quiet
from weighbridge.formats.exported_training import in_training
from weighbridge.formats.onnx_metadata import strip

if TYPE_CHECKING:
    from weighbridge.engines.torch_eager import TorchSession

SAMPLES = 16


def export(model: Model, context: Context) -> Model:
    """The ONNX model of a torch module or exported program; raises `StageError` when torch cannot or they disagree."""
    import torch

    from weighbridge.engines.torch_eager import TorchOptions, TorchSession, float_type, to_tensors
    from weighbridge.engines.torch_export import exporter_inputs
    from weighbridge.engines.torch_exported import ExportedSession

    sample, samples = context.data.sample(2), context.data.sample(SAMPLES)
    program = model.format == "exported"
    session = (
        ExportedSession(model.value, TorchOptions()) if program else TorchSession(model.value, TorchOptions())
    )
    expected = _answers(session, samples)  # what is wrong with the data is said here, not by the exporter
    positional, named, shapes = (
        ((), {}, None)  # a program knows them
        if program
        else exporter_inputs(
            sample, float_type(model.value), torch.export.Dim.DYNAMIC, context.data.varying()
        )
    )
    _forget_recurrent_kernels()
    try:
        # With gradients torch traces another attention than the exporter writes, and its strides fit no `view` (torch 2.13).
        with quiet(), torch.no_grad():
            exported = torch.onnx.export(
                model.value,
                positional,
                kwargs=named,
                dynamo=True,
                verbose=False,
                dynamic_shapes=shapes,
            )
    except Exception as error:  # the exporter raises whatever a pass of it raises
        inputs = None if program else to_tensors(sample, floats=float_type(session.module))
        why = unexportable(error, session.module, inputs)
        raise StageError("export", why) from error
    assert exported is not None
    proto = exported.model_proto
    strip(proto)  # stack traces and paths of every node, a third of a small int8 file
    if not program:
        _check_batch(proto, axes_of(sample))
    try:
        check_agreement(_outputs(proto, samples), expected, "exported model", "torch")
    except StageError as error:
        if program and (trains := in_training(model.value)):  # the exporter writes what use would compute
            raise StageError(
                "export",
                f"the program was exported in training mode: {few(trains)}; call `model.eval()` before `torch.export.export` "
                f"({error.message})",
            ) from error
        raise
    longer = context.data.unlike(samples)
    if longer is not None:  # a length that the forward turned into a number would be this one's too
        found, wanted = _outputs(proto, longer), _answers(session, longer)
        check_agreement(found, wanted, "model, exported at one length,", "torch at another")
    return Model("onnx", proto, notes=model.notes)


def _forget_recurrent_kernels() -> None:
    """torch.onnx has LSTM and GRU decomposed into a loop of any length, but torch remembers the kernel of an earlier export in
    the same process, which unrolls the one length that it sees (torch 2.13).
    """
    import torch

    for operator in (torch.ops.aten.lstm.input, torch.ops.aten.gru.input):
        getattr(operator, "_dispatch_cache", {}).clear()  # torch's own; another release may have none


def _check_batch(proto: Any, axes: Axes) -> None:
    for value in proto.graph.input:
        axis = axes.get(value.name, 0)
        sizes = value.type.tensor_type.shape.dim
        if axis is not None and axis < len(sizes) and sizes[axis].HasField("dim_value"):
            raise StageError(
                "export",
                f"the exported input '{value.name}' has a fixed batch of {sizes[axis].dim_value}; make the "
                "batch dynamic: the module's forward must not turn its batch size into a number",
            )


def _outputs(proto: Any, samples: Inputs) -> tuple[Array, ...]:
    from weighbridge.engines.onnxruntime import OnnxRuntimeSession

    try:
        return _answers(OnnxRuntimeSession(proto.SerializeToString(), threads=1), samples)
    except Exception as error:
        raise StageError(
            "export", f"the exported model does not run: {first_line(error)}{_of_type(proto)}"
        ) from error


def _of_type(proto: Any) -> str:
    """What to do about weights of a type that ONNX Runtime has no kernels for on a CPU."""
    import onnx

    if any(tensor.data_type == onnx.TensorProto.BFLOAT16 for tensor in proto.graph.initializer):
        return "; its weights are bfloat16: let the function that builds the module return `module.float()`"
    return ""


def _answers(session: TorchSession | NamedSession, samples: Inputs) -> tuple[Array, ...]:
    """As they are: what a session that knows names makes of answers to one sample, a module does not."""
    if isinstance(session, NamedSession) and is_one_sample(samples):
        return session.call(session.feed(samples))
    return session.run(samples)


for _source in ("torch", "exported"):
    CONVERTERS.add(f"{_source}->onnx", Converter(_source, "onnx", export))
