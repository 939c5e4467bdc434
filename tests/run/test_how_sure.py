"""What a verdict says of how sure it is."""

from __future__ import annotations

import math

from weighbridge.case.model import ThresholdRef
from weighbridge.contracts import Limit
from weighbridge.core.results import Reading, Status
from weighbridge.run.judge import decide


def test_an_interval_that_knows_nothing_is_said_in_words() -> None:
    """Of a single load: how far another would be is not known."""
    ref = ThresholdRef("speedup", Limit(min=1.2, confidence=0.99), 3, 5)
    for high, said in (
        (2.0, "99% interval 0 to 2x"),
        (math.inf, "99% interval unknown: too few observations"),
    ):
        verdict = decide(ref, Reading(1.5, interval=(0.0, high), confidence=0.99, sure=0.5))
        assert verdict.status is Status.INCONCLUSIVE
        assert f"({said})" in verdict.message
