"""Accuracy (or another metric) of candidate and baseline on the same samples, paired."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from weighbridge.contracts import (
    FORMATS,
    MEASURES,
    THRESHOLDS,
    Array,
    Limit,
    Measure,
    Metric,
    Threshold,
    Weighing,
)
from weighbridge.core import stats
from weighbridge.core.errors import StageError
from weighbridge.core.results import Measurement, Reading
from weighbridge.environment.requirements import INT8_WIDE_SUMS, isa
from weighbridge.formats.opened import opened
from weighbridge.measure.evaluation import Evaluation, evaluate
from weighbridge.measure.mistakes import a_fraction, at_most_one

QUANTILES = 401
RESAMPLES = 1000


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
        "n": ours.n,
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
    if ours.blind_inputs:
        details["not_finite_inputs"] = ours.blind_inputs
    value = _value(metric, ours, "candidate")
    baseline_value = None if theirs is None else _value(metric, theirs, "baseline")
    if theirs is not None and baseline_value is not None:
        # without a baseline there is no drop, and the floor that is asked for decides
        _check_chance(metric, baseline_value, theirs, weighing)
    if metric.binary and ours.scores is not None:
        details["right"] = int(ours.scores.sum())
    if theirs is not None and ours.scores is not None and theirs.scores is not None:
        details |= _paired(metric, theirs.scores, ours.scores)
    elif theirs is not None:
        details |= _resampled(metric, theirs, ours)
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


def _paired(metric: Metric, reference: Array, scores: Array) -> dict[str, Any]:
    n = len(scores)
    if metric.binary:
        b = int(((reference == 1) & (scores == 0)).sum())
        c = int(((reference == 0) & (scores == 1)).sum())
        return {"drop": (b - c) / n, "b": b, "c": c, "detectable": stats.detectable_drop(b, c, n)}
    sign = 1.0 if metric.higher_is_better else -1.0
    bootstrap = stats.paired_bootstrap(sign * reference, sign * scores, 0.95, seed=0)
    return {"drop": float(sign * (reference - scores).mean()), "quantiles": _quantiles(bootstrap.replicates)}


def _resampled(metric: Metric, theirs: Evaluation, ours: Evaluation) -> dict[str, Any]:
    """A paired bootstrap of a metric that does not decompose: the same resampled samples for both models."""
    assert theirs.outputs is not None  # a metric decomposes for both models or for neither
    assert ours.outputs is not None
    assert ours.targets is not None
    random, targets = np.random.default_rng(0), ours.targets
    baseline, candidate = theirs.outputs, ours.outputs
    sign = 1.0 if metric.higher_is_better else -1.0

    def drop(rows: Any) -> float:
        return sign * (
            metric.whole(tuple(o[rows] for o in baseline), targets[rows])
            - metric.whole(tuple(o[rows] for o in candidate), targets[rows])
        )

    drops = [drop(random.integers(0, len(targets), len(targets))) for _ in range(RESAMPLES)]
    return {"drop": drop(slice(None)), "quantiles": _quantiles(np.array(drops))}


def _quantiles(replicates: Array) -> list[float]:
    return [float(value) for value in np.quantile(replicates, np.linspace(0, 1, QUANTILES))]


def read_drop(measurement: Measurement, limit: Limit) -> Reading:
    """The drop, with Tango's interval for paired proportions, or the bootstrap's for other metrics."""
    details, confidence = measurement.details, limit.confidence or 0.95
    bound = limit.max if limit.max is not None else limit.min
    if "b" in details:
        b, c, n = details["b"], details["c"], details["n"]
        sure = None
        if bound is not None:
            sure = stats.tango_sure(b, c, n, min(max(bound, -0.999), 0.999))
            sure = sure if details["drop"] <= bound else 1 - sure
        return Reading(details["drop"], stats.tango_interval(b, c, n, confidence), confidence, sure)
    quantiles = details["quantiles"]
    tail = (1 - confidence) / 2
    low, high = (float(np.quantile(quantiles, q)) for q in (tail, 1 - tail))
    side = None if bound is None else float(np.mean([q <= bound for q in quantiles]))
    sure = None if side is None or bound is None else side if details["drop"] <= bound else 1 - side
    return Reading(details["drop"], (low, high), confidence, sure, unit=None if measurement.unit else "")


def read_relative_drop(measurement: Measurement, limit: Limit) -> Reading:
    """The drop over the baseline's value."""
    reading = read_drop(
        measurement,
        limit.model_copy(
            update={
                side: value * measurement.baseline
                for side in ("min", "max")
                if (value := getattr(limit, side)) is not None and measurement.baseline
            }
        ),
    )
    base = abs(measurement.baseline or 1.0) or 1.0
    interval = None if reading.interval is None else (reading.interval[0] / base, reading.interval[1] / base)
    return Reading(reading.value / base, interval, reading.confidence, reading.sure)


def read_accuracy(measurement: Measurement, limit: Limit) -> Reading:
    """The candidate's own value, with Wilson's interval where each sample is right or wrong."""
    details, confidence = measurement.details, limit.confidence or 0.95
    interval = (
        stats.wilson_interval(details["right"], details["n"], confidence) if "right" in details else None
    )
    unit = None if measurement.unit else ""  # a metric of the user's is in whatever it is in
    return Reading(measurement.candidate, interval, confidence if interval else None, unit=unit)


def advise(measurement: Measurement) -> Sequence[str]:
    details = measurement.details
    lines = []
    if details.get("not_finite"):
        lines.append(f"the candidate's outputs are NaN or infinite on {details['not_finite']} samples")
    if "b" in details:
        lines.append(
            f"of {details['n']} samples {details['b']} became wrong and {details['c']} right; this test set can detect "
            f"a drop of {details['detectable']:.2%} and more"
        )
    return lines


MEASURES.add("accuracy", Measure("accuracy", measure, needs=("data", "metric")))
THRESHOLDS.add(
    "accuracy_drop",
    Threshold(
        "accuracy_drop",
        "accuracy",
        "max",
        "points",
        read_drop,
        mistaken=at_most_one("a drop"),
        relative=True,
        advise=advise,
        doc="How much worse the metric may become, absolute: 0.01 is one point.",
    ),
)
THRESHOLDS.add(
    "relative_accuracy_drop",
    Threshold(
        "relative_accuracy_drop",
        "accuracy",
        "max",
        "fraction",
        read_relative_drop,
        mistaken=at_most_one("a relative drop"),
        relative=True,
        advise=advise,
        doc="How much worse the metric may become, as a fraction of the baseline's.",
    ),
)
THRESHOLDS.add(
    "accuracy",
    Threshold(
        "accuracy",
        "accuracy",
        "min",
        "fraction",
        read_accuracy,
        mistaken=a_fraction("the metric"),
        advise=advise,
        doc="The metric's own value: an absolute floor beside every drop (for an error such as mse, say `max`).",
    ),
)
