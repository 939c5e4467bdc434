"""What pairs of blocks say about a limit, and what keeps a slowed block from a wrong vote."""

import math

import numpy as np
import pytest

from weighbridge.core import stats
from weighbridge.measure.timing.blocks import Block
from weighbridge.measure.timing.pairs import RECENT, Level, Pair, Pairs

SLOWED = 1.08


def pairs(baseline, candidate, level=None, slowdown=1.0) -> Pairs:
    """Of seconds a call; at the level of their own ratio where none is given."""
    baseline, candidate = np.array(baseline, float), np.array(candidate, float)
    levels = np.sqrt(baseline * candidate) if level is None else np.full(len(baseline), level)
    return Pairs(baseline, candidate, levels, np.full(len(baseline), slowdown))


def noisy_pairs(ratio: float, n: int, share: float, seed: int = 0) -> Pairs:
    """Blocks all slowed by some tenths of a percent, and a `share` of them by up to 15 percent, as `compare` takes them."""
    random, level, seen = np.random.default_rng(seed), Level(), []
    for _ in range(n):
        slowed = 1 + random.uniform(0, 0.15, 2) * (random.random(2) < share) + random.exponential(0.002, 2)
        a, b = ratio * slowed[0], slowed[1]
        seen.append(Pair(Block(a, 1.0), Block(b, 1.0), level.before(a, b)))
    return Pairs.of(seen, best=1.0)


@pytest.mark.parametrize(
    ("slowed", "by_level", "by_ratio"),
    [((1, 1), [1, 0], [1, 0]), ((SLOWED, 1), [1, 0], [1, 0]), ((1, SLOWED), [0, 0], [0, 1])],
)
def test_a_slowed_block_voids_the_vote_by_level_where_its_ratio_votes_wrong(slowed, by_level, by_ratio):
    """True ratio 1.03, limit 1.0: whether the candidate or both were slowed, no vote by level is wrong."""
    seen = pairs([1.03 * slowed[0]], [slowed[1]], level=math.sqrt(1.03))
    assert seen.votes(1.0)[:2].tolist() == [by_level, by_ratio]
    both = pairs([1.03 * SLOWED], [SLOWED], level=math.sqrt(1.03))
    assert both.votes(1.0)[:2].tolist() == [[0, 0], [1, 0]]


@pytest.mark.parametrize("seed", range(5))
def test_where_most_blocks_are_slowed_the_level_decides_sooner(seed):
    def decided(seen: Pairs) -> int:
        """By how many of the first pairs."""
        for n in range(1, 400):
            first = Pairs(seen.baseline[:n], seen.candidate[:n], seen.levels[:n], seen.slowdowns[:n])
            if max(first.evidence(1.02)) >= math.log(200):
                return n
        return 400

    seen = noisy_pairs(1.03, 400, share=0.7, seed=seed)
    alone = Pairs(seen.baseline, seen.candidate, np.sqrt(seen.baseline * seen.candidate), seen.slowdowns)
    assert 2 * decided(seen) < decided(alone)


def test_a_clock_that_keeps_changing_leaves_the_ratio_to_decide():
    level, seen = Level(), []
    for clock in np.linspace(1, 3, 12):
        seen.append(Pair(Block(1.3 * clock, 1.0), Block(clock, 1.0), level.before(1.3 * clock, clock)))
    assert Pairs.of(seen, best=1.0).interval(0.99) == (pytest.approx(1.3), pytest.approx(1.3))


def test_the_level_knows_nothing_of_the_pair_that_it_is_for():
    level = Level()
    assert level.before(4.0, 1.0) == 2.0
    assert level.before(9.0, 9.0) == 2.0
    assert level.before(1.0, 1.0) == 2.0
    assert level.before(1.0, 1.0) == 1.0


def test_the_level_forgets():
    level = Level()
    for _ in range(RECENT):
        level.before(1.0, 1.0)
    for _ in range(RECENT):
        level.before(1.05, 1.05)
    assert level.before(1.0, 1.0) == pytest.approx(1.05)


def test_a_limit_between_two_pairs_is_inside_the_interval():
    """The ends are where evidence begins: none where it is too little, and no vote is lost to a tie."""
    assert pairs([1.2] * 9, [1.0] * 9).interval(0.99) == (-math.inf, math.inf)
    equal = pairs([1.2] * 12, [1.0] * 12)
    assert equal.interval(0.99) == (1.2, 1.2)
    spread = pairs(np.linspace(1.1, 1.3, 101), np.ones(101))
    low, high = spread.interval(0.99)
    assert 1.13 < low < 1.2 < high < 1.27
    for end, side, inside in ((low, 0, 1e-9), (high, 1, 0.0)):
        assert spread.evidence(end + inside)[side] < math.log(200)
        assert spread.evidence(end + inside - 1e-9 if side == 0 else end + 1e-9)[side] >= math.log(200)


def test_ways_of_voting_that_contradict_each_other_decide_nothing_between_them():
    """The candidate is slowed nine times in ten, the baseline never: by level the ratio is 1.3, by most ratios 1.2."""
    candidate = np.where(np.arange(400) % 10, 1.3 / 1.2, 1.0)
    seen = pairs(np.full(400, 1.3), candidate, level=math.sqrt(1.3))
    low, high = seen.interval(0.99)
    assert (low, high) == (pytest.approx(1.2), pytest.approx(1.3))
    for limit, cleared in ((1.19, True), (1.25, False), (1.31, True)):
        assert seen.cleared(limit, 0.99) is cleared
        assert stats.clears((low, high), [limit], "min") is cleared
    assert min(seen.evidence(1.25)) > math.log(200)


def test_disturbed_pairs_count_only_where_a_factor_of_two_lies_between():
    seen = pairs([5.0] * 40, [1.0] * 40, level=math.nan, slowdown=1.5)
    assert seen.ratios.size == 0
    low, high = seen.interval(0.99)
    assert (low, high) == (2.5, 10.0)


@pytest.mark.parametrize("share", [0.0, 0.7, 1.0])
def test_what_equals_the_limit_is_hardly_ever_decided_however_often_one_looks(share):
    """Of 300 sequences of 300 pairs, looked at 25 times: at 0.9 in no more than a tenth, and two sigmas."""
    wrong = 0
    for seed in range(300):
        seen = noisy_pairs(1.0, 300, share, seed)
        for n in np.unique(np.geomspace(8, 300, 25).astype(int)):
            first = Pairs(seen.baseline[:n], seen.candidate[:n], seen.levels[:n], seen.slowdowns[:n])
            if max(first.evidence(1.0)) >= math.log(20):
                wrong += 1
                break
    assert wrong <= 300 * 0.1 + 2 * math.sqrt(300 * 0.1 * 0.9)


def test_how_many_pairs_it_takes():
    assert noisy_pairs(1.03, 60, share=0.7).needed(1.0, 0.99, most=1000) == 60
    undecided = noisy_pairs(1.03, 12, share=0.7)
    assert undecided.interval(0.99)[0] < 1.0
    assert 12 < undecided.needed(1.0, 0.99, most=1000) < 100
    assert pairs([1.0, 1.2], [1.1, 1.1]).needed(1.0, 0.99, most=1000) is None
