"""Keras to TFLite through TensorFlow's converter, checked against Keras on real samples."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from weighbridge.contracts import CONVERTERS, Context, Converter, Inputs, Model
from weighbridge.core.agreement import check_agreement
from weighbridge.core.errors import StageError
from weighbridge.engines.litert import run_tflite
from weighbridge.environment.extras import LITERT, TENSORFLOW, TF_KERAS, demand
from weighbridge.environment.quiet import quiet
from weighbridge.formats import tf_runtime
from weighbridge.formats.called import CALLED
from weighbridge.formats.keras_inputs import input_names, output_names, with_inputs
from weighbridge.formats.keras_model import SAVED_MODEL, run_keras

_SAMPLES = 16
_HELPS = {
    "tf.TensorList": "; a recurrent layer is converted where it is unrolled (`unroll=True`), or its model's batch is fixed "
    "(`Input(..., batch_size=1)`)",
    "neither a custom op nor a flex op": "; TFLite has no such operator: leave it to the code that feeds the model",
}
"""What to do, by a part of what the converter says."""


def make_converter(model: Model, samples: Inputs) -> Any:
    """A `tf.lite.TFLiteConverter` of the model; raises `Unavailable` where TensorFlow is too old to
    quantize.

    `samples` show what a subclassed model takes, which it does not say itself.
    """
    converters = tf_runtime.tensorflow().lite.TFLiteConverter
    with quiet():
        if SAVED_MODEL in model.source:
            converter = converters.from_saved_model(model.source[SAVED_MODEL])
        else:
            converter = converters.from_keras_model(with_inputs(model.value, samples))
    for name in ("optimizations", "target_spec", "representative_dataset"):
        demand(converter, name, TENSORFLOW)
    return converter


def convert(converter: Any, stage: str) -> bytes:
    """The flatbuffer; raises `StageError` at `stage` with the converter's reason."""
    try:
        with quiet():
            return bytes(converter.convert())
    except Exception as error:  # the converter raises whatever a pass of it raises
        raise StageError(stage, f"TensorFlow's converter failed: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    """The operator that a pass of the converter stopped at, without where in the graph, and what helps."""
    told = str(error).strip()
    found = re.search(r"'(tf\.\w+)' op (.*)", told)
    if found is None:
        return told.splitlines()[0] if told else type(error).__name__
    operator, why = found.groups()
    helps = next((text for part, text in _HELPS.items() if part in told), "")
    return f"{operator} {why}{helps}"


def called(model: Model, samples: Inputs) -> Mapping[str, Any]:
    """The `source` of a file that is made of the model: the model's own order of inputs and outputs."""
    value = with_inputs(model.value, samples)
    return {CALLED: {"inputs": input_names(value), "outputs": output_names(value)}}


def keras_to_tflite(model: Model, context: Context) -> Model:
    """The model as a float `.tflite`; raises `StageError` where it cannot be converted or computes
    differently.
    """
    samples = context.data.sample(_SAMPLES)
    tflite = Model("tflite", convert(make_converter(model, samples), "export"), called(model, samples))
    expected = run_keras(model.value, samples)
    off = check_agreement(run_tflite(tflite, samples), expected, ".tflite", "Keras")
    note = f"the .tflite agrees with Keras within {off:.1e}"
    return replace(tflite, notes=(*model.notes, note))


CONVERTERS.add("keras->tflite", Converter("keras", "tflite", keras_to_tflite, (TENSORFLOW, TF_KERAS, LITERT)))
