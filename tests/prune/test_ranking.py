"""How many go for a share."""

from __future__ import annotations

import pytest

from weighbridge.steps.prune.ranking import at_most


@pytest.mark.parametrize(
    ("amount", "total", "wanted"),
    [(0.29, 100, 29), (0.57, 100, 57), (0.5, 7, 3), (0.999, 10, 9), (0.1, 9, 0)],
)
def test_a_share_of_whole_ones(amount: float, total: int, wanted: int) -> None:
    assert at_most(amount, total) == wanted
