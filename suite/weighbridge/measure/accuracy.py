"""Accuracy (or another metric) of candidate and baseline on the same samples, paired."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from weighbridge.contracts import FORMATS, MEASURES, Measure, Metric, Weighing
from weighbridge.core import resampling, stats
from weighbridge.core.errors import StageError
from weighbridge.core.results import Measurement
from weighbridge.environment.requirements import INT8_WIDE_SUMS, isa
from weighbridge.formats.opened import opened
from weighbridge.measure import classes
from weighbridge.measure.accuracy_resampled import resampled
from weighbridge.measure.direction import directed, sign
from weighbridge.measure.evaluation import Evaluation, evaluate
from weighbridge.measure.one_class import one_class


def measure(weighing: Weighing) -> Measurement:
    """The metric on the split `test`; raises `StageError` when the baseline is no better than guessing."""
    metric = weighing.metric
    assert metric is not None  # `needs` says so
    found = _evaluations(weighing, metric)
    return compare(metric, found["candidate"], found.get("baseline"), weighing)


def _evaluations(weighing: Weighing, metric: Metric) -> Mapping[str, Evaluation]:
    """Each model on the test split: as it was kept, where it was fed the same samples, else in one pass over them."""
    split, kept = weighing.data.split("test"), weighing.kept
    sides = ("candidate",) if weighing.baseline is None else ("baseline", "candidate")
    known = {
        side: Evaluation.load(folder) for side in sides if kept and (folder := kept.find(side)) is not None
    }
    known = {side: found for side, found in known.items() if found.digest == split.digest()}
    missing = [side for side in sides if side not in known]
    if missing:
        made = evaluate({side: weighing.session(side) for side in missing}, split, metric, weighing.say)
        if any(made[side].digest != found.digest for side in missing for found in known.values()):
            # The loader gave other samples this time: only one pass over them compares like with like.
            made = evaluate({side: weighing.session(side) for side in sides}, split, metric, weighing.say)
        for side, evaluation in made.items():
            if kept:
                kept.keep(side, evaluation.save)
        known |= made
    return known


def compare(metric: Metric, ours: Evaluation, theirs: Evaluation | None, weighing: Weighing) -> Measurement:
    """Candidate against baseline, both evaluated on the same samples; see `measure`."""
    details: dict[str, Any] = {
        "metric": metric.name,
        "directed": directed(metric),
        "n": ours.n,
        "samples": ours.digest[:16],
        "higher_is_better": metric.higher_is_better,
        "overflows": _overflows(weighing),
    }
    for name, found in (("candidate", ours), ("baseline", theirs)):
        broken = found.not_finite if found else 0
        if found and broken and (name == "baseline" or not metric.binary):
            raise StageError(
                "data" if found.blind == broken else "measure",
                f"the {name}'s outputs are NaN or infinite on {broken} of {found.n} samples{_blind(found)}",
            )
        if broken:
            details["not_finite"] = broken
    sides = {"baseline": theirs, "candidate": ours}
    if otherwise := [who for who, found in sides.items() if found and found.otherwise]:
        details["otherwise"] = otherwise
    if ours.blind_inputs:
        details["not_finite_inputs"] = ours.blind_inputs
    value = _value(metric, ours, "candidate")
    baseline_value = None if theirs is None else _value(metric, theirs, "baseline")
    if theirs is not None and baseline_value is not None:
        # without a baseline there is no drop, and the floor that is asked for decides
        _check_chance(metric, baseline_value, theirs, weighing)
    if ours.groups is not None:
        details["groups"] = len(np.unique(ours.groups))
    if ours.scores is None:
        details |= resampled(metric, theirs, ours)
    elif _zero_or_one(ours) and (theirs is None or _zero_or_one(theirs)):
        details |= _counted(metric, theirs, ours)
    else:
        details |= _averaged(metric, theirs, ours)
    details |= classes.compared(theirs, ours)
    if not weighing.allow_chance:
        details |= one_class(theirs, ours)
    return Measurement("accuracy", "fraction" if metric.binary else "", value, baseline_value, details)


def _blind(found: Evaluation) -> str:
    """Whose fault an output that is not finite is, where the data's own numbers tell."""
    if not found.blind:
        return ""
    if found.blind == found.not_finite:
        return ": these samples hold NaN or infinity themselves, so it is the data and not the model"
    return f"; {found.blind} of these samples hold NaN or infinity themselves"


