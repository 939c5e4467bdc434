"""Change points: found where a series changed, and nowhere else."""

from __future__ import annotations

import numpy as np
import pytest

from weighbridge.history.changes import SHORTEST, change_points


def noise(seed: int, n: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=n)


def test_a_step_is_found_where_it_is() -> None:
    values = noise(1, 40)
    values[25:] -= 4
    (change,) = change_points(list(values))
    assert abs(change.start - 25) <= 1
    assert change.before - change.after == pytest.approx(4, abs=0.8)


def test_steps_of_numbers_without_noise_are_found_exactly() -> None:
    values = [5.0] * 12 + [6.0] * 9 + [4.0] * 8
    assert [(one.start, one.before, one.after) for one in change_points(values)] == [(12, 5, 6), (21, 6, 4)]


def test_a_stretch_that_comes_back_is_found_at_both_ends() -> None:
    values = noise(2, 60) * 0.3
    values[20:40] += 3
    assert [
        abs(one.start - at) <= 1 for one, at in zip(change_points(list(values)), (20, 40), strict=True)
    ] == [
        True,
        True,
    ]


def test_a_drift_that_no_step_shows_is_found() -> None:
    """A tenth of the noise each run."""
    values = noise(3, 60) - np.arange(60) * 0.1
    changes = change_points(list(values))
    assert changes
    assert all(one.after < one.before for one in changes)


@pytest.mark.parametrize("values", [[], [1.0], [1.0] * 50, list(range(2 * SHORTEST - 1))])
def test_what_cannot_tell_has_no_change(values: list[float]) -> None:
    assert change_points(values) == []


def test_one_run_that_is_off_is_no_change() -> None:
    values = noise(4, 40)
    values[20] = 30
    assert change_points(list(values)) == []


def test_flat_histories_seldom_alarm() -> None:
    """200 of 30 runs: at a level of 1 in 200, more than six would be an accident of 1 in 2,000."""
    alarms = sum(bool(change_points(list(noise(100 + seed, 30)))) for seed in range(200))
    assert alarms <= 6


def test_the_same_values_always_give_the_same_changes() -> None:
    values = noise(5, 50)
    values[30:] += 1
    assert change_points(list(values)) == change_points(list(values))
