"""How much worse the metric is than an earlier run's candidate had it, and how sure that is.

A history keeps no samples, so that it does not know which of them changed. How many did is bounded: both runs counted
those that differ from the original, and a sample that both candidates answer as the original does is answered alike.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from weighbridge.contracts import Alike, Limit
from weighbridge.core import stats
from weighbridge.core.errors import Unavailable
from weighbridge.core.results import Measurement, Reading
from weighbridge.measure.accuracy_known import (
    Known,
    degrees_of,
    difference,
    known_drop,
    known_value,
    reading,
)
from weighbridge.measure.direction import check_drop


def read_drop(now: Measurement, then: Measurement, limit: Limit, alike: Alike) -> Reading:
    """Absolute."""
    return _read(_known(now, then, alike), now, then, limit, None if now.unit else "")


def read_relative_drop(now: Measurement, then: Measurement, limit: Limit, alike: Alike) -> Reading:
    """As a fraction of what it was then."""
    return _read(_known(now, then, alike).over(abs(then.candidate) or 1.0), now, then, limit, None)


def _read(known: Known, now: Measurement, then: Measurement, limit: Limit, unit: str | None) -> Reading:
    check_drop(now.details, known, limit, then.candidate, now.candidate)
    return reading(known, limit, now.details, unit)


def _known(now: Measurement, then: Measurement, alike: Alike) -> Known:
    if math.isnan(then.candidate):
        raise Unavailable("the metric was NaN then")
    ours, theirs = now.details, then.details
    if ours["metric"] != theirs.get("metric"):
        raise Unavailable(f"the metric was {theirs.get('metric')} then, and is {ours['metric']} now")
    sign = 1.0 if ours["higher_is_better"] else -1.0
    same = theirs.get("samples") == ours["samples"]
    if same and "right" in ours and "right" in theirs:
        return _counted(ours, theirs, sign, alike)
    if same and alike.baseline and "drop" in ours and "drop" in theirs:
        return difference(known_drop(ours), known_drop(theirs))
    values = known_value(then), known_value(now)
    return difference(*(values if sign > 0 else reversed(values)))


def _counted(ours: Mapping[str, Any], theirs: Mapping[str, Any], sign: float, alike: Alike) -> Known:
    """Tango's score with the most samples that can have changed, of which the difference is given: any fewer are surer.

    Of the same original, or the same candidate, that counts only where its numbers agree: on another processor it may
    answer otherwise.
    """
    n, lost = ours["n"], sign * (theirs["right"] - ours["right"])
    most = min(2 * n - ours["right"] - theirs["right"], ours["right"] + theirs["right"])
    if alike.baseline and "b" in ours and "b" in theirs:
        now, then = (one["right"] + sign * (one["b"] - one["c"]) for one in (ours, theirs))
        most = min(most, ours["b"] + ours["c"] + theirs["b"] + theirs["c"]) if now == then else most
    if alike.candidate and not lost:
        most = 0
    changed = max(most, abs(lost))
    effect = max(details.get(key, 1.0) for details in (ours, theirs) for key in ("effect", "right_effect"))
    b, c, size = (changed + lost) / 2 / effect, (changed - lost) / 2 / effect, n / effect
    degrees = degrees_of(ours)
    return Known(
        lost / n,
        lambda confidence: stats.tango_interval(b, c, size, confidence, degrees),
        lambda limit: stats.tango_sure(b, c, size, limit, degrees),
    )
