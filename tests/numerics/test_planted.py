"""Every bug of the catalogue is caught by a property, in the default profile, over ten different seeds."""

import pytest
from tests.numerics.planted import PLANTED

from weighbridge.numerics import Violation
from weighbridge.numerics.hunt import hunt

SEEDS = range(10)


def test_the_catalogue_is_as_long_as_promised():
    assert len(PLANTED) >= 30


@pytest.mark.parametrize("bug", PLANTED)
def test_planted_bug_is_caught_whatever_the_seed(bug):
    for seed in SEEDS:
        with pytest.raises(Violation):
            hunt(PLANTED[bug], seed=seed, shrink=False)