def _value(metric: Metric, found: Evaluation, who: str) -> float:
    value = found.value(metric)
    if not np.isfinite(value):
        raise StageError("measure", f"metric {metric.name} gave {value} for the {who}")
    return value


def _overflows(weighing: Weighing) -> bool:
    """Whether 8-bit weights of full range meet a processor that sums pairs of their products in 16 bits.

    255 * 127 + 255 * 127 is above 32767. Source: ONNX Runtime's notes on `reduce_range`.
    """
    if not weighing.engine.sums_int8_in_pairs or isa() & INT8_WIDE_SUMS:
        return False
    format_ = FORMATS.get(weighing.candidate.format)
    return any(
        tensor.dtype == "int8"
        and tensor.quantization is not None
        and tensor.array.size > 0
        and int(np.abs(tensor.array.astype(np.int16)).max()) > 64
        for tensor in format_.tensors(opened(weighing.candidate))
    )


def _check_chance(metric: Metric, value: float, found: Evaluation, weighing: Weighing) -> None:
    """A model that guesses drops by nothing: its drop means nothing either."""
    chance, n = found.chance, found.n
    if chance is None or weighing.allow_chance:
        return
    if found.classes == 1:
        raise StageError(
            "data",
            f"all {n} targets of the test split are the same, so always giving this one answer is right; it needs "
            "samples of every class",
        )
    if metric.binary:
        low, _ = stats.wilson_interval(round(value * n), n, 0.95)
        poor, how = (
            low <= chance,
            f"{value:.1%} of {n} samples (at least {low:.1%} with 95 % confidence), "
            f"and always naming the most frequent answer gives {chance:.1%}",
        )
    else:
        poor, how = not value < chance, f"{metric.name} {value:.4g}, and the best constant gives {chance:.4g}"
    if poor:
        raise StageError(
            "measure",
            f"the baseline is no better than guessing: {how}. A drop from there means nothing; "
            "check the weights, the data and the preprocessing, or set `allow_chance: true`",
        )


def _zero_or_one(found: Evaluation) -> bool:
    return found.scores is not None and bool(np.isin(found.scores, (0, 1)).all())


def _counted(metric: Metric, theirs: Evaluation | None, ours: Evaluation) -> dict[str, Any]:
    """Of scores that are 0 or 1: how many are 1 (`right`), and how many became worse (`b`) or better (`c`).

    A metric of the user's may be such a share too. With groups, `effect` and `right_effect` say how many samples tell as
    much as one alone.
    """
    assert ours.scores is not None
    groups = ours.groups
    details: dict[str, Any] = {"right": int(ours.scores.sum())}
    if groups is not None:
        details["right_effect"] = stats.design_effect(ours.scores, groups)
    if theirs is None or theirs.scores is None:
        return details
    drops = sign(metric) * (theirs.scores - ours.scores)
    b, c, n = int((drops == 1).sum()), int((drops == -1).sum()), len(drops)
    effect = 1.0 if groups is None else stats.design_effect(drops, groups)
    if groups is not None:
        details["effect"] = effect
    detectable = stats.detectable_drop(b / effect, c / effect, n / effect)
    return {**details, "drop": (b - c) / n, "b": b, "c": c, "detectable": detectable}


def _averaged(metric: Metric, theirs: Evaluation | None, ours: Evaluation) -> dict[str, Any]:
    """Of scores whose mean is the metric: confidence distributions of the mean and of the mean drop."""
    assert ours.scores is not None
    columns = [ours.scores]
    if theirs is not None and theirs.scores is not None:
        columns.append(sign(metric) * (theirs.scores - ours.scores))
    seen = np.concatenate([ours.scores, *([] if theirs is None else [theirs.scores])])
    spread = float(np.ptp(seen) or np.abs(seen).max() or 1.0)
    own, *drop = resampling.of_means(np.stack(columns, axis=1), ours.groups, spread, seed=0)
    details: dict[str, Any] = {"candidate_quantiles": own.tolist()}
    if drop:
        details |= {"drop": float(columns[1].mean()), "quantiles": drop[0].tolist()}
    return details


MEASURES.add("accuracy", Measure("accuracy", measure, needs=("data", "metric")))
