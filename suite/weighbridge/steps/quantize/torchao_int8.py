"""torchao's int8 for Linear layers: weights alone, or with activations quantized as they come. A scale a channel."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, ClassVar

from pydantic import Field

from weighbridge.contracts import STEPS, Context, Model, Promise, Step
from weighbridge.environment.extras import TORCHAO, load
from weighbridge.environment.quiet import quiet
from weighbridge.environment.requirements import overflows_here
from weighbridge.steps.quantize.torch_choice import choose, of_another_type
from weighbridge.steps.selection import LayerOptions
from weighbridge.steps.torch_layers import WeightLayer, rebuilt_by, weight_layers, working_copy


class WeightOnlyOptions(LayerOptions):
    tunes: ClassVar = {}


class DynamicOptions(LayerOptions):
    tunes: ClassVar = {}
    reduce_range: bool = Field(
        default_factory=overflows_here,
        description="7 bits: by default where this processor needs them, an x86 one without VNNI.",
    )


def _apply(method: str) -> Callable[[Model, Any, Context | None], Model]:
    key = f"quantize:{method}@torch"

    def apply(model: Model, options: Any, context: Context | None) -> Model:
        """`torchao.quantization.quantize_` on the chosen Linear layers; what stays in float is said by layer.

        Raises `StageError` where there is no such layer, or a pattern fits none.
        """
        module = working_copy(model, "quantize")
        chosen = choose(module, options, f"torchao's {method}", "Linear layers", _unfit)
        _convert(module, chosen.names, _config(method, options))
        source = rebuilt_by(model, key, options, {"layers": sorted(chosen.names)})
        return Model("torch", module.eval(), source, (*model.notes, *chosen.notes), chosen.coverage)

    return apply


def _rebuild(method: str) -> Callable[[Model, Any, Mapping[str, Any]], Model]:
    def rebuild(model: Model, options: Any, facts: Mapping[str, Any]) -> Model:
        """A fresh module whose weights at the places in `facts["layers"]` are codes, ready for their checkpoint."""
        _convert(model.value, facts["layers"], _config(method, options))
        return model

    return rebuild


def _config(method: str, options: Any) -> Any:
    """Without torchao's settings for torch.compile, which are the whole process's."""
    with quiet():
        library = load(TORCHAO, "torchao.quantization")
        if method == "int8_weight_only":
            return library.Int8WeightOnlyConfig(set_inductor_config=False)
        return library.Int8DynamicActivationInt8WeightConfig(
            set_inductor_config=False, reduce_range=options.reduce_range
        )


def _convert(module: Any, names: Collection[str], config: Any) -> None:
    """In place: torchao exchanges a layer's weight, at every place where the layer stands."""
    library = load(TORCHAO, "torchao.quantization")
    chosen = {id(each.module) for each in weight_layers(module) if each.names[0] in names}
    with quiet():
        library.quantize_(module, config, filter_fn=lambda layer, name: id(layer) in chosen)


def _unfit(layer: WeightLayer) -> str:
    """torchao reduces a row of one number over the whole matrix; see docs/known-differences.md."""
    import torch

    if type(layer.module) is not torch.nn.Linear:
        return f"{', '.join(layer.weights)} of a {layer.kind}"
    if layer.module.in_features == 1:
        return "layer of a single input"
    return of_another_type(layer, torch.float32, torch.float16, torch.bfloat16)


def _promise(options: Any) -> Promise:
    reduced = getattr(options, "reduce_range", False)
    return Promise(granularity="channel", symmetric=True, signed=True, reduce_range=reduced)


_METHODS: tuple[tuple[str, type[LayerOptions]], ...] = (
    ("int8_dynamic", DynamicOptions),
    ("int8_weight_only", WeightOnlyOptions),
)
for _method, _options in _METHODS:
    STEPS.add(
        f"quantize:{_method}@torch",
        Step(
            "quantize",
            _method,
            ("torch",),
            _options,
            _apply(_method),
            engine="torch",
            must="quantize",
            rebuild=_rebuild(_method),
            scheme=_promise,
            random=False,
            requires=(TORCHAO,),
        ),
    )
