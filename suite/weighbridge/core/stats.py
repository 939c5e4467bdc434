"""Intervals and sequential decisions: numbers in, numbers out. Knows no model, no clock and no file.

Accuracy is judged on a test set that is given: Wilson for one proportion, Tango for two on the same samples; scores
that are no proportion are resampled (`resampling`). Speed is judged while it is being sampled: the
sequential intervals below stay valid however often one looks and whenever one stops.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

Floats: TypeAlias = "NDArray[np.float64]"

# ------------------------------------------------------------------------------------- proportions and scores


def normal_quantile(probability: float) -> float:
    """z with P(Z <= z) = `probability`."""
    from scipy.special import ndtri

    return float(ndtri(probability))


def _quantile(probability: float, degrees: float | None) -> float:
    """Of Student's t with so many degrees of freedom, as few groups ask for; of the normal without."""
    from scipy.special import stdtrit

    return normal_quantile(probability) if degrees is None else float(stdtrit(degrees, probability))


def _below(score: float, degrees: float | None) -> float:
    from scipy.special import ndtr, stdtr

    return float(ndtr(score) if degrees is None else stdtr(degrees, score))


def wilson_interval(
    k: float, n: float, confidence: float, degrees: float | None = None
) -> tuple[float, float]:
    """Two-sided score interval for a proportion, k of n (Wilson 1927). (0, 1) when n is 0.

    Clustered samples count as fewer (`design_effect`), hence not whole numbers, with the groups' degrees of freedom.
    """
    if n == 0:
        return 0.0, 1.0
    z2 = _quantile((1 + confidence) / 2, degrees) ** 2
    share = k / n
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = math.sqrt(z2 * (share * (1 - share) / n + z2 / (4 * n * n))) / (1 + z2 / n)
    low, high = max(0.0, centre - half), min(1.0, centre + half)
    return (0.0 if k <= 0 else low), (1.0 if k >= n else high)


def wilson_sure(k: float, n: float, limit: float, degrees: float | None = None) -> float:
    """One-sided confidence, in [0, 1], that the true proportion is at most `limit`: Wilson's score test."""
    if n == 0:
        return 0.5
    if not 0.0 < limit < 1.0:
        # Of k = n nothing tells the true share from 1.
        at_the_end = k == (n if limit >= 1.0 else 0)
        return 0.5 if at_the_end and limit in (0.0, 1.0) else float(limit >= 1.0)
    return _below((limit - k / n) / math.sqrt(limit * (1 - limit) / n), degrees)


def tango_score(b: float, c: float, n: float, difference: float) -> float:
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


@lru_cache(maxsize=4096)  # of a hundred classes, most have the same few counts
def tango_interval(
    b: float, c: float, n: float, confidence: float, degrees: float | None = None
) -> tuple[float, float]:
    """Two-sided score interval for (b - c) / n, the difference of two proportions on the same n samples.

    b counts the samples that the baseline has right and the candidate wrong, c the reverse, so a positive
    difference is a drop. It holds its coverage for few discordant samples, and none, where Wald's does not. Clustered
    samples count as fewer (`design_effect`), with the groups' degrees of freedom.
    """
    if n == 0:
        return -1.0, 1.0
    z, estimate = _quantile((1 + confidence) / 2, degrees), (b - c) / n
    low = _root(lambda d: tango_score(b, c, n, d) - z, -1.0, estimate)
    high = _root(lambda d: tango_score(b, c, n, d) + z, estimate, 1.0)
    return low, high


def tango_sure(b: float, c: float, n: float, limit: float, degrees: float | None = None) -> float:
    """One-sided confidence, in [0, 1], that the true drop (b - c) / n is at most `limit`."""
    if n == 0:
        return 0.5
    if not -1.0 < limit < 1.0:
        return float(limit >= 1.0)
    return _below(-tango_score(b, c, n, limit), degrees)


def design_effect(values: Floats, groups: NDArray[Any]) -> float:
    """How many of `values`, each -1, 0 or 1, in their `groups`, both shape [N], tell as much as one alone; at least 1.

    The variance of the mean over whole groups, by linearization, over that of independent samples (Kish 1965, Survey
    Sampling; score intervals at n over it: Dean and Pagano 2015, J. Surv. Stat. Methodol. 3:484). Few nonzero values
    cannot tell it, so that one group more, all of it nonzero, is added to both: without any nonzero, groups count as
    single samples.
    """
    _, unit = np.unique(groups, return_inverse=True)
    sizes = np.bincount(unit).astype(float)
    n, rest = len(values), values - values.mean()
    size = n / len(sizes)
    if len(sizes) == 1:
        return size
    clustered = (np.bincount(unit, weights=rest) ** 2).sum() * len(sizes) / (len(sizes) - 1) + size**2
    alone = (rest**2).sum() * n / (n - 1) + size
    return max(1.0, float(clustered / alone))


def decidable_limit(n: float, confidence: float) -> float:
    """The smallest limit on a drop that n samples can be sure of where not one of them flips: z^2 / (n + z^2).

    It is `tango_sure(0, 0, n, limit) == confidence` solved for the limit. A smaller one takes net gains to be sure of.
    """
    z2 = normal_quantile(confidence) ** 2
    return z2 / (n + z2)


def samples_for_limit(limit: float, confidence: float) -> int:
    """The fewest samples of which `decidable_limit` is at most `limit`, above 0."""
    return math.ceil(normal_quantile(confidence) ** 2 * (1 - limit) / limit - 1e-9)


def samples_to_be_sure(n: int, sure: float, confidence: float) -> int | None:
    """How many samples like these n make a verdict `confidence` sure that is `sure` now; None for more than a million.

    The score of a test grows with the root of the number of samples, at the same shares.
    """
    if sure >= confidence:
        return n
    score = normal_quantile(max(min(sure, 1 - 1e-12), 1e-12))
    if score <= 0 or n == 0:
        return None
    needed = math.ceil(n * (normal_quantile(confidence) / score) ** 2)
    return needed if needed <= 1_000_000 else None


def detectable_drop(b: float, c: float, n: float, alpha: float = 0.05, power: float = 0.8) -> float:
    """The smallest true drop that a one-sided paired test at `alpha` finds with probability `power`.

    Connor 1987 (Biometrics 43:207), solved for the drop, with the discordance that was seen, at least one
    sample, and never less than the drop itself. 1.0 where even that would be missed.
    """
    if n == 0:
        return 1.0
    z_alpha, z_power = normal_quantile(1 - alpha), normal_quantile(power)
    seen = min(max(b + c, 1.0) / n, 1.0)

    def shortfall(drop: float) -> float:
        discordance = max(seen, drop)
        spread = z_alpha * math.sqrt(discordance) + z_power * math.sqrt(discordance - drop * drop)
        return spread - drop * math.sqrt(n)

    return 1.0 if shortfall(1.0) > 0 else _root(shortfall, 0.0, 1.0)


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
