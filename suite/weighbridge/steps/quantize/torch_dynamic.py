"""torch's dynamic quantization: int8 weights, activations quantized as they come. Linear, LSTM and GRU layers."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, ClassVar

from weighbridge.contracts import STEPS, Context, Model, Promise, Step
from weighbridge.core.errors import StageError
from weighbridge.environment.quiet import quiet
from weighbridge.steps.quantize.torch_choice import Choice, choose, of_another_type
from weighbridge.steps.selection import LayerOptions
from weighbridge.steps.torch_layers import WeightLayer, rebuilt_by, weight_layers, working_copy

_KEY = "quantize:dynamic@torch"


class DynamicOptions(LayerOptions):
    tunes: ClassVar = {"per_channel": (False, True)}
    per_channel: bool = False


def dynamic(model: Model, options: DynamicOptions, context: Context | None) -> Model:
    """`torch.ao.quantization.quantize_dynamic` on the chosen Linear, LSTM and GRU layers; what stays in float is said by layer.

    Raises `StageError` where there is no such layer, a pattern fits none, or a layer's weight is not its own.
    """
    chosen, converted = _chosen(model, options, frozenset())
    read = _read_by_others(model, converted, chosen.names, context)
    if read:
        chosen, converted = _chosen(model, options, read)
    source = rebuilt_by(model, _KEY, options, {"layers": sorted(chosen.names)})
    return Model("torch", converted.eval(), source, (*model.notes, *chosen.notes), chosen.coverage)


def _chosen(model: Model, options: DynamicOptions, read: Collection[str]) -> tuple[Choice, Any]:
    """The layers to convert but those in `read`, and a copy of the module with them converted."""

    def unfit(layer: WeightLayer) -> str:
        return "layer whose weight another forward reads" if layer.names[0] in read else _unfit(layer)

    module = working_copy(model, "quantize")
    chosen = choose(module, options, "torch's dynamic quantization", "Linear, LSTM and GRU layers", unfit)
    return chosen, _convert(module, chosen.names, options)


def _read_by_others(
    model: Model, converted: Any, names: Collection[str], context: Context | None
) -> set[str]:
    """The layers whose weight the forward of another module reads, where that keeps the converted module from running.

    A quantized layer's weight is a method. Such a layer is not called itself, as those of torchvision's Swin.
    """
    from weighbridge.engines.torch_eager import run_module

    if context is None:
        return set()
    try:
        samples = context.data.sample(2)
        run_module(model.value, samples)
    except StageError:  # nothing to run it on, or it does not run: whoever measures it says so
        return set()
    try:
        run_module(converted.eval(), samples)
        return set()
    except StageError:
        called = set[str]()
        layers = {name: model.value.get_submodule(name) for name in names}
        hooks = [
            layer.register_forward_pre_hook(lambda *_, name=name: called.add(name))
            for name, layer in layers.items()
        ]
        try:
            run_module(model.value, samples)
        finally:
            for hook in hooks:
                hook.remove()
        return set(names) - called


def rebuild(model: Model, options: DynamicOptions, facts: Mapping[str, Any]) -> Model:
    """A fresh module with quantized layers at the places in `facts["layers"]`, ready for their checkpoint."""
    return Model("torch", _convert(model.value, facts["layers"], options), model.source)


def _convert(module: Any, names: Collection[str], options: DynamicOptions) -> Any:
    """`module` with the layers called `names` quantized, at every place where one of them stands.

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


def _unfit(layer: WeightLayer) -> str:
    """Subclasses are not swapped by torch; attention reads the weight of its `out_proj` itself."""
    import torch

    kind = type(layer.module)
    if kind not in (torch.nn.Linear, torch.nn.LSTM, torch.nn.GRU):
        own = issubclass(kind, torch.nn.Linear | torch.nn.RNNBase)
        told = f"{', '.join(layer.weights)} of a {layer.kind}"
        return f"{told}, a subclass of torch's" if own else told
    if kind is not torch.nn.Linear and layer.module.proj_size:
        return "recurrent layer with a projection"
    if kind is not torch.nn.Linear and not layer.module.bias:
        return "recurrent layer without biases"
    return of_another_type(layer, torch.float32)


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
