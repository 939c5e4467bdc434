"""Ways to judge a speedup. Each takes two calls and seconds to measure in, and gives estimates and verdicts.

A verdict on a limit is 1 (faster than the limit), -1 (slower) or 0 (cannot tell).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from inspect import signature
from time import perf_counter, perf_counter_ns
from typing import Any

import numpy as np

from weighbridge.measure.timing.cores import best_cores
from weighbridge.measure.timing.gauge import machine_gauge
from weighbridge.measure.timing.load import Conditions, Opened, take_pairs
from weighbridge.measure.timing.paired import SpeedSample, compare

Call = Callable[[], object]


@dataclass(frozen=True)
class Trial:
    """What one method made of one measurement."""

    estimate: float
    judge: Callable[[float], int]
    seconds: float


def _by_point(estimate: float) -> Callable[[float], int]:
    return lambda limit: 1 if estimate >= limit else -1


def pytest_benchmark(baseline: Call, candidate: Call, seconds: float) -> dict[str, Trial]:
    """pytest-benchmark's own fixture, first one call and then the other, as two tests in a file run.

    Its comparison is of mean, median or minimum. The same samples go to the Mann-Whitney test.
    """
    start = perf_counter()
    a, b = (_fixture_rounds(call, seconds / 2) for call in (baseline, candidate))
    spent = perf_counter() - start
    trials = {}
    for name, reduce in (("mean", np.mean), ("median", np.median), ("min", np.min)):
        estimate = float(reduce(a) / reduce(b))
        trials[f"pytest-benchmark, {name}"] = Trial(estimate, _by_point(estimate), spent)
    estimate = float(np.median(a) / np.median(b))
    trials["Mann-Whitney, as asv"] = Trial(estimate, lambda limit: _mann_whitney(a, b, limit), spent)
    return trials


def _fixture_rounds(call: Call, seconds: float) -> Any:
    from pytest_benchmark.fixture import BenchmarkFixture
    from pytest_benchmark.utils import NameWrapper

    class Node:
        name = nodeid = "call"

    found: list[Any] = []
    options = {
        "add_stats": found.append,
        "logger": _Silent(),
        "warner": _Silent(),
        "disabled": False,
        "timer": NameWrapper(perf_counter),
        "min_time": 5e-6,
        "min_rounds": 5,
        "max_time": seconds,
        "calibration_precision": 10,
        "disable_gc": True,
        "warmup": False,
        "warmup_iterations": 100_000,
    }
    missing = set(signature(BenchmarkFixture).parameters) - set(options) - {"node", "group"}
    fixture = BenchmarkFixture(Node(), **options, **dict.fromkeys(missing))
    fixture(call)
    return np.array(found[0].stats.data)


class _Silent:
    def __call__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __getattr__(self, name: str) -> Callable[..., None]:
        return self


def _mann_whitney(a: Any, b: Any, limit: float) -> int:
    """asv calls samples different when the two-sided test gives p < 0.002."""
    from scipy.stats import mannwhitneyu

    if mannwhitneyu(a, b * limit).pvalue >= 0.002:
        return 0
    return 1 if np.median(a) >= limit * np.median(b) else -1


def paired_t(baseline: Call, candidate: Call, seconds: float) -> dict[str, Trial]:
    """Both calls in turn, and a t-test at 0.01 on the differences of neighbours."""
    from scipy.stats import ttest_rel

    start = perf_counter()
    for call in (baseline, candidate):
        call()
    pairs = []
    while perf_counter() - start < seconds:
        t0 = perf_counter_ns()
        baseline()
        t1 = perf_counter_ns()
        candidate()
        pairs.append((t1 - t0, perf_counter_ns() - t1))
    a, b = np.array(pairs, dtype=float).T
    spent = perf_counter() - start

    def judge(limit: float) -> int:
        test = ttest_rel(a, limit * b)
        return 0 if test.pvalue >= 0.01 else 1 if test.statistic > 0 else -1

    return {"paired t-test": Trial(float(a.mean() / b.mean()), judge, spent)}


def weighbridge(
    baseline: Call, candidate: Call, limits: tuple[float, ...], seconds: float, seed: int
) -> Trial:
    """Ours, of calls that no load changes: until every limit is cleared, or without limits for all of `seconds`.

    The estimate is NaN where no pair was undisturbed: then ours claims nothing but a factor of two.
    """
    under = Conditions(seconds, machine_gauge(), partial(best_cores, 1))
    take = partial(take_pairs, lambda _: Opened((baseline, candidate)), under=under)
    return trial_of(compare(take, limits, 0.99, seconds, seed=seed))


def trial_of(sample: SpeedSample) -> Trial:
    """Our verdicts, those of the interval."""
    low, high = sample.interval
    estimate = sample.ratio if sample.ratios.size else float("nan")
    return Trial(estimate, lambda limit: 1 if low >= limit else -1 if high < limit else 0, sample.seconds)
