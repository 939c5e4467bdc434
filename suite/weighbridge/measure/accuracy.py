"""Accuracy (or another metric) of candidate and baseline on the same samples, paired."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
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
    Session,
    Threshold,
    Weighing,
)
from weighbridge.core import stats
from weighbridge.core.errors import StageError
from weighbridge.core.results import Measurement, Reading
from weighbridge.environment.requirements import isa

QUANTILES = 401
RESAMPLES = 1000
_WIDE_SUMS = frozenset({"avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "asimd"})
"""Instruction sets whose int8 products are summed in 32 bits."""


def measure(weighing: Weighing) -> Measurement:
    """The metric on the split `test`; raises `StageError` when the baseline is no better than guessing."""
    metric = weighing.metric
    assert metric is not None  # `needs` says so
    baseline, candidate = weighing.sessions()
    ours, targets = _run(candidate, weighing, "candidate")
    theirs = _run(baseline, weighing, "baseline")[0] if baseline else None
    details: dict[str, Any] = {
        "metric": metric.name,
        "n": len(targets),
        "higher_is_better": metric.higher_is_better,
        "overflows": _overflows(weighing),
    }
    for name, outputs in (("candidate", ours), ("baseline", theirs)):
        broken = _not_finite(outputs or (), len(targets))
        if broken and (name == "baseline" or not metric.binary):
            raise StageError(
                "measure", f"the {name}'s outputs are NaN or infinite on {broken} of {len(targets)} samples"
            )
        if broken:
            details["not_finite"] = broken
    scores, reference = _scores(metric, ours, targets), _scores(metric, theirs, targets) if theirs else None
    value = _value(metric, scores, ours, targets, "candidate")
    baseline_value = None if theirs is None else _value(metric, reference, theirs, targets, "baseline")
    if baseline_value is not None:  # without one there is no drop, and the floor that is asked for decides
        _check_chance(metric, baseline_value, targets, weighing)
    if metric.binary and scores is not None:
        details["right"] = int(scores.sum())
    if scores is not None and reference is not None:
        details |= _paired(metric, reference, scores)
    elif theirs is not None:
        details |= _resampled(metric, theirs, ours, targets)
    return Measurement("accuracy", "fraction" if metric.binary else "", value, baseline_value, details)


def _run(session: Session, weighing: Weighing, who: str) -> tuple[tuple[Array, ...], Array]:
    """The outputs for every test sample, shape [N, ...] each, and the targets.

    Outputs whose first axis is not the batch (the state of a recurrent model) are left out; the first must have it.
    """
    outputs, targets = [], []
    for inputs, wanted in weighing.data.split("test").batches():
        if wanted is None:
            raise StageError("measure", "the test split has no targets, so there is no accuracy to measure")
        found, n = session.run(inputs), len(wanted)
        if not found or found[0].shape[:1] != (n,):
            what = f"its first output has shape {found[0].shape}" if found else "it has no output"
            raise StageError("measure", f"the {who} was given {n} samples, and {what}")
        outputs.append([output for output in found if output.shape[:1] == (n,)])
        targets.append(wanted)
        weighing.say(f"accuracy: {who}, {sum(map(len, targets))} samples")
    return tuple(np.concatenate(parts) for parts in zip(*outputs, strict=True)), np.concatenate(targets)


def _not_finite(outputs: tuple[Array, ...], n: int) -> int:
    """How many of the `n` samples have an output that is not finite."""
    numbers = (output.reshape(n, -1) for output in outputs if output.dtype.kind == "f")
    return max((int((~np.isfinite(output)).any(1).sum()) for output in numbers), default=0)


def _scores(metric: Metric, outputs: tuple[Array, ...], targets: Array) -> Array | None:
    with _named(metric):
        return metric.per_sample(outputs, targets)


def _value(
    metric: Metric, scores: Array | None, outputs: tuple[Array, ...], targets: Array, who: str
) -> float:
    if scores is None:
        with _named(metric):
            value = metric.whole(outputs, targets)
    else:
        value = float(scores.mean())
    if not np.isfinite(value):
        raise StageError("measure", f"metric {metric.name} gave {value} for the {who}")
    return value


@contextmanager
def _named(metric: Metric) -> Iterator[None]:
    """What a user's metric raises names the metric."""
    try:
        yield
    except StageError:
        raise
    except Exception as error:
        raise StageError("measure", f"metric {metric.name} raised {type(error).__name__}: {error}") from error


def _overflows(weighing: Weighing) -> bool:
    """Whether 8-bit weights of full range meet a processor that sums pairs of their products in 16 bits.

    255 * 127 + 255 * 127 is above 32767. Source: ONNX Runtime's notes on `reduce_range`.
    """
    if weighing.engine.name != "onnxruntime" or isa() & _WIDE_SUMS:
        return False
    format_ = FORMATS.get(weighing.candidate.format)
    return any(
        tensor.dtype == "int8"
        and tensor.quantization is not None
        and tensor.array.size > 0
        and int(np.abs(tensor.array.astype(np.int16)).max()) > 64
        for tensor in format_.tensors(format_.open(weighing.candidate))
    )


def _check_chance(metric: Metric, value: float, targets: Array, weighing: Weighing) -> None:
    """A model that guesses drops by nothing: its drop means nothing either."""
    chance = metric.chance(targets)
    if chance is None or weighing.allow_chance:
        return
    n = len(targets)
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


def _resampled(
    metric: Metric, theirs: tuple[Array, ...], ours: tuple[Array, ...], targets: Array
) -> dict[str, Any]:
    """A paired bootstrap of a metric that does not decompose: the same resampled samples for both models."""
    random = np.random.default_rng(0)
    sign = 1.0 if metric.higher_is_better else -1.0

    def drop(rows: Any) -> float:
        return sign * (
            metric.whole(tuple(o[rows] for o in theirs), targets[rows])
            - metric.whole(tuple(o[rows] for o in ours), targets[rows])
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
    return Reading(details["drop"], (low, high), confidence, sure)


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
    return Reading(measurement.candidate, interval, confidence if interval else None)


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
    if details["overflows"]:
        lines.append(
            "this processor adds products of uint8 and int8 in 16 bits, which overflow: `reduce_range: true` keeps weights "
            "to 7 bits, and the file then computes the same on every processor"
        )
    lines.append(
        "calibrate on more samples, use per_channel: true, exclude the most sensitive layers, or fine-tune after pruning"
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
        advise=advise,
        doc="The metric's own value: an absolute floor beside every drop (for an error such as mse, say `max`).",
    ),
)
