"""Quantization-aware training: weights and activations are rounded as the int8 engine will, and trained so.

Jacob et al., Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference, 2018; gradients
pass the rounding as if it were not there (Bengio et al., 2013). Weights are rounded with the batch normalization that an
engine folds into them, whose statistics stand still.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field, model_validator

from weighbridge.contracts import STEPS, Context, Model, Step
from weighbridge.core.errors import StageError
from weighbridge.environment.requirements import overflows_here
from weighbridge.steps.selection import LayerOptions, select
from weighbridge.steps.torch_layers import WeightLayer, read_by, weight_layers
from weighbridge.steps.train.finetune import FinetuneOptions, trained
from weighbridge.steps.train.training import forward, supervised

if TYPE_CHECKING:
    import torch

_RANGE = "trained_range"
"""Where a layer keeps the range of its inputs while it is trained."""
_NEW = 0.1
"""What a batch counts in a range of activations."""


class QatOptions(FinetuneOptions, LayerOptions):
    tunes: ClassVar = {}
    bits: int = Field(
        8,
        ge=2,
        le=8,
        description="Of the weights. Fewer than 8 ship in codes of 8 bits that hold few numbers: smaller once compressed.",
    )
    per_channel: bool = Field(True, description="A scale for each channel, as the quantize step after it.")
    reduce_range: bool = Field(
        default_factory=overflows_here,
        description="Of weights of 8 bits, leave one unused, as the quantize step after it: by default where this processor "
        "needs it.",
    )

    @model_validator(mode="after")
    def _spares_one_of_eight(self) -> QatOptions:
        if "reduce_range" in self.model_fields_set and self.bits < 8:
            raise ValueError("`reduce_range` is for weights of 8 bits")
        return self

    @property
    def highest(self) -> int:
        """The largest code; of 8 bits and of 7, as ONNX Runtime has it where codes are symmetric."""
        if self.bits < 8:
            return int(2 ** (self.bits - 1)) - 1
        return 64 if self.reduce_range else 127


def qat(model: Model, options: QatOptions, context: Context) -> Model:
    """Train on the split `train` as `finetune: supervised` does, with Linear and convolution layers rounded to int8.

    The module stays one of floats. Its weights are numbers that int8 codes stand for exactly, so that `quantize: static` with
    the same `per_channel` and `reduce_range` loses nothing of them. Raises `StageError` where there is no such layer.
    """
    chosen: list[WeightLayer] = []

    @contextmanager
    def within(module: torch.nn.Module) -> Iterator[None]:
        chosen.extend(_chosen(module, options))
        folded = _normalizations(module, chosen, context)
        with _rounded(chosen, folded, options):
            yield

    made = trained(
        model, options, context, lambda module: supervised(module, options.loss, context, "finetune"), within
    )
    how = "a scale a channel" if options.per_channel else "one scale a matrix"
    note = (
        f"trained for weights in codes from -{options.highest} to {options.highest}, {how}, and for inputs of 8 bits: "
        f"{len(chosen)} layers"
    )
    return replace(made, notes=(*made.notes, note))


def _chosen(module: torch.nn.Module, options: QatOptions) -> list[WeightLayer]:
    kinds = _kinds()
    found = [each for each in weight_layers(module) if type(each.module) in kinds]
    if not found:
        raise StageError(
            "finetune", "`finetune: qat` rounds Linear and convolution layers, and there is none"
        )
    every = [each.layer for each in found]
    names = {
        layer.name for layer in select("finetune", "no such layer", every, options.layers, options.exclude)
    }
    return [each for each in found if each.names[0] in names]


@cache
def _kinds() -> tuple[type, ...]:
    import torch

    return (torch.nn.Linear, torch.nn.Conv1d, torch.nn.Conv2d, torch.nn.Conv3d)


def _normalizations(
    module: torch.nn.Module, layers: Sequence[WeightLayer], context: Context
) -> dict[int, torch.nn.Module]:
    """By the id of a layer, the batch normalization that reads what it gives and would be folded, as one run shows."""
    import torch

    outputs: dict[int, tuple[Any, Any, int]] = {}
    found: dict[int, torch.nn.Module] = {}

    def gave(layer: Any, inputs: Any, output: Any) -> None:
        if not isinstance(layer, torch.nn.Linear) or output.dim() == 2:  # else axis 1 is not what it computes
            outputs[id(output)] = (
                layer,
                output,
                output._version,
            )  # held, so that no other tensor gets its id

    def reads(layer: Any, args: Any, kwargs: Any) -> None:
        given = read_by(args, kwargs)
        source, _, version = outputs.get(id(given), (None, None, None))
        if source is not None and given._version == version:  # an activation in place leaves the same object
            found[id(source)] = layer

    hooks = [each.module.register_forward_hook(gave) for each in layers]
    for part in module.modules():
        if isinstance(part, torch.nn.modules.batchnorm._BatchNorm) and part.running_var is not None:
            hooks.append(part.register_forward_pre_hook(reads, with_kwargs=True))
    try:
        with torch.no_grad():
            forward(module.eval(), context.data.sample(1))
    finally:
        for hook in hooks:
            hook.remove()
    return found


@contextmanager
def _rounded(
    layers: Sequence[WeightLayer], folded: dict[int, torch.nn.Module], options: QatOptions
) -> Iterator[None]:
    """Inside, the layers compute with rounded weights and inputs; afterwards their weights are the rounded ones."""
    from torch.nn.utils import parametrize

    from weighbridge.steps.torch_rounding import Grid, Range

    hooks = []
    orders = {id(each.module): list(each.module._parameters) for each in layers}
    for each in layers:
        layer, normalization = each.module, folded.get(id(each.module))
        parametrize.register_parametrization(
            layer, "weight", Grid(options.highest, options.per_channel, normalization), unsafe=True
        )
        layer.add_module(_RANGE, Range(_NEW))
        hooks.append(layer.register_forward_pre_hook(_round_input, with_kwargs=True))
        if normalization is not None:
            hooks.append(normalization.register_forward_pre_hook(_stand_still))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
        for each in layers:
            parametrize.remove_parametrizations(each.module, "weight")
            del each.module._modules[_RANGE]
            for name in orders[id(each.module)]:  # a checkpoint is written in their order
                each.module._parameters[name] = each.module._parameters.pop(name)


def _round_input(layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    rounded = getattr(layer, _RANGE)
    if args:
        return (rounded(args[0]), *args[1:]), kwargs
    return (), {**kwargs, "input": rounded(kwargs["input"])}


def _stand_still(layer: Any, inputs: Any) -> None:
    """What an engine folds into the weights must not move with each batch."""
    layer.training = False


STEPS.add(
    "finetune:qat",
    Step("finetune", "qat", ("torch",), QatOptions, qat, must="change", splits=("train",)),
)
