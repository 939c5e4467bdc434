"""Of what was tried: what nothing beats, what is recommended, and the limits that it gets."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
from tests.ways.made import trial

from weighbridge.core.results import Status, read_result
from weighbridge.propose.budgets import budgets
from weighbridge.propose.front import front, recommended, show_front, weigh, why_nothing_holds
from weighbridge.propose.trials import Trial


def names(weighed: object) -> list[str]:
    return [one.trial.result.name for one in weighed]  # type: ignore[attr-defined]


def test_the_front_is_what_nothing_beats() -> None:
    found = weigh(
        [
            trial("ruined", 100, 3.0, 0.5),
            trial("small", 200, 0.5, 0.0),
            trial("fast", 300, 2.0, 0.0),
            trial("beaten", 310, 1.9, 0.001),
            trial("exact", 400, 1.0, -0.001),
        ]
    )
    assert names(front(found)) == ["ruined", "small", "fast", "exact"]
    best = recommended(found)
    assert best is not None
    assert best.trial.result.name == "fast"
    shown = show_front(found)
    assert "smallest" in shown.splitlines()[1]
    assert "fastest, recommended" in shown.splitlines()[2]
    assert "ruined" not in shown
    assert show_front(found[:1]).splitlines()[1].endswith("loses more than it may")


def test_between_gains_that_noise_moves_what_loses_less_is_taken() -> None:
    best = recommended(weigh([trial("one", 250, 2.02, 0.009), trial("other", 250, 2.0, 0.001)]))
    assert best is not None
    assert best.trial.result.name == "other"


@pytest.mark.parametrize(
    ("one", "why"),
    [
        (trial("lossy", 250, 3.0, 0.4), "every standard recipe loses more than it may; the best, lossy"),
        (
            trial("slow", 250, 0.2, 0.0),
            "smaller without making it slower; the best, slow: 4 times smaller, 5 times slower",
        ),
        (trial("half", 200, 0.5, 0.0), "slower; the best, half: 5 times smaller, 2 times slower"),
        (
            trial("large", 1100, 1.5, 0.0),
            "the best, large: 1.1 times larger, 1.5 times faster, 0 points lost",
        ),
        (trial("other", 250, 3.0, 0.0, round_trip=Status.FAIL), "makes of this model what it was asked for"),
    ],
)
def test_what_does_not_help_is_not_recommended(one: Trial, why: str) -> None:
    found = weigh([one])
    assert recommended(found) is None
    assert why in why_nothing_holds(found)


def test_limits_leave_a_margin_and_none_is_set_where_there_is_none() -> None:
    def limits(one: Trial) -> dict[str, str]:
        return {budget.name: budget.limit for budget in budgets(one.result)}

    assert limits(trial("good", 250, 2.0, 0.002)) == {
        "accuracy_drop": "0.012",
        "fidelity": "35",
        "size_ratio": "3.8",
        "speedup": "1.6",
    }
    assert limits(trial("barely", 900, 1.15, 0.0)) == {
        "accuracy_drop": "0.01",
        "fidelity": "37",
        "size_ratio": "1.05",
        "speedup": "1",
    }
    assert limits(trial("bad", 1000, 0.9, 0.05)) == {
        "accuracy_drop": "0.06",
        "fidelity": "",
        "size": "1050",
        "speedup": "",
    }
    few = trial("few", 250, None, 0.0)
    accuracy = replace(few.result.measurements["accuracy"], details={"n": 50})
    result = replace(few.result, measurements={**few.result.measurements, "accuracy": accuracy})
    assert limits(replace(few, result=result))["accuracy_drop"] == "0.04", "two of fifty samples"


def test_a_speed_of_too_few_loads_gets_no_limit() -> None:
    """A worker's result comes as JSON, in which an end that nothing bounds is null."""
    slow = trial("slow to open", 250, 2.0, 0.0).result
    speed = replace(slow.measurements["speed"], details={"ratio": 2.0, "interval": [-math.inf, math.inf]})
    few = replace(slow, measurements={**slow.measurements, "speed": speed})
    for result in (few, read_result(json.loads(json.dumps(few.row())))):
        assert {budget.name: budget.limit for budget in budgets(result)}["speedup"] == ""
