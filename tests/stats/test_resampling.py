"""The bootstrap's confidence distributions: known values, the ends, and what there is nothing to resample of."""

from __future__ import annotations

import numpy as np
import pytest

from weighbridge.core import resampling, stats


def of_mean(values: object, groups: object = None, spread: float = 1.0) -> np.ndarray:
    (found,) = resampling.of_means(np.asarray(values, dtype=float)[:, None], groups, spread, seed=0)
    return found


def test_bca_is_scipys() -> None:
    from scipy.stats import bootstrap

    values = np.random.default_rng(1).lognormal(size=300)
    theirs = bootstrap((values,), np.mean, n_resamples=20_000, method="BCa", rng=2).confidence_interval
    ours = resampling.interval(of_mean(values), 0.95)
    width = theirs.high - theirs.low
    assert ours == pytest.approx((theirs.low, theirs.high), abs=0.04 * width)
    # A percentile interval of skewed values lies further to the left.
    percentile = bootstrap((values,), np.mean, n_resamples=20_000, method="percentile", rng=2)
    assert ours[1] > percentile.confidence_interval.high


def test_sure_agrees_with_the_interval_at_any_confidence() -> None:
    found = of_mean(np.random.default_rng(0).normal(size=200))
    for confidence in (0.6, 0.9, 0.95, 0.99, 0.999):
        low, high = resampling.interval(found, confidence)
        assert resampling.at_most(found, high) == pytest.approx((1 + confidence) / 2, abs=1e-3)
        assert resampling.at_most(found, low) == pytest.approx((1 - confidence) / 2, abs=1e-3)
    assert (np.diff(found) >= 0).all()


@pytest.mark.parametrize("n", [1, 2, 10, 1000])
@pytest.mark.parametrize("value", [0.0, 0.3])
def test_where_all_are_alike_it_is_no_surer_than_for_right_and_wrong(n: int, value: float) -> None:
    found = of_mean(np.full(n, value))
    for limit in (0.001, 0.01, 0.3):
        expected = stats.tango_sure(0, 0, n, limit)
        assert resampling.at_most(found, value + limit) == pytest.approx(expected, abs=0.002)


def test_two_samples_are_sure_of_next_to_nothing() -> None:
    found = of_mean([0.0, 0.01])
    low, high = resampling.interval(found, 0.95)
    assert low < -0.03
    assert high > 0.04
    assert 0.6 < resampling.at_most(found, 0.012) < 0.95


def test_one_group_is_one_sample() -> None:
    found = of_mean(np.random.default_rng(0).normal(size=50), np.zeros(50))
    assert resampling.at_most(found, float(found.mean()) + 0.5) < 0.9


def test_groups_of_copies_tell_what_single_samples_tell() -> None:
    values = np.random.default_rng(0).normal(size=60)
    single = resampling.interval(of_mean(values), 0.95)
    copies = resampling.interval(of_mean(np.repeat(values, 5), np.repeat(np.arange(60), 5)), 0.95)
    assert copies == pytest.approx(single, abs=1e-6)
    unaware = resampling.interval(of_mean(np.repeat(values, 5)), 0.95)
    assert unaware[1] - unaware[0] < 0.6 * (single[1] - single[0])


def test_what_is_no_column_of_samples_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\[N, K\]"):
        resampling.of_means(np.zeros(3), None, 1.0, 0)
    with pytest.raises(ValueError, match="at least 1"):
        resampling.of_means(np.zeros((0, 1)), None, 1.0, 0)
    with pytest.raises(ValueError, match="groups"):
        resampling.of_means(np.zeros((3, 1)), np.zeros(2), 1.0, 0)
