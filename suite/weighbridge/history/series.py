"""The quantities of a case over its runs, and where they changed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from weighbridge.contracts import THRESHOLDS
from weighbridge.core.past import Past, figure
from weighbridge.core.results import Measurement
from weighbridge.core.units import arrow, between, show
from weighbridge.history.changes import Change, change_points
from weighbridge.measure.clocked import reads_clock
from weighbridge.report.table import FIRST


@dataclass(frozen=True)
class Point:
    """One run's value, with the interval that it was measured with, if any."""

    past: Past
    value: float
    interval: tuple[float, float] | None = None


@dataclass(frozen=True)
class Series:
    """One quantity, oldest first. What reads a clock has a series for each class of machines, of others `machine` is empty."""

    name: str
    unit: str
    points: Sequence[Point]
    machine: str = ""

    @property
    def values(self) -> list[float]:
        return [point.value for point in self.points]

    @cached_property
    def changes(self) -> list[Change]:
        return change_points(self.values)

    @property
    def span(self) -> str:
        """`97.1 to 98.7 %`; one value where all are the same."""
        low, high = self.show(min(self.values)), self.show(max(self.values))
        return low if low == high else between(low, high, " to ")

    def show(self, value: float) -> str:
        return f"{value * 100:.1f} %" if self.unit == "fraction" else show(value, self.unit)

    def told(self) -> list[str]:
        """`accuracy 98.6→97.3 % since 4f2a9c1 of 2026-11-20, in 9 runs after 14`, a sentence a change.

        Several in one direction are one drift, of which each step may have been too small for any limit.
        """
        steps = [change.after - change.before for change in self.changes]
        if len(steps) > 2 and (min(steps) > 0 or max(steps) < 0):
            values = arrow(self.changes[0].before, self.changes[-1].after, self.unit)
            since = self.points[self.changes[0].start].past.shown
            return [
                f"{self._title} {values} since {since}, little by little, in {len(steps)} steps{self._where}"
            ]
        return [
            f"{self._title} {arrow(change.before, change.after, self.unit)} since {self.points[change.start].past.shown}, in "
            f"{change.stretch[1] - change.start} runs after {change.start - change.stretch[0]}{self._where}"
            for change in self.changes
        ]

    @property
    def _title(self) -> str:
        return self.name.replace("_", " ")

    @property
    def _where(self) -> str:
        return f" on {self.machine}" if self.machine else ""


def series_of(pasts: Sequence[Past]) -> list[Series]:
    """What the runs of one case measured, in the order in which people read it; what is not finite is left out."""
    found: dict[tuple[str, str, str], list[Point]] = {}
    for past in pasts:
        for name, measurement in past.measurements.items():
            value, unit = figure(measurement)
            timed = reads_clock(name)
            if math.isfinite(value):
                point = Point(past, value, _interval(measurement) if timed else None)
                found.setdefault((name, unit, past.machine if timed else ""), []).append(point)
    order = {name: rank for rank, name in enumerate(FIRST)}
    listed = [Series(name, unit, points, machine) for (name, unit, machine), points in found.items()]
    return sorted(listed, key=lambda one: order.get(one.name, len(order)))


def limits_of(series: Series) -> Mapping[str, float]:
    """`min` and `max` that the last run was held to, of thresholds that read the figure itself."""
    bounds: dict[str, float] = {}
    for verdict in series.points[-1].past.verdicts:
        name: Any = verdict["threshold"]
        reads = name in THRESHOLDS and THRESHOLDS.get(name).measure == series.name
        if reads and verdict["measured"] == series.points[-1].value and "against" not in verdict["limit"]:
            limit = verdict["limit"]
            bounds |= {side: limit[side] for side in ("min", "max") if limit.get(side) is not None}
    return bounds


def _interval(measurement: Measurement) -> tuple[float, float] | None:
    low, high = measurement.details.get("interval") or (None, None)
    return None if low is None or high is None else (float(low), float(high))
