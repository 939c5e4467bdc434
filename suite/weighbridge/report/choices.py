"""Of several recipes of one model that passed: the smallest, the fastest, the one to ship, and those that another one beats."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from weighbridge.core.choosing import Gain, beaten, recommended
from weighbridge.core.past import identity
from weighbridge.core.units import show
from weighbridge.report.layout import cut
from weighbridge.report.table import Line

FEWEST = 3
"""Passed recipes of a model from which on somebody has a choice to make."""
NAMED, LONGEST = 4, 40
"""Beaten recipes that are named, and columns of a name."""


@dataclass(frozen=True)
class Choice:
    """Of one model's recipes."""

    passed: int
    best: str
    smallest: str
    fastest: str | None
    """None where speed was not measured of all."""
    beaten: tuple[tuple[str, str], ...] = ()
    """Names of those that another one beats: worse in nothing, better in something; each with the other's name."""

    def __str__(self) -> str:
        roles: dict[str, list[str]] = {}
        named = (("recommended", self.best), ("smallest", self.smallest), ("fastest", self.fastest))
        for role, name in named:
            if name is not None:
                roles.setdefault(name, []).append(role)
        told = "; ".join(f"{', '.join(found)}: {name}" for name, found in roles.items())
        worse = [f"{cut(name, LONGEST)} (by {cut(by, LONGEST)})" for name, by in self.beaten[:NAMED]]
        if len(self.beaten) > NAMED:
            worse.append(f"{len(self.beaten) - NAMED} others")
        return f"of {self.passed} recipes that passed, {told}" + (
            f"; beaten: {', '.join(worse)}" if worse else ""
        )


def choices(lines: Sequence[Line]) -> list[Choice]:
    """A choice for each model of which enough recipes passed and one gains something, in the order of the report."""
    models: dict[Any, list[Line]] = {}
    for line in sorted(lines, key=lambda line: line.index):
        original = identity(line.row["artifacts"].get("baseline"))
        if (
            line.status == "pass"
            and not line.row.get("unasked")
            and line.row["steps"]
            and original
            and "size" in line.row["measurements"]
        ):
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
    judged = any("accuracy" in line.row["measurements"] for line in lines)
    better = beaten([(one.size_ratio, one.speedup or 0.0, one.quality[not judged]) for one in gains])
    return Choice(
        len(lines),
        names[best],
        names[max(places, key=lambda place: gains[place].size_ratio)],
        names[max(places, key=lambda place: gains[place].speedup or 0.0)] if timed else None,
        tuple((line.name, lines[by].name) for line, by in zip(lines, better, strict=True) if by is not None),
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
