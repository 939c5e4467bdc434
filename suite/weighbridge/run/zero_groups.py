"""Zeros that a prune step promised in groups (2:4, blocks): in the model after it, and in the file that ships.

Fine-tuning, export and quantization come in between. Names and layouts change with them, so a weight is looked for by its
name, and else among those of its shape.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from weighbridge.case.model import StepRef
from weighbridge.contracts import FORMATS, STEPS, Model, Step, StoredTensor, ZeroGroups
from weighbridge.core.errors import StageError
from weighbridge.core.zero_groups import views
from weighbridge.formats.opened import opened
from weighbridge.run.keys import make_key, surroundings

if TYPE_CHECKING:
    from weighbridge.contracts import Array
    from weighbridge.run.artifacts import Shipped
    from weighbridge.run.chain import Chain
    from weighbridge.run.workshop import Workshop


@dataclass(frozen=True)
class Grouped:
    """A weight that a step pruned: [outputs, inputs, positions], and how many of its groups keep to the promise."""

    name: str
    shape: tuple[int, int, int]
    kept: int


def check_made(step: Step, groups: ZeroGroups, before: Model, after: Model) -> None:
    """Raise `StageError` naming the weights that the step has changed otherwise than it promised."""
    wrong = []
    for old, new in _changed(before, after):
        was, now = old.values() != 0, new.values() != 0
        pairs = zip(views(was, old.use.layout), views(now, new.use.layout), strict=True)
        if not any(groups.fit(*now.shape[:2]) and _as_promised(groups, was, now) for was, now in pairs):
            wrong.append(new.name)
    if wrong:
        raise StageError(
            step.kind,
            f"the step promised {groups} and left other zeros in {', '.join(wrong)}",
            f"{step.kind}: {step.method}",
        )


def check_shipped(shop: Workshop, chain: Chain, candidate: Shipped, recipe: Sequence[StepRef]) -> None:
    """Raise `StageError` for the first step of the recipe whose groups are not those of the artifact any more."""
    for number, ref in enumerate(recipe):
        zeros = STEPS.get(ref.key).zeros
        groups = zeros(ref.options) if zeros else None
        if groups is None:
            continue
        key = f"result-{make_key('zero groups', candidate.key, number, surroundings())}"
        if shop.store.find(key) is not None:
            continue
        shop.enter("save", f"{groups} in the artifact", ref.line)
        promised = list(promised_by(groups, chain.input_of(number), chain.output_of(number)))
        missing = lost(groups, promised, opened(candidate.artifact))
        if missing:
            raise StageError(
                ref.kind,
                f"the artifact has not kept {groups}: {'; '.join(missing)}. A step after this one, or the conversion, has "
                "filled or moved the zeros",
                str(ref),
            )
        shop.store.keep(key, {"held": True})


def promised_by(groups: ZeroGroups, before: Model, after: Model) -> Iterator[Grouped]:
    """The weights that a step has pruned, as it left them."""
    for _, new in _changed(before, after):
        for view in views(new.values() != 0, new.use.layout):
            if groups.fit(*view.shape[:2]):
                yield Grouped(new.name, _shape(view), groups.kept(view))
                break


def lost(groups: ZeroGroups, promised: Sequence[Grouped], artifact: Model) -> list[str]:
    """What is missing in `artifact` of the weights that were `promised`, a phrase each."""
    shipped = [
        tensor
        for tensor in FORMATS.get(artifact.format).tensors(artifact)
        if tensor.array.ndim > 1 and not tensor.unread
    ]
    missing, renamed = [], []
    for weight in promised:
        own = [tensor for tensor in shipped if tensor.name == weight.name and _of_shape(tensor, weight)]
        if not own:
            renamed.append(weight)
            continue
        shipped.remove(own[0])
        kept = _kept(groups, own[0], weight)
        if kept < weight.kept:
            missing.append(f"{weight.name} keeps to it in {kept:,} groups, {weight.kept:,} were made")
    for weight in sorted(renamed, key=lambda weight: -weight.kept):
        alike = sorted(
            ((_kept(groups, tensor, weight), number) for number, tensor in enumerate(shipped)
             if _of_shape(tensor, weight)), reverse=True,
        )  # fmt: skip
        if alike and alike[0][0] >= weight.kept:
            del shipped[alike[0][1]]
        elif alike:
            missing.append(f"{weight.name} keeps to it in {alike[0][0]:,} groups, {weight.kept:,} were made")
        else:
            missing.append(f"no weight of {' x '.join(map(str, weight.shape))} is left of {weight.name}")
    return missing


def _changed(before: Model, after: Model) -> Iterator[tuple[StoredTensor, StoredTensor]]:
    """The weights of which the step has set some to zero."""
    there = {tensor.name: tensor for tensor in FORMATS.get(before.format).tensors(before)}
    for new in FORMATS.get(after.format).tensors(after):
        old = there.get(new.name)
        if old is None or old.array.shape != new.array.shape or new.array.ndim < 2 or new.unread:
            continue
        if new.nonzero() < old.nonzero():
            yield old, new


def _as_promised(groups: ZeroGroups, was: Array, now: Array) -> bool:
    """`every` group holds few enough; else those that lost something, and nothing but whole groups went."""
    left = groups.counts(now)
    looked_at = left >= 0 if groups.every else left < groups.counts(was)
    return bool((left[looked_at] <= groups.nonzero).all())


def _shape(view: Array) -> tuple[int, int, int]:
    outputs, inputs, *positions = view.shape
    return outputs, inputs, math.prod(positions)


def _of_shape(tensor: StoredTensor, weight: Grouped) -> bool:
    return any(_shape(view) == weight.shape for view in views(tensor.array, tensor.use.layout))


def _kept(groups: ZeroGroups, tensor: StoredTensor, weight: Grouped) -> int:
    nonzero = tensor.values() != 0
    return max(
        groups.kept(view) for view in views(nonzero, tensor.use.layout) if _shape(view) == weight.shape
    )
