"""Training of torch modules, the same for every step that does it: batches, loss, optimizer, learning rate."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field

from weighbridge.contracts import Array, Context, Inputs, Options
from weighbridge.core.batches import count, describe, not_finite
from weighbridge.core.errors import StageError, did_you_mean
from weighbridge.core.references import resolve
from weighbridge.core.targets import Reader, class_numbers, numbers
from weighbridge.environment.one_thread import one_thread
from weighbridge.steps.train.checkpoint import Checkpoint, Drawing, Passed, Stateful, Unreadable, Unsaved

if TYPE_CHECKING:
    import torch


class TrainingOptions(Options):
    epochs: int = Field(1, ge=1)
    lr: float = Field(1e-3, gt=0)
    lr_schedule: Literal["constant", "cosine"] = Field(
        "constant", description="Of the learning rate after the warm-up: cosine falls to zero at the end."
    )
    warmup: float = Field(
        0.0, ge=0, lt=1, description="Share of the training in which the learning rate rises linearly."
    )
    batch_size: int = Field(
        64, ge=1, description="A last batch of one sample joins the one before it: no statistics of one."
    )
    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    weight_decay: float = Field(0.0, ge=0)
    loss: str = Field(
        "cross_entropy",
        description="cross_entropy or mse, of the first output; or file.py:function(outputs, targets).",
    )


Chosen = Callable[[int], "Array"]
"""Takes how many samples there are, and gives the numbers of those to train on."""
Objective = Callable[[Inputs, Any, "Array | None"], Any]
"""Takes a batch's inputs, the module's outputs for them and the targets; gives the loss to lower, of no dimensions."""


def train(
    module: torch.nn.Module,
    options: TrainingOptions,
    context: Context,
    stage: str,
    *,
    objective: Objective | None = None,
    chosen: Chosen | None = None,
    after_batch: Callable[[int], None] | None = None,
    after_epoch: Callable[[int], bool] | None = None,
    parts: Mapping[str, Stateful] | None = None,
) -> None:
    """Train `module` in place on the split `train`, shuffled by the case's seed, on one thread.

    Batches that the user's own loader makes are taken as they come, anew in each epoch. `objective` is `supervised` unless
    given. `after_batch` is told how many steps are done; the training ends where `after_epoch`, told the number of an epoch
    from 1 on, says so. A killed run is gone on with from the last whole epoch; `parts` are what else has a state by then.
    Raises `StageError` where the loss is not finite, where the module or the loss refuses a batch, and where every
    parameter is frozen.
    """
    import torch

    torch.manual_seed(context.seed)
    module.train()
    if not any(parameter.requires_grad for parameter in module.parameters()):
        raise StageError(stage, "there is nothing to train: the model has no parameter with `requires_grad`")
    objective = objective or supervised(module, options.loss, context, stage)
    split = context.data.split("train")
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}[options.optimizer]
    optimizer = kind(module.parameters(), lr=options.lr, weight_decay=options.weight_decay)
    generator = torch.Generator().manual_seed(context.seed)
    scheduled = options.lr_schedule != "constant" or options.warmup > 0
    steps = count_steps(options, context, chosen) if scheduled else 0

    def order(n: int) -> Array:
        own = np.arange(n) if chosen is None else chosen(n)
        shuffled: Array = own[torch.randperm(len(own), generator=generator).numpy()]
        return shuffled

    own = {"module": module, "unsaved": Unsaved(module), "optimizer": optimizer, "order": Drawing(generator)}
    checkpoint = Checkpoint(context.progress, {**own, **(parts or {})})
    try:
        passed = checkpoint.resume()
    except Unreadable as error:
        context.say(f"{stage}: begins anew, since {error}")
        passed = Passed()
    if passed.epochs:
        context.say(f"{stage}: goes on after epoch {passed.epochs}, where a run was ended")
    done = passed.batches
    with one_thread():
        for epoch in range(passed.epochs + 1, 1 + (0 if passed.over else options.epochs)):
            total = seen = 0.0
            module.train()
            for inputs, targets in split.epoch(options.batch_size, order):
                with _explained(options, inputs, stage):
                    loss = objective(inputs, forward(module, inputs), targets)
                if not torch.isfinite(loss):
                    raise StageError(stage, f"the loss became {loss.item()} in epoch {epoch}; {_why(inputs)}")
                for group in optimizer.param_groups if scheduled else ():
                    group["lr"] = options.lr * rate(options, done, steps)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                done += 1
                if after_batch is not None:
                    after_batch(done)
                total += loss.item() * count(inputs)
                seen += count(inputs)
            context.say(f"{stage}: epoch {epoch}/{options.epochs}, loss {total / seen:.4g}")
            over = after_epoch is not None and after_epoch(epoch)
            checkpoint.keep(Passed(epoch, done, over))
            if over:
                return


def supervised(module: torch.nn.Module, loss: str, context: Context, stage: str) -> Objective:
    """`loss`, as the option has it, of the outputs and the targets; raises `StageError` where there are none."""
    function = _loss_of(loss, context, stage)

    def of(inputs: Inputs, outputs: Any, targets: Array | None) -> Any:
        if targets is None:
            raise StageError(
                stage, "the train split has no targets; an autoencoder's are its inputs: give (x, x)"
            )
        return function(outputs, _wanted(targets, loss, module))

    return of


def rate(options: TrainingOptions, done: int, steps: int) -> float:
    """The learning rate of the step after `done` of `steps`, as a share of `lr`."""
    rising = round(options.warmup * steps)
    if done < rising:
        return (done + 1) / rising
    if options.lr_schedule == "constant":
        return 1.0
    return 0.5 + 0.5 * math.cos(math.pi * min(1.0, (done - rising) / max(1, steps - rising)))


def count_steps(options: TrainingOptions, context: Context, chosen: Chosen | None = None) -> int:
    """How many batches a whole training has; a loader that does not tell its length is read once more for it."""
    split = context.data.split("train")
    n = split.samples
    if n is not None and chosen is not None:
        n = len(chosen(n))
    return options.epochs * split.batches_an_epoch(options.batch_size, n)


def forward(module: Any, inputs: Inputs) -> Any:
    """What the module gives for a batch, with its gradients."""
    from weighbridge.engines.torch_eager import float_type, to_tensors

    tensors = to_tensors(inputs, floats=float_type(module))
    return module(**tensors) if isinstance(tensors, dict) else module(*tensors)


def _wanted(targets: Array, loss: str, module: Any) -> Any:
    """Targets in the type that a loss takes: class numbers in 64 bits, other numbers in the module's type."""
    import torch

    from weighbridge.engines.torch_eager import float_type

    if targets.dtype.names and ":" in loss:
        return {name: _wanted(targets[name].copy(), loss, module) for name in targets.dtype.names}
    reader = Reader("loss", loss)
    if loss == "cross_entropy" and (targets.ndim == 1 or targets.shape[1:] == (1,)):
        targets = class_numbers(targets, reader)
    elif loss == "cross_entropy" and targets.ndim == 2 and targets.dtype.kind == "f":
        class_numbers(
            targets, reader
        )  # several classes are refused; one-hot and shares of one torch takes as they are
    wanted = torch.as_tensor(targets if ":" in loss else numbers(targets, reader))
    return wanted.to(float_type(module)) if wanted.is_floating_point() else wanted.long()


