"""TensorFlow's post-training quantization of a Keras model into a `.tflite`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from weighbridge.contracts import FORMATS, STEPS, Context, Model, Options, Promise, Step
from weighbridge.convert.keras_to_tflite import called, convert, make_converter
from weighbridge.core.batches import cast
from weighbridge.environment.extras import LITERT, TENSORFLOW, TF_KERAS
from weighbridge.formats import tf_runtime
from weighbridge.steps.calibration import Calibration

_CALIBRATED = ("full_integer", "int16x8")


class TFLiteOptions(Options):
    """`dynamic_range` scales activations while running; `full_integer` and `int16x8` calibrate them."""

    tunes: ClassVar = {"mode": ("full_integer", "dynamic_range", "float16", "int16x8")}
    mode: Literal["dynamic_range", "float16", "full_integer", "int16x8"]
    io: Literal["float", "int8", "uint8"] = Field(
        "float", description="What the file takes and gives; `full_integer`."
    )
    samples: int = Field(256, ge=1, description="At most so many samples of the calibration split.")

    @model_validator(mode="after")
    def _consistent(self) -> TFLiteOptions:
        if self.mode != "full_integer" and "io" in self.model_fields_set:
            raise ValueError("`io` belongs to mode: full_integer")
        if self.mode not in _CALIBRATED and "samples" in self.model_fields_set:
            raise ValueError(f"mode: {self.mode} is not calibrated; leave `samples` out")
        return self


def quantize(model: Model, options: TFLiteOptions, context: Context) -> Model:
    """The model as a quantized `.tflite`; raises `StageError` with the converter's reason where it fails."""
    tf = tf_runtime.tensorflow()
    samples = context.data.sample(1)
    converter = make_converter(model, samples)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if options.mode == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if options.mode in _CALIBRATED:
        converter.representative_dataset = lambda: _samples(model, context, options.samples)
    if options.mode == "full_integer":
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        if options.io != "float":
            converter.inference_input_type = converter.inference_output_type = getattr(tf, options.io)
    elif options.mode == "int16x8":
        wide = tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
        converter.target_spec.supported_ops = [wide]
    return Model("tflite", convert(converter, "quantize"), called(model, samples), notes=model.notes)


def _samples(model: Model, context: Context, limit: int) -> Iterator[Any]:
    """One sample at a time, as the converter wants them: by the inputs' names and of their types, where the model states them."""
    dtypes = FORMATS.get(model.format).inputs(model)[1]
    for one in Calibration(context, limit, fixed=1):
        if not dtypes:
            yield one if isinstance(one, dict) else list(one)
            continue
        named = one if isinstance(one, dict) else dict(zip(dtypes, one, strict=True))
        yield {name: cast(array, dtypes.get(name, str(array.dtype)), name) for name, array in named.items()}


def scheme(options: TFLiteOptions) -> Promise:
    """What the options promise about weights."""
    if options.mode == "float16":
        return Promise(bits=None, dtype="float16")
    return Promise(bits=8, granularity="channel", symmetric=True, signed=True)


STEPS.add(
    "quantize:tflite",
    Step(
        "quantize",
        "tflite",
        ("keras",),
        TFLiteOptions,
        quantize,
        returns="tflite",
        must="quantize",
        splits=("calibration",),
        requires=(TENSORFLOW, TF_KERAS, LITERT),
        scheme=scheme,
        calibrates=lambda options: options.mode in _CALIBRATED,
    ),
)
