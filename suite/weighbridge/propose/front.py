"""Which of the recipes that were tried is smallest, fastest, recommended; and those that no other one beats."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from weighbridge.core.results import CaseResult, Status
from weighbridge.core.units import show
from weighbridge.propose.trials import LEAST_FIDELITY, Trial

_QUALITY = ("accuracy_drop", "relative_accuracy_drop", "fidelity")


@dataclass(frozen=True)
class Weighed:
    """A recipe that could be carried out, in numbers."""

    trial: Trial
    bytes: float
    size_ratio: float
    speedup: float | None
    """How many times faster; None where speed was not measured."""
    lost: float | None
    """Of accuracy, as its threshold reads it; None where it was not judged."""
    fidelity: float
    """dB; -inf where it was not measured."""
    holds: bool
    """Whether it loses no more than it may, and each step keeps its promise."""

    @property
    def gain(self) -> float:
        """Times smaller, times faster: one number for both."""
        return self.size_ratio * (self.speedup or 1.0)

    @property
    def quality(self) -> float:
        """More is better, among recipes of one model."""
        return self.fidelity if self.lost is None else -self.lost


def weigh(trials: Sequence[Trial]) -> list[Weighed]:
    """Those of the trials that came to numbers."""
    return [_weighed(trial) for trial in trials if "size" in trial.result.measurements]


def _weighed(trial: Trial) -> Weighed:
    found = trial.result.measurements
    size, speed, fidelity = found["size"], found.get("speed"), found.get("fidelity")
    lost = next((one.measured for one in trial.result.verdicts if one.threshold in _QUALITY[:2]), None)
    kept = [one for one in trial.result.verdicts if one.threshold not in ("size_ratio", "speedup")]
    return Weighed(
        trial,
        size.candidate,
        (size.baseline or 0.0) / size.candidate,
        speed.details["ratio"] if speed else None,
        lost,
        fidelity.candidate if fidelity else -math.inf,
        all(one.status is Status.PASS for one in kept),
    )


def front(weighed: Sequence[Weighed]) -> list[Weighed]:
    """Those that no other one beats, in what it is better at, without being worse in anything; the smallest first."""

    def marks(one: Weighed) -> tuple[float, ...]:
        return -one.bytes, one.speedup or 0.0, one.quality

    def beaten(one: Weighed) -> bool:
        mine = marks(one)
        return any(
            theirs != mine and all(b >= a for a, b in zip(mine, theirs, strict=True))
            for theirs in map(marks, weighed)
        )

    return sorted((one for one in weighed if not beaten(one)), key=lambda one: one.bytes)


def recommended(weighed: Sequence[Weighed]) -> Weighed | None:
    """Of those that hold, the one with the largest gain; None where nothing is gained."""
    best = max((one for one in weighed if one.holds), key=lambda one: one.gain, default=None)
    return best if best and best.gain > 1 else None


def show_front(weighed: Sequence[Weighed]) -> str:
    """The front as a table, and what each of it is best at."""
    from tabulate import tabulate

    shown = front(weighed)
    names = {id(one): [] for one in shown}  # type: dict[int, list[str]]
    names[id(min(shown, key=lambda one: one.bytes))].append("smallest")
    timed = [one for one in shown if one.speedup is not None]
    if timed:
        names[id(max(timed, key=lambda one: one.speedup or 0.0))].append("fastest")
    best = recommended(weighed)
    if best is not None and id(best) in names:
        names[id(best)].append("recommended")
    rows = [
        [
            one.trial.result.name,
            show(one.bytes, "bytes"),
            show(one.size_ratio, "ratio"),
            _speed(one),
            _quality(one),
            ", ".join(names[id(one)]) if one.holds else "loses too much",
        ]
        for one in shown
    ]
    heads = ["front", "size", "", "speed", "accuracy" if shown[0].lost is not None else "fidelity", ""]
    return tabulate(
        rows,
        heads,
        tablefmt="plain",
        disable_numparse=True,
        colalign=("left", "right", "right", "right", "right"),
    )


def _speed(one: Weighed) -> str:
    return "not measured" if one.speedup is None else show(one.speedup, "ratio")


def _quality(one: Weighed) -> str:
    """Before and after where it is a metric, decibels where nothing was judged."""
    accuracy = one.trial.result.measurements.get("accuracy")
    if one.lost is None or accuracy is None or accuracy.baseline is None:
        return show(one.fidelity, "dB")
    if accuracy.unit != "fraction":
        return f"{show(accuracy.baseline, accuracy.unit)}→{show(accuracy.candidate, accuracy.unit)}"
    return f"{100 * accuracy.baseline:.1f}→{100 * accuracy.candidate:.1f} %"


def in_words(one: Weighed) -> str:
    """`3.78 times smaller, 1.68 times faster, 0 points lost`."""
    parts = [_times(one.size_ratio, "smaller", "larger")]
    parts += [_times(one.speedup, "faster", "slower")] if one.speedup is not None else []
    return ", ".join([*parts, lost_in_words(one.trial.result)])


def lost_in_words(result: CaseResult) -> str:
    verdict = next((one for one in result.verdicts if one.threshold in _QUALITY[:2]), None)
    if verdict is None or verdict.measured is None:
        return f"{show(result.measurements['fidelity'].candidate, 'dB')} of signal to noise"
    gained = "gained" if verdict.measured < 0 else "lost"
    return f"{show(abs(verdict.measured), verdict.unit)} {gained}"


def _times(ratio: float, more: str, less: str) -> str:
    return f"{ratio:.3g} times {more}" if ratio >= 1 else f"{1 / ratio:.3g} times {less}"


def why_nothing_holds(weighed: Sequence[Weighed]) -> str:
    """The sentence for a model that no standard recipe helps."""
    held = [one for one in weighed if one.holds]
    if held:
        best = max(held, key=lambda one: one.gain)
        return f"no standard recipe makes this model smaller or faster; the best, {best.trial.result.name}: {in_words(best)}"
    best = max(weighed, key=lambda one: one.quality)
    judged = "loses more than it may" if best.lost is not None else f"has less than {LEAST_FIDELITY:g} dB"
    return f"every standard recipe {judged}; the best, {best.trial.result.name}: {in_words(best)}"
