"""Intervals for a test set that is given: known values, coverage by simulation, the ends of the range."""

import numpy as np
import pytest

from weighbridge.core import stats


@pytest.mark.parametrize(
    ("b", "c", "n", "low", "high"),
    [
        (1, 7, 21, -0.517, -0.026),  # airway hyper-responsiveness, Bentur et al. 2009
        (0, 0, 100, -0.0370, 0.0370),  # z^2 / (n + z^2): nothing differs, and 100 samples cannot say more
    ],
)
def test_tango_gives_the_published_intervals(b, c, n, low, high):
    assert stats.tango_interval(b, c, n, 0.95) == pytest.approx((low, high), abs=1e-3)


@pytest.mark.parametrize(("lost", "won"), [(0.03, 0.03), (0.06, 0.01), (0.004, 0.0), (0.0, 0.02)])
@pytest.mark.parametrize("n", [100, 1000])
def test_tango_covers_the_true_difference(lost, won, n):
    counts = np.random.default_rng(1).multinomial(n, [lost, won, 1 - lost - won], size=2000)
    pairs, times = np.unique(counts[:, :2], axis=0, return_counts=True)
    hits = 0
    for (b, c), count in zip(pairs.tolist(), times.tolist(), strict=True):
        low, high = stats.tango_interval(b, c, n, 0.95)
        assert low <= (b - c) / n <= high
        hits += count * (low <= lost - won <= high)
    # A score interval holds its level on average, not at every point: 0.931 at 0.004 and n = 1000.
    assert hits / 2000 >= 0.92


def test_tango_sure_agrees_with_the_interval():
    low, high = stats.tango_interval(31, 12, 800, 0.95)
    assert stats.tango_sure(31, 12, 800, high) == pytest.approx(0.975, abs=1e-6)
    assert stats.tango_sure(31, 12, 800, low) == pytest.approx(0.025, abs=1e-6)
    assert stats.tango_sure(0, 0, 500, 0.0) == pytest.approx(0.5)
    assert stats.tango_sure(50, 0, 50, 0.2) < 0.01
    assert stats.tango_sure(3, 1, 10, 1.0) == 1.0


def test_nothing_is_known_without_samples():
    assert stats.tango_interval(0, 0, 0, 0.95) == (-1.0, 1.0)
    assert stats.wilson_interval(0, 0, 0.95) == (0.0, 1.0)
    assert stats.tango_sure(0, 0, 0, 0.01) == 0.5
    assert stats.detectable_drop(0, 0, 0) == 1.0


@pytest.mark.parametrize(
    ("b", "c", "n", "most"),
    [(20, 20, 1000, 0.85), (150, 90, 5000, 0.85), (4, 2, 300, 1.0)],  # the formula is cautious with few pairs
)
def test_the_detectable_drop_is_found_as_often_as_promised(b, c, n, most):
    drop = stats.detectable_drop(b, c, n, alpha=0.05, power=0.8)
    discordance = max((b + c) / n, drop)
    lost, won = (discordance + drop) / 2, (discordance - drop) / 2
    counts = np.random.default_rng(2).multinomial(n, [lost, won, 1 - lost - won], size=3000)
    z = (counts[:, 0] - counts[:, 1]) / np.sqrt(np.maximum(counts[:, 0] + counts[:, 1], 1))
    assert 0.78 <= (z > 1.645).mean() <= most


def test_more_samples_detect_smaller_drops():
    drops = [stats.detectable_drop(n // 50, n // 50, n) for n in (50, 500, 5000, 50000)]
    assert drops == sorted(drops, reverse=True)
    assert drops[-1] < 0.003 < drops[0]


@pytest.mark.parametrize("p", [0.5, 0.9, 0.99])
def test_wilson_covers_on_average(p):
    ks = np.random.default_rng(3).binomial(200, p, size=4000)
    intervals = {k: stats.wilson_interval(k, 200, 0.95) for k in set(ks.tolist())}
    assert np.mean([intervals[k][0] <= p <= intervals[k][1] for k in ks.tolist()]) >= 0.93


def test_wilson_stays_in_the_range():
    assert stats.wilson_interval(0, 20, 0.99)[0] == 0.0
    assert stats.wilson_interval(20, 20, 0.99)[1] == 1.0


def test_few_degrees_of_freedom_are_less_sure():
    """Of few groups the variance is not known well: Student's t takes the normal's place."""
    low, high = stats.tango_interval(31, 12, 800, 0.95)
    few_low, few_high = stats.tango_interval(31, 12, 800, 0.95, degrees=5)
    assert few_low < low < high < few_high
    assert 0.5 < stats.tango_sure(31, 12, 800, 0.05, degrees=5) < stats.tango_sure(31, 12, 800, 0.05)
    low, high = stats.wilson_interval(700, 800, 0.95)
    few_low, few_high = stats.wilson_interval(700, 800, 0.95, degrees=5)
    assert few_low < low < high < few_high


def test_wilson_is_scipys_and_sure_at_its_ends():
    from scipy.stats import binomtest

    theirs = binomtest(45, 50).proportion_ci(0.9, method="wilson")
    low, high = stats.wilson_interval(45, 50, 0.9)
    assert (low, high) == pytest.approx((theirs.low, theirs.high), abs=1e-12)
    assert stats.wilson_sure(45, 50, high) == pytest.approx(0.95)
    assert stats.wilson_sure(45, 50, low) == pytest.approx(0.05)
    # All of fifty right: nobody can say that the share is 1, nor that it is not.
    assert stats.wilson_sure(50, 50, 1.0) == 0.5


def test_copies_of_a_sample_are_one_sample():
    values = np.zeros(300)
    values[:20] = 1.0
    alone = stats.design_effect(values, np.arange(300))
    assert alone == pytest.approx(1.0, abs=0.01)
    copied = stats.design_effect(np.repeat(values, 5), np.repeat(np.arange(300), 5))
    assert copied == pytest.approx(5.0, rel=0.02)
    # Where nothing flips, nothing tells whether samples of a group would flip together: the groups count.
    assert stats.design_effect(np.zeros(100), np.repeat(np.arange(20), 5)) == pytest.approx(5.0)


def test_the_smallest_decidable_limit_is_tangos():
    for n, confidence in ((360, 0.95), (5000, 0.99)):
        limit = stats.decidable_limit(n, confidence)
        assert stats.tango_sure(0, 0, n, limit) == pytest.approx(confidence, abs=1e-9)
        assert stats.samples_for_limit(limit, confidence) == n


def test_as_many_samples_as_are_said_decide():
    sure = stats.tango_sure(8, 4, 800, 0.01)
    assert sure < 0.95
    needed = stats.samples_to_be_sure(800, sure, 0.95)
    assert needed is not None
    more = needed / 800
    assert stats.tango_sure(8 * more, 4 * more, needed, 0.01) == pytest.approx(0.95, abs=1e-3)
    assert stats.samples_to_be_sure(800, 0.5, 0.95) is None
    assert stats.samples_to_be_sure(800, 0.97, 0.95) == 800
