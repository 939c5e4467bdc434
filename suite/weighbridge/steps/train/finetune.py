"""Fine-tuning between the steps: the zeros of an earlier pruning stay zero."""

from __future__ import annotations

import copy
from typing import Any, Literal

from pydantic import Field

from weighbridge.contracts import STEPS, Array, Context, Inputs, Model, Options, Step
from weighbridge.core.batches import count, describe, not_finite
from weighbridge.core.errors import StageError
from weighbridge.core.references import resolve
from weighbridge.core.targets import class_numbers


class FinetuneOptions(Options):
    epochs: int = Field(1, ge=1)
    lr: float = Field(1e-3, gt=0)
    batch_size: int = Field(64, ge=1)
    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    weight_decay: float = Field(0.0, ge=0)
    loss: str = Field(
        "cross_entropy", description="cross_entropy, mse, or file.py:function(outputs, targets)."
    )


def finetune(model: Model, options: FinetuneOptions, context: Context) -> Model:
    """Train on the split `train`, shuffled by the case's seed, one thread; raises `StageError` when the loss is not finite.

    Batches that the user's own loader makes are taken as they come, anew in each epoch.
    """
    import torch

    torch.manual_seed(context.seed)
    module = copy.deepcopy(model.value).train()
    loss_function = _loss(options.loss, context)
    split = context.data.split("train")
    masks = [(weight, weight != 0) for weight in module.parameters() if weight.dim() > 1]
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}[options.optimizer]
    optimizer = kind(module.parameters(), lr=options.lr, weight_decay=options.weight_decay)
    generator = torch.Generator().manual_seed(context.seed)
    for epoch in range(options.epochs):
        total = seen = 0.0
        for inputs, targets in split.epoch(
            options.batch_size, lambda n: torch.randperm(n, generator=generator).numpy()
        ):
            if targets is None:
                raise StageError("finetune", "the train split has no targets")
            outputs = _forward(module, inputs)
            loss = loss_function(outputs, _wanted(targets, options.loss, module))
            if not torch.isfinite(loss):
                raise StageError(
                    "finetune", f"the loss became {loss.item()} in epoch {epoch + 1}; {_why(inputs)}"
                )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            with torch.no_grad():
                for weight, mask in masks:
                    weight.mul_(mask)
            total += loss.item() * len(targets)
            seen += len(targets)
        context.say(f"finetune: epoch {epoch + 1}/{options.epochs}, loss {total / seen:.4g}")
    return Model("torch", module.eval(), model.source)


def _forward(module: Any, inputs: Inputs) -> Any:
    """The module's outputs, with gradients; raises `StageError` that names the batch where it raises."""
    from weighbridge.engines.torch_eager import float_type, to_tensors

    tensors = to_tensors(inputs, floats=float_type(module))
    try:
        return module(**tensors) if isinstance(tensors, dict) else module(*tensors)
    except Exception as error:  # whatever the user's own forward raises
        if count(inputs) == 1:
            raise StageError(
                "finetune",
                "a batch of one sample cannot be trained on, as with batch normalization: choose another `batch_size`, "
                f"or let the loader drop its last batch ({type(error).__name__}: {error})",
            ) from error
        raise StageError(
            "finetune", f"the module does not run on {describe(inputs)}: {type(error).__name__}: {error}"
        ) from error


def _wanted(targets: Array, loss: str, module: Any) -> Any:
    """Targets in the type that a loss takes: class numbers in 64 bits, other numbers in the module's type."""
    import torch

    from weighbridge.engines.torch_eager import float_type

    if loss == "cross_entropy" and (targets.ndim == 1 or targets.shape[1:] == (1,)):
        targets = class_numbers(targets, "loss 'cross_entropy'")
    wanted = torch.as_tensor(targets)
    return wanted.to(float_type(module)) if wanted.is_floating_point() else wanted.long()


def _why(inputs: Inputs) -> str:
    broken = int(not_finite(inputs).sum())
    return f"{broken} samples of the batch hold NaN or infinity" if broken else "lower `lr`"


def _loss(name: str, context: Context) -> Any:
    import torch

    known = {"cross_entropy": torch.nn.functional.cross_entropy, "mse": torch.nn.functional.mse_loss}
    if name in known:
        return known[name]
    return resolve(name, context.folder, "finetune")


STEPS.add(
    "finetune:supervised",
    Step("finetune", "supervised", ("torch",), FinetuneOptions, finetune, must="change", splits=("train",)),
)
