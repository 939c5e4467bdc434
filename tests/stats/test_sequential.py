"""The anytime-valid interval on simulated noise: coverage while looking after every value."""

import numpy as np
import pytest

from weighbridge.core import stats

TRIALS, LENGTH, CONFIDENCE = 1500, 150, 0.95


def heavy_tails(generator):
    return generator.standard_cauchy((TRIALS, LENGTH))


def drift(generator):
    """The scale grows fiftyfold and the noise turns from uniform to skewed; the median stays."""
    uniform, skewed = generator.uniform(-1, 1, (TRIALS, LENGTH)), generator.exponential(1, (TRIALS, LENGTH))
    weight = np.linspace(0, 1, LENGTH)
    mixed = np.where(generator.random((TRIALS, LENGTH)) < weight, skewed - np.log(2), uniform)
    return mixed * np.geomspace(1, 50, LENGTH)


def bursts(generator):
    """Now and then a neighbour works for a while: values within a burst are flung to either side."""
    busy = np.cumsum(generator.random((TRIALS, LENGTH)) < 0.1, axis=1) % 2 == 1
    return generator.normal(size=(TRIALS, LENGTH)) * np.where(busy, 30.0, 1.0)


def two_modes(generator):
    """Each side of a pair is fast or slow by chance, so a ratio is right or far off, both ways."""
    slow = generator.integers(0, 2, (2, TRIALS, LENGTH))
    return slow[0] - slow[1] + generator.normal(0, 0.001, (TRIALS, LENGTH))


def ties(generator):
    """A coarse clock: a third of all values are the median itself."""
    return generator.integers(-1, 2, (TRIALS, LENGTH)).astype(float)


@pytest.mark.parametrize("noise", [heavy_tails, drift, bursts, two_modes, ties])
def test_the_interval_covers_the_median_at_every_look(noise):
    values = noise(np.random.default_rng(5))
    above, below = np.cumsum(values > 0, axis=1), np.cumsum(values < 0, axis=1)
    needed = np.array([stats.successes_needed(n, 0.5, (1 - CONFIDENCE) / 2) for n in range(1, LENGTH + 1)])
    # The interval misses the median 0 at some look when either count ever reaches what rejects it.
    missed = ((above >= needed) | (below >= needed)).any(axis=1)
    assert missed.mean() <= 1 - CONFIDENCE


def test_an_interval_that_is_not_sequential_would_be_caught():
    """The same looks at a fixed-sample interval (the plain sign test) miss far more often than promised."""
    from scipy.stats import binom

    values = heavy_tails(np.random.default_rng(5))
    lengths = np.arange(1, LENGTH + 1)
    needed = binom.isf((1 - CONFIDENCE) / 2, lengths, 0.5) + 1
    above, below = np.cumsum(values > 0, axis=1), np.cumsum(values < 0, axis=1)
    assert ((above >= needed) | (below >= needed)).any(axis=1).mean() > 3 * (1 - CONFIDENCE)


@pytest.mark.parametrize("quantile", [0.5, 0.9, 0.99])
def test_other_quantiles_are_covered_too(quantile):
    generator = np.random.default_rng(6)
    truth, missed = -np.log(1 - quantile), 0
    for _ in range(200):
        values = generator.exponential(size=1200)
        for n in (60, 300, 700, 1200):
            low, high = stats.sequential_interval(values[:n], CONFIDENCE, quantile)
            if not low <= truth <= high:
                missed += 1
                break
    assert missed / 200 <= 1 - CONFIDENCE


def test_the_interval_is_made_of_order_statistics():
    values = np.random.default_rng(7).permutation(np.arange(101.0))
    low, high = stats.sequential_interval(values, 0.99)
    assert low in values
    assert high in values
    assert low + high == 100.0
    assert low < 50.0 < high


def sure_of(values, limit):
    """The largest confidence, in [0, 1), at which the evidence puts the median on one side of `limit`."""
    sides = (stats.evidence(int(side.sum()), len(values), 0.5) for side in (values > limit, values < limit))
    return max(0.0, 1.0 - 2.0 * np.exp(-max(map(float, sides))))


def test_few_values_tell_nothing_and_one_more_does():
    assert stats.sequential_interval([1.0] * 9, 0.99) == (-np.inf, np.inf)
    assert stats.sequential_interval([1.0] * 10, 0.99) == (1.0, 1.0)
    assert sure_of(np.array([]), 1.0) == 0.0


@pytest.mark.parametrize("limit", [-0.9, -0.6, 0.5, 0.8])
def test_sure_is_the_confidence_at_which_the_interval_clears(limit):
    values = np.random.default_rng(8).normal(size=80)
    sure = sure_of(values, limit)
    for confidence, clears in ((sure - 1e-9, True), (sure + 1e-9, False)):
        low, high = stats.sequential_interval(values, confidence)
        assert (low > limit or high < limit) is clears


def test_samples_to_decide():
    assert stats.samples_to_decide([1.1] * 3, 1.0, 0.99) == 10
    assert stats.samples_to_decide([0.9] * 3, 1.0, 0.99) == 10
    assert stats.samples_to_decide([0.9, 1.1], 1.0, 0.99) is None
    split = [1.1] * 7 + [0.9] * 3
    needed = stats.samples_to_decide(split, 1.0, 0.99)
    assert stats.sequential_interval(split * (needed // 10 + 1), 0.99)[0] > 1.0
    assert stats.sequential_interval(split * (needed // 20), 0.99)[0] < 1.0
