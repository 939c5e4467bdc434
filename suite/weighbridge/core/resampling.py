"""How sure a mean, or any other figure of resampled data, is: the BCa bootstrap, kept as a confidence distribution.

A confidence distribution is stored as its quantiles at `LEVELS`, so that another limit or confidence is read from it
without drawing again. Units are what is drawn: samples, or groups of samples that belong together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

Floats: TypeAlias = "NDArray[np.float64]"

_Z = np.linspace(-4.0, 4.0, 401)
"""The levels as quantiles of the normal distribution: dense in the tails, where verdicts are."""
REPLICATES = 4000
"""Resamples of a mean."""
COMPUTED = 1000
"""Resamples of what has to be computed anew on each, for both models: a metric that does not decompose."""
BLOCKS = 200
"""Most blocks that a jackknife leaves out one by one."""
_ROWS = 4_000_000
"""Bounds the memory of one matrix of indices to 32 MB."""


def bca(replicates: Floats, estimate: float, jackknife: Floats, units: int) -> Floats:
    """The quantiles at `LEVELS` of a statistic's confidence distribution: Efron's BCa (1987, JASA 82:171).

    `replicates`, shape [B] and not all the same, are of the statistic resampled, `jackknife`, shape [M], with each of M
    blocks of units left out. Distances from the estimate are widened by sqrt(n / (n - 1)) t(n - 1) / z for n = `units`,
    without which any percentile method is too narrow for few units (Hesterberg 2015, Am. Stat. 69:371, there of the
    levels).
    """
    from scipy.special import ndtr, ndtri, stdtrit

    below = ((replicates < estimate).sum() + 0.5 * (replicates == estimate).sum()) / replicates.size
    edge = 0.5 / replicates.size
    bias = ndtri(np.clip(below, edge, 1 - edge))
    influence = jackknife.mean() - jackknife
    spread = (influence**2).sum()
    acceleration = (influence**3).sum() / (6.0 * spread**1.5) if spread > 0 else 0.0
    shifted = bias + _Z
    slowed = 1.0 - acceleration * shifted
    with np.errstate(divide="ignore"):
        corrected = np.where(slowed > 0, bias + shifted / slowed, np.copysign(np.inf, shifted))
    # Of a share of samples many replicates are the same: half of these count as below (Ma, Genton and Parzen 2011, Ann.
    # Inst. Stat. Math. 63:227). Rounded, since the same sum in another order is another float.
    scale = np.ptp(replicates)
    values, times = np.unique(np.round((replicates - estimate) / scale, 12), return_counts=True)
    ends = estimate + scale * np.interp(ndtr(corrected), (times.cumsum() - times / 2) / times.sum(), values)
    degrees = max(units - 1, 1)
    # At the median both quantiles are zero, and their ratio is that next to it.
    z = np.where(np.abs(_Z) < 1e-9, _Z[1] - _Z[0], _Z)
    wider = np.sqrt(units / degrees) * stdtrit(degrees, ndtr(z)) / z
    return np.asarray(np.maximum.accumulate(estimate + (ends - estimate) * wider))


def by_spread(replicates: Floats, estimate: float, units: int) -> Floats:
    """The same of few replicates, shape [B]: their standard deviation around the estimate, with Student's tails for as few
    replicates, or units, as there are.
    """
    from scipy.special import ndtr, stdtrit

    degrees = max(min(units, replicates.size) - 1, 1)
    return np.asarray(estimate + replicates.std(ddof=1) * stdtrit(degrees, ndtr(_Z)))


def unseen(estimate: float, spread: float, units: int) -> Floats:
    """The same where no two units differ, so that there is nothing to resample.

    A sample unlike these would shift the mean by at most `spread`, and n units that did not show one leave open that a
    share q of all are such: the score interval for none of n, z^2 / (n + z^2) (Wilson 1927; Tango's without flips).
    """
    share = _Z**2 / (units + _Z**2)
    return np.asarray(estimate + np.sign(_Z) * spread * share)


def of_means(values: Floats, groups: NDArray[Any] | None, spread: float, seed: int) -> list[Floats]:
    """The confidence distribution of the mean of each column of `values`, shape [N, K], drawn together.

    `groups`, shape [N], names the unit of each sample; None makes each its own. `spread` is the range of the scores
    (`unseen`). Raises `ValueError` for other shapes and for no samples.
    """
    if values.ndim != 2 or not len(values) or (groups is not None and groups.shape != (len(values),)):
        found = f"{values.shape} and {None if groups is None else groups.shape}"
        raise ValueError(
            f"values of shape [N, K] and groups of shape [N] expected, N at least 1, got {found}"
        )
    sums, sizes = _by_unit(values, groups)
    units, estimate = len(sizes), values.mean(axis=0)
    generator, rows = np.random.default_rng(seed), max(1, _ROWS // units)
    drawn = []
    for start in range(0, REPLICATES, rows):
        index = generator.integers(0, units, size=(min(rows, REPLICATES - start), units))
        total = sizes[index].sum(axis=1)
        drawn.append(np.stack([column[index].sum(axis=1) / total for column in sums.T], axis=1))
    replicates = np.concatenate(drawn)
    left = np.maximum(sizes.sum() - sizes, 1.0)[:, None]
    jackknife = (sums.sum(axis=0) - sums) / left
    means = sums / sizes[:, None]
    return [
        unseen(estimate[k], spread, units)
        if np.ptp(means[:, k]) == 0
        else bca(replicates[:, k], float(estimate[k]), jackknife[:, k], units)
        for k in range(values.shape[1])
    ]


def _by_unit(values: Floats, groups: NDArray[Any] | None) -> tuple[Floats, Floats]:
    """The sums [U, K] and sizes [U] of the units."""
    if groups is None:
        return values.astype(np.float64), np.ones(len(values))
    _, unit = np.unique(groups, return_inverse=True)
    sums: Floats = np.stack([np.bincount(unit, weights=column) for column in values.T], axis=1).astype(float)
    return sums, np.bincount(unit).astype(np.float64)


def draws(n: int, groups: NDArray[Any] | None, seed: int) -> tuple[Any, list[NDArray[Any]], int]:
    """(`COMPUTED` resamples, up to `BLOCKS` jackknife samples, the number of units), as rows of n samples.

    For a statistic that has to be computed anew; the resamples come one by one, since each may be large.
    """
    unit = np.arange(n) if groups is None else np.unique(groups, return_inverse=True)[1]
    units = int(unit.max()) + 1
    order = np.argsort(unit, kind="stable")
    members = np.split(order, np.cumsum(np.bincount(unit))[:-1])
    generator = np.random.default_rng(seed)
    shuffled = generator.permutation(units)

    def resamples() -> Any:
        for _ in range(COMPUTED):
            drawn = generator.integers(0, units, units)
            yield drawn if groups is None else np.concatenate([members[index] for index in drawn])

    left_out = [
        np.flatnonzero(~np.isin(unit, block)) for block in np.array_split(shuffled, min(units, BLOCKS))
    ]
    return resamples(), left_out, units


def interval(quantiles: Any, confidence: float) -> tuple[float, float]:
    """Two-sided, of a confidence distribution."""
    from scipy.special import ndtri

    z = ndtri((1 + confidence) / 2)
    known = np.asarray(quantiles, dtype=float)
    low, high = np.interp([-z, z], _levels(known), known)
    return float(low), float(high)


def at_most(quantiles: Any, limit: float) -> float:
    """One-sided confidence, in [0, 1], that the true value is at most `limit`."""
    from scipy.special import ndtr

    known = np.asarray(quantiles, dtype=float)
    return float(ndtr(np.interp(limit, known, _levels(known))))


def _levels(quantiles: Floats) -> Floats:
    """Those of a distribution that was thinned evenly, too."""
    return np.asarray(_Z[:: (len(_Z) - 1) // (len(quantiles) - 1)])
