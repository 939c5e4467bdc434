"""Speed measurements through pytest-benchmark, so that its storage, comparison, JSON and histograms work on them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from weighbridge.contracts import MEASURES
from weighbridge.core.results import Measurement
from weighbridge.run.inputs import make_data
from weighbridge.run.pipeline import weighing

if TYPE_CHECKING:
    from weighbridge.plugin.items import ThresholdItem


@dataclass(frozen=True)
class _Node:
    """What pytest-benchmark asks of a test."""

    name: str
    nodeid: str


def measure_with_benchmark(item: ThresholdItem, name: str, say: Callable[[str], None]) -> Measurement:
    """Take the measurement `name` of the item's case; its rounds become entries of pytest-benchmark's session."""
    node, outcome = item.parent, item.parent.outcome
    assert outcome.candidate is not None  # an outcome that failed was raised in setup
    rounds: dict[str, Sequence[float]] = {}
    data = make_data(node.case)
    scales = weighing(
        node.plan, outcome.baseline, outcome.candidate, data, say, node.refs_of(name), rounds.__setitem__
    )
    measurement = MEASURES.get(name).run(scales)
    for side, seconds in rounds.items():
        _record(item, f"{name}[{side}]", seconds, {"weighbridge": dict(measurement.details)})
    return measurement


def _record(item: ThresholdItem, name: str, seconds: Sequence[float], extra: dict[str, Any]) -> None:
    from pytest_benchmark.fixture import BenchmarkFixture

    session = getattr(item.config, "_benchmarksession", None)
    if session is None or session.disabled:  # `-p no:benchmark`, or --benchmark-disable
        return
    case = item.parent
    fixture = BenchmarkFixture(
        _Node(f"{case.name}::{name}", f"{case.nodeid}::{name}"),
        add_stats=session.benchmarks.append,
        logger=session.logger,
        warner=item.warn,
        disabled=False,
        group=case.nodeid,
        **session.options,
    )
    fixture.extra_info.update(extra)
    stats = fixture._make_stats(1)
    for duration in seconds:
        stats.update(float(duration))
