"""What a quantize step promises about the weights, and whether its arithmetic and the artifact keep it.

Once the artifact stands it is opened afresh, read back, and compared with the float weights of the model that the
step took, and with what the recipe asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias

from weighbridge.case.model import StepRef
from weighbridge.case.steps import promising
from weighbridge.contracts import FORMATS, STEPS, Array, Model, Promise, Step, StoredTensor
from weighbridge.core.coverage import Coverage
from weighbridge.core.errors import ThresholdMissed
from weighbridge.core.results import Artifact, Status, Verdict
from weighbridge.environment.requirements import missing
from weighbridge.formats.opened import opened
from weighbridge.run.artifacts import Shipped
from weighbridge.run.chain import Chain
from weighbridge.run.job import Job
from weighbridge.run.keys import extension_code, make_key, surroundings
from weighbridge.run.workshop import Workshop

if TYPE_CHECKING:
    from weighbridge.numerics.quantizer import Quantizer
    from weighbridge.numerics.round_trip import ReadBack
    from weighbridge.numerics.schemes import Scheme

Hunt: TypeAlias = "Callable[[Quantizer, Scheme, float], None]"
"""Holds a quantizer to every property on drawn tensors of a scheme; the number is the share of the profile's examples."""
SAMPLE = 2**12
"""Numbers of a weight that go through every property. The read-back looks at all of them."""
DRAWN = 0.5
"""The part of the profile's examples that a case draws, all of one scheme, shared by the arithmetics under test: a
quantizer's own test draws all of them, from every scheme."""


class PromiseBroken(ThresholdMissed):
    """The artifact, or the arithmetic that made it, is not what the recipe asked for."""


def check_round_trips(
    job: Job, shop: Workshop, chain: Chain, candidate: Shipped
) -> tuple[dict[str, Verdict], tuple[str, ...]]:
    """A verdict for each quantize step that the plan wants looked at, and what could not be compared, a line each."""
    case = job.plan.case
    found: dict[str, Verdict] = {}
    said: list[str] = []
    for name, ref in promising(case.recipe).items():
        if name not in job.plan.wanted:
            continue
        shop.enter("round trip", f"{name} of {ref}", ref.line)
        status, message, notes = _stored_round_trip(job, shop, chain, candidate, ref)
        found[name] = Verdict(name, status, message=message, line=ref.line)
        said += notes
    return found, tuple(said)


def _stored_round_trip(
    job: Job, shop: Workshop, chain: Chain, candidate: Shipped, ref: StepRef
) -> tuple[Status, str, Sequence[str]]:
    """Status, message and notes, from the store where the same artifact was looked at before."""
    recipe = job.plan.case.recipe
    key = make_key(
        "round trip", candidate.key, recipe.index(ref), job.options.hypothesis_profile, surroundings()
    )
    entry = shop.store.find(f"result-{key}")
    if entry is None:
        try:
            hunt = _stored_hunt(shop, job.options.hypothesis_profile)
            covered = chain.records()[recipe.index(ref)].coverage
            coverage = Coverage.from_json(covered) if covered else None
            notes = check_round_trip(ref, _floats(chain, recipe, ref), candidate.artifact, hunt, coverage)
            facts: dict[str, Any] = {"status": Status.PASS, "message": "", "notes": notes}
        except PromiseBroken as broken:
            facts = {"status": Status.FAIL, "message": str(broken), "notes": ()}
        except (Exception, SystemExit) as error:  # of this check, and of no other
            return Status.ERROR, f"round trip: {type(error).__name__}: {error}", ()
        entry = shop.store.keep(f"result-{key}", facts)
    return Status(entry.facts["status"]), entry.facts["message"], entry.facts["notes"]


def check_round_trip(
    ref: StepRef, floats: Floats, artifact: Artifact, hunt: Hunt, coverage: Coverage | None = None
) -> tuple[str, ...]:
    """Hold one quantize step to its promise; what could not be compared is returned, a line each.

    What the step's `coverage` says it was not to convert, or could not, may be in float: the reason stands in the row. A
    step that tells none has its `exclude`.

    Raises `PromiseBroken` with every finding of the read-back, or with the property that the engine's arithmetic
    breaks, the smallest tensor that shows it, and the code to reproduce it.
    """
    from weighbridge.numerics.round_trip import read_back

    step = STEPS.get(ref.key)
    assert step.scheme is not None
    promise = step.scheme(ref.options)
    format_ = FORMATS.get(artifact.format)
    patterns = [] if coverage else getattr(ref.options, "exclude", [])
    exclude = patterns if artifact.format == "onnx" else None
    left = _left_on_purpose(coverage) if coverage else ()
    result = read_back(
        format_.tensors(opened(artifact)),
        floats.weights,
        promise,
        floats.partial,
        floats.layouts,
        exclude,
        left,
    )
    if result.findings:
        lines = [
            f"{ref}: the artifact is not what was asked for",
            *(f"  - {each}" for each in result.findings),
        ]
        raise PromiseBroken("\n".join(lines))
    return (*result.notes, *_check_properties(step, promise, result, hunt))


