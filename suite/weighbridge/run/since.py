"""A case held against an earlier run: the verdicts on limits that name one, and what changed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from weighbridge.case.model import Case, ThresholdRef
from weighbridge.contracts import THRESHOLDS, Alike
from weighbridge.core.errors import Unavailable
from weighbridge.core.past import Past, Reference, figure, identity
from weighbridge.core.results import Measurement, Status, Verdict, ends, to_json
from weighbridge.measure.clocked import reads_clock
from weighbridge.run.artifacts import Shipped
from weighbridge.run.job import SHOWN, Job, blank_verdict
from weighbridge.run.judge import decide


class Since:
    """The earlier runs of a job's case, and this run's artifacts beside theirs."""

    def __init__(self, job: Job, candidate: Shipped, baseline: Shipped | None) -> None:
        self._job = job
        self._baseline = identity(to_json(baseline.record)) if baseline else ""
        # Of several draws only the first has these files.
        self._candidate = identity(to_json(candidate.record)) if job.plan.case.repeat == 1 else ""

    def verdict(self, ref: ThresholdRef, measurement: Measurement) -> Verdict:
        """On a limit that names an earlier run; without one to compare with it is not measured, and says why.

        Raises `StageError`.
        """
        threshold = THRESHOLDS.get(ref.name)
        reference = self._job.earlier.get(ref.limit.earlier or SHOWN)
        assert threshold.since is not None  # its options take `against`
        try:
            past = self._past(reference, threshold.measure)
            reading = threshold.since(
                measurement, past.measurements[threshold.measure], ref.limit, self._alike(past)
            )
        except Unavailable as error:
            strict = self._job.options.strict_requirements
            name = reference.name if reference else ref.limit.earlier
            text = f"against {name}: {error}"
            status = Status.ERROR if strict else Status.SKIP
            return blank_verdict(self._job.plan.case, ref.name, status, text)
        note = f"against {reference.name if reference else ''} ({past.shown})"
        return decide(ref, replace(reading, note=note))

    def told(self, measurements: Mapping[str, Measurement]) -> dict[str, Any] | None:
        """What the row says of the run that it is compared with; None where none was named."""
        reference = self._job.earlier.get(SHOWN)
        if reference is None:
            return None
        past = reference.past or reference.timed
        why = [reference.why, reference.why_timed if any(map(reads_clock, measurements)) else ""]
        facts: dict[str, Any] = {
            "reference": reference.name,
            "why": "; ".join(filter(None, why)),
            "changes": [],
        }
        if past is None:
            return facts
        facts |= {name: getattr(past, name) for name in ("run", "commit", "branch", "created")}
        facts["changes"] = [
            change for now in measurements.values() for change in self._changes(reference, now)
        ]
        return facts

    def _past(self, reference: Reference | None, measure: str) -> Past:
        """The earlier row that has this measurement; raises `Unavailable`."""
        if reference is None:
            raise Unavailable("nothing keeps earlier runs here; pytest does, unless --history is off")
        past, why = (
            (reference.timed, reference.why_timed)
            if reads_clock(measure)
            else (reference.past, reference.why)
        )
        if past is None:
            raise Unavailable(why)
        if measure not in past.measurements:
            raise Unavailable(f"{past.shown} has no measurement of {measure}")
        return past

    def _alike(self, past: Past) -> Alike:
        return Alike(
            baseline=past.baseline == self._baseline,
            candidate=past.candidate == self._candidate != "",
        )

    def _changes(self, reference: Reference, now: Measurement) -> Iterator[dict[str, Any]]:
        try:
            past = self._past(reference, now.name)
        except Unavailable:
            return
        then = past.measurements[now.name]
        (before, unit), (after, unit_now) = figure(then), figure(now)
        if unit == unit_now and math.isfinite(before) and math.isfinite(after):
            clear = before != after and self._clear(now, then, self._alike(past))
            yield {"quantity": now.name, "unit": unit, "before": before, "now": after, "clear": clear}

    def _clear(self, now: Measurement, then: Measurement, alike: Alike) -> bool:
        """Whether a threshold of it would tell the two apart; of what none compares, whether intervals do, if it has any."""
        for threshold in THRESHOLDS:
            if threshold.measure == now.name and threshold.since is not None:
                try:
                    reading = threshold.since(now, then, threshold.options(), alike)
                except Unavailable:
                    return False
                same = 1.0 if threshold.unit == "ratio" else 0.0
                low, high = reading.interval or (reading.value, reading.value)
                return not low <= same <= high
        ours, theirs = (measurement.details.get("interval") for measurement in (now, then))
        if ours is None or theirs is None:
            return not reads_clock(now.name)
        (low, high), (low_then, high_then) = ends(ours), ends(theirs)
        return high < low_then or high_then < low


def named(case: Case) -> list[str]:
    """The earlier runs that a case's limits name."""
    return list(dict.fromkeys(ref.limit.earlier for ref in case.thresholds if ref.limit.earlier))
