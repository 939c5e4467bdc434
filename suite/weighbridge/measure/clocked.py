"""Which measurements, by the names that stand in reports and histories, read a clock."""

from __future__ import annotations

from weighbridge.contracts import MEASURES


def reads_clock(measure: str) -> bool:
    """False also for what this installation has no measurement of: an extension's, or an older version's."""
    return measure in MEASURES and MEASURES.get(measure).bench
