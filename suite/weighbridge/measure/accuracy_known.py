"""What the samples at hand tell of a metric or a drop: a figure, and how sure that is of all samples like them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from weighbridge.contracts import Limit
from weighbridge.core import resampling, stats
from weighbridge.core.results import Measurement, Reading
from weighbridge.core.units import percent

USUAL = 0.95
"""Of an interval, and of what is called sure, where nothing else is asked for."""


@dataclass(frozen=True)
class Known:
    """A figure of the samples at hand, and what they tell of all samples like them."""

    value: float
    interval: Callable[[float], tuple[float, float] | None]
    """Two-sided, at a confidence."""
    at_most: Callable[[float], float]
    """One-sided confidence, in [0, 1], that the true value is at most a limit."""

    def sure(self, limit: Limit) -> float | None:
        """The confidence that the true value is on the same side of `limit` as `value`; None for `equals`."""
        if limit.equals is not None:
            return None
        below = 0.0 if limit.min is None else self.at_most(limit.min)
        within = 1.0 if limit.max is None else self.at_most(limit.max)
        if limit.max is not None and self.value > limit.max:
            return 1.0 - within
        if limit.min is not None and self.value < limit.min:
            return below
        return max(0.0, within - below)

    def over(self, base: float) -> Known:
        """The same as a share of `base`, above 0."""

        def interval(confidence: float) -> tuple[float, float] | None:
            found = self.interval(confidence)
            return found and (found[0] / base, found[1] / base)

        return Known(self.value / base, interval, lambda limit: self.at_most(limit * base))


def known_drop(details: Mapping[str, Any]) -> Known:
    """The drop: Tango's score interval for right and wrong, else the bootstrap's."""
    if "b" not in details:
        return _resampled(details["drop"], details.get("quantiles"))
    effect, degrees = details.get("effect", 1.0), degrees_of(details)
    b, c, n = (details[name] / effect for name in ("b", "c", "n"))
    return Known(
        details["drop"],
        lambda confidence: stats.tango_interval(b, c, n, confidence, degrees),
        lambda limit: stats.tango_sure(b, c, n, limit, degrees),
    )


def known_value(measurement: Measurement) -> Known:
    """The candidate's own metric: Wilson's score interval for right and wrong, else the bootstrap's."""
    details = measurement.details
    if "right" not in details:
        return _resampled(measurement.candidate, details.get("candidate_quantiles"))
    effect, degrees = details.get("right_effect", 1.0), degrees_of(details)
    k, n = (details[name] / effect for name in ("right", "n"))
    return Known(
        measurement.candidate,
        lambda confidence: stats.wilson_interval(k, n, confidence, degrees),
        lambda limit: stats.wilson_sure(k, n, limit, degrees),
    )


def _resampled(value: float, quantiles: Sequence[float] | None) -> Known:
    if quantiles is None:  # too few resamples had a value
        return Known(value, lambda confidence: None, lambda limit: 0.5)
    return Known(
        value,
        lambda confidence: resampling.interval(quantiles, confidence),
        lambda limit: resampling.at_most(quantiles, limit),
    )


def degrees_of(details: Mapping[str, Any]) -> int | None:
    """Student's, where groups of samples were drawn and these may be few."""
    return max(details["groups"] - 1, 1) if "groups" in details else None


def difference(one: Known, other: Known) -> Known:
    """`one` less `other`, each with its own interval: MOVER (Zou and Donner 2008, Stat. Med. 27:1693), whatever they are of.

    Two figures of the same samples mostly err alike, and then it is cautious.
    """
    value = one.value - other.value

    def interval(confidence: float) -> tuple[float, float] | None:
        found, beside = one.interval(confidence), other.interval(confidence)
        if found is None or beside is None:
            return None
        below = math.hypot(one.value - found[0], beside[1] - other.value)
        above = math.hypot(found[1] - one.value, other.value - beside[0])
        return value - below, value + above

    def at_most(limit: float) -> float:
        """The confidence at which an end of the interval is just at the limit."""
        side, low, high = limit >= value, 0.0, 1.0 - 1e-9
        for _ in range(40):
            middle = (low + high) / 2
            found = interval(middle)
            if found is None:
                return 0.5
            inside = found[1] <= limit if side else found[0] >= limit
            low, high = (middle, high) if inside else (low, middle)
        return (1 + low) / 2 if side else (1 - low) / 2

    return Known(value, interval, at_most)


def reading(known: Known, limit: Limit, details: Mapping[str, Any], unit: str | None) -> Reading:
    confidence, sure = limit.confidence or USUAL, known.sure(limit)
    interval = known.interval(confidence)
    return Reading(
        known.value,
        interval,
        confidence if interval else None,
        sure,
        unit=unit,
        advice=_more_samples(known, limit, sure, details),
    )


def _more_samples(
    known: Known, limit: Limit, sure: float | None, details: Mapping[str, Any]
) -> tuple[str, ...]:
    """What would decide a limit that a confidence is demanded of, where the samples at hand do not."""
    if "not_resampled" in details:
        return (
            f"on {percent(details['not_resampled'])} of the resamples the metric has no value, so nothing tells how sure "
            "it is; give more samples of every class",
        )
    if "slow" in details:
        return (
            f"one computation of the metric takes {details['slow']:.3g} s, too long to repeat it on resamples, so nothing tells "
            "how sure it is; give a score a sample, or fewer samples",
        )
    if "unlike_resamples" in details:
        return (
            "next to no resample of the test split comes to its figure, as of a metric that holds samples against each other and "
            "finds the copies, or takes the worst of several classes; nothing tells how sure it is: keep queries and what is "
            "searched apart, and give a score a query, or measure all classes",
        )
    if limit.confidence is None or sure is None or sure >= limit.confidence:
        return ()
    n, what = details.get("groups", details["n"]), "groups" if "groups" in details else "samples"
    needed = stats.samples_to_be_sure(n, sure, limit.confidence)
    if needed is None:
        return (f"the value lies so near the limit that no number of {what} like these decides it",)
    return (f"about {needed} {what} like these {n} would decide it",)
