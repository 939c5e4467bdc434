"""Observations against a limit: how many it takes, and that looking often costs nothing."""

import math

import numpy as np
import pytest

from weighbridge.core import stats
from weighbridge.measure.timing.votes import Votes, Way


def votes(values, *others: Way, weight: float = 1.0, quantile: float = 0.5) -> Votes:
    values = np.asarray(values, float)
    return Votes((Way(values, values, weight, quantile), *others))


def test_a_limit_between_two_observations_is_inside_the_interval():
    """The ends are where evidence begins: none where it is too little, and no vote is lost to a tie."""
    assert votes([1.2] * 9).interval(0.99) == (-math.inf, math.inf)
    assert votes([1.2] * 12).interval(0.99) == (1.2, 1.2)
    spread = votes(np.linspace(1.1, 1.3, 101))
    low, high = spread.interval(0.99)
    assert 1.13 < low < 1.2 < high < 1.27
    for end, side, inside in ((low, 0, 1e-9), (high, 1, 0.0)):
        assert spread.evidence(end + inside)[side] < math.log(200)
        assert spread.evidence(end + inside - 1e-9 if side == 0 else end + 1e-9)[side] >= math.log(200)


@pytest.mark.parametrize("quantile", [0.5, 0.95])
def test_of_one_way_the_interval_is_the_sequential_one(quantile):
    values = np.random.default_rng(0).lognormal(size=300)
    assert votes(values, quantile=quantile).interval(0.99) == stats.sequential_interval(
        values, 0.99, quantile
    )


def test_ways_that_contradict_each_other_decide_nothing_between_them():
    other = Way(np.full(400, 1.3), np.full(400, 1.3), 0.5)
    seen = votes([1.2] * 400, other, weight=0.5)
    assert seen.interval(0.99) == (1.2, 1.3)
    for limit, cleared in ((1.19, True), (1.25, False), (1.31, True)):
        assert seen.cleared(limit, 0.99) is cleared
    assert seen.sure(1.25, 0.99) == 0.0
    assert seen.times_to_decide(1.25, 0.99, most=100) is None
    assert 0.99 < seen.sure(1.19, 0.99) < 1.0


def test_a_range_votes_only_where_all_of_it_does():
    seen = Votes((Way(np.full(40, 2.5), np.full(40, 10.0)),))
    assert seen.interval(0.99) == (2.5, 10.0)


def test_a_way_without_observations_says_nothing():
    nothing = Way(np.array([]), np.array([]), 0.5)
    assert Votes((nothing,)).interval(0.99) == (-math.inf, math.inf)
    assert votes([1.2] * 20, nothing, weight=0.5).interval(0.99) == (1.2, 1.2)


@pytest.mark.slow
def test_what_equals_the_limit_is_hardly_ever_decided_however_often_one_looks():
    """Of 300 sequences of 200 observations, looked at after each: at 0.9 in no more than a tenth, and two sigmas."""
    wrong = 0
    for seed in range(300):
        values = np.random.default_rng(seed).normal(1.0, 0.01, 200)
        looks = (votes(values[:n]).cleared(1.0, 0.9) for n in range(6, 200))
        wrong += any(looks)
    assert wrong <= 300 * 0.1 + 2 * math.sqrt(300 * 0.1 * 0.9)


def test_how_many_more_it_takes():
    assert votes([1.2] * 20).times_to_decide(1.0, 0.99, most=100) == 1.0
    five = votes([1.2] * 5).times_to_decide(1.0, 0.99, most=100)
    assert 9 <= 5 * five <= 12
    assert votes([1.0, 1.2]).times_to_decide(1.1, 0.99, most=100) is None
