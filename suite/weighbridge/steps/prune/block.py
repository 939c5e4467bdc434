"""Block sparsity: the blocks of a weight that are smallest as a whole become zeros. Narang et al., 2017."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from weighbridge.contracts import STEPS, Context, Model, Step, ZeroGroups
from weighbridge.core.zero_groups import as_rows, as_stored
from weighbridge.steps.prune.n_m import fit
from weighbridge.steps.prune.options import PruneOptions
from weighbridge.steps.prune.ranking import rank
from weighbridge.steps.prune.weights import open_weights, pruned

if TYPE_CHECKING:
    from weighbridge.contracts import Array

_Side = Annotated[int, Field(ge=1)]


class BlockOptions(PruneOptions):
    size: tuple[_Side, _Side] = Field(
        (1, 4), strict=False, description="Of a block: outputs by inputs, at one position of a kernel."
    )
    norm: Literal["l1", "l2", "max"] = Field("l2", description="What a block is worth.")


def block_groups(options: BlockOptions) -> ZeroGroups:
    rows, columns = options.size
    return ZeroGroups(rows, columns, nonzero=0, every=False)


def block(model: Model, options: BlockOptions, context: Context) -> Model:
    """A copy with the blocks of the smallest norm set to zero. Layers that are not made of whole ones are left, and named.

    Raises `StageError` where there is no other, or the amount does not fit.
    """
    import numpy as np

    groups = block_groups(options)
    opened = open_weights(model, options)
    weights, notes = fit(opened, groups)
    scores = {
        weight.label: _norms(as_rows(abs(weight.numbers), weight.layout), groups, options.norm)
        for weight in weights
    }
    kept, more = rank(scores, options, "blocks")
    masks = []
    for weight in weights:
        by_rows = np.repeat(np.repeat(kept[weight.label], groups.rows, axis=0), groups.columns, axis=1)
        masks.append((weight, as_stored(by_rows, weight.layout)))
    return pruned(opened, masks, [*notes, *more])


def _norms(rows: Array, groups: ZeroGroups, norm: str) -> Array:
    """Of each block, [outputs / rows, inputs / columns, …]; the order of l2 is that of its square."""
    split = groups.split(rows)
    norms: Array = (
        split.max(axis=(1, 3)) if norm == "max" else (split if norm == "l1" else split**2).sum(axis=(1, 3))
    )
    return norms


STEPS.add(
    "prune:block",
    Step(
        "prune",
        "block",
        ("torch", "onnx"),
        BlockOptions,
        block,
        must="sparsify",
        random=False,
        zeros=block_groups,
    ),
)
