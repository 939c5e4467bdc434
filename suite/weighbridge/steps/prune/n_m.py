"""N:M sparsity: of every m weights along the inputs at most n are not zero. Mishra et al., 2021, for 2:4.

Processors with kernels for it gain; a CPU has none here, and multiplies by all m.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator, Field

from weighbridge.contracts import STEPS, Context, Model, Step, ZeroGroups
from weighbridge.core.errors import StageError
from weighbridge.core.zero_groups import as_rows, as_stored
from weighbridge.steps.prune.weights import Opened, Weight, open_weights, pruned
from weighbridge.steps.selection import LayerOptions

if TYPE_CHECKING:
    from weighbridge.contracts import Array


def _removes_some(value: str) -> str:
    n, m = map(int, value.split(":"))
    if n >= m:
        raise ValueError(f"{n} of every {m} weights are all of them; 2:4 keeps 2 of every 4")
    return value


Pattern = Annotated[str, Field(pattern=r"^[1-9]\d*:[1-9]\d*$"), AfterValidator(_removes_some)]


class NMOptions(LayerOptions):
    pattern: Pattern = Field(
        "2:4", description="n:m, such as 2:4 or 4:8: of every m weights along the inputs the n largest stay."
    )


def pattern_groups(pattern: str) -> ZeroGroups:
    n, m = map(int, pattern.split(":"))
    return ZeroGroups(rows=1, columns=m, nonzero=n, every=True)


def n_m(model: Model, options: NMOptions, context: Context) -> Model:
    """A copy in which every chosen layer has the pattern. Layers that it does not fit are left, and named.

    Raises `StageError` where it fits none.
    """
    groups = pattern_groups(options.pattern)
    opened = open_weights(model, options)
    fitting, notes = fit(opened, groups)
    kept = [
        (weight, as_stored(largest(as_rows(abs(weight.numbers), weight.layout), groups), weight.layout))
        for weight in fitting
    ]
    return pruned(opened, kept, notes)


def fit(opened: Opened, groups: ZeroGroups) -> tuple[list[Weight], list[str]]:
    """The weights that are made of whole groups, and what is to be said of the others.

    Raises `StageError` where there is none.
    """
    odd, unknown, fitting = [], [], []
    for weight in opened.weights:
        outputs, inputs = weight.group
        if not weight.layout:
            unknown.append(weight.label)
        elif groups.fit(outputs, inputs):
            fitting.append(weight)
        else:
            odd.append(f"{weight.label} ({outputs} outputs, {inputs} inputs)")
    notes = []
    if odd:
        notes.append(f"{', '.join(odd)} cannot take {groups}: left as it was")
    if unknown:
        notes.append(
            f"{', '.join(unknown)}: left as it was, since which of its axes the inputs are is not known, or not the same for "
            "all that read it"
        )
    if not fitting:
        raise StageError("prune", f"no chosen layer can take {groups}: {'; '.join(notes)}")
    return fitting, notes


def largest(scores: Array, groups: ZeroGroups) -> Array:
    """True for the `nonzero` largest scores of each group; `scores` and what is given are [outputs, inputs, …]."""
    import numpy as np

    order = np.argsort(-groups.split(scores), axis=3, kind="stable")
    places = np.argsort(order, axis=3, kind="stable")
    kept: Array = (places < groups.nonzero).reshape(scores.shape)
    return kept


STEPS.add(
    "prune:n_m",
    Step(
        "prune",
        "n_m",
        ("torch", "onnx"),
        NMOptions,
        n_m,
        must="sparsify",
        random=False,
        zeros=lambda options: pattern_groups(options.pattern),
    ),
)
