"""ONNX Runtime's dynamic quantization: weights as codes, activations quantized as they come, no data needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from weighbridge.contracts import STEPS, Context, Model, Step
from weighbridge.formats.onnx_file import data_file
from weighbridge.steps.quantize.onnx_graph import gemms_to_matmuls
from weighbridge.steps.quantize.onnx_placement import DYNAMIC
from weighbridge.steps.quantize.onnx_preparation import DYNAMIC_WAYS, Prepared
from weighbridge.steps.quantize.onnx_steps import TYPES, Mode, WeightOptions, quantized, scheme
from weighbridge.steps.quantize.onnx_unfit import stacked


class DynamicOptions(WeightOptions):
    pass


@dataclass(frozen=True)
class _Dynamic:
    options: DynamicOptions

    def fit(self, prepared: Prepared) -> dict[str, str]:
        prepared.origins.update(gemms_to_matmuls(prepared.model))
        return stacked(prepared.model) if self.options.per_channel is not False else {}

    def write(self, source: Path, target: Path, nodes: Sequence[str]) -> None:
        from onnxruntime.quantization import QuantType, quantize_dynamic

        quantize_dynamic(
            source,
            target,
            per_channel=self.options.per_channel is not False,
            reduce_range=self.options.reduce_range,
            weight_type=QuantType[TYPES[self.options.weights]],
            nodes_to_quantize=list(nodes),
            use_external_data_format=data_file(source).exists(),
        )


def dynamic(model: Model, options: DynamicOptions, context: Context) -> Model:
    """Weights quantized now, activations as they come. Raises `StageError`, see `onnx_steps.quantized`."""
    from onnxruntime.quantization.registry import IntegerOpsRegistry

    mode = Mode("dynamic", DYNAMIC_WAYS, frozenset({*IntegerOpsRegistry, "Gemm"}), DYNAMIC)
    return quantized(mode, model, options, context, _Dynamic(options))


STEPS.add(
    "quantize:dynamic@onnxruntime",
    Step(
        "quantize",
        "dynamic",
        ("onnx",),
        DynamicOptions,
        dynamic,
        engine="onnxruntime",
        must="quantize",
        opens=True,
        scheme=scheme,
        random=False,
    ),
)
