"""What the owner of a case can do about a missed threshold on the outputs: what this recipe can act on, and no more."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, get_args

from weighbridge.case.model import Case, StepRef
from weighbridge.contracts import STEPS, Options
from weighbridge.core.data import Data
from weighbridge.core.errors import StageError
from weighbridge.core.flow import flow
from weighbridge.core.layer_errors import BIT, LayerError, LayerErrors
from weighbridge.core.results import Measurement, Status, Verdict
from weighbridge.run.blame import is_missed, trains

_QUIET_DB = 30.0
"""Noise of a thousandth of the signal's power: not what costs a model its answers."""
_OVERFLOW = "this processor adds products of uint8 and int8 in 16 bits, which overflow"


def advised(
    case: Case,
    verdicts: Sequence[Verdict],
    measurements: Mapping[str, Measurement],
    errors: LayerErrors | None,
    data: Data,
    lost: Sequence[str],
) -> tuple[Verdict, ...]:
    """The verdicts, those on outputs that were missed with the layers first and what the recipe can do last; the first that
    passed with what the candidate has `lost` all the same.
    """
    kept = next((verdict for verdict in verdicts if verdict.status is Status.PASS), None)
    layers = (*_layers(errors, case), *_in_front(errors, case)) if errors else ()
    accuracy = measurements.get("accuracy")
    overflows = bool(accuracy and accuracy.details.get("overflows"))
    remedies = tuple(_remedies(case, overflows, data)) if any(map(is_missed, verdicts)) else ()
    return tuple(
        replace(verdict, advice=(*layers, *verdict.advice, *remedies))
        if is_missed(verdict)
        else replace(verdict, advice=(*verdict.advice, *lost))
        if verdict is kept
        else verdict
        for verdict in verdicts
    )


def _layers(errors: LayerErrors, case: Case) -> Iterator[str]:
    """The worst layers with their numbers, and the line to paste."""
    if _lost_before(errors, case):
        yield (
            f"{errors.step}, line {errors.line}, leaves the output at {_db(errors.output_db)} of what it was given: look at "
            "the steps before it"
        )
        return
    step = f"{errors.step}: " if len(case.recipe) > 1 else ""
    where = "the output" if errors.inputs == "data" else "the output on random inputs"
    if not errors.layers:
        if errors.step:
            yield f"{errors.step} (line {errors.line}) leaves {where} at {_db(errors.output_db)}"
        return
    if len(errors.layers) == 1:
        return  # there is nobody else whom it could have been
    culprits, rest = errors.culprits, errors.layers[len(errors.culprits) :]
    looked = "" if errors.complete else " looked at in time"
    if not culprits:
        best = errors.layers[-1]
        elsewhere = ""
        if errors.complete and errors.layers_db >= errors.output_db + BIT:
            elsewhere = (
                f"; together that would be {_db(errors.layers_db)}, and it is {_db(errors.output_db)}: the rest is lost "
                "between the layers, where activations are quantized"
            )
        yield (
            f"{step}no layer stands out: alone, each of {len(errors.layers)} layers{looked} leaves {where} at "
            f"{_db(errors.layers[0].sqnr_db)} ({errors.layers[0].name}) to {_db(best.sqnr_db)} ({best.name}){elsewhere}"
        )
    else:
        lose = "loses" if len(culprits) == 1 else "lose"
        others = (
            f"; the other {len(rest)}{looked} are at {_db(rest[0].sqnr_db)} and above"
            if len(rest) > 1
            else f"; {_named(rest[0])} is the other"
        )
        yield f"{step}{_listed([_named(layer) for layer in culprits])} {lose} the most of {where}{others}"
    if errors.exclude and errors.excluded_db is not None:
        yield (
            f"exclude: {flow(errors.exclude)}  # in {errors.step}, line {errors.line}: the output "
            f"goes from {_db(errors.output_db)} to {_db(errors.excluded_db)}"
        )


def _lost_before(errors: LayerErrors, case: Case) -> bool:
    """Whether the step that lost most left nearly all of what it was given, so that those before it are to be looked at."""
    if not errors.step or errors.output_db < _QUIET_DB:
        return False
    first = case.recipe[0]  # a recipe on one line has all its steps there
    return (errors.step, errors.line) != (str(first), first.line)


def _in_front(errors: LayerErrors, case: Case) -> Iterator[str]:
    """A step that was tried before the one that lost."""
    if errors.before_db is not None and not _lost_before(errors, case):
        yield (
            f"- {errors.before}  # in front of {errors.step}, line {errors.line}: the output goes from "
            f"{_db(errors.output_db)} to {_db(errors.before_db)}"
        )


def _named(layer: LayerError) -> str:
    return f"{layer.name} ({_db(layer.sqnr_db)})"


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def _db(value: float) -> str:
    return f"{value:.1f} dB" if abs(value) < 10 else f"{value:.0f} dB"


def _remedies(case: Case, overflows: bool, data: Data) -> Iterator[str]:
    """What the recipe's steps have options for and do not do already."""
    if overflows and case.candidate:
        yield f"{_OVERFLOW}; weights of 7 bits do not"
    for ref in case.recipe:
        if ref.kind == "quantize":
            yield from _of_quantizer(ref, overflows, data)
    trained = [number for number, ref in enumerate(case.recipe) if trains(ref)]
    for number, ref in enumerate(case.recipe):
        accepts = STEPS.get(ref.key).accepts
        training = any(step.kind == "finetune" and set(step.accepts) & set(accepts) for step in STEPS)
        if ref.kind in ("prune", "cluster") and training and not any(later > number for later in trained):
            yield f"`finetune` after {ref}, line {ref.line}"


def _of_quantizer(ref: StepRef, overflows: bool, data: Data) -> Iterator[str]:
    options = ref.options
    known = type(options).model_fields
    if overflows and _takes(options, "reduce_range", True):
        yield (
            f"{_OVERFLOW}: `reduce_range: true` keeps weights to 7 bits, and the file then computes the same on every "
            "processor"
        )
    if "calibration" in STEPS.get(ref.key).splits and not data.invented:
        yield from data.unlike_test("calibration")
    found = ["`per_channel: true`"] if getattr(options, "per_channel", None) is False else []
    field = known.get("calibration")
    others = options.tunes.get("calibration", get_args(field.annotation)) if field else ()
    found += [f"`calibration: {other}`" for other in others if _takes(options, "calibration", other)]
    if "calibration" in STEPS.get(ref.key).splits and _takes(options, "samples", 2**20):
        length = data.split("calibration").length
        have = options.samples if length is None else min(options.samples, length)
        found.append(f"more calibration samples than {have}")
    found += [f"`{step}`, which searches within the case's limits" for step in _searching(ref, data)]
    if found:
        yield f"in {ref}, line {ref.line}: {', or '.join(found)}"


def _searching(ref: StepRef, data: Data) -> Iterator[str]:
    """The steps of the same kind for the same engine that work towards the case's thresholds, where the data serves them."""
    mine = STEPS.get(ref.key)
    for step in STEPS:
        if step.aims and not mine.aims and (step.kind, step.engine) == (mine.kind, mine.engine):
            with suppress(StageError):
                for split in step.splits:
                    data.split(split)
                yield f"{step.kind}: {step.method}"


def _takes(options: Options, name: str, value: Any) -> bool:
    """Whether the step has the option, could have it so, and has not."""
    if name not in type(options).model_fields or getattr(options, name) == value:
        return False
    try:
        type(options).model_validate({**options.model_dump(exclude_unset=True), name: value})
    except ValueError:
        return False
    return True
