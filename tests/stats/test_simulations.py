"""Drawn test sets of a known true drop: how often the interval holds it, and how often a sure verdict is wrong.

Each simulation goes through `compare` and the thresholds' readers, as a case does. `ERROR` is three standard errors of a
share of 0.95 over the trials, so that a sound method fails here once in a thousand seeds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any, TypeAlias

import numpy as np
import pytest

from weighbridge.contracts import Array, Limit, Metric
from weighbridge.core import resampling
from weighbridge.measure import accuracy
from weighbridge.measure.accuracy_reading import known_drop, known_value, read_drop
from weighbridge.measure.evaluation import Evaluation
from weighbridge.measure.metrics import METRICS, UserMetric

SCORE = UserMetric("score", lambda outputs, targets: outputs)
Draw: TypeAlias = "Callable[[np.random.Generator], tuple[Array, Array, Array | None]]"
"""Scores of the baseline and of the candidate, and groups."""


def error(trials: int) -> float:
    return 3 * math.sqrt(0.95 * 0.05 / trials)


@pytest.fixture(autouse=True)
def fewer_replicates(monkeypatch: pytest.MonkeyPatch) -> None:
    """Enough for the tails at 95 %, and quick."""
    monkeypatch.setattr(resampling, "REPLICATES", 1000)
    monkeypatch.setattr(accuracy, "_overflows", lambda weighing: False)


def measured(metric: Metric, baseline: Array, candidate: Array, groups: Array | None) -> Any:
    def side(scores: Array) -> Evaluation:
        return Evaluation(len(scores), "", scores.astype(float), groups=groups)

    weighing: Any = SimpleNamespace(allow_chance=True)
    return accuracy.compare(metric, side(candidate), side(baseline), weighing)


def simulated(metric: Metric, draw: Draw, truth: float, trials: int) -> tuple[float, float]:
    """How often the interval at 95 % holds the true drop, and how often it is 95 % sure of a limit just missed."""
    random, held, wrong = np.random.default_rng(0), 0, 0
    for _ in range(trials):
        known = known_drop(measured(metric, *draw(random)).details)
        low, high = known.interval(0.95) or (math.nan, math.nan)
        held += low <= truth <= high
        wrong += known.at_most(truth - 1e-9) >= 0.95
    return held / trials, wrong / trials


def flips(n: int, lost: float, won: float) -> Draw:
    def draw(random: np.random.Generator) -> tuple[Array, Array, None]:
        kind = random.choice(3, n, p=[lost, won, 1 - lost - won])
        baseline = np.where(kind == 0, 1, np.where(kind == 1, 0, random.random(n) < 0.9))
        return baseline, np.where(kind == 0, 0, np.where(kind == 1, 1, baseline)), None

    return draw


@pytest.mark.parametrize("n", [50, 200, 2000])
@pytest.mark.parametrize(("lost", "won"), [(0.02, 0.02), (0.03, 0.01), (0.1, 0.02)])
def test_the_drop_of_right_and_wrong_is_held(n: int, lost: float, won: float) -> None:
    held, wrong = simulated(METRICS.get("accuracy"), flips(n, lost, won), lost - won, 600)
    assert held >= 0.95 - error(600)
    assert wrong <= 0.05 + error(600)


def losses(n: int, skew: float) -> Draw:
    """Scores whose drops have the mean 0.1, normal or lognormal."""

    def draw(random: np.random.Generator) -> tuple[Array, Array, None]:
        baseline = random.normal(size=n)
        noise = random.lognormal(0.0, skew, n) - math.exp(skew**2 / 2) if skew else random.normal(size=n)
        return baseline, baseline - 0.1 - noise, None

    return draw


@pytest.mark.parametrize(("n", "skew"), [(10, 0.0), (50, 0.0), (50, 0.5), (400, 1.0)])
def test_the_drop_of_scores_is_held(n: int, skew: float) -> None:
    held, wrong = simulated(SCORE, losses(n, skew), 0.1, 300)
    assert held >= 0.95 - error(300)
    assert wrong <= 0.05 + error(300)


def test_few_and_very_skewed_scores_are_held_less_often_than_said() -> None:
    """What no method without knowledge of the distribution can do: the largest losses are not among 20 samples."""
    held, _ = simulated(SCORE, losses(20, 1.0), 0.1, 300)
    assert 0.85 <= held < 0.95


def photos(groups: int, size: int, share: float, kind: str) -> Draw:
    """Groups of samples that flip together with probability `share`, or scores that vary together by as much."""

    def draw(random: np.random.Generator) -> tuple[Array, Array, Array]:
        belongs = np.repeat(np.arange(groups), size)
        if kind == "scores":
            common = random.normal(size=groups)[belongs] * math.sqrt(share)
            drop = 0.1 + common + random.normal(size=len(belongs)) * math.sqrt(1 - share)
            return drop, np.zeros(len(belongs)), belongs
        together = random.choice(3, groups, p=[0.06, 0.02, 0.92])[belongs]
        alone = random.choice(3, len(belongs), p=[0.06, 0.02, 0.92])
        flip = np.where(random.random(len(belongs)) < math.sqrt(share), together, alone)
        return np.where(flip == 0, 1, 0), np.where(flip == 1, 1, 0), belongs

    return draw


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "truth"), [("flips", 0.04), ("scores", 0.1)])
@pytest.mark.parametrize("groups", [8, 30, 200])
def test_groups_are_held_where_samples_alone_are_not(groups: int, kind: str, truth: float) -> None:
    metric = METRICS.get("accuracy") if kind == "flips" else SCORE
    draw = photos(groups, 5, 0.6, kind)
    held, wrong = simulated(metric, draw, truth, 300)
    assert held >= 0.95 - error(300)
    assert wrong <= 0.05 + error(300)

    def unaware(random: np.random.Generator) -> tuple[Array, Array, None]:
        return *draw(random)[:2], None

    naive, _ = simulated(metric, unaware, truth, 300)
    assert naive < 0.95 - 2 * error(300)


@pytest.mark.parametrize("groups", [None, 5])
def test_the_own_value_is_held_too(groups: int | None) -> None:
    """A floor's interval, of right and wrong and of scores, with samples alone and in groups."""
    random, trials = np.random.default_rng(1), 300
    held = {"accuracy": 0, "score": 0}
    for _ in range(trials):
        belongs = None if groups is None else np.repeat(np.arange(60), groups)
        size = 60 if groups else 300
        right = (random.random(size) < 0.9).astype(float)
        score = random.normal(0.9, 0.5, size)
        if groups:
            right, score = np.repeat(right, groups), np.repeat(score, groups)
        for metric, values in ((METRICS.get("accuracy"), right), (SCORE, score)):
            low, high = known_value(measured(metric, values, values, belongs)).interval(0.95) or (1.0, 0.0)
            held[metric.name] += low <= 0.9 <= high
    assert min(held.values()) / trials >= 0.95 - error(trials)


