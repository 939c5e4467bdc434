"""torch's dynamic quantization: int8 weights, activations quantized as they come. Linear layers."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, ClassVar

from pydantic import Field

from weighbridge.contracts import STEPS, Context, Model, Options, Promise, Step
from weighbridge.core.coverage import Coverage, LayerCoverage
from weighbridge.core.errors import StageError
from weighbridge.environment.quiet import quiet
from weighbridge.steps.selection import select
from weighbridge.steps.torch_layers import WeightLayer, rebuilt_by, weight_layers, working_copy

_KEY = "quantize:dynamic@torch"
_WHAT = "no layer with weights"


class DynamicOptions(Options):
    tunes: ClassVar = {"per_channel": (False, True)}
    per_channel: bool = False
    layers: list[str] = Field(
        default_factory=lambda: ["*"],
        min_length=1,
        description="Names, patterns or types of the layers to quantize.",
    )
    exclude: list[str] = Field(
        default_factory=list, description="Names, patterns or types of the layers to leave in float."
    )


def dynamic(model: Model, options: DynamicOptions, context: Context | None) -> Model:
    """`torch.ao.quantization.quantize_dynamic` on the chosen Linear layers; what stays in float is said by layer.

    Raises `StageError` where there is no Linear layer, a pattern fits none, or a layer's weight is not its own.
    """
    module = working_copy(model, "quantize")
    found = weight_layers(module)
    if not any(_convertible(layer) for layer in found):
        kinds = sorted({type(part).__name__ for part in module.modules()})
        raise StageError(
            "quantize",
            f"torch's dynamic quantization converts Linear layers, and there is none among {', '.join(kinds)}; "
            "use `quantize: static` with `engine: onnxruntime`",
        )
    every = [each.layer for each in found]
    asked = {each.name for each in select("quantize", _WHAT, every, options.layers, options.exclude)}
    coverage = Coverage(tuple(_covered(each, each.names[0] in asked) for each in found))
    names = {each.names[0] for each in found if each.names[0] in asked and _convertible(each)}
    if not names:
        raise StageError("quantize", "; ".join(coverage.sentences()))
    notes = (*coverage.sentences(), *_ties(found, names))
    converted = _convert(module, names, options)
    source = rebuilt_by(model, _KEY, options, {"layers": sorted(names)})
    return Model("torch", converted.eval(), source, (*model.notes, *notes), coverage)


def rebuild(model: Model, options: DynamicOptions, facts: Mapping[str, Any]) -> Model:
    """A fresh module with quantized layers at the places in `facts["layers"]`, ready for their checkpoint."""
    return Model("torch", _convert(model.value, facts["layers"], options), model.source)


def _convert(module: Any, names: Collection[str], options: DynamicOptions) -> Any:
    """`module` with the Linear layers called `names` quantized, at every place where one of them stands.

    torch swaps children only, and returns a root Linear as it was, without a word; inside a wrapper it is a child. Of
    a layer that stands at two places it swaps one.
    """
    import torch

    qconfig = (
        torch.ao.quantization.per_channel_dynamic_qconfig
        if options.per_channel
        else torch.ao.quantization.default_dynamic_qconfig
    )
    places = [layer.names for layer in weight_layers(module) if layer.names[0] in names]
    wrapped = torch.nn.Sequential(module)
    try:
        with quiet():  # torch announces the move of torch.ao.quantization at each call
            wrapped = torch.ao.quantization.quantize_dynamic(
                wrapped,
                {f"0.{own[0]}".rstrip("."): qconfig for own in places},
                dtype=torch.qint8,
                inplace=True,
            )
    except (RuntimeError, ValueError, AttributeError, NotImplementedError) as error:
        raise StageError(
            "quantize",
            f"torch cannot quantize {', '.join(own[0] for own in places)}; leave the one it means to `exclude` "
            f"({type(error).__name__}: {error})",
        ) from error
    result = wrapped[0]
    for first, *others in places:
        for other in others:
            result.set_submodule(other, result.get_submodule(first))
    return result


def _convertible(layer: WeightLayer) -> bool:
    """Subclasses of Linear are not swapped by torch; attention reads the weight of its `out_proj` itself."""
    import torch

    return type(layer.module) is torch.nn.Linear


def _covered(layer: WeightLayer, asked: bool) -> LayerCoverage:
    convertible = _convertible(layer)
    reason = ""
    if not asked:
        reason = "`layers` and `exclude` leave it out"
    elif not convertible:
        weights = ", ".join(layer.weights)
        reason = f"torch's dynamic quantization converts plain Linear layers, no {weights} of a {layer.kind}"
    return LayerCoverage(layer.label, layer.kind, asked, convertible, asked and convertible, reason)


def _ties(found: Sequence[WeightLayer], chosen: Collection[str]) -> list[str]:
    """A quantized layer whose weight another layer shares: from now on there are two copies."""
    owners: dict[int, list[WeightLayer]] = {}
    for layer in found:
        for weight in layer.weights.values():
            owners.setdefault(weight.data_ptr(), []).append(layer)
    return [
        f"{' and '.join(layer.label for layer in shared)} share one weight; quantizing breaks the tie, and "
        "it is stored once for each of them"
        for shared in owners.values()
        if len(shared) > 1 and any(layer.names[0] in chosen for layer in shared)
    ]


def scheme(options: DynamicOptions) -> Promise:
    return Promise(
        granularity="channel" if options.per_channel else "tensor", symmetric=options.per_channel, signed=True
    )


STEPS.add(
    _KEY,
    Step(
        "quantize",
        "dynamic",
        ("torch",),
        DynamicOptions,
        dynamic,
        engine="torch",
        must="quantize",
        rebuild=rebuild,
        scheme=scheme,
        random=False,
    ),
)
