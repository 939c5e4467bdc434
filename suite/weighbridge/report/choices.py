"""Of several recipes of one model that passed: the smallest, the fastest, and the one to ship."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from weighbridge.core.choosing import Gain, recommended
from weighbridge.core.past import identity
from weighbridge.core.units import show
from weighbridge.report.table import Line

FEWEST = 3
"""Passed recipes of a model from which on somebody has a choice to make."""


@dataclass(frozen=True)
class Choice:
    """Of one model's recipes."""

    passed: int
    best: str
    smallest: str
    fastest: str | None
    """None where speed was not measured of all."""

    def __str__(self) -> str:
        roles: dict[str, list[str]] = {}
        named = (("recommended", self.best), ("smallest", self.smallest), ("fastest", self.fastest))
        for role, name in named:
            if name is not None:
                roles.setdefault(name, []).append(role)
        told = "; ".join(f"{', '.join(found)}: {name}" for name, found in roles.items())
        return f"of {self.passed} recipes that passed, {told}"


def choices(lines: Sequence[Line]) -> list[Choice]:
    """A choice for each model of which enough recipes passed and one gains something, in the order of the report."""
    models: dict[Any, list[Line]] = {}
    for line in sorted(lines, key=lambda line: line.index):
        original = identity(line.row["artifacts"].get("baseline"))
        if line.status == "pass" and line.row["steps"] and original and "size" in line.row["measurements"]:
            models.setdefault((original, line.row["engine"]), []).append(line)
    found = (_choice(some) for some in models.values() if len(some) >= FEWEST)
    return [choice for choice in found if choice is not None]


def _choice(lines: Sequence[Line]) -> Choice | None:
    gains = [_gain(line.row) for line in lines]
    timed = all(gain.speedup is not None for gain in gains)
    if not timed:  # what was not timed is not slower than what was
        gains = [replace(gain, speedup=None) for gain in gains]
    names = [f"{line.name} ({_told(gain)})" for line, gain in zip(lines, gains, strict=True)]
    places = range(len(lines))
    best = recommended(gains)
    if best is None:
        return None
    return Choice(
        len(lines),
        names[best],
        names[max(places, key=lambda place: gains[place].size_ratio)],
        names[max(places, key=lambda place: gains[place].speedup or 0.0)] if timed else None,
    )


def _gain(row: Mapping[str, Any]) -> Gain:
    measured = row["measurements"]
    size, speed = measured["size"], measured.get("speed")
    fidelity, accuracy = measured.get("fidelity"), measured.get("accuracy")
    lost = (accuracy or {}).get("details", {}).get("drop")
    return Gain(
        size["baseline"] / size["candidate"],
        speed["details"]["ratio"] if speed else None,
        (-(lost or 0.0), (fidelity or {}).get("candidate") or 0.0),
        True,
    )


def _told(gain: Gain) -> str:
    speed = "" if gain.speedup is None else f", {show(gain.speedup, 'ratio')} faster"
    return f"{show(gain.size_ratio, 'ratio')} smaller{speed}"
