"""Fine-tuning between the steps: the zeros of an earlier pruning stay zero."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from weighbridge.contracts import STEPS, Array, Context, Inputs, Model, Options, Step
from weighbridge.core.batches import count, describe, not_finite
from weighbridge.core.errors import StageError
from weighbridge.core.references import resolve
from weighbridge.core.targets import class_numbers
from weighbridge.environment.one_thread import one_thread
from weighbridge.steps.torch_layers import working_copy

if TYPE_CHECKING:
    import torch


class FinetuneOptions(Options):
    tunes: ClassVar = {"epochs": (1, 2, 3, 5), "lr": (3e-4, 1e-3, 3e-3, 1e-2)}
    epochs: int = Field(1, ge=1)
    lr: float = Field(1e-3, gt=0)
    batch_size: int = Field(
        64, ge=1, description="A last batch of one sample joins the one before it: no statistics of one."
    )
    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    weight_decay: float = Field(0.0, ge=0)
    loss: str = Field(
        "cross_entropy",
        description="cross_entropy or mse, of the first output; or file.py:function(outputs, targets).",
    )


def finetune(model: Model, options: FinetuneOptions, context: Context) -> Model:
    """Train on the split `train`, shuffled by the case's seed, on one thread.

    Batches that the user's own loader makes are taken as they come, anew in each epoch. Zeros that a step or a
    checkpoint put into a weight stay; those that the model's code initialized it with are trained. Raises `StageError`
    where the loss is not finite, and where the module or the loss refuses a batch.
    """
    import torch

    torch.manual_seed(context.seed)
    module = working_copy(model, "finetune", kinds=("mask", "hook")).train()
    loss_function = loss_of(options.loss, context)
    split = context.data.split("train")
    masks = _pruned(module, model.source.get("zeros", {}))
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}[options.optimizer]
    optimizer = kind(module.parameters(), lr=options.lr, weight_decay=options.weight_decay)
    generator = torch.Generator().manual_seed(context.seed)
    with one_thread():
        for epoch in range(options.epochs):
            total = seen = 0.0
            for inputs, targets in split.epoch(
                options.batch_size, lambda n: torch.randperm(n, generator=generator).numpy()
            ):
                if targets is None:
                    raise StageError("finetune", "the train split has no targets")
                with _explained(options, inputs):
                    outputs = forward(module, inputs)
                    loss = loss_function(outputs, wanted(targets, options.loss, module))
                if not torch.isfinite(loss):
                    raise StageError(
                        "finetune", f"the loss became {loss.item()} in epoch {epoch + 1}; {_why(inputs)}"
                    )
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                with torch.no_grad():
                    for weight, zero in masks.values():
                        weight.masked_fill_(zero, 0)
                total += loss.item() * len(targets)
                seen += len(targets)
            context.say(f"finetune: epoch {epoch + 1}/{options.epochs}, loss {total / seen:.4g}")
    kept = (f"the zeros of {', '.join(masks)} were kept",) if masks else ()
    return Model("torch", module.eval(), model.source, (*model.notes, *kept))


def _pruned(
    module: torch.nn.Module, initial: Mapping[str, int]
) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
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


def forward(module: Any, inputs: Inputs) -> Any:
    """What the module gives for a batch, with its gradients."""
    from weighbridge.engines.torch_eager import float_type, to_tensors

    tensors = to_tensors(inputs, floats=float_type(module))
    return module(**tensors) if isinstance(tensors, dict) else module(*tensors)


def wanted(targets: Array, loss: str, module: Any) -> Any:
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


@contextlib.contextmanager
def _explained(options: FinetuneOptions, inputs: Inputs) -> Iterator[None]:
    """What the module or the loss raises for a batch, with the option that mends it."""
    try:
        yield
    except StageError:
        raise
    except Exception as error:  # the module and the loss are the user's code
        text = f"{type(error).__name__}: {error}"
        if count(inputs) == 1:
            raise StageError(
                "finetune",
                "a batch of one sample cannot be trained on, as with batch normalization: choose another `batch_size` "
                f"(now {options.batch_size}), let the loader drop its last batch, or give more samples ({text})",
            ) from error
        raise StageError(
            "finetune",
            f"{describe(inputs)} does not go through the model and `loss: {options.loss}`; a loss of your own is "
            f"written `loss: file.py:function` ({text})",
        ) from error


def loss_of(name: str, context: Context) -> Callable[[Any, Any], Any]:
    """`cross_entropy` and `mse` of the first output, or the user's own; raises `StageError` where that is not found."""
    import torch

    from weighbridge.engines.torch_eager import leaves

    functional = torch.nn.functional
    known: dict[str, Callable[[Any, Any], Any]] = {
        "cross_entropy": functional.cross_entropy,
        "mse": functional.mse_loss,
    }
    if name not in known:
        own: Callable[[Any, Any], Any] = resolve(name, context.folder, "finetune")
        return own
    return lambda outputs, targets: known[name](leaves(outputs)[0], targets)


STEPS.add(
    "finetune:supervised",
    Step("finetune", "supervised", ("torch",), FinetuneOptions, finetune, must="change", splits=("train",)),
)
