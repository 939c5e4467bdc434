"""Which of the recipes that were tried is smallest, fastest, recommended; and those that no other one beats."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from weighbridge.core import choosing
from weighbridge.core.choosing import Gain
from weighbridge.core.results import CaseResult, Status
from weighbridge.core.units import show
from weighbridge.propose.trials import LEAST_FIDELITY, Trial

_LOST = ("accuracy_drop", "relative_accuracy_drop")
_MISSES = dict.fromkeys(_LOST, "loses more than it may") | {
    "fidelity": f"has less than {LEAST_FIDELITY:g} dB",
    "round_trip": "is not what was asked for",
}


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
    misses: str
    """What it does not keep, in words; empty where it loses no more than it may and each step keeps its promise."""

    @property
    def holds(self) -> bool:
        return not self.misses

    @property
    def gain(self) -> Gain:
        return Gain(self.size_ratio, self.speedup, self.quality, self.holds)

    @property
    def quality(self) -> tuple[float, float]:
        """More is better, among recipes of one model: accuracy first, then how near the outputs are."""
        return -(self.lost or 0.0), self.fidelity


def loses(result: CaseResult) -> str:
    """What a standard recipe does not keep, in words: to be smaller and faster is not among what it must."""
    missed = [one.threshold for one in result.verdicts if one.status is not Status.PASS]
    return next((words for name, words in _MISSES.items() if name in missed), "")


def weigh(trials: Sequence[Trial], misses: Callable[[CaseResult], str] = loses) -> list[Weighed]:
    """Those of the trials of which size and quality are known; of several that make the same file, the first."""
    found: dict[object, Weighed] = {}
    for number, trial in enumerate(trials):
        if trial.trouble is None:
            candidate = trial.result.artifacts.get("candidate")
            file = tuple(each.sha256 for each in candidate.files) if candidate else number
            found.setdefault(file, _weighed(trial, misses))
    return list(found.values())


def _weighed(trial: Trial, misses: Callable[[CaseResult], str]) -> Weighed:
    found = trial.result.measurements
    size, speed, fidelity = found["size"], found.get("speed"), found.get("fidelity")
    lost = next((one.measured for one in trial.result.verdicts if one.threshold in _LOST), None)
    return Weighed(
        trial,
        size.candidate,
        (size.baseline or 0.0) / size.candidate,
        speed.details["ratio"] if speed else None,
        lost,
        fidelity.candidate if fidelity else -math.inf,
        misses(trial.result),
    )


def front(weighed: Sequence[Weighed]) -> list[Weighed]:
    """Those that no other one beats, in what it is better at, without being worse in anything; the smallest first."""

    better = choosing.beaten(
        [(-one.bytes, one.speedup or 0.0, one.fidelity if one.lost is None else -one.lost) for one in weighed]
    )
    unbeaten = [one for one, by in zip(weighed, better, strict=True) if by is None]
    return sorted(unbeaten, key=lambda one: one.bytes)


def recommended(weighed: Sequence[Weighed]) -> Weighed | None:
    """The one to ship; None where nothing is gained."""
    place = choosing.recommended([one.gain for one in weighed])
    return None if place is None else weighed[place]


def show_front(weighed: Sequence[Weighed]) -> str:
    """The front as a table, and what each of it is best at: of those that hold, and of all only where none does."""
    from tabulate import tabulate

    held = [one for one in weighed if one.holds]
    shown = front(held or weighed)
    names: dict[int, list[str]] = {id(one): [] for one in shown}
    if held:
        names[id(min(shown, key=lambda one: one.bytes))].append("smallest")
    timed = [one for one in shown if one.speedup is not None]
    if held and timed:
        names[id(max(timed, key=lambda one: one.speedup or 0.0))].append("fastest")
    best = recommended(weighed)
    if best is not None and id(best) in names:
        names[id(best)].append("recommended")
    rows = [
        [
            one.trial.result.name,
            show(one.bytes, "bytes"),
            show(one.size_ratio, "ratio"),
            speed_of(one),
            quality_of(one),
            ", ".join([*names[id(one)], *filter(None, [one.misses])]),
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


def speed_of(one: Weighed) -> str:
    return "not measured" if one.speedup is None else show(one.speedup, "ratio")


def quality_of(one: Weighed) -> str:
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
    verdict = next((one for one in result.verdicts if one.threshold in _LOST), None)
    if verdict is None or verdict.measured is None:
        return f"{show(result.measurements['fidelity'].candidate, 'dB')} of signal to noise"
    gained = "gained" if verdict.measured < 0 else "lost"
    return f"{show(abs(verdict.measured), verdict.unit)} {gained}"


def _times(ratio: float, more: str, less: str) -> str:
    return f"{ratio:.3g} times {more}" if ratio >= 1 else f"{1 / ratio:.3g} times {less}"


def second_choice(weighed: Sequence[Weighed]) -> Weighed | None:
    """What can be gated where nothing is recommended: what a step did as it was asked, and loses least."""
    honest = [one for one in weighed if one.misses != _MISSES["round_trip"]]
    held = [one for one in honest if one.holds]
    if held:
        return max(held, key=lambda one: one.gain.total)
    return max(honest, key=lambda one: one.quality, default=None)


def why_nothing_holds(weighed: Sequence[Weighed]) -> str:
    """The sentence for a model that no standard recipe helps."""
    best = second_choice(weighed)
    if best is None:
        return "no standard recipe makes of this model what it was asked for"
    if best.holds:
        name = best.trial.result.name
        return f"no standard recipe makes this model smaller without making it slower; the best, {name}: {in_words(best)}"
    return f"every standard recipe {best.misses}; the best, {best.trial.result.name}: {in_words(best)}"
