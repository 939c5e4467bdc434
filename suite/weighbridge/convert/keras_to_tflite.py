"""Keras to TFLite through TensorFlow's converter, checked against Keras on real samples."""

from __future__ import annotations

from typing import Any

from weighbridge.contracts import CONVERTERS, Context, Converter, Model
from weighbridge.core.agreement import check_agreement
from weighbridge.core.errors import StageError
from weighbridge.engines.litert import run_tflite
from weighbridge.environment.extras import LITERT, TENSORFLOW, TF_KERAS, demand
from weighbridge.environment.quiet import quiet
from weighbridge.formats import tf_runtime
from weighbridge.formats.keras_model import SAVED_MODEL, run_keras

_SAMPLES = 16


def make_converter(model: Model) -> Any:
    """A `tf.lite.TFLiteConverter` of the model; raises `Unavailable` where TensorFlow is too old to
    quantize.
    """
    converters = tf_runtime.tensorflow().lite.TFLiteConverter
    with quiet():
        if SAVED_MODEL in model.source:
            converter = converters.from_saved_model(model.source[SAVED_MODEL])
        else:
            converter = converters.from_keras_model(model.value)
    for name in ("optimizations", "target_spec", "representative_dataset"):
        demand(converter, name, TENSORFLOW)
    return converter


def convert(converter: Any, stage: str) -> bytes:
    """The flatbuffer; raises `StageError` at `stage` with the converter's reason."""
    try:
        with quiet():
            return bytes(converter.convert())
    except Exception as error:  # the converter raises whatever a pass of it raises
        reason = str(error).strip().splitlines()
        raise StageError(
            stage, f"TensorFlow's converter failed: {reason[0] if reason else type(error).__name__}"
        ) from error


def keras_to_tflite(model: Model, context: Context) -> Model:
    """The model as a float `.tflite`; raises `StageError` where it cannot be converted or computes
    differently.
    """
    tflite = Model("tflite", convert(make_converter(model), "export"))
    samples = context.data.sample(_SAMPLES)
    expected = run_keras(model.value, samples)
    off = check_agreement(run_tflite(tflite, samples), expected, ".tflite", "Keras")
    note = f"the .tflite agrees with Keras within {off:.1e}"
    return Model("tflite", tflite.value, notes=(*model.notes, note))


CONVERTERS.add("keras->tflite", Converter("keras", "tflite", keras_to_tflite, (TENSORFLOW, TF_KERAS, LITERT)))