def f1(outputs: Array, targets: Array) -> float:
    predicted, actual = outputs > 0, targets > 0
    return float(2 * (predicted & actual).sum() / (predicted.sum() + actual.sum()))


def labelled(random: np.random.Generator, n: int) -> Iterator[Array]:
    """Targets of which a fifth are positive, and the scores of a baseline and of a noisier candidate."""
    targets = (random.random(n) < 0.2).astype(float)
    shared = random.normal(size=n)
    yield targets
    for noise in (0.55, 0.7):
        yield targets - 0.5 + noise * shared + 0.1 * random.normal(size=n)


@pytest.mark.slow
def test_the_drop_of_a_metric_that_does_not_decompose_is_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resampling, "COMPUTED", 300)
    random, trials, held = np.random.default_rng(2), 200, 0
    many = list(labelled(np.random.default_rng(3), 4_000_000))
    truth = f1(many[1], many[0]) - f1(many[2], many[0])
    assert truth > 0.02
    metric, weighing = UserMetric("f1", f1), SimpleNamespace(allow_chance=True)
    for _ in range(trials):
        targets, *outputs = labelled(random, 300)
        sides = [Evaluation(300, "", outputs=(output,), targets=targets) for output in outputs]
        measurement = accuracy.compare(metric, sides[1], sides[0], weighing)  # type: ignore[arg-type]
        low, high = known_drop(measurement.details).interval(0.95) or (1.0, 0.0)
        held += low <= truth <= high
    assert held / trials >= 0.95 - error(trials)


def test_sure_is_calibrated() -> None:
    """Over test sets of one true drop, the certainty of a limit at that drop is spread evenly over [0, 1].

    As evenly as whole numbers of flips allow: hence 0.02 more.
    """
    random, trials = np.random.default_rng(4), 600
    draws = {"accuracy": flips(1000, 0.06, 0.04), "score": losses(100, 0.0)}
    for name, truth in (("accuracy", 0.02), ("score", 0.1)):
        metric = SCORE if name == "score" else METRICS.get(name)
        found = []
        for _ in range(trials):
            reading = read_drop(measured(metric, *draws[name](random)), Limit(max=truth))
            assert reading.sure is not None
            found.append(reading.sure if reading.value <= truth else 1 - reading.sure)
        for level in (0.1, 0.5, 0.9):
            assert (
                abs(np.mean(np.array(found) <= level) - level)
                <= 3 * math.sqrt(level * (1 - level) / trials) + 0.02
            )
