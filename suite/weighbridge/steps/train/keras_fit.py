"""Training a tf_keras model on a case's train split: what the steps built on tfmot share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

from pydantic import Field

from weighbridge.contracts import Context, Options
from weighbridge.core.errors import StageError
from weighbridge.core.references import resolve
from weighbridge.environment.quiet import quiet
from weighbridge.formats import tf_runtime


class KerasTraining(Options):
    """How to fine-tune: on the split `train`, shuffled by the case's seed."""

    epochs: int = Field(1, ge=1)
    lr: float = Field(1e-3, gt=0)
    batch_size: int = Field(64, ge=1)
    optimizer: Literal["adam", "sgd"] = "adam"
    loss: str = Field(
        "cross_entropy", description="cross_entropy, mse, or file.py:function(targets, outputs)."
    )


def seed(context: Context) -> None:
    """Seed Python, numpy and TensorFlow."""
    tf_runtime.tf_keras().utils.set_random_seed(context.seed)


def fit(
    model: Any, options: KerasTraining, context: Context, step: str, callbacks: Sequence[Any] = ()
) -> None:
    """Train in place; raises `StageError` without targets, and when the loss is no longer finite."""
    library = tf_runtime.tf_keras()
    inputs, targets = context.data.split("train").arrays()
    if targets is None:
        raise StageError(step, "the train split has no targets")
    fed = inputs if isinstance(inputs, dict) else inputs[0] if len(inputs) == 1 else list(inputs)
    optimizers = {"adam": library.optimizers.Adam, "sgd": library.optimizers.SGD}
    with quiet():
        model.compile(
            optimizer=optimizers[options.optimizer](options.lr),
            loss=_loss(options.loss, model, context, step),
        )
    for epoch in range(options.epochs):
        with quiet():
            history = model.fit(
                fed,
                targets,
                initial_epoch=epoch,
                epochs=epoch + 1,
                batch_size=options.batch_size,
                verbose=0,
                callbacks=list(callbacks),
            )
        loss = float(history.history["loss"][-1])
        if not math.isfinite(loss):
            raise StageError(step, f"the loss became {loss} in epoch {epoch + 1}; lower `lr`")
        context.say(f"{step}: epoch {epoch + 1}/{options.epochs}, loss {loss:.4g}")


def steps_an_epoch(options: KerasTraining, context: Context) -> int:
    """How many optimizer steps one epoch takes: what tfmot's schedules count."""
    from weighbridge.core.data import count

    inputs, _ = context.data.split("train").arrays()
    return -(-count(inputs) // options.batch_size)


def _loss(name: str, model: Any, context: Context, step: str) -> Any:
    losses = tf_runtime.tf_keras().losses
    if name in ("cross_entropy", "mse") and len(model.outputs) > 1:
        raise StageError(
            step,
            f"the model has {len(model.outputs)} outputs ({', '.join(model.output_names)}), and `loss: {name}` is of one; write "
            "your own, `loss: file.py:function`, which is called with the targets and each output",
        )
    if name == "cross_entropy":
        return losses.SparseCategoricalCrossentropy(from_logits=not _ends_in_softmax(model))
    return losses.MeanSquaredError() if name == "mse" else resolve(name, context.folder, step)


def _ends_in_softmax(model: Any) -> bool:
    last = model.layers[-1]
    last = getattr(last, "layer", last)  # tfmot's wrappers hold the layer
    activation = getattr(last, "activation", None)
    return (
        type(last).__name__ == "Softmax"
        or "softmax" in str(getattr(activation, "__name__", activation)).lower()
    )
