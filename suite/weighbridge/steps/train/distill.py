"""Distillation: the model learns from the original, whose outputs for a sample tell more than its label does.

Hinton, Vinyals & Dean, Distilling the Knowledge in a Neural Network, 2015: soft targets at a temperature, their gradients
scaled by its square so that `alpha` means the same at every temperature.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field, model_validator

from weighbridge.contracts import STEPS, Array, Context, Inputs, Model, Step
from weighbridge.core.errors import StageError
from weighbridge.core.references import resolve
from weighbridge.steps.train.finetune import FinetuneOptions, trained
from weighbridge.steps.train.training import Objective, forward, supervised

if TYPE_CHECKING:
    import torch

_SOFT = {"cross_entropy": "kl"}
"""The soft loss that goes with a loss; `mse` with every other."""


class DistillOptions(FinetuneOptions):
    tunes: ClassVar = {}
    alpha: float = Field(
        0.5,
        ge=0,
        lt=1,
        description="Weight of `loss`, on the labels, beside the soft loss; 0 needs no labels.",
    )
    soft_loss: str | None = Field(
        None,
        description="kl or mse, of the first output and the original's; or file.py:function(outputs, original_outputs). "
        "kl where `loss` is cross_entropy, else mse.",
    )
    temperature: float = Field(
        2.0, gt=0, description="Of kl: softens both outputs, so that unlikely classes count."
    )

    @model_validator(mode="after")
    def _has_a_temperature(self) -> DistillOptions:
        if "temperature" in self.model_fields_set and self.soft != "kl":
            raise ValueError(f"`temperature` is for `soft_loss: kl`, and it is {self.soft}")
        return self

    @property
    def soft(self) -> str:
        return self.soft_loss or _SOFT.get(self.loss, "mse")


def distill(model: Model, options: DistillOptions, context: Context) -> Model:
    """Train on the split `train` as `finetune: supervised` does, towards the original's outputs too.

    Raises `StageError` where the outputs of both do not fit each other, and where there is nothing to learn from.
    """
    assert context.original is not None  # the step compares
    teacher = context.original.value
    if options.alpha == 0 and _same(teacher, model.value):
        raise StageError(
            "finetune",
            "the model is still the original, so with `alpha: 0` there is nothing to learn from it: put `finetune: distill` "
            "after the step that changes the model, or give the labels a weight",
        )
    soft = _soft_loss(options, context)

    def objective(module: torch.nn.Module) -> Objective:
        labels = supervised(module, options.loss, context, "finetune") if options.alpha else None

        def of(inputs: Inputs, outputs: Any, targets: Array | None) -> Any:
            loss = (1 - options.alpha) * soft(outputs, _outputs(teacher, inputs))
            return loss if labels is None else loss + options.alpha * labels(inputs, outputs, targets)

        return of

    return trained(model, options, context, objective)


def _outputs(teacher: torch.nn.Module, inputs: Inputs) -> Any:
    """What the original gives, which is not trained."""
    import torch

    with torch.no_grad():
        return forward(teacher, inputs)


def _same(teacher: torch.nn.Module, module: torch.nn.Module) -> bool:
    import torch

    own, other = teacher.state_dict(), module.state_dict()
    return own.keys() == other.keys() and all(
        not isinstance(value, torch.Tensor) or torch.equal(value, other[name]) for name, value in own.items()
    )


def _soft_loss(options: DistillOptions, context: Context) -> Callable[[Any, Any], Any]:
    """Of the module's and the original's outputs; raises `StageError` where the user's own is not found."""
    from weighbridge.engines.torch_eager import leaves

    if options.soft not in ("kl", "mse"):
        own: Callable[[Any, Any], Any] = resolve(options.soft, context.folder, "finetune")
        return own

    def of(outputs: Any, wanted: Any) -> Any:
        student, original = leaves(outputs)[0], leaves(wanted)[0]
        if student.shape != original.shape:
            raise StageError(
                "finetune",
                f"the original's first output is {list(original.shape)} and this model's {list(student.shape)}, which "
                "cannot be held against each other: write a `soft_loss: file.py:function`, or take `finetune: supervised`",
            )
        return (
            _kl(student, original, options.temperature) if options.soft == "kl" else _mse(student, original)
        )

    return of


def _kl(student: torch.Tensor, original: torch.Tensor, temperature: float) -> torch.Tensor:
    """Kullback-Leibler divergence of scores [samples, classes, …], its mean over all but the classes."""
    if student.dim() < 2 or student.shape[1] < 2:
        raise StageError(
            "finetune",
            f"an output of shape {list(student.shape)} has no two classes along axis 1 to compare: take `soft_loss: mse`",
        )
    found = (student / temperature).log_softmax(1)
    wanted = (original.to(student.dtype) / temperature).log_softmax(1)
    return temperature**2 * (wanted.exp() * (wanted - found)).sum(1).mean()


def _mse(student: torch.Tensor, original: torch.Tensor) -> torch.Tensor:
    import torch

    return torch.nn.functional.mse_loss(student, original.to(student.dtype))


STEPS.add(
    "finetune:distill",
    Step(
        "finetune",
        "distill",
        ("torch",),
        DistillOptions,
        distill,
        must="change",
        splits=("train",),
        compares=True,
    ),
)
