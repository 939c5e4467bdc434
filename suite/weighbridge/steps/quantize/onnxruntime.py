"""ONNX Runtime's post-training quantization: dynamic, and static in QDQ form."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from weighbridge.contracts import STEPS, Array, Context, Model, Options, Promise, Step
from weighbridge.core.coverage import Coverage
from weighbridge.core.errors import StageError
from weighbridge.steps.calibration import Calibration
from weighbridge.steps.quantize.onnx_graph import (
    flatten_biases,
    gemms_to_matmuls,
    part_grouped_biases,
    separate,
)
from weighbridge.steps.quantize.onnx_infinite import infinite
from weighbridge.steps.quantize.onnx_layers import (
    OnnxLayer,
    coverage,
    onnx_layers,
    stored_again,
    turned_at_run_time,
)
from weighbridge.steps.quantize.onnx_left_in_float import keep_in_float
from weighbridge.steps.quantize.onnx_preparation import (
    DYNAMIC_WAYS,
    STATIC_WAYS,
    Prepared,
    Way,
    first_that_works,
    refuse_without_floats,
)
from weighbridge.steps.selection import matching, select

_TYPES = {"int8": "QInt8", "uint8": "QUInt8", "int16": "QInt16", "uint16": "QUInt16"}
_METHODS = {"minmax": "MinMax", "entropy": "Entropy", "percentile": "Percentile"}


class DynamicOptions(Options):
    per_channel: bool = False
    weights: Literal["int8", "uint8"] = "int8"
    reduce_range: bool = Field(False, description="7-bit weights, for x86 processors without VNNI.")
    exclude: list[str] = Field(
        default_factory=list,
        description="What to leave in float: names or patterns of nodes, weights or layers, or operator types.",
    )


class StaticOptions(DynamicOptions):
    activations: Literal["int8", "uint8", "int16", "uint16"] = Field(
        "uint8", description="uint8 is the fast one on x86."
    )
    calibration: Literal["minmax", "entropy", "percentile"] = "minmax"
    samples: int = Field(512, ge=1, description="At most so many samples of the calibration split.")
    symmetric_activations: bool = False


def dynamic(model: Model, options: DynamicOptions, context: Context) -> Model:
    """Weights quantized now, activations as they come. Raises `StageError`, see `first_that_works`."""
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.quantization.registry import IntegerOpsRegistry

    def quantize(source: Path, target: Path, excluded: Sequence[str]) -> None:
        quantize_dynamic(
            source,
            target,
            per_channel=options.per_channel,
            reduce_range=options.reduce_range,
            weight_type=QuantType[_TYPES[options.weights]],
            nodes_to_exclude=list(excluded),
        )

    def fit(prepared: Prepared) -> list[str]:
        prepared.origins.update(gemms_to_matmuls(prepared.model))
        return []

    quantizable = {*IntegerOpsRegistry, "Gemm"}
    return _quantized("dynamic", model, options, context, DYNAMIC_WAYS, quantizable, fit, quantize)


def static(model: Model, options: StaticOptions, context: Context) -> Model:
    """Weights and activations quantized by ranges seen in calibration. Raises `StageError`, see `first_that_works`."""
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.registry import QDQRegistry

    def quantize(source: Path, target: Path, excluded: Sequence[str]) -> None:
        reader = CalibrationReader(context, source, options.samples)
        extra: dict[str, Any] = {"ActivationSymmetric": options.symmetric_activations}
        if (
            options.calibration != "minmax"
        ):  # histograms keep every activation; batch by batch they are let go
            extra["CalibStridedMinMax"] = 1
        quantize_static(
            source,
            target,
            reader,
            quant_format=QuantFormat.QDQ,
            per_channel=options.per_channel,
            reduce_range=options.reduce_range,
            activation_type=QuantType[_TYPES[options.activations]],
            weight_type=QuantType[_TYPES[options.weights]],
            nodes_to_exclude=list(excluded),
            calibrate_method=CalibrationMethod[_METHODS[options.calibration]],
            extra_options=extra,
        )

    def fit(prepared: Prepared) -> list[str]:
        added = [*flatten_biases(prepared.model), *infinite(prepared.model)]
        return [*added, *part_grouped_biases(prepared.model)] if options.per_channel else added

    try:
        return _quantized("static", model, options, context, STATIC_WAYS, set(QDQRegistry), fit, quantize)
    except StageError as error:
        if error.step:  # no way of preparation worked: is it the data?
            _try_samples(model.value, context)
        raise


def _try_samples(proto: Any, context: Context) -> None:
    """Raise `StageError` where the samples do not go through the float model either."""
    import onnx

    from weighbridge.engines.onnxruntime import OnnxRuntimeSession
    from weighbridge.engines.sequences import SteppedSession

    with tempfile.TemporaryDirectory(dir=context.workdir) as folder:
        path = Path(folder) / "float.onnx"
        onnx.save(proto, path)
        step = OnnxRuntimeSession(str(path))
    layout = context.data.layout
    session = SteppedSession(step) if layout.sequence else step
    fixed = step.fixed_batch(layout.axes)
    session.run(next(iter(Calibration(context, fixed or 1, fixed))))


def _quantized(
    mode: str,
    model: Model,
    options: DynamicOptions,
    context: Context,
    ways: Sequence[Way],
    quantizable: Collection[str],
    fit: Callable[[Prepared], list[str]],
    quantize: Callable[[Path, Path, Sequence[str]], None],
) -> Model:
    """Prepare, choose, `fit` the graph to the quantizer (giving nodes that stay in float), `quantize`, and read back."""
    import onnx

    def run(prepared: Prepared, folder: Path) -> tuple[Any, Coverage, list[str]]:
        layers = onnx_layers(prepared.model, prepared.origins)
        chosen, gone = _chosen(layers, options.exclude, model.value)
        excluded = {each.layer.name for each in layers} - chosen
        copied = separate(prepared.model, excluded)
        added = fit(prepared)
        now = {each.layer.name: each.weights for each in onnx_layers(prepared.model, {})}
        layers = [replace(each, weights=now.get(each.layer.name, ())) for each in layers]
        source = folder / "source.onnx"
        onnx.save(prepared.model, source)
        quantize(source, folder / "quantized.onnx", [*sorted(excluded), *added])
        result = _loaded(folder / "quantized.onnx")
        told = [
            f"{weight} is stored twice: {', '.join(readers)} keeps it in float, as `exclude` asks, and others read its codes"
            for weight, readers in copied.items()
        ]
        told += stored_again(prepared.model, prepared.origins)
        told += turned_at_run_time(prepared.model) if mode == "dynamic" else []
        told += [
            f"exclude: '{pattern}' fits only what was folded or fused away in preparation" for pattern in gone
        ]
        return result, coverage(layers, chosen, quantizable, mode, result), told

    refuse_without_floats(model.value, f"quantize: {mode}")
    with tempfile.TemporaryDirectory(dir=context.workdir) as folder:
        (result, covered, told), notes = first_that_works(
            model.value, Path(folder), ways, run, f"quantize: {mode}"
        )
    return Model("onnx", result, model.source, (*model.notes, *notes, *covered.sentences(), *told), covered)


def _loaded(path: Path) -> Any:
    """The quantized model, which the engine can open; raises `RuntimeError` where it cannot, so that another way is tried."""
    import onnx

    from weighbridge.engines.onnxruntime import OnnxRuntimeSession
    from weighbridge.formats.onnx_weights import imports

    model = onnx.load(path)
    needed = imports(model)  # the library declares every operator set that it knows
    del model.opset_import[:]
    model.opset_import.extend(needed)
    keep_in_float(model)
    onnx.save(model, path)
    try:
        OnnxRuntimeSession(str(path))
    except StageError as error:
        reason = error.message.replace(str(path), "it")
        raise RuntimeError(f"the quantized model does not load: {reason}") from error
    return model


def _chosen(layers: Sequence[OnnxLayer], exclude: Sequence[str], original: Any) -> tuple[set[str], list[str]]:
    """The names of the nodes to quantize, and the patterns that fit nodes of the original only.

    Preparation folds and fuses nodes away; to exclude such a one is no error. Raises `StageError` for other patterns
    that fit nothing.
    """
    what, every = "no node, weight or layer", [each.layer for each in layers]
    there = [
        pattern for pattern in exclude if any(each.goes_by(pattern) or each.kind == pattern for each in every)
    ]
    gone = [pattern for pattern in exclude if pattern not in there]
    if gone:
        before = [each.layer for each in onnx_layers(original, {})]
        matching("quantize", "exclude", what, [*every, *before], gone)
    return {layer.name for layer in select("quantize", what, every, (), there)}, gone


class CalibrationReader:
    """ONNX Runtime's `CalibrationDataReader` over the calibration split: each sample is read once.

    A histogram calibrator asks by ranges, whose number it takes from `len`. A range is one batch here, and the last
    one whatever is left, since not every data source tells its length beforehand.
    """

    _feeds: Iterator[dict[str, Array]]

    def __init__(self, context: Context, model: Path, samples: int) -> None:
        from weighbridge.engines.onnxruntime import OnnxRuntimeSession
        from weighbridge.engines.sequences import SteppedSession

        layout, step = context.data.layout, OnnxRuntimeSession(str(model))
        session = SteppedSession(step) if layout.sequence else step
        batches, least = Calibration(context, samples, step.fixed_batch(layout.axes)).batches()
        feeds = (feed for batch in batches for feed in session.feeds(batch))
        if layout.sequence:  # as many feeds as steps, which only reading tells
            least = None
        if least is None:
            known = list(feeds)
            self._feeds, self._length = iter(known), len(known)
        else:
            self._feeds, self._length = feeds, least
        self._left: float = math.inf

    def __len__(self) -> int:
        return self._length

    def set_range(self, start_index: int, end_index: int) -> None:
        self._left = 1 if end_index < self._length else math.inf

    def get_next(self) -> dict[str, Array] | None:
        if not self._left:
            return None
        self._left -= 1
        return next(self._feeds, None)


def scheme(options: DynamicOptions) -> Promise:
    """What the options promise about weights. ONNX Runtime keeps int8 weights symmetric; uint8 ones have a zero point."""
    return Promise(
        bits=8,
        granularity="channel" if options.per_channel else "tensor",
        symmetric=True if options.weights == "int8" else None,
        signed=options.weights == "int8",
        reduce_range=options.reduce_range,
    )


def _register(
    method: str,
    options: type[Options],
    apply: Callable[[Model, Any, Context], Model],
    splits: tuple[str, ...],
) -> None:
    STEPS.add(
        f"quantize:{method}@onnxruntime",
        Step(
            "quantize",
            method,
            ("onnx",),
            options,
            apply,
            engine="onnxruntime",
            must="quantize",
            splits=splits,
            scheme=scheme,
            random=bool(splits),
        ),
    )


_register("dynamic", DynamicOptions, dynamic, ())
_register("static", StaticOptions, static, ("calibration",))
