"""Fine-tuning between the steps: the zeros of an earlier pruning stay zero."""

from __future__ import annotations

import copy
from typing import Any, Literal

from pydantic import Field

from weighbridge.contracts import STEPS, Context, Model, Options, Step
from weighbridge.core.errors import StageError
from weighbridge.core.references import resolve


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
    """Train on the split `train`, shuffled by the case's seed, one thread; raises `StageError` when the loss is not finite."""
    import torch

    from weighbridge.engines.torch_eager import to_tensors

    torch.manual_seed(context.seed)
    module = copy.deepcopy(model.value).train()
    loss_function = _loss(options.loss, context)
    inputs, targets = context.data.split("train").arrays()
    if targets is None:
        raise StageError("finetune", "the train split has no targets")
    tensors, wanted = to_tensors(inputs), torch.as_tensor(targets)
    masks = [(weight, weight != 0) for weight in module.parameters() if weight.dim() > 1]
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}[options.optimizer]
    optimizer = kind(module.parameters(), lr=options.lr, weight_decay=options.weight_decay)
    generator = torch.Generator().manual_seed(context.seed)
    for epoch in range(options.epochs):
        total = 0.0
        for indices in torch.randperm(len(wanted), generator=generator).split(options.batch_size):
            if isinstance(tensors, dict):
                outputs = module(**{name: tensor[indices] for name, tensor in tensors.items()})
            else:
                outputs = module(*(tensor[indices] for tensor in tensors))
            loss = loss_function(outputs, wanted[indices])
            if not torch.isfinite(loss):
                raise StageError(
                    "finetune", f"the loss became {loss.item()} in epoch {epoch + 1}; lower `lr`"
                )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            with torch.no_grad():
                for weight, mask in masks:
                    weight.mul_(mask)
            total += loss.item() * len(indices)
        context.say(f"finetune: epoch {epoch + 1}/{options.epochs}, loss {total / len(wanted):.4g}")
    return Model("torch", module.eval(), model.source)


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
