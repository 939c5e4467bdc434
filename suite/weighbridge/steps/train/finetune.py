"""Fine-tuning between the steps: the zeros of an earlier pruning stay zero."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from weighbridge.contracts import STEPS, Context, Model, Options, Step
from weighbridge.core.errors import StageError
from weighbridge.core.references import resolve
from weighbridge.steps.torch_layers import working_copy

if TYPE_CHECKING:
    import torch


class FinetuneOptions(Options):
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

    Zeros that a step or a checkpoint put into a weight stay; those that the model's code initialized it with are
    trained. Raises `StageError` where the loss is not finite, and where the module or the loss refuses a batch.
    """
    import torch

    from weighbridge.engines.torch_eager import to_tensors

    torch.manual_seed(context.seed)
    module = working_copy(model, "finetune", kinds=("mask", "hook")).train()
    loss_function = _loss(options.loss, context)
    inputs, targets = context.data.split("train").arrays()
    if targets is None:
        raise StageError("finetune", "the train split has no targets")
    tensors, wanted = to_tensors(inputs), torch.as_tensor(targets)
    masks = _pruned(module, model.source.get("zeros", {}))
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}[options.optimizer]
    optimizer = kind(module.parameters(), lr=options.lr, weight_decay=options.weight_decay)
    generator = torch.Generator().manual_seed(context.seed)
    with _one_thread():
        for epoch in range(options.epochs):
            total = 0.0
            for indices in _batches(torch.randperm(len(wanted), generator=generator), options.batch_size):
                with _explained(options, len(indices)):
                    loss = loss_function(_forward(module, tensors, indices), wanted[indices])
                if not torch.isfinite(loss):
                    raise StageError(
                        "finetune", f"the loss became {loss.item()} in epoch {epoch + 1}; lower `lr`"
                    )
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                with torch.no_grad():
                    for weight, zero in masks.values():
                        weight.masked_fill_(zero, 0)
                total += loss.item() * len(indices)
            context.say(f"finetune: epoch {epoch + 1}/{options.epochs}, loss {total / len(wanted):.4g}")
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


def _batches(order: torch.Tensor, size: int) -> list[torch.Tensor]:
    """`order` in batches of `size`. A single last sample joins the batch before: it has no statistics of its own."""
    import torch

    batches = list(order.split(size))
    if len(batches) > 1 and size > 1 and len(batches[-1]) == 1:
        batches[-2:] = [torch.cat(batches[-2:])]
    return batches


def _forward(module: Any, tensors: Any, indices: torch.Tensor) -> Any:
    if isinstance(tensors, dict):
        return module(**{name: tensor[indices] for name, tensor in tensors.items()})
    return module(*(tensor[indices] for tensor in tensors))


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Two threads beside a busy neighbour wait for each other: 2.6 to 16 s were seen where one took 0.4."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextlib.contextmanager
def _explained(options: FinetuneOptions, size: int) -> Iterator[None]:
    """What the module or the loss raises for a batch, with the option that mends it."""
    try:
        yield
    except StageError:
        raise
    except Exception as error:  # the module and the loss are the user's code
        text = f"{type(error).__name__}: {error}"
        if "more than 1 value per channel" in str(error):
            raise StageError(
                "finetune",
                f"batch normalization has no statistics of a batch of {size}; raise `batch_size` (now "
                f"{options.batch_size}) or give the train split more samples ({text})",
            ) from error
        raise StageError(
            "finetune",
            f"a batch of {size} training samples does not go through the model and `loss: {options.loss}`; a loss "
            f"of your own is written `loss: file.py:function` ({text})",
        ) from error


def _loss(name: str, context: Context) -> Callable[[Any, Any], Any]:
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
