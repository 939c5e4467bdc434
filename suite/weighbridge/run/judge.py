"""Measurements x thresholds -> verdicts. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from weighbridge.case.model import ThresholdRef
from weighbridge.contracts import THRESHOLDS, Limit, Threshold
from weighbridge.core.results import Measurement, Reading, Status, Verdict
from weighbridge.core.units import compared, percent, span
from weighbridge.run.job import stated

_ROUNDING = 1e-9  # of the limit: 0.98 - 0.97 is 0.010000000000000009


def judge(ref: ThresholdRef, measurement: Measurement) -> Verdict:
    """The verdict on one threshold.

    The point estimate decides where the quantity is exact or the test set is given; the interval decides where
    the number itself is noise (speed). Where a `confidence` is demanded of a sampled quantity, the verdict must be at
    least that sure, or it is inconclusive; of a speed the interval at that confidence clears the limit just then. A
    cautious threshold fails only where the interval does.
    """
    threshold = THRESHOLDS.get(ref.name)
    return decide(ref, threshold.read(measurement, ref.limit), lambda: _advice(threshold, measurement))


def decide(ref: ThresholdRef, reading: Reading, advise: Callable[[], Sequence[str]] = lambda: ()) -> Verdict:
    """The verdict on what was read; `advise` is asked where the threshold is missed."""
    threshold = THRESHOLDS.get(ref.name)
    unit = threshold.unit if reading.unit is None else reading.unit
    if reading.value != reading.value:
        status, message = Status.FAIL, f"{ref.name} is NaN"
    else:
        status = _status(ref.limit, reading, threshold.decide)
        message = _sentence(ref, reading, unit, status)
    advice = (*reading.advice, *(advise() if status is not Status.PASS else ()))
    sampled = reading.interval is not None or reading.sure is not None
    return Verdict(
        threshold=ref.name,
        status=status,
        limit=stated(ref.limit if sampled else ref.limit.model_copy(update={"confidence": None})),
        measured=reading.value,
        interval=reading.interval,
        confidence=reading.confidence,
        sure=reading.sure if sampled else 1.0,
        margin=_margin(ref.limit, reading.value),
        unit=unit,
        advice=advice,
        message=message,
        line=ref.line,
        column=ref.column,
    )


def _advice(threshold: Threshold, measurement: Measurement) -> Sequence[str]:
    return threshold.advise(measurement) if threshold.advise else ()


def _margin(limit: Limit, value: float) -> float:
    """The distance to the nearest bound; negative when it is missed."""
    margins = []
    if limit.min is not None:
        margins.append(value - limit.min)
    if limit.max is not None:
        margins.append(limit.max - value)
    if limit.equals is not None:
        margins.append(-abs(value - limit.equals))
    margin = min(margins, default=0.0)
    bounds = [abs(bound) for bound in (limit.min, limit.max, limit.equals) if bound is not None]
    return 0.0 if abs(margin) <= _ROUNDING * max(bounds, default=0.0) else margin


def _status(limit: Limit, reading: Reading, decide: str) -> Status:
    asked = limit.confidence is not None
    if reading.interval is not None and (decide == "interval" or (asked and reading.sure is None)):
        return _by_interval(limit, reading.interval)
    if asked and reading.sure is not None and reading.sure < (limit.confidence or 0.0):
        return Status.INCONCLUSIVE
    if _margin(limit, reading.value) >= 0:
        return Status.PASS
    if (
        decide == "cautious"
        and reading.interval is not None
        and _by_interval(limit, reading.interval) is not Status.FAIL
    ):
        return Status.INCONCLUSIVE
    return Status.FAIL


def _by_interval(limit: Limit, interval: tuple[float, float]) -> Status:
    margins = [_margin(limit, end) for end in interval]
    if limit.equals is None:
        if min(margins) >= 0:
            return Status.PASS
        low, high = interval
        missed = (limit.min is not None and high < limit.min) or (limit.max is not None and low > limit.max)
        return Status.FAIL if missed else Status.INCONCLUSIVE
    return (
        Status.FAIL
        if not interval[0] <= limit.equals <= interval[1]
        else Status.PASS
        if min(margins) >= 0
        else Status.INCONCLUSIVE
    )


def _sentence(ref: ThresholdRef, reading: Reading, unit: str, status: Status) -> str:
    """With the interval where it does not clear the limit, so that other samples might have given another verdict."""
    interval = ""
    if reading.interval is not None and reading.confidence is not None:
        sides = {_margin(ref.limit, end) >= 0 for end in reading.interval}
        if len(sides) > 1 or ref.limit.equals is not None:
            known = all(math.isfinite(end) for end in reading.interval)
            shown = span(*reading.interval, unit) if known else "unknown: too few observations"
            interval = f" ({reading.confidence:.0%} interval {shown})"
    what = compared(ref.name, reading.value, ref.limit.model_dump(), unit, interval)
    what += f": {reading.note}" if reading.note and status is not Status.PASS else ""
    if status is not Status.INCONCLUSIVE:
        return what
    if reading.sure is not None and ref.limit.confidence is not None and reading.sure < ref.limit.confidence:
        sure, asked = percent(reading.sure), percent(ref.limit.confidence)
        return f"{what}; that is {sure} sure, and {asked} is asked for"
    return f"{what}; the interval does not clear the limit"
