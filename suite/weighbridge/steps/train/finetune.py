"""Fine-tuning between the steps: the zeros of an earlier pruning stay zero."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field, model_validator

from weighbridge.contracts import STEPS, Context, Model, Step
from weighbridge.steps.torch_layers import working_copy
from weighbridge.steps.train.early_stop import HeldOut
from weighbridge.steps.train.training import Objective, TrainingOptions, supervised, train

if TYPE_CHECKING:
    import torch


Masks = Mapping[str, "tuple[torch.Tensor, torch.Tensor]"]
"""By name, a weight and where its zeros are."""


class FinetuneOptions(TrainingOptions):
    tunes: ClassVar = {"epochs": (1, 2, 3, 5), "lr": (3e-4, 1e-3, 3e-3, 1e-2)}
    patience: int | None = Field(
        None,
        ge=1,
        description="Ends where so many epochs have not lowered the loss on the held-out share; the best epoch is kept.",
    )
    hold_out: float = Field(
        0.1, gt=0, lt=1, description="With `patience`: share of the train split that is not trained on."
    )

    @model_validator(mode="after")
    def _belong_together(self) -> FinetuneOptions:
        if "hold_out" in self.model_fields_set and self.patience is None:
            raise ValueError("`hold_out` is for `patience`, which is not given")
        return self


def finetune(model: Model, options: FinetuneOptions, context: Context) -> Model:
    """Train on the split `train`; see `training.train`, whose errors it raises."""
    return trained(
        model, options, context, lambda module: supervised(module, options.loss, context, "finetune")
    )


def trained(
    model: Model,
    options: FinetuneOptions,
    context: Context,
    objective: Callable[[torch.nn.Module], Objective],
    within: Callable[[torch.nn.Module], AbstractContextManager[Any]] = nullcontext,
) -> Model:
    """A copy of the module, trained `within` what changes it for the while, to lower what `objective` makes of it.

    Zeros that a step or a checkpoint put into a weight stay; those that the model's code initialized it with are trained.
    """
    module = working_copy(model, "finetune", kinds=("mask", "hook"))
    masks = pruned_weights(module, model.source.get("zeros", {}))
    notes = [f"the zeros of {', '.join(masks)} were kept"] if masks else []
    aim = objective(module)
    with within(module):
        best = None
        if options.patience is not None:
            best = HeldOut(module, options, context, aim, options.hold_out, options.patience)
        train(
            module,
            options,
            context,
            "finetune",
            objective=aim,
            chosen=best.trained if best else None,
            after_batch=lambda done: keep_zeros(masks),
            after_epoch=best.is_over if best else None,
            parts={"held_out": best} if best else None,
        )
        if best is not None:
            notes.append(best.restore())
    return Model("torch", module.eval(), model.source, (*model.notes, *notes))


def keep_zeros(masks: Masks) -> None:
    """Set to zero what was, in place."""
    import torch

    with torch.no_grad():
        for weight, zero in masks.values():
            weight.masked_fill_(zero, 0)


def pruned_weights(module: torch.nn.Module, initial: Mapping[str, int]) -> Masks:
    """The weights that were pruned, each with a mask of its zeros.

    A weight has not been pruned where it holds as many zeros as the model's code gave it (`initial`), nor where it is
    nothing but zeros, as a new head may be.
    """
    found: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}
    for name, weight in module.named_parameters():
        zero = weight.detach() == 0
        count = int(zero.sum())
        if weight.dim() > 1 and count not in (0, initial.get(name), weight.numel()):
            found[name] = (weight, zero)
    return found


STEPS.add(
    "finetune:supervised",
    Step(
        "finetune",
        "supervised",
        ("torch",),
        FinetuneOptions,
        finetune,
        must="change",
        splits=("train",),
        default=True,
    ),
)