def _why(inputs: Inputs) -> str:
    broken = int(not_finite(inputs).sum())
    return f"{broken} samples of the batch hold NaN or infinity" if broken else "lower `lr`"


@contextlib.contextmanager
def _explained(options: TrainingOptions, inputs: Inputs, stage: str) -> Iterator[None]:
    """What the module or the loss raises for a batch, with the option that mends it."""
    try:
        yield
    except StageError:
        raise
    except Exception as error:  # the module and the loss are the user's code
        text = f"{type(error).__name__}: {error}"
        if count(inputs) == 1:
            raise StageError(
                stage,
                "a batch of one sample cannot be trained on, as with batch normalization: choose another `batch_size` "
                f"(now {options.batch_size}), let the loader drop its last batch, or give more samples ({text})",
            ) from error
        raise StageError(
            stage,
            f"{describe(inputs)} does not go through the model and `loss: {options.loss}`; a loss of your own is "
            f"written `loss: file.py:function` ({text})",
        ) from error


def _loss_of(name: str, context: Context, stage: str) -> Callable[[Any, Any], Any]:
    """`cross_entropy` and `mse` of the first output, or the user's own; raises `StageError` where that is not found."""
    import torch

    from weighbridge.engines.torch_eager import leaves

    functional = torch.nn.functional
    known: dict[str, Callable[[Any, Any], Any]] = {
        "cross_entropy": functional.cross_entropy,
        "mse": lambda output, targets: functional.mse_loss(output, _as_shaped(targets, output, stage)),
    }
    if name not in known:
        if ":" not in name:
            raise StageError(
                stage,
                f"unknown loss '{name}'{did_you_mean(name, known)}; a loss of your own is written `loss: file.py:function`",
            )
        own: Callable[[Any, Any], Any] = resolve(name, context.folder, stage)
        return own
    return lambda outputs, targets: known[name](leaves(outputs)[0], targets)


def _as_shaped(targets: torch.Tensor, output: torch.Tensor, stage: str) -> torch.Tensor:
    """Numbers for the output's numbers: torch would hold [n] against [n, 1] as each target against each output."""
    if [size for size in targets.shape if size != 1] != [size for size in output.shape if size != 1]:
        raise StageError(
            stage,
            f"the targets of a batch are {list(targets.shape)} and the first output {list(output.shape)}, which `loss: mse` "
            "cannot hold against each other: give targets of the output's shape, or write `loss: file.py:function`",
        )
    return targets.reshape(output.shape)
