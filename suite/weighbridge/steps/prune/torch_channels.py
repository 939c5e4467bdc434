"""Whole channels taken out of a torch module, by Torch-Pruning: it becomes smaller and, where widths align, faster.

What has to go with a channel (its filter, its normalization, the weights that read it, the other branch of a sum) is
Torch-Pruning's to find: Fang et al., DepGraph, 2023. What it found is held against the original before it is believed.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from weighbridge.contracts import STEPS, Context, Model, Step
from weighbridge.core.errors import StageError, first_line
from weighbridge.environment.extras import TORCH_PRUNING, load
from weighbridge.steps.prune.endless_groups import EndlessError, ended
from weighbridge.steps.prune.narrowed import Narrowed, compute_alike
from weighbridge.steps.prune.options import WidthOptions
from weighbridge.steps.selection import matching, select
from weighbridge.steps.torch_layers import WeightLayer, weight_layers, working_copy
from weighbridge.steps.train.training import forward, supervised

if TYPE_CHECKING:
    import torch

SAMPLES = 8
"""That the smaller module is checked on."""
BATCHES = 16
"""Of the split `train` that `taylor_channels` takes gradients of."""


class ChannelOptions(WidthOptions):
    rank: Literal["l2", "l1", "bn_scale"] = Field(
        "l2",
        description="What a channel is worth: the norm of its weights, or the scale of its batch normalization.",
    )


class TaylorOptions(WidthOptions):
    """A channel is worth what the loss would change by without it, from its weights and their gradients."""

    loss: str = Field("cross_entropy", description="As in finetune: cross_entropy, mse, or file.py:function.")
    batch_size: int = Field(64, ge=1)


def channels(model: Model, options: ChannelOptions | TaylorOptions, context: Context) -> Model:
    """A copy with whole channels removed. The layers that the model's outputs come from keep theirs.

    Raises `StageError` naming the layer where the module cannot be followed, or computes something else afterwards.
    """
    import torch

    module = working_copy(model, "prune")
    samples = context.data.sample(SAMPLES)
    frozen = [name for name, parameter in module.named_parameters() if not parameter.requires_grad]
    for parameter in module.parameters():
        parameter.requires_grad_(parameter.is_floating_point())  # it is followed by its gradients
    layers = [each for each in weight_layers(module) if _prunable(each)]
    kept = _kept(module, layers, options, forward(module, samples))
    original = working_copy(Model("torch", module), "prune")
    if isinstance(options, TaylorOptions):
        _take_gradients(module, options, context)
    narrowed, left = _narrow(module, kept, options, samples)
    for name, parameter in module.named_parameters():
        parameter.grad = None
        parameter.requires_grad_(name not in frozen)
    if not narrowed.widths:
        raise StageError(
            "prune",
            f"no layer can do without channels: with `round_to: {options.round_to}` and `amount: {options.amount:g}` none "
            f"of {', '.join(each.label for each in layers) or 'its layers'} becomes narrower"
            + (f" ({'; '.join(left)})" if left else ""),
        )
    with torch.inference_mode():
        compute_alike(original, copy.deepcopy(module), narrowed, samples)
    return Model("torch", module, model.source, (*model.notes, narrowed.said(), *left))


def _prunable(layer: WeightLayer) -> bool:
    import torch

    return isinstance(layer.module, torch.nn.Linear | torch.nn.modules.conv._ConvNd)


def _kept(
    module: torch.nn.Module, layers: Sequence[WeightLayer], options: WidthOptions, outputs: Any
) -> list[Any]:
    """The modules that keep their channels: not chosen, or what the outputs are made of."""
    import torch

    what, every = "no Linear or convolution layer", [each.layer for each in layers]
    if not layers:
        raise StageError("prune", "this step takes channels of Linear and convolution layers, and finds none")
    chosen = {layer.name for layer in select("prune", what, every, options.layers, options.exclude)}
    chosen -= {layer.name for layer in matching("prune", "exclude", what, every, options.exclude)}
    last = set(_last(outputs, {id(each.module.weight): each for each in layers}))
    kept = [each.module for each in layers if each.names[0] not in chosen or each.label in last]
    undivided = (torch.nn.RNNBase, torch.nn.MultiheadAttention)
    return [*kept, *(layer for layer in module.modules() if isinstance(layer, undivided))]


def _last(outputs: Any, weights: Mapping[int, WeightLayer]) -> Iterator[str]:
    """The layers between which and the outputs stands no other: their channels are the model's answers."""
    from weighbridge.engines.torch_eager import leaves

    pending = [leaf.grad_fn for leaf in leaves(outputs) if leaf.grad_fn is not None]
    seen: set[Any] = set()
    while pending:
        node = pending.pop()
        if node in seen:
            continue
        seen.add(node)
        following = [each for each, _ in node.next_functions if each is not None]
        read = [weights[found] for found in map(_weight, following) if found in weights]
        yield from (each.label for each in read)
        pending += [] if read else following


