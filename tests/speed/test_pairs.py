"""Pairs of blocks: which count, and what a call takes by them."""

import numpy as np
import pytest

from weighbridge.measure.timing.blocks import Block
from weighbridge.measure.timing.pairs import Pair, Pairs


def noisy_pairs(ratio: float, n: int, share: float, seed: int = 0) -> Pairs:
    """Blocks all slowed by some tenths of a percent, and a `share` of them by up to 15 percent."""
    random, seen = np.random.default_rng(seed), []
    for _ in range(n):
        slowed = 1 + random.uniform(0, 0.15, 2) * (random.random(2) < share) + random.exponential(0.002, 2)
        seen.append(Pair(Block(ratio * slowed[0], 1.0), Block(slowed[1], 1.0)))
    return Pairs.of(seen, best=1.0)


@pytest.mark.parametrize("share", [0.0, 0.5, 0.7])
def test_the_fastest_tenth_sees_through_what_is_too_short_for_the_gauge(share):
    baseline_s, candidate_s = noisy_pairs(1.3, 200, share).call_s()
    assert baseline_s / candidate_s == pytest.approx(1.3, rel=0.004)


def test_disturbed_pairs_give_no_ratio():
    seen = Pairs.of(
        [Pair(Block(5.0, 1.5), Block(1.0, 1.0)), Pair(Block(4.0, 1.0), Block(1.0, 1.2))], best=1.0
    )
    assert seen.ratios.tolist() == [4.0]
    assert seen.every.tolist() == [5.0, 4.0]
    assert seen.call_s() == (4.0, 1.0)


def test_where_all_are_disturbed_the_fastest_of_all_is_what_is_known():
    seen = Pairs.of(
        [Pair(Block(5.0, 1.5), Block(1.1, 1.5)), Pair(Block(5.2, 1.6), Block(1.0, 1.6))], best=1.0
    )
    assert seen.ratios.size == 0
    assert seen.call_s() == (5.0, 1.0)
