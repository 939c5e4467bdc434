"""torch -> ONNX through `torch.onnx.export`, with a dynamic batch, checked against torch on real samples."""

from __future__ import annotations

from typing import Any

from weighbridge.contracts import CONVERTERS, Context, Converter, Inputs, Model
from weighbridge.core.data import count
from weighbridge.core.errors import StageError
from weighbridge.environment.quiet import quiet
from weighbridge.formats.onnx_metadata import strip

SAMPLES = 16
TOLERANCE = 1e-3  # of the outputs' largest magnitude; float32 graphs that are right differ by about 1e-6


def export(model: Model, context: Context) -> Model:
    """The ONNX model of a torch module or exported program; raises `StageError` when torch cannot or they disagree."""
    import torch

    from weighbridge.engines.torch_eager import run_module, to_tensors

    sample = context.data.sample(2)
    args = to_tensors(sample)
    program = model.format == "exported"
    positional, named = ((), args) if isinstance(args, dict) else (args, None)
    dynamic: Any = (
        {name: {0: torch.export.Dim.DYNAMIC} for name in args}
        if isinstance(args, dict)
        else tuple({0: torch.export.Dim.DYNAMIC} for _ in args)
    )
    try:
        with quiet():
            exported = torch.onnx.export(
                model.value,
                positional,
                kwargs=named,
                dynamo=True,
                verbose=False,
                dynamic_shapes=None if program else dynamic,
            )
    except Exception as error:  # the exporter raises whatever a pass of it raises
        reason = str(error.__cause__ or error).strip().splitlines()
        raise StageError(
            "export", f"torch.onnx.export failed: {reason[0] if reason else type(error).__name__}"
        ) from error
    assert exported is not None
    proto = exported.model_proto
    strip(proto)  # stack traces and paths of every node, a third of a small int8 file
    _check_batch(proto)
    module = model.value.module() if program else model.value
    samples = context.data.sample(SAMPLES)
    _check_agreement(proto, run_module(module, samples), samples)
    return Model("onnx", proto)


def _check_batch(proto: Any) -> None:
    for value in proto.graph.input:
        axes = value.type.tensor_type.shape.dim
        if axes and axes[0].HasField("dim_value"):
            raise StageError(
                "export",
                f"the exported input '{value.name}' has a fixed batch of {axes[0].dim_value}; make the "
                "batch dynamic: the module's forward must not turn its batch size into a number",
            )


def _check_agreement(proto: Any, expected: tuple[Any, ...], samples: Inputs) -> None:
    import numpy as np

    from weighbridge.engines.onnxruntime import OnnxRuntimeSession

    try:
        outputs = OnnxRuntimeSession(proto.SerializeToString(), threads=1).run(samples)
    except Exception as error:
        raise StageError(
            "export", f"the exported model does not run: {str(error).splitlines()[0]}"
        ) from error
    for index, (ours, theirs) in enumerate(zip(outputs, expected, strict=True)):
        if ours.shape != theirs.shape:
            raise StageError(
                "export", f"output {index} has shape {ours.shape} in ONNX and {theirs.shape} in torch"
            )
        scale = float(np.abs(theirs).max(initial=0)) or 1.0
        worst = float(np.abs(ours.astype(np.float64) - theirs).max(initial=0)) / scale
        if not worst <= TOLERANCE:
            raise StageError(
                "export",
                f"the exported model disagrees with torch on {count(samples)} samples: output {index} "
                f"is off by {worst:.2g} of its largest value (allowed {TOLERANCE})",
            )


for _source in ("torch", "exported"):
    CONVERTERS.add(f"{_source}->onnx", Converter(_source, "onnx", export))