def _weight(node: Any) -> int:
    """The id of the parameter that a node of the gradient's graph gives, turned or not; 0 where it gives none."""
    while type(node).__name__ == "TBackward0":
        node = node.next_functions[0][0]
    return id(node.variable) if hasattr(node, "variable") else 0


def _take_gradients(module: torch.nn.Module, options: TaylorOptions, context: Context) -> None:
    loss = supervised(module, options.loss, context, "prune")
    for number, (inputs, targets) in enumerate(context.data.split("train").batches(options.batch_size)):
        if number == BATCHES:
            return
        loss(inputs, forward(module, inputs), targets).backward()


def _narrow(
    module: torch.nn.Module, kept: Sequence[Any], options: ChannelOptions | TaylorOptions, samples: Any
) -> tuple[Narrowed, list[str]]:
    """Remove the channels; what was removed, and which groups of layers had to be left, with the reason."""
    import torch

    torch_pruning: Any = load(TORCH_PRUNING)
    importance = torch_pruning.importance
    ranks: dict[str, Callable[[], Any]] = {
        "l1": lambda: importance.GroupMagnitudeImportance(p=1),
        "l2": lambda: importance.GroupMagnitudeImportance(p=2),
        "bn_scale": importance.BNScaleImportance,
        "taylor": importance.GroupTaylorImportance,
    }
    names = {layer: name for name, layer in module.named_modules()}
    narrowed, left, endless = Narrowed(names), list[str](), list[Any]()

    def pruner_of() -> Any:
        return torch_pruning.pruner.BasePruner(
            module,
            samples,
            importance=ranks[options.rank if isinstance(options, ChannelOptions) else "taylor"](),
            global_pruning=options.scope == "global",
            pruning_ratio=options.amount,
            round_to=options.round_to,
            ignored_layers=[*kept, *endless],
            forward_fn=_answers,
            root_module_types=[torch.nn.modules.conv._ConvNd, torch.nn.Linear],
        )

    with ended():
        try:
            pruner = _without_endless(pruner_of, endless)
            graph = pruner.DG
            for group in pruner.step(interactive=True):
                undivided = [
                    names[dep.target.module]
                    for dep, _ in group
                    if isinstance(dep.target.module, torch.nn.RNNBase | torch.nn.MultiheadAttention)
                ]
                if undivided:
                    left.append(
                        f"{names[group[0][0].target.module]} keeps its channels: {undivided[0]} reads them"
                    )
                    continue
                narrowed.remember(
                    [
                        (dep.target.module, graph.is_out_channel_pruning_fn(dep.handler), list(rows))
                        for dep, rows in group
                    ]
                )
                group.prune()
        except Exception as error:  # whatever the user's own forward does that it cannot follow
            raise StageError(
                "prune",
                f"Torch-Pruning cannot follow the module ({type(error).__name__}: {first_line(error)}); where one layer is at "
                "fault, leave it to `exclude`",
            ) from error
    narrowed.measure()
    left += [
        f"{names[layer]} keeps its channels: they meet themselves again in another order" for layer in endless
    ]
    return narrowed, left


def _without_endless(make: Callable[[], Any], endless: list[Any]) -> Any:
    """What `make` gives once the layers whose groups have no end are in `endless`; nothing is pruned before that."""
    while True:
        try:
            return make()
        except EndlessError as error:
            if error.layer in endless:
                raise
            endless.append(error.layer)


def _answers(module: torch.nn.Module, samples: Any) -> list[torch.Tensor]:
    """The outputs that are tensors: what else a forward gives, such as a decoder's cache, has no gradients to follow."""
    from weighbridge.engines.torch_eager import leaves

    return leaves(forward(module, samples))


def _register(method: str, options: type[WidthOptions], splits: tuple[str, ...]) -> None:
    step = Step(
        "prune",
        method,
        ("torch",),
        options,
        channels,
        must="sparsify",
        splits=splits,
        requires=(TORCH_PRUNING,),
        random=False,
    )
    STEPS.add(step.key, step)


_register("channels", ChannelOptions, ())
_register("taylor_channels", TaylorOptions, ("train",))
