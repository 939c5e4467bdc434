"""Quantization-aware training through tfmot: the model is trained with int8 rounding in place, then
converted.
"""

from __future__ import annotations

import re

from pydantic import Field

from weighbridge.contracts import STEPS, Context, Model, Promise, Step
from weighbridge.convert.keras_to_tflite import called, convert, make_converter
from weighbridge.core.errors import StageError
from weighbridge.environment.extras import TENSORFLOW, TF_KERAS, TFMOT
from weighbridge.environment.quiet import quiet
from weighbridge.formats import tf_runtime
from weighbridge.formats.keras_generations import to_tf_keras
from weighbridge.steps.train.keras_fit import KerasTraining, fit, seed

_SAMPLES = 8


class QATOptions(KerasTraining):
    preserve_sparsity: bool = Field(False, description="Keep the zeros of an earlier pruning.")


def qat(model: Model, options: QATOptions, context: Context) -> Model:
    """Train with int8 weights and activations; raises `StageError` where tfmot refuses a layer."""
    toolkit = tf_runtime.tfmot()
    seed(context)
    samples = context.data.sample(_SAMPLES)
    source = to_tf_keras(model.value, samples, "quantize")
    try:
        with quiet():
            if options.preserve_sparsity:
                annotated = toolkit.quantization.keras.quantize_annotate_model(source)
                scheme_ = toolkit.experimental.combine.Default8BitPrunePreserveQuantizeScheme()
                wrapped = toolkit.quantization.keras.quantize_apply(annotated, scheme_)
            else:
                wrapped = toolkit.quantization.keras.quantize_model(source)
    except (ValueError, RuntimeError) as error:
        raise StageError("quantize", f"tfmot refuses the model: {_reason(error)}") from error
    fit(wrapped, options, context, "quantize")
    converter = make_converter(Model("keras", wrapped), samples)
    converter.optimizations = [tf_runtime.tensorflow().lite.Optimize.DEFAULT]
    return Model("tflite", convert(converter, "quantize"), called(model, samples), notes=model.notes)


def _reason(error: Exception) -> str:
    """tfmot advises a wrapper, where a case names a model."""
    told = str(error)
    found = re.match(r"Layer (.+):<class '([^']+)'> is not supported", told)
    if found is None:
        return told[:400]
    name, kind = found.groups()
    return (
        f"it trains no {kind.rpartition('.')[2]} layer ('{name}') in int8; leave preprocessing to the code that feeds the model, "
        "or quantize without training (`quantize: tflite`)"
    )


def scheme(options: QATOptions) -> Promise:
    """tfmot's scheme is per-channel for convolutions and per-tensor for Dense layers, so neither is promised."""
    return Promise(bits=8, symmetric=True, signed=True)


STEPS.add(
    "quantize:qat@litert",
    Step(
        "quantize",
        "qat",
        ("keras",),
        QATOptions,
        qat,
        engine="litert",
        returns="tflite",
        must="quantize",
        splits=("train",),
        requires=(TENSORFLOW, TF_KERAS, TFMOT),
        scheme=scheme,
    ),
)
