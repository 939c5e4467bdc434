"""torch to TFLite through litert-torch, without TensorFlow, checked against torch on real samples."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weighbridge.contracts import CONVERTERS, Context, Converter, Model
from weighbridge.convert.tflite_check import check_agreement
from weighbridge.core.errors import StageError
from weighbridge.environment.extras import LITERT, LITERT_TORCH, load
from weighbridge.environment.quiet import quiet

if TYPE_CHECKING:
    from weighbridge.contracts import Inputs

_SAMPLES = 8


def torch_to_tflite(model: Model, context: Context) -> Model:
    """The module as a `.tflite` of batch 1, which is what a phone runs; the engine runs larger batches by
    slices.

    Raises `StageError` where litert-torch cannot lower the module, or where the file's outputs differ from
    the module's on real samples.
    """
    import torch

    with quiet():
        litert_torch = load(LITERT_TORCH)
    module = model.value.eval()
    positional, named = _arguments(context.data.sample(1))
    try:
        with quiet(), torch.no_grad():
            converted = litert_torch.convert(module, positional, named or None)
            tflite = Model("tflite", _content(converted))
    except Exception as error:
        raise StageError(
            "export", f"litert-torch cannot convert the module: {type(error).__name__}: {error}"
        ) from error
    samples = context.data.sample(_SAMPLES)
    note = check_agreement(tflite, samples, _outputs(module, samples), "torch")
    return Model("tflite", tflite.value, notes=(*model.notes, note))


def _arguments(inputs: Inputs) -> tuple[tuple[Any, ...], dict[str, Any]]:
    import torch

    if isinstance(inputs, dict):
        return (), {name: torch.from_numpy(array) for name, array in inputs.items()}
    return tuple(torch.from_numpy(array) for array in inputs), {}


def _outputs(module: Any, inputs: Inputs) -> tuple[Any, ...]:
    """The module's outputs on a batch, as the engine gives them: a tuple of arrays."""
    import torch

    positional, named = _arguments(inputs)
    with torch.no_grad():
        outputs = module(*positional, **named)
    if isinstance(outputs, dict):
        outputs = tuple(outputs.values())
    return tuple(output.numpy() for output in (outputs if isinstance(outputs, tuple | list) else (outputs,)))


def _content(converted: Any) -> bytes:
    """The flatbuffer, through the one documented way to get it: a file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.tflite"
        converted.export(str(path))
        return path.read_bytes()


CONVERTERS.add("torch->tflite", Converter("torch", "tflite", torch_to_tflite, (LITERT_TORCH, LITERT)))
