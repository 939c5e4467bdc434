"""tfmot's `prune_low_magnitude`: weights set to zero while a Keras model is trained, by a schedule or as
2:4.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from weighbridge.contracts import STEPS, Context, Model, Step
from weighbridge.core.errors import StageError
from weighbridge.environment.extras import TENSORFLOW, TF_KERAS, TFMOT, load
from weighbridge.environment.quiet import quiet
from weighbridge.formats import tf_runtime
from weighbridge.formats.keras_generations import to_tf_keras
from weighbridge.formats.keras_model import named_weights
from weighbridge.steps.train.keras_fit import KerasTraining, fit, seed, steps_an_epoch

_SAMPLES = 8
_REGISTRY = "tensorflow_model_optimization.python.core.sparsity.keras.prune_registry"
"""Which layers tfmot prunes; no public path leads there."""


class LowMagnitudeOptions(KerasTraining):
    """`constant` removes the whole amount at once; `polynomial_decay` approaches it over the training."""

    amount: float = Field(0.5, gt=0, lt=1, description="The fraction of each layer's weights to remove.")
    schedule: Literal["constant", "polynomial_decay"] = "constant"
    initial: float = Field(0.0, ge=0, lt=1, description="Of polynomial_decay: the fraction at its begin.")
    begin_step: int = Field(0, ge=0, description="The training step (batch) at which pruning begins.")
    end_step: int | None = Field(
        None, ge=1, description="Of polynomial_decay: where it ends; 3/4 of the training without it."
    )
    frequency: int = Field(10, ge=1, description="Training steps between two prunings.")
    pattern: Literal["2:4"] | None = Field(
        None, description="Two zeros in every four weights along the input channels."
    )

    @model_validator(mode="after")
    def _consistent(self) -> LowMagnitudeOptions:
        if self.pattern and self.amount != 0.5:
            raise ValueError("pattern: 2:4 removes one half; leave `amount` out")
        if self.schedule == "constant" and {"initial", "end_step"} & self.model_fields_set:
            raise ValueError("`initial` and `end_step` belong to schedule: polynomial_decay")
        if self.initial >= self.amount:
            raise ValueError("`initial` must be below `amount`")
        return self


def low_magnitude(model: Model, options: LowMagnitudeOptions, context: Context) -> Model:
    """Prune while training, then strip tfmot's wrappers, so that a plain tf_keras model goes on.

    Raises `StageError` where the training is too short for the schedule, or tfmot refuses a layer.
    """
    toolkit = tf_runtime.tfmot().sparsity.keras
    steps = steps_an_epoch(options, context) * options.epochs
    if options.begin_step >= steps:
        raise StageError(
            "prune",
            f"begin_step {options.begin_step} lies behind the training's {steps} steps; raise `epochs`",
        )
    seed(context)
    source = to_tf_keras(model.value, context.data.sample(_SAMPLES), "prune")
    pattern = tuple(int(part) for part in options.pattern.split(":")) if options.pattern else None
    try:
        with quiet():
            wrapped = toolkit.prune_low_magnitude(
                source, pruning_schedule=_schedule(toolkit, options, steps), sparsity_m_by_n=pattern,
                pruning_policy=_policy(toolkit),
            )  # fmt: skip
    except ValueError as error:
        raise StageError("prune", f"tfmot refuses the model: {error}") from error
    fit(wrapped, options, context, "prune", [toolkit.UpdatePruningStep()])
    with quiet():
        stripped = toolkit.strip_pruning(wrapped)
    return Model("keras", stripped, notes=(*model.notes, *_left_dense(source, stripped, options)))


def _policy(toolkit: Any) -> Any:
    """Leave alone what tfmot has no wrapper for and what is not trained either: preprocessing, such as Rescaling."""
    registry = load(TFMOT, _REGISTRY).PruneRegistry

    class Trained(toolkit.PruningPolicy):  # type: ignore[misc]
        def allow_pruning(self, layer: Any) -> bool:
            return bool(layer.trainable_weights) or registry.supports(layer)

        def ensure_model_supports_pruning(self, model: Any) -> None:
            """Every model that `to_tf_keras` gives does."""

    return Trained()


def _schedule(toolkit: Any, options: LowMagnitudeOptions, steps: int) -> Any:
    # A frequency above the number of steps would never prune.
    frequency = min(options.frequency, max(1, steps // 4))
    if options.schedule == "constant":
        return toolkit.ConstantSparsity(options.amount, options.begin_step, frequency=frequency)
    end = options.end_step or max(options.begin_step + 1, steps * 3 // 4)
    if end >= steps:
        raise StageError("prune", f"end_step {end} lies behind the training's {steps} steps; raise `epochs`")
    return toolkit.PolynomialDecay(
        options.initial, options.amount, options.begin_step, end, frequency=frequency
    )


def _left_dense(source: Any, stripped: Any, options: LowMagnitudeOptions) -> list[str]:
    """tfmot says nothing of kernels that the 2:4 pattern does not fit; this does."""
    import numpy as np

    if options.pattern is None:
        return []
    dense = [
        name for name, variable in named_weights(stripped)
        if len(variable.shape) > 1 and np.count_nonzero(variable.numpy()) == variable.numpy().size
    ]  # fmt: skip
    return [f"the pattern {options.pattern} does not fit {', '.join(dense)}, left dense"] if dense else []


STEPS.add(
    "prune:low_magnitude",
    Step(
        "prune",
        "low_magnitude",
        ("keras",),
        LowMagnitudeOptions,
        low_magnitude,
        must="sparsify",
        splits=("train",),
        requires=(TENSORFLOW, TF_KERAS, TFMOT),
    ),
)
