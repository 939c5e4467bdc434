"""Intervals and sequential decisions: numbers in, numbers out. Knows no model, no clock and no file.

Accuracy is judged on a test set that is given: Wilson for one proportion, Tango for two on the same samples,
a paired bootstrap for scores that are no proportion. Speed is judged while it is being sampled: the
sequential intervals below stay valid however often one looks and whenever one stops.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

Floats: TypeAlias = "NDArray[np.float64]"

# ------------------------------------------------------------------------------------- proportions and scores


def normal_quantile(probability: float) -> float:
    """z with P(Z <= z) = `probability`."""
    from scipy.special import ndtri

    return float(ndtri(probability))


def wilson_interval(k: int, n: int, confidence: float) -> tuple[float, float]:
    """Two-sided score interval for a proportion, k of n (Wilson 1927). (0, 1) when n is 0."""
    if n == 0:
        return 0.0, 1.0
    from scipy.stats import binomtest

    interval = binomtest(k, n).proportion_ci(confidence, method="wilson")
    return float(interval.low), float(interval.high)


def tango_score(b: int, c: int, n: int, difference: float) -> float:
    """Tango's score statistic for H0: P(b cell) - P(c cell) = `difference` (Tango 1998, Stat. Med. 17:891).

    The nuisance P(c cell) is replaced by its maximum likelihood estimate under H0, the root of a quadratic.
    """
    d = difference
    p, q = 2.0 * n, -b - c + (2.0 * n - b + c) * d
    nuisance = (math.sqrt(max(0.0, q * q + 4.0 * p * c * d * (1 - d))) - q) / (2.0 * p)
    variance = n * (2.0 * nuisance + d * (1 - d))
    excess = b - c - n * d
    if variance <= 0.0:
        return 0.0 if abs(excess) < 1e-12 * n else math.copysign(math.inf, excess)
    return excess / math.sqrt(variance)


def tango_interval(b: int, c: int, n: int, confidence: float) -> tuple[float, float]:
    """Two-sided score interval for (b - c) / n, the difference of two proportions on the same n samples.

    b counts the samples that the baseline has right and the candidate wrong, c the reverse, so a positive
    difference is a drop. It holds its coverage for few discordant samples, and none, where Wald's does not.
    """
    if n == 0:
        return -1.0, 1.0
    z, estimate = normal_quantile((1 + confidence) / 2), (b - c) / n
    low = _root(lambda d: tango_score(b, c, n, d) - z, -1.0, estimate)
    high = _root(lambda d: tango_score(b, c, n, d) + z, estimate, 1.0)
    return low, high


def tango_sure(b: int, c: int, n: int, limit: float) -> float:
    """One-sided confidence, in [0, 1], that the true drop (b - c) / n is at most `limit`."""
    from scipy.special import ndtr

    if n == 0:
        return 0.5
    if not -1.0 < limit < 1.0:
        return float(limit >= 1.0)
    return float(ndtr(-tango_score(b, c, n, limit)))


def detectable_drop(b: int, c: int, n: int, alpha: float = 0.05, power: float = 0.8) -> float:
    """The smallest true drop that a one-sided paired test at `alpha` finds with probability `power`.

    Connor 1987 (Biometrics 43:207), solved for the drop, with the discordance that was seen, at least one
    sample, and never less than the drop itself. 1.0 where even that would be missed.
    """
    if n == 0:
        return 1.0
    z_alpha, z_power = normal_quantile(1 - alpha), normal_quantile(power)
    seen = max(b + c, 1) / n

    def shortfall(drop: float) -> float:
        discordance = max(seen, drop)
        spread = z_alpha * math.sqrt(discordance) + z_power * math.sqrt(discordance - drop * drop)
        return spread - drop * math.sqrt(n)

    return 1.0 if shortfall(1.0) > 0 else _root(shortfall, 0.0, 1.0)


class Bootstrap(NamedTuple):
    """`low` and `high` of the mean drop, and every replicate of it in ascending order."""

    low: float
    high: float
    replicates: Floats

    def sure(self, limit: float) -> float:
        """One-sided confidence, in [0, 1], that the true drop is at most `limit`."""
        return float(np.searchsorted(self.replicates, limit, side="right") / self.replicates.size)


def paired_bootstrap(
    baseline_scores: Sequence[float] | Floats,
    candidate_scores: Sequence[float] | Floats,
    confidence: float,
    seed: int,
    replicates: int = 4000,
) -> Bootstrap:
    """Percentile interval for the mean of baseline - candidate, two arrays of shape [N] of the same samples.

    Replicates are widened by sqrt(N / (N - 1)) about the estimate, without which a percentile interval is too
    narrow for small N (Hesterberg 2015, Am. Stat. 69:371). Raises `ValueError` unless both are [N], N >= 1.
    """
    drops = np.asarray(baseline_scores, dtype=float) - np.asarray(candidate_scores, dtype=float)
    if np.shape(baseline_scores) != np.shape(candidate_scores) or drops.ndim != 1 or drops.size == 0:
        raise ValueError(
            f"scores of shape [N] expected, got {np.shape(baseline_scores)} and {np.shape(candidate_scores)}"
        )
    generator, n = np.random.default_rng(seed), drops.size
    rows = max(1, 4_000_000 // n)  # bounds the memory of the index matrix to 32 MB
    means = np.concatenate(
        [
            drops[generator.integers(0, n, size=(min(rows, replicates - start), n))].mean(axis=1)
            for start in range(0, replicates, rows)
        ]
    )
    estimate = drops.mean()
    means = np.sort(estimate + (means - estimate) * (math.sqrt(n / (n - 1)) if n > 1 else 1.0))
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Bootstrap(float(low), float(high), means)


def _root(function: Callable[[float], float], low: float, high: float) -> float:
    """Where a monotone function changes sign in [low, high]; the end nearer to zero where it does not.

    By bisection, since a score is infinite at the ends of its range and only its sign can be used there.
    """
    from scipy.optimize import bisect

    at_low, at_high = function(low), function(high)
    if (at_low > 0) == (at_high > 0):
        return low if abs(at_low) < abs(at_high) else high
    return float(bisect(function, low, high, xtol=1e-15, maxiter=200))


def clears(interval: tuple[float, float], limits: Sequence[float], side: Literal["min", "max"]) -> bool:
    """Whether `interval` lies on one side of each limit. A limit is met by equality: `side` tells which way."""
    low, high = interval
    if side == "min":
        return all(low >= limit or high < limit for limit in limits)
    return all(high <= limit or low > limit for limit in limits)


# ----------------------------------------------------------------------------- sequential: quantiles, anytime


def evidence(k: Any, n: float, null: float) -> Any:
    """log e-value against H0 "each of n trials succeeds with probability at most `null`", given k successes.

    The likelihood ratio against `null`, averaged over Jeffreys' prior Beta(1/2, 1/2) cut to (null, 1): a
    nonnegative supermartingale under H0 whatever the order of the trials, so by Ville's inequality (1939)
    P(it ever reaches 1 / alpha) <= alpha. Mixtures of this kind: Robbins 1970 (Ann. Math. Stat. 41:1397);
    as a confidence sequence for quantiles: Howard & Ramdas 2022 (Bernoulli 28:1704). `k` may be an array.
    """
    from scipy.special import betaincc, betaln

    k = np.asarray(k, dtype=float)
    with np.errstate(divide="ignore"):  # log 0: no mass of the posterior lies above `null`, so no evidence
        mass = np.log(betaincc(k + 0.5, n - k + 0.5, null))
    prior = math.log(math.pi) + math.log(float(betaincc(0.5, 0.5, null)))
    return betaln(k + 0.5, n - k + 0.5) + mass - prior - k * math.log(null) - (n - k) * math.log1p(-null)


@lru_cache(maxsize=4096)
def successes_needed(n: int, null: float, alpha: float) -> int:
    """The least k of n that rejects "probability at most `null`" at level `alpha`; n + 1 if none does."""
    enough = evidence(np.arange(n + 1), n, null) >= -math.log(alpha)
    return int(np.argmax(enough)) if enough.any() else n + 1


def sequential_interval(
    values: Sequence[float] | Floats, confidence: float, quantile: float = 0.5
) -> tuple[float, float]:
    """Anytime-valid two-sided interval for a quantile: order statistics of `values`, shape [N].

    Covers the true quantile at every N at once with probability at least `confidence`, for any distribution
    and any rule of stopping; each side spends half the error. It needs no more than that, given the past, a
    value lies above (below) the quantile with probability at most 1 - quantile (quantile): ties are allowed,
    and the distribution may change from value to value. Ends are infinite while N is too small.
    """
    ordered, n = np.sort(np.asarray(values, dtype=float)), len(values)
    alpha = (1 - confidence) / 2
    above = successes_needed(n, 1 - quantile, alpha)
    below = successes_needed(n, quantile, alpha)
    low = float(ordered[n - above]) if above <= n else -math.inf
    high = float(ordered[below - 1]) if below <= n else math.inf
    return low, high


def samples_to_decide(
    values: Sequence[float] | Floats,
    limit: float,
    confidence: float,
    quantile: float = 0.5,
    most: int = 1 << 20,
) -> int | None:
    """About how many values it takes to clear `limit`, if they go on to fall on its sides as so far.

    None when that is more than `most`, as it is when the limit is about the quantile itself.
    """
    array, n = np.asarray(values, dtype=float), len(values)
    above, below = (float((array > limit).mean()), float((array < limit).mean())) if n else (1.0, 0.0)
    share, null = (above, 1 - quantile) if above >= 1 - quantile else (below, quantile)
    needed = math.log(2 / (1 - confidence))

    def cleared(total: int) -> bool:
        return float(evidence(share * total, total, null)) >= needed

    total = max(n, 1)
    while not cleared(total):
        total *= 2
        if total > most:
            return None
    low, high = 0, total
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if cleared(middle) else (middle, high)
    return max(high, n)
