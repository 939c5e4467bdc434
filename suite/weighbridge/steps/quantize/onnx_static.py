"""ONNX Runtime's static quantization, in QDQ form: weights and activations by ranges seen in calibration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field, model_validator

from weighbridge.contracts import STEPS, Context, Model, Promise, Step
from weighbridge.core.errors import StageError
from weighbridge.formats.onnx_file import data_file, whole
from weighbridge.steps.quantize.onnx_bias_correction import correct_biases
from weighbridge.steps.quantize.onnx_calibration import Spread, learn_ranges, try_samples
from weighbridge.steps.quantize.onnx_graph import flatten_biases, own_biases, part_grouped_biases
from weighbridge.steps.quantize.onnx_placement import LIGHT, STATIC
from weighbridge.steps.quantize.onnx_preparation import STATIC_WAYS, Prepared
from weighbridge.steps.quantize.onnx_ranges import ENTROPY_IS
from weighbridge.steps.quantize.onnx_steps import TYPES, Mode, WeightOptions, quantized, scheme
from weighbridge.steps.quantize.onnx_unfit import clipped, infinite, signed, stacked, watched


class StaticOptions(WeightOptions):
    tunes: ClassVar = {
        **WeightOptions.tunes,
        "calibration": ("percentile", "minmax", "mse"),  # `entropy` gives the ranges of minmax
        "float_share": (0.0, LIGHT, 0.05),
    }
    activations: Literal["int8", "uint8", "int16", "uint16"] = Field(
        "uint8", description="uint8 is the fast one on x86."
    )
    calibration: Literal["minmax", "entropy", "percentile", "mse"] = Field(
        "mse",
        description="How a range is taken of the activations that were seen: all of it (minmax and entropy), 99.999 % of "
        "the magnitudes, or what has the least mean squared error.",
    )
    samples: int = Field(512, ge=1, description="At most so many samples of the calibration split.")
    form: Literal["qdq", "qoperator"] = Field(
        "qdq",
        description="qdq: float operators between QuantizeLinear and DequantizeLinear, which ONNX Runtime fuses as it opens the "
        "file. qoperator: integer operators in the file itself, for what does not fuse.",
    )
    symmetric_activations: bool = Field(False, description="Ranges around zero, for int8 activations.")
    bias_correction: bool = Field(
        True,
        description="Whether biases make up for what quantizing adds to the mean of a channel, on at most 64 of the samples.",
    )
    float_share: float = Field(
        LIGHT,
        ge=0,
        lt=1,
        description="With `operators: auto`, the lightest layers stay in float while they hold at most this share of the "
        "weights and compute beside float operators: they cost the most accuracy, and gain little there.",
    )

    @model_validator(mode="after")
    def _there_is_such_a_kernel(self) -> StaticOptions:
        if self.form == "qoperator" and self.activations.endswith("16"):
            raise ValueError("`form: qoperator` has no operators for 16-bit activations; use `form: qdq`")
        return self


@dataclass(frozen=True)
class Static:
    """ONNX Runtime's static quantizer. Where `ranges` is given, calibration happens once and is kept in that file.

    Whoever gives it gives the same `spread` of samples each time.
    """

    options: StaticOptions
    context: Context
    ranges: Path | None = None
    spread: Spread = field(default_factory=Spread)

    def fit(self, prepared: Prepared) -> dict[str, str]:
        model = prepared.model
        flatten_biases(model)
        own_biases(model)
        unfit = clipped(model) | watched(model) | infinite(model)
        if self.options.per_channel is False:
            return unfit
        part_grouped_biases(model)
        if self.options.form == "qoperator" and self.options.weights == "uint8":
            unfit = signed(model) | unfit
        return stacked(model) | unfit

    def write(self, source: Path, target: Path, nodes: Sequence[str]) -> None:
        options = self.options
        ranges = self.ranges or source.with_name("ranges.json")
        if not ranges.exists():
            learn_ranges(
                source,
                ranges,
                self.context,
                options.samples,
                options.calibration,
                levels=2**16 if options.activations.endswith("16") else 2**8,
                symmetric=options.symmetric_activations,
                spread=self.spread,
            )
        if options.bias_correction:  # by the form in which a layer's twin can be told
            self._quantize(source, target, nodes, ranges, "qdq")
            sequence = self.context.data.layout.sequence
            if not correct_biases(source, target, self.spread.samples, sequence) and options.form == "qdq":
                return
        self._quantize(source, target, nodes, ranges, options.form)

    def _quantize(self, source: Path, target: Path, nodes: Sequence[str], ranges: Path, form: str) -> None:
        from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

        options = self.options
        quantize_static(
            source,
            target,
            quant_format=QuantFormat.QDQ if form == "qdq" else QuantFormat.QOperator,
            per_channel=options.per_channel is not False,
            reduce_range=options.reduce_range,
            activation_type=QuantType[TYPES[options.activations]],
            weight_type=QuantType[TYPES[options.weights]],
            nodes_to_quantize=list(nodes),
            use_external_data_format=data_file(source).exists(),
            extra_options={"ActivationSymmetric": options.symmetric_activations},
            calibration_cache_path=ranges,
        )


def static_mode(options: StaticOptions) -> Mode:
    from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry

    known = frozenset({*QLinearOpsRegistry, *(QDQRegistry if options.form == "qdq" else ())})
    kinds = tuple(kind for kind in STATIC if kind in known)
    return Mode("static", STATIC_WAYS, known, kinds, options.float_share)


def static(model: Model, options: StaticOptions, context: Context) -> Model:
    """Weights and activations quantized by ranges seen in calibration. Raises `StageError`, see `onnx_steps.quantized`."""
    try:
        made = quantized(static_mode(options), model, options, context, Static(options, context))
    except StageError as error:
        if error.step:  # no way of preparation worked: is it the data?
            try_samples(whole(model.value), context)
        raise
    return replace(made, notes=(*made.notes, ENTROPY_IS)) if options.calibration == "entropy" else made


def static_scheme(options: StaticOptions) -> Promise:
    return scheme(options, by_default="channel")


STEPS.add(
    "quantize:static@onnxruntime",
    Step(
        "quantize",
        "static",
        ("onnx",),
        StaticOptions,
        static,
        engine="onnxruntime",
        must="quantize",
        opens=True,
        splits=("calibration",),
        scheme=static_scheme,
    ),
)
