"""Limits for a case, measured from the model plus a margin: the gate can fail, and does not flake."""

from __future__ import annotations

import math
from dataclasses import dataclass

from weighbridge.contracts import STEPS
from weighbridge.core.results import CaseResult, Verdict, ends
from weighbridge.core.units import show

SIZE_MARGIN, SPEED_MARGIN = 0.05, 0.2
"""Shares. Bytes are the same at each run, and move with versions of exporters; a speed moves with the machine."""
POINTS_MARGIN, LEAST_SAMPLES = 0.01, 2
"""A point; where that is less than two samples, two: another processor rounds otherwise, and flips some."""
SHARE_MARGIN = 0.05
"""Of a metric that is no share of right answers, relative to the baseline's."""
FIDELITY_MARGIN = 3.0
"""dB: twice the noise."""
HELPS = 1.1
"""Times smaller or faster, below which it is nothing to hold a model to."""


@dataclass(frozen=True)
class Budget:
    """A threshold with its limit, and where that comes from. Without a limit it is told and not written."""

    name: str
    limit: str
    why: str

    @property
    def line(self) -> str:
        return (
            f"  {f'{self.name}: {self.limit}':<23} # {self.why}"
            if self.limit
            else f"  # {self.name}: {self.why}"
        )


def budgets(result: CaseResult) -> list[Budget]:
    """What `result` reached, each with its margin, in the order in which people read it."""
    return [
        budget
        for make in (_drop, _fidelity, _size, _speed)
        for budget in [make(result)]
        if budget is not None
    ]


def _drop(result: CaseResult) -> Budget | None:
    accuracy = result.measurements.get("accuracy")
    for name in ("accuracy_drop", "relative_accuracy_drop"):
        verdict = result.verdict(name)
        if verdict is None or verdict.measured is None or accuracy is None:
            continue
        lost = max(verdict.measured, 0.0)
        samples = LEAST_SAMPLES / accuracy.details["n"]
        margin = SHARE_MARGIN if name != "accuracy_drop" else max(POINTS_MARGIN, samples)
        limit = math.ceil(1000 * (lost + margin) - 1e-9) / 1000
        aimed = _aimed_at(result, verdict)
        if aimed is not None:
            said = f"at most, which the recipe aims at; measured {show(verdict.measured, verdict.unit)}"
            return Budget(name, f"{aimed:g}", said)
        if limit >= 1:
            return Budget(
                name, "", f"measured {show(verdict.measured, verdict.unit)}: nothing is left to hold"
            )
        reason = f"{show(margin, verdict.unit)} of margin" + (
            f", {LEAST_SAMPLES} of {accuracy.details['n']} samples" if margin == samples else ""
        )
        return Budget(
            name, f"{limit:g}", f"at most; measured {show(verdict.measured, verdict.unit)}, {reason}"
        )
    return None


def _aimed_at(result: CaseResult, drop: Verdict) -> float | None:
    """The limit of a drop that a step of the recipe works towards, where it held: towards another one it makes another file."""
    aims = any(STEPS.get(step.key).aims for step in result.steps)
    most: float | None = drop.limit.get("max")
    return most if aims and most is not None and (drop.measured or 0.0) <= most else None


def _fidelity(result: CaseResult) -> Budget | None:
    found = result.measurements.get("fidelity")
    if found is None or not math.isfinite(found.candidate):
        return None
    limit, measured = math.floor(found.candidate - FIDELITY_MARGIN), show(found.candidate, "dB")
    if limit <= 0:
        return Budget("fidelity", "", f"measured {measured}: the noise is as strong as the signal")
    return Budget(
        "fidelity", f"{limit}", f"dB, at least; measured {measured}, {FIDELITY_MARGIN:g} dB of margin"
    )


def _size(result: CaseResult) -> Budget | None:
    size = result.measurements["size"]
    ratio = (size.baseline or 0.0) / size.candidate
    if ratio >= HELPS:
        limit = max(_down(ratio * (1 - SIZE_MARGIN)), 1.0)
        return Budget(
            "size_ratio",
            f"{limit:g}",
            f"at least; measured {show(ratio, 'ratio')}, {SIZE_MARGIN:.0%} of margin",
        )
    most = math.ceil(size.candidate * (1 + SIZE_MARGIN))
    return Budget(
        "size",
        f"{most}",
        f"bytes, at most; {SIZE_MARGIN:.0%} of margin. No smaller: {show(ratio, 'ratio')}",
    )


def _speed(result: CaseResult) -> Budget | None:
    speed = result.measurements.get("speed")
    if speed is None:
        return Budget("speedup", "", "not measured")
    ratio, (low, _) = speed.details["ratio"], ends(speed.details["interval"])
    shown = show(ratio, "ratio")
    if ratio < HELPS or low < 1:
        return Budget(
            "speedup", "", f"measured {shown} on this machine: not faster, so nothing to hold it to"
        )
    limit = max(_down(ratio * (1 - SPEED_MARGIN)), 1.0)
    reason = f"{SPEED_MARGIN:.0%} of margin" if limit > 1 else "no slower than before"
    return Budget("speedup", f"{limit:g}", f"at least, with --bench; measured {shown} here, {reason}")


def _down(ratio: float) -> float:
    """To two digits after the point, never up."""
    return math.floor(ratio * 100) / 100
