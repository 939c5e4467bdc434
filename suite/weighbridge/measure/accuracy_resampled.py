"""How sure a metric is that does not decompose, such as a mean average precision: computed anew on resamples, for both models."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from weighbridge.contracts import Array, Metric
from weighbridge.core import resampling
from weighbridge.measure.direction import sign
from weighbridge.measure.evaluation import Evaluation

MOST_LOST = 0.05
FEWEST_BESIDE = 1 / 40
"""So many of the resamples have to lie on either side of the figure: with fewer BCa's correction of the bias is beyond 1.96,
and the interval at 95 % would not hold the figure itself.
"""
SECONDS = 30.0
"""Resamples may take as long: the average precision of some hundred pictures takes half a second, and a thousand of them would
take longer than the rest of the case.
"""
FEWEST = 25
"""Resamples that tell how far a figure spreads, though not how its tails lie (Efron and Tibshirani 1993, An Introduction to the
Bootstrap, 6.4).
"""


def resampled(metric: Metric, theirs: Evaluation | None, ours: Evaluation) -> dict[str, Any]:
    """The drop, and confidence distributions of the candidate's figure and of the drop, on the same samples for both models.

    A resample on which the metric has no value (no sample of a class) is left out. Where that is more than `MOST_LOST` of
    them, nothing is said of certainty, since what is left favours the samples at hand. Nor where next to no resample comes to
    the figure of the samples themselves: a metric that holds samples against each other, such as recall at 1, finds the
    copies that a resample has of them, and the correction of a bias so large rests on a handful of resamples. Nor where
    `FEWEST` resamples would take longer than `SECONDS`: fewer than all of them tell a spread.
    """
    sides = [ours] if theirs is None else [ours, theirs]

    def figures(rows: Any) -> list[float]:
        return [_on(metric, side, rows) for side in sides]

    whole = np.array([side.value(metric) for side in sides])
    towards = sign(metric)

    def drop(array: Array) -> Array:
        return np.asarray(towards * (array[..., 1] - array[..., 0]))

    details: dict[str, Any] = {} if theirs is None else {"drop": float(drop(whole))}
    drawn, left_out, units = resampling.draws(ours.n, ours.groups, seed=0)
    every, seconds = _in_time(figures, drawn)
    if len(every) < FEWEST:
        return {**details, "slow": seconds}
    all_of_them = len(every) == resampling.COMPUTED
    replicates = _finite(every)
    lost = 1 - len(replicates) / len(every)
    if lost > MOST_LOST:
        return {**details, "not_resampled": lost}
    if any(_outside(values, value) for values, value in zip(replicates.T, whole, strict=True)):
        return {**details, "unlike_resamples": True}
    without_some = [figures(rows) for rows in left_out if len(rows)] if all_of_them else []
    jackknife = _finite(np.array(without_some).reshape(-1, len(sides)))
    spread = float(np.abs(whole).max() or 1.0)

    def known(of: Callable[[Array], Array]) -> list[float]:
        values, estimate = of(replicates), float(of(whole))
        if np.ptp(values) == 0:
            return list(resampling.unseen(estimate, spread, units))
        if not all_of_them:
            return list(resampling.by_spread(values, estimate, units))
        return list(resampling.bca(values, estimate, of(jackknife), units))

    if not all_of_them:
        details["resamples"] = len(every)
    details["candidate_quantiles"] = known(lambda array: array[..., 0])
    if theirs is not None:
        details["quantiles"] = known(drop)
    return details


def _in_time(figures: Callable[[Any], list[float]], drawn: Iterable[Any]) -> tuple[Array, float]:
    """The figures on as many resamples as `SECONDS` allow, and how long one took; given up where `FEWEST` would take longer."""
    found: list[list[float]] = []
    began, each = time.perf_counter(), 0.0
    for rows in drawn:
        found.append(figures(rows))
        taken = time.perf_counter() - began
        each = taken / len(found)
        if taken > SECONDS or each * FEWEST > SECONDS:
            break
    return np.array(found), each


def _finite(figures: Array) -> Array:
    return figures[np.isfinite(figures).all(axis=1)]


def _outside(values: Array, estimate: float) -> bool:
    """Whether next to every resample lies to one side of the figure that all of them stand for."""
    room = 1e-6 * max(1.0, abs(estimate))  # sums in another order
    beside = min((values <= estimate + room).mean(), (values >= estimate - room).mean())
    return bool(beside < FEWEST_BESIDE)


def _on(metric: Metric, found: Evaluation, rows: Array) -> float:
    """The metric on some of the samples; NaN where it has none there."""
    try:
        with warnings.catch_warnings(action="ignore"):
            return found.over(metric, rows)
    except Exception:  # the user's own code, on samples that need not be fit for it
        return float("nan")
