"""ai-edge-quantizer on any `.tflite`: weight-only, dynamic and static, without TensorFlow or torch."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from weighbridge.contracts import ENGINES, FORMATS, STEPS, Context, Model, Options, Promise, Step
from weighbridge.core.errors import StageError
from weighbridge.environment.extras import LITERT, LITERT_QUANTIZER, load
from weighbridge.environment.quiet import quiet
from weighbridge.steps.calibration import Calibration
from weighbridge.steps.quantize.litert_layers import TFLiteLayer, coverage, tflite_layers, with_codes_of_today
from weighbridge.steps.selection import select

_EVERYTHING = ".*"
_STATIC_ONLY = {"activations", "calibration", "io", "samples"}


class LiteRTQuantizeOptions(Options):
    """`weight_only` computes in float, `dynamic` scales activations while running, `static` beforehand."""

    tunes: ClassVar = {"mode": ("static", "dynamic", "weight_only"), "bits": (8, 4)}
    mode: Literal["weight_only", "dynamic", "static"]
    bits: Literal[8, 4] = Field(8, description="Bits of a weight.")
    per_channel: bool = True
    block_size: Literal[32, 64, 128, 256] | None = Field(
        None, description="One scale for so many weights of a row; fully connected layers only."
    )
    activations: Literal["int8", "int16"] = Field("int8", description="Of `mode: static`.")
    io: Literal["float", "integer"] = Field(
        "float", description="What the file takes and gives; `mode: static`."
    )
    calibration: Literal["minmax", "moving_average"] = Field(
        "minmax",
        description="The range of all samples, or ai-edge-quantizer's own average, which clamps outliers.",
    )
    samples: int = Field(256, ge=1, description="At most so many samples of the calibration split.")
    exclude: list[str] = Field(
        default_factory=list,
        description="What to leave in float: names or patterns of operators' outputs or weights, or operator types.",
    )

    @model_validator(mode="after")
    def _consistent(self) -> LiteRTQuantizeOptions:
        if self.mode != "static" and _STATIC_ONLY & self.model_fields_set:
            raise ValueError(f"{', '.join(sorted(_STATIC_ONLY))} belong to mode: static; "
                             f"{self.mode} leaves activations in float")  # fmt: skip
        if self.mode == "static" and (self.bits != 8 or self.block_size):
            raise ValueError("mode: static has 8-bit weights without blocks")
        if self.block_size and not self.per_channel:
            raise ValueError("block_size is finer than per_channel; leave per_channel on")
        if self.mode == "dynamic" and not self.per_channel:
            raise ValueError("LiteRT's dynamic kernels read one scale a channel and give garbage without "
                             "(seen in 2.3.0); leave per_channel on, or use mode: weight_only")  # fmt: skip
        return self


def quantize(model: Model, options: LiteRTQuantizeOptions, context: Context) -> Model:
    """The file with its weights (and for `static` its activations) quantized.

    Raises `StageError` where ai-edge-quantizer refuses the model.
    """
    with quiet():
        quantizer = load(LITERT_QUANTIZER, "ai_edge_quantizer.quantizer")
    model = replace(model, value=with_codes_of_today(model.value))
    layers = tflite_layers(model.value)
    every = [each.layer for each in layers]
    chosen = select("quantize", "no operator or weight", every, (), options.exclude)
    excluded = [each for each in layers if each.layer not in chosen]
    try:
        with quiet():
            work = quantizer.Quantizer(bytearray(model.value))
            _configure(work, options, excluded)
            statistics = _calibrate(work, model, options, context) if work.need_calibration else None
            result = work.quantize(statistics, enable_progress_bar=False, enable_progress_report=False)
    except StageError:
        raise
    except Exception as error:  # the quantizer raises whatever its passes raise
        raise StageError(
            "quantize",
            f"ai-edge-quantizer cannot quantize the model with mode: {options.mode}; leave the operator that it names "
            f"to `exclude`, or choose another mode ({type(error).__name__}: {error})",
        ) from error
    content = bytes(result.quantized_model)
    covered = coverage(layers, {each.scope for each in excluded}, options.mode, content)
    if not any(layer.converted for layer in covered.layers):
        _check_float32(model)
    return Model("tflite", content, model.source, (*model.notes, *covered.sentences()), covered)


def _check_float32(model: Model) -> None:
    stored = [tensor.quantization for tensor in FORMATS.get("tflite").tensors(model)]
    halved = sum(one is not None and one.scheme == "float16" for one in stored)
    if halved:
        raise StageError(
            "quantize",
            f"{halved} of the weights are stored in float16 behind DEQUANTIZE, where ai-edge-quantizer sees none; give it the "
            "model as it was in float32",
        )


def _configure(work: Any, options: LiteRTQuantizeOptions, excluded: Sequence[TFLiteLayer]) -> None:
    from ai_edge_quantizer import qtyping
    from ai_edge_quantizer.algorithm_manager import AlgorithmName

    every = qtyping.TFLOperationName.ALL_SUPPORTED
    name = (
        f"BLOCKWISE_{options.block_size}"
        if options.block_size
        else "CHANNELWISE"
        if options.per_channel
        else "TENSORWISE"
    )
    granularity = qtyping.QuantGranularity[name]
    if options.mode == "weight_only":
        work.add_weight_only_config(_EVERYTHING, every, options.bits, granularity)
    elif options.mode == "dynamic":
        work.add_dynamic_config(_EVERYTHING, every, options.bits, granularity)
    else:
        activation_bits = int(options.activations.removeprefix("int"))
        work.add_static_config(_EVERYTHING, every, activation_bits, options.bits, granularity)
        if options.io == "float":
            for border in (qtyping.TFLOperationName.INPUT, qtyping.TFLOperationName.OUTPUT):
                work.update_quantization_recipe(_EVERYTHING, border, algorithm_key=AlgorithmName.NO_QUANTIZE)
    for each in excluded:
        work.update_quantization_recipe(each.pattern, every, algorithm_key=AlgorithmName.NO_QUANTIZE)


def _calibrate(work: Any, model: Model, options: LiteRTQuantizeOptions, context: Context) -> Any:
    """The ranges of every activation over the calibration split, one sample (or fixed batch) at a time."""
    from ai_edge_quantizer import calibrator, recipe_manager
    from ai_edge_quantizer.utils import qsv_utils

    manager = recipe_manager.RecipeManager()
    manager.load_quantization_recipe(work.get_quantization_recipe())
    update = qsv_utils.min_max_update if options.calibration == "minmax" else qsv_utils.moving_average_update
    observer = calibrator.Calibrator(bytes(model.value), num_threads=1, qsv_update_func=update)
    with tempfile.TemporaryDirectory(dir=context.workdir) as folder:
        session = _session(model, Path(folder))
        for inputs in Calibration(context, options.samples, session.batch):
            for feed in session.feeds(inputs):  # one by one: the calibrator copies what it is given to a list
                observer.calibrate({session.signature: [feed]}, manager)
    return observer.get_model_qsvs()


def _session(model: Model, folder: Path) -> Any:
    """The float file in LiteRT, which knows how its signature is fed."""
    engine = ENGINES.get("litert")
    session: Any = engine.open(FORMATS.get("tflite").save(model, folder, "float"), engine.options())
    if session.signature is None:
        raise StageError(
            "quantize",
            "ai-edge-quantizer calibrates a signature and the file has none; use dynamic or weight_only",
        )
    return session


def scheme(options: LiteRTQuantizeOptions) -> Promise:
    """What the options promise about weights: signed and symmetric in every mode."""
    return Promise(
        bits=options.bits,
        granularity="group" if options.block_size else "channel" if options.per_channel else "tensor",
        group_size=options.block_size,
        symmetric=True,
        signed=True,
    )


STEPS.add(
    "quantize:litert",
    Step(
        "quantize",
        "litert",
        ("tflite",),
        LiteRTQuantizeOptions,
        quantize,
        must="quantize",
        splits=("calibration",),
        requires=(LITERT, LITERT_QUANTIZER),
        scheme=scheme,
        calibrates=lambda options: options.mode == "static",
    ),
)
