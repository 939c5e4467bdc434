"""What a quantize step promises about the weights, and whether its arithmetic and the artifact keep it.

Before each quantize step the pipeline puts the float weights aside; once the artifact stands, it is opened afresh,
read back, and compared with them and with what the recipe asked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weighbridge.case.steps import promising
from weighbridge.contracts import FORMATS, STEPS, Model, Step
from weighbridge.core.errors import ThresholdMissed
from weighbridge.core.results import Artifact
from weighbridge.environment.requirements import missing

if TYPE_CHECKING:
    from weighbridge.case.model import Case, StepRef
    from weighbridge.contracts import Array
    from weighbridge.numerics.quantizer import Quantizer
    from weighbridge.numerics.round_trip import ReadBack
    from weighbridge.numerics.schemes import Scheme

SAMPLE = 2**12
"""Numbers of a weight that go through every property. The read-back looks at all of them."""
DRAWN = 0.5
"""The part of the profile's examples that a case draws, all of one scheme, shared by the arithmetics under test: a
quantizer's own test draws all of them, from every scheme."""


class PromiseBroken(ThresholdMissed):
    """The artifact, or the arithmetic that made it, is not what the recipe asked for."""


def keep_weights(position: int, model: Model, workdir: Path) -> None:
    """Put the float matrices and filters aside, as they are before step `position` of the recipe."""
    import numpy as np

    names, arrays, layouts = [], [], []
    for tensor in FORMATS.get(model.format).tensors(model):
        if tensor.quantization is None and tensor.array.ndim >= 2 and tensor.array.dtype.kind == "f":
            names.append(tensor.name)
            arrays.append(tensor.array)
            layouts.append(tensor.use.layout)
    np.savez(
        _kept(position, workdir),
        *arrays,
        names=np.array(names, dtype=str),
        layouts=np.array(layouts, dtype=str),
    )


def check_round_trip(case: Case, ref: StepRef, artifact: Artifact, workdir: Path) -> tuple[str, ...]:
    """Hold one quantize step to its promise; what could not be compared is returned, a line each.

    Raises `PromiseBroken` with every finding of the read-back, or with the property that the engine's arithmetic
    breaks, the smallest tensor that shows it, and the code to reproduce it.
    """
    import numpy as np

    from weighbridge.numerics.round_trip import read_back

    step = STEPS.get(ref.key)
    assert step.scheme is not None
    promise = step.scheme(ref.options)
    floats, partial = _floats(case, ref, workdir)
    with np.load(_kept(case.recipe.index(ref), workdir)) as kept:
        layouts = dict(zip(kept["names"].tolist(), kept["layouts"].tolist(), strict=True))
    format_ = FORMATS.get(artifact.format)
    exclude = getattr(ref.options, "exclude", []) if artifact.format == "onnx" else None
    result = read_back(format_.tensors(format_.open(artifact)), floats, promise, partial, layouts, exclude)
    if result.findings:
        lines = [
            f"{ref}: the artifact is not what was asked for",
            *(f"  - {each}" for each in result.findings),
        ]
        raise PromiseBroken("\n".join(lines))
    return (*result.notes, *_check_properties(step, promise, result))


def _check_properties(step: Step, promise: Mapping[str, Any], result: ReadBack) -> Iterator[str]:
    """The properties of the scheme, on drawn tensors and on the model's weights, in the arithmetic of the engine."""
    from weighbridge.numerics.hunt import check_weights
    from weighbridge.numerics.schemes import Scheme
    from weighbridge.numerics.violation import Violation

    weights: dict[Scheme, dict[str, Array]] = {}
    for weight in result.weights:
        if weight.scheme is not None and weight.original is not None:
            weights.setdefault(weight.scheme, {})[weight.layer] = _sample(weight.original, weight.scheme)
    schemes = list(weights) or ([Scheme.promised(promise)] if "bits" in promise else [])
    tested = {
        quantizer: variants
        for quantizer in _quantizers(step)
        if (variants := [(scheme, v) for scheme in schemes if (v := _supported(quantizer, scheme))])
    }
    if not tested:
        yield f"{step.key}: no registered quantizer computes as it does in this scheme, so its properties were not tested"
    for quantizer, variants in tested.items():
        try:
            _hunt_once(quantizer, variants[0][1], DRAWN / len(tested))
            for scheme, variant in variants:
                check_weights(quantizer, variant, weights.get(scheme, {}))
        except Violation as violation:
            raise PromiseBroken(str(violation)) from violation


@cache
def _hunt_once(quantizer: Quantizer, scheme: Scheme, share: float) -> None:
    """What is drawn depends on the scheme, not on the model: one pass a session is enough. A failure repeats."""
    from weighbridge.numerics.hunt import hunt

    hunt(quantizer, scheme, share=share)


def _quantizers(step: Step) -> Iterator[Quantizer]:
    """The registered quantizers that compute as the step, its engine or its method does."""
    from weighbridge.numerics.quantizer import QUANTIZERS

    for quantizer in QUANTIZERS:
        named = {step.key, step.engine, step.method} & set(quantizer.engines)
        if named and not any(missing(requirement) for requirement in quantizer.requires):
            yield quantizer


def _supported(quantizer: Quantizer, scheme: Scheme) -> Scheme | None:
    """The scheme in the variant that the quantizer has, in what a recipe leaves open.

    Some leave the lowest code of symmetric weights unused, some round ties away from zero.
    """
    narrow = [replace(scheme, narrow=True)] if scheme.symmetric and scheme.type.signed else []
    variants = [scheme, *narrow]
    variants += [replace(each, rounding="half_away") for each in variants]
    return next((each for each in variants if quantizer.supports(each)), None)


def _sample(weight: Array, scheme: Scheme) -> Array:
    """A part of a large weight: whole channels or groups, the one with the largest number among them."""
    import numpy as np

    if weight.size <= SAMPLE:
        return weight
    axis = (
        (scheme.axis or 0) % weight.ndim if scheme.group_size is None else _another(scheme.axis, weight.ndim)
    )
    channels = np.moveaxis(weight, axis, 0)
    count = max(1, SAMPLE * len(channels) // weight.size)
    largest = int(np.argmax(np.abs(channels).reshape(len(channels), -1).max(axis=1)))
    chosen = sorted({largest, *range(count)})
    return np.ascontiguousarray(np.moveaxis(channels[chosen], 0, axis))


def _another(axis: int | None, rank: int) -> int:
    return 0 if axis is not None and axis % rank != 0 else rank - 1


def _floats(case: Case, ref: StepRef, workdir: Path) -> tuple[dict[str, Array], bool]:
    """The weights that this step met in float, less those that a later quantize step still met so."""
    import numpy as np

    loaded: list[dict[str, Array]] = []
    for position, each in enumerate(case.recipe):
        if STEPS.get(each.key).scheme is not None and (loaded or each is ref):
            with np.load(_kept(position, workdir)) as kept:
                loaded.append({name: kept[f"arr_{i}"] for i, name in enumerate(kept["names"].tolist())})
    later = set().union(*loaded[1:])
    return {name: array for name, array in loaded[0].items() if name not in later}, len(
        promising(case.recipe)
    ) > 1


def _kept(position: int, workdir: Path) -> Path:
    return workdir / f"before-step-{position}.npz"
