"""Weights set to zero in a torch module: single ones, or whole output channels. Masks are made permanent.

Built on `torch.nn.utils.prune`. Zeros make nothing faster by themselves, and a file smaller only when it is
compressed; the thresholds `gzip_ratio` and `nonzero` measure them.
"""

from __future__ import annotations

import copy
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from weighbridge.contracts import STEPS, Context, Model, Options, Step
from weighbridge.core.errors import StageError, did_you_mean

if TYPE_CHECKING:
    import torch


class PruneOptions(Options):
    amount: Annotated[int, Field(ge=1)] | Annotated[float, Field(gt=0, lt=1)] = Field(
        description="The fraction to remove, or an absolute number of weights (channels, for ln_structured)."
    )
    scope: Literal["local", "global"] = Field(
        "local", description="Rank within each layer, or across all of them."
    )
    layers: list[str] = Field(
        default_factory=lambda: ["*"], min_length=1, description="Name patterns of the layers to prune."
    )
    exclude: list[str] = Field(
        default_factory=list, description="Name patterns of the layers to leave alone."
    )


class StructuredOptions(PruneOptions):
    n: Annotated[int, Field(ge=1)] | Literal["inf"] = Field(2, description="The norm that ranks channels.")
    dim: int = Field(0, description="The axis of the weight whose slices are removed; 0 is output channels.")


def select(module: torch.nn.Module, options: PruneOptions) -> list[tuple[torch.nn.Module, str]]:
    """The prunable layers that the patterns choose, as torch's `(module, "weight")`; raises `StageError` for none."""
    import torch

    kinds = (torch.nn.Linear, torch.nn.modules.conv._ConvNd)
    prunable = {name: layer for name, layer in module.named_modules() if isinstance(layer, kinds)}
    for pattern in [*options.layers, *options.exclude]:
        if not any(fnmatchcase(name, pattern) for name in prunable):
            raise StageError(
                "prune", f"no Linear or convolution matches '{pattern}'{did_you_mean(pattern, prunable)}"
            )
    chosen = [
        layer
        for name, layer in prunable.items()
        if any(fnmatchcase(name, pattern) for pattern in options.layers)
        and not any(fnmatchcase(name, pattern) for pattern in options.exclude)
    ]
    if not chosen:
        raise StageError("prune", "`exclude` leaves no layer to prune")
    return [(layer, "weight") for layer in chosen]


def _apply(model: Model, options: PruneOptions, context: Context, method: str) -> Model:
    import torch
    from torch.nn.utils import prune

    torch.manual_seed(context.seed)
    module = copy.deepcopy(model.value)
    parameters = select(module, options)
    try:
        if method == "ln_structured":
            assert isinstance(options, StructuredOptions)
            _structured(parameters, options)
        elif options.scope == "global":
            kind = prune.L1Unstructured if method == "l1_unstructured" else prune.RandomUnstructured
            prune.global_unstructured(parameters, pruning_method=kind, amount=options.amount)
        else:
            local: Any = prune.l1_unstructured if method == "l1_unstructured" else prune.random_unstructured
            for layer, name in parameters:
                local(layer, name, amount=options.amount)
    except (ValueError, IndexError) as error:
        raise StageError("prune", str(error)) from error
    for layer, name in parameters:
        prune.remove(layer, name)
    return Model("torch", module, model.source)


def _structured(parameters: list[tuple[torch.nn.Module, str]], options: StructuredOptions) -> None:
    """Remove the slices of smallest norm: within each layer, or across layers by the norm per weight."""
    import torch
    from torch.nn.utils import prune

    order = float("inf") if options.n == "inf" else options.n
    if options.scope == "local":
        for layer, name in parameters:
            prune.ln_structured(layer, name, amount=options.amount, n=order, dim=options.dim)
        return
    scores = []
    for layer, name in parameters:
        weight = getattr(layer, name).detach()
        slices = weight.movedim(options.dim, 0).flatten(1)
        size = slices.shape[1] ** (0.0 if order == float("inf") else 1.0 / order)
        scores.append(
            torch.linalg.vector_norm(slices, ord=order, dim=1) / size
        )  # layers of any width compare
    total = sum(len(score) for score in scores)
    remove = options.amount if isinstance(options.amount, int) else round(options.amount * total)
    if remove >= total:
        raise StageError("prune", f"amount {options.amount} removes all {total} channels")
    removed = set(torch.cat(scores).argsort()[:remove].tolist())
    start = 0
    for (layer, name), score in zip(parameters, scores, strict=True):
        keep = torch.tensor([start + index not in removed for index in range(len(score))])
        start += len(score)
        if not keep.any():  # a layer without channels would cut the network in two
            keep[score.argmax()] = True
        weight = getattr(layer, name)
        shape = [1] * weight.dim()
        shape[options.dim] = len(score)
        prune.custom_from_mask(layer, name, keep.to(weight.dtype).view(shape).expand_as(weight))


def _register(method: str, options: type[PruneOptions]) -> None:
    def apply(model: Model, options: Any, context: Context) -> Model:
        return _apply(model, options, context, method)

    STEPS.add(f"prune:{method}", Step("prune", method, ("torch",), options, apply, must="sparsify"))


_register("l1_unstructured", PruneOptions)
_register("random_unstructured", PruneOptions)
_register("ln_structured", StructuredOptions)