def _left_on_purpose(coverage: Coverage) -> set[str]:
    """The weights of the layers that the step was not to convert, or could not."""
    layers = (layer for layer in coverage.layers if not (layer.asked and layer.convertible))
    return {weight for layer in layers for weight in layer.weights}


def _check_properties(step: Step, promise: Promise, result: ReadBack, hunt: Hunt) -> Iterator[str]:
    """The properties of the scheme, on drawn tensors and on the model's weights, in the arithmetic of the engine."""
    from weighbridge.numerics.elements import ELEMENTS
    from weighbridge.numerics.hunt import check_weights
    from weighbridge.numerics.schemes import Scheme
    from weighbridge.numerics.violation import Violation

    weights: dict[Scheme, dict[str, Array]] = {}
    for weight in result.weights:
        if weight.scheme is not None and weight.original is not None:
            weights.setdefault(weight.scheme, {})[weight.layer] = _sample(weight.original, weight.scheme)
    named = promise.bits is not None or promise.dtype in ELEMENTS
    schemes = list(weights) or ([Scheme.promised(promise)] if named else [])
    tested = {
        quantizer: variants
        for quantizer in _quantizers(step)
        if (variants := [(scheme, v) for scheme in schemes if (v := _supported(quantizer, scheme))])
    }
    if not tested:
        yield f"{step.key}: no registered quantizer computes as it does in this scheme, so its properties were not tested"
    for quantizer, variants in tested.items():
        try:
            hunt(quantizer, variants[0][1], DRAWN / len(tested))
            for scheme, variant in variants:
                check_weights(quantizer, variant, weights.get(scheme, {}))
        except Violation as violation:
            raise PromiseBroken(str(violation)) from violation


def _stored_hunt(shop: Workshop, profile: str) -> Hunt:
    """What is drawn depends on quantizer and scheme, not on the model: one pass for all runs is enough.

    A failure is found again, with the smallest tensor that shows it.
    """
    from weighbridge.numerics.hunt import hunt
    from weighbridge.numerics.quantizer import QUANTIZERS

    def look(quantizer: Quantizer, scheme: Scheme, share: float) -> None:
        code = extension_code(QUANTIZERS, quantizer.name, shop.root)
        key = f"result-{make_key('hunt', quantizer.name, repr(scheme), share, profile, code, surroundings())}"
        if shop.store.find(key) is None:
            hunt(quantizer, scheme, share=share)
            shop.store.keep(key, {"held": True})

    return look


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
    from weighbridge.numerics.elements import Integer

    signed = isinstance(scheme.type, Integer) and scheme.type.signed
    narrow = [replace(scheme, narrow=True)] if scheme.symmetric and signed else []
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


@dataclass(frozen=True)
class Floats:
    """The matrices and filters that a quantize step met in float, by name."""

    weights: Mapping[str, Array]
    layouts: Mapping[str, str]
    """Their `Use.layout`."""
    partial: bool
    """Whether another quantize step of the recipe has its share of the model."""


def _floats(chain: Chain, recipe: Sequence[StepRef], ref: StepRef) -> Floats:
    """What `ref` met in float, less what a later quantize step still met so."""
    quantizing = [number for number, each in enumerate(recipe) if STEPS.get(each.key).scheme is not None]
    own = recipe.index(ref)
    later = {name for number in quantizing if number > own for name in _matrices(chain.input_of(number))}
    met = {name: tensor for name, tensor in _matrices(chain.input_of(own)).items() if name not in later}
    return Floats(
        {name: tensor.array for name, tensor in met.items()},
        {name: tensor.use.layout for name, tensor in met.items()},
        len(quantizing) > 1,
    )


def _matrices(model: Model) -> dict[str, StoredTensor]:
    return {
        tensor.name: tensor
        for tensor in FORMATS.get(model.format).tensors(model)
        if tensor.quantization is None and tensor.array.ndim >= 2 and tensor.array.dtype.kind == "f"
    }
