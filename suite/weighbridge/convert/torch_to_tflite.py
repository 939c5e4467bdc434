"""torch to TFLite through litert-torch, without TensorFlow, checked against torch on real samples."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from weighbridge.contracts import CONVERTERS, Context, Converter, Model
from weighbridge.core.agreement import check_agreement
from weighbridge.core.batches import take
from weighbridge.core.errors import StageError
from weighbridge.engines.litert import run_tflite
from weighbridge.environment.extras import LITERT, LITERT_TORCH, load
from weighbridge.environment.quiet import quiet

_SAMPLES = 8


def torch_to_tflite(model: Model, context: Context) -> Model:
    """The module as a `.tflite` of batch 1, which is what a phone runs; the engine runs larger batches by
    slices.

    Raises `StageError` where litert-torch cannot lower the module, or where the file's outputs differ from
    the module's on real samples.
    """
    import torch

    from weighbridge.engines.torch_eager import float_type, run_module, to_tensors

    with quiet():
        litert_torch = load(LITERT_TORCH)
    module = model.value.eval()
    samples = context.data.sample(_SAMPLES)
    expected = run_module(module, samples)  # what is wrong with the data is said here, not by the converter
    arguments = to_tensors(take(samples, slice(1)), floats=float_type(module))
    positional, named = ((), arguments) if isinstance(arguments, dict) else (arguments, None)
    try:
        with quiet(), torch.no_grad():
            converted = litert_torch.convert(module, positional, named)
            tflite = Model("tflite", _content(converted))
    except Exception as error:
        raise StageError(
            "export", f"litert-torch cannot convert the module: {type(error).__name__}: {error}"
        ) from error
    off = check_agreement(run_tflite(tflite, samples), expected, ".tflite", "torch")
    note = f"the .tflite agrees with torch within {off:.1e}"
    return Model("tflite", tflite.value, notes=(*model.notes, note))


def _content(converted: Any) -> bytes:
    """The flatbuffer, through the one documented way to get it: a file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.tflite"
        converted.export(str(path))
        return path.read_bytes()


CONVERTERS.add("torch->tflite", Converter("torch", "tflite", torch_to_tflite, (LITERT_TORCH, LITERT)))
