"""Speed measurements in pytest-benchmark's session, so that its storage, comparison, JSON and histograms work on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from weighbridge.plugin.items import ThresholdItem


@dataclass(frozen=True)
class _Node:
    """What pytest-benchmark asks of a test."""

    name: str
    nodeid: str

    @property
    def _nodeid(self) -> str:
        """What pytest-benchmark asks for up to 5.3.0."""
        return self.nodeid


def record(item: ThresholdItem, rounds: Mapping[str, Sequence[float]]) -> None:
    """Enter the raw timings of the item's measurement, seconds a call by side."""
    from pytest_benchmark.fixture import BenchmarkFixture

    session = getattr(item.config, "_benchmarksession", None)
    if session is None or session.disabled:  # `-p no:benchmark`, or --benchmark-disable
        return
    case, measurement = item.parent, item.parent.result.measurements.get(item.measure)
    for side, seconds in rounds.items():
        name = f"{item.measure}[{side}]"
        fixture = BenchmarkFixture(
            _Node(f"{case.name}::{name}", f"{case.nodeid}::{name}"),
            add_stats=session.benchmarks.append,
            logger=session.logger,
            warner=item.warn,
            disabled=False,
            group=case.nodeid,
            **session.options,
        )
        fixture.extra_info["weighbridge"] = dict(measurement.details) if measurement else {}
        stats = fixture._make_stats(1)
        for duration in seconds:
            stats.update(float(duration))
