"""Which trial of a search wins, on the samples that nothing was chosen on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from weighbridge.case.load import load_cases
from weighbridge.core import choosing
from weighbridge.core.results import CaseResult, Status, ends
from weighbridge.propose.front import Weighed, front, recommended, weigh
from weighbridge.propose.rewritten import lines_of
from weighbridge.propose.search import SIZE, Search, distance
from weighbridge.propose.study import Tried
from weighbridge.propose.trials import Trial
from weighbridge.run.several import carry_out_one

LOOKS = 3
"""Trials that are carried out on the test split at most. Whoever looks at more of them chooses on it."""
FILE = "best.yaml"


@dataclass(frozen=True)
class Verified:
    """A trial that was carried out on the test split as pytest would."""

    tried: Tried
    weighed: Weighed
    result: CaseResult

    @property
    def passed(self) -> bool:
        return self.result.status is Status.PASS


def weighed_of(tried: Sequence[Tried]) -> list[Weighed]:
    """The trials that were carried out to the end, in numbers."""

    def misses(result: CaseResult) -> str:
        return ", ".join(f"misses {one.threshold}" for one in result.verdicts if distance(one))

    return weigh([Trial(lines_of(one.recipe), one.result) for one in tried if one.early is None], misses)


def in_order(weighed: Sequence[Weighed], minimize: Sequence[str]) -> tuple[list[Weighed], str]:
    """Those that hold and gain something, the best first; and what is to be said of how near others come to it."""
    held = [one for one in weighed if one.holds]
    if len(minimize) > 1:
        return _by_both(held)
    if SIZE in minimize:
        smaller = [one for one in held if one.size_ratio > 1]
        return sorted(smaller, key=lambda one: (one.bytes, [-mark for mark in one.quality])), ""
    faster = sorted(
        (one for one in held if (one.speedup or 0.0) > 1), key=lambda one: one.speedup or 0.0, reverse=True
    )
    near = [one for one in faster if _alike(one, faster[0])]
    told = ""
    if len(near) > 1:
        told = f"{len(near)} recipes are too near to each other in speed to be told apart; the smallest of them is taken"
    return [*sorted(near, key=lambda one: one.bytes), *(one for one in faster if one not in near)], told


def _by_both(held: Sequence[Weighed]) -> tuple[list[Weighed], str]:
    """By times smaller and times faster; what another one beats comes after it."""
    found: list[Weighed] = []
    while (best := recommended(front([one for one in held if one not in found]))) is not None:
        found.append(best)
    near = [one for one in front(held) if found and one.gain.total >= choosing.SAME * found[0].gain.total]
    told = (
        f"{len(near)} recipes gain the same within {1 - choosing.SAME:.0%}; the one that loses least is taken"
        if len(near) > 1
        else ""
    )
    return found, told


def _alike(one: Weighed, fastest: Weighed) -> bool:
    """Whether a speed may be the fastest's: the intervals meet, or loads alone would make the difference."""
    (_, high), (low, _) = (
        ends(each.trial.result.measurements["speed"].details["interval"]) for each in (one, fastest)
    )
    return high >= low or (one.speedup or 0.0) >= choosing.SAME * (fastest.speedup or 0.0)


def verify(search: Search, ordered: Sequence[Weighed]) -> list[Verified]:
    """The best trials as ordinary cases on the test split, until one passes; `LOOKS` at most.

    Where one does not pass, those that were no better at what it misses are passed over: they would not either.
    """
    by_result = {id(one.result): one for one in search.tried}
    found: list[Verified] = []
    for one in ordered:
        if len(found) == LOOKS or any(look.passed for look in found):
            break
        if any(_no_better(one.trial.result, look) for look in found):
            continue
        tried = by_result[id(one.trial.result)]
        path = search.folder / FILE
        path.write_text(search.text(tried.recipe, search.folder), encoding="utf-8")
        (case,) = load_cases(path)
        options = replace(search.options, bench=True, seek_layers="never")
        title = f"on the test split: {one.trial.result.name}"
        result = carry_out_one(case, options, search.say, search.executor, ("fidelity",), title)
        found.append(Verified(tried, one, result))
    return found


def _no_better(result: CaseResult, look: Verified) -> bool:
    """Whether, on the tuning samples, it is as near to a limit as what missed that one on the test split."""
    for missed in (verdict.threshold for verdict in look.result.verdicts if verdict.status is Status.FAIL):
        mine, theirs = result.verdict(missed), look.tried.result.verdict(missed)
        margins = [verdict.margin for verdict in (mine, theirs) if verdict and verdict.margin is not None]
        if len(margins) == 2 and margins[0] <= margins[1]:
            return True
    return False
