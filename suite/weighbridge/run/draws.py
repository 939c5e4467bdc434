"""`repeat`: the recipe carried out again with other seeds, since what it draws at random is no merit of the recipe.

The artifact of the first draw ships; every threshold is judged by the worst draw. A threshold that reads a clock is about
the artifact that ships, and is measured on that alone.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

from weighbridge.contracts import MEASURES, THRESHOLDS
from weighbridge.core.errors import StageError
from weighbridge.core.results import Measurement, Status, Verdict
from weighbridge.core.units import show
from weighbridge.run.artifacts import Shipped, ship
from weighbridge.run.chain import Chain
from weighbridge.run.job import Job
from weighbridge.run.workshop import Workshop

_WORST = (Status.ERROR, Status.FAIL, Status.INCONCLUSIVE)
Weigh = Callable[[Workshop, Shipped, Sequence[str]], tuple[Mapping[str, Measurement], Mapping[str, str]]]
"""Takes a workshop, an artifact and what to measure; gives the measurements, and why the others could not be taken."""


class Draws:
    """The measurements of every draw of a case; of a case without `repeat`, of its only one."""

    def __init__(self, job: Job, first: Shipped, measured: Mapping[str, Measurement]) -> None:
        self._job = job
        self._artifacts = [first.digests]
        self._measured = [measured]
        self.failed: dict[str, str] = {}
        """Why a measurement of a further draw could not be taken."""

    def carry_out(self, shop: Workshop, weigh: Weigh) -> None:
        """The further draws; raises `StageError` that names the draw."""
        plan, case = self._job.plan, self._job.plan.case
        names = [name for name in plan.measures if not MEASURES.get(name).bench]
        for number in range(1, case.repeat):
            where = f"draw {number + 1} of {case.repeat} (seed {case.seed + number})"
            shop.say(where)
            drawn = shop.drawn(number)
            try:
                chain = Chain(drawn, case.model, plan.stages)
                chain.records()
                shipped = ship(chain, None, self._job.options.root, plan.engine)
            except StageError as error:
                raise StageError(error.stage, f"{where}: {error.message}", error.step) from error
            if shipped.digests in self._artifacts:  # the same file measures the same
                measured = self._measured[self._artifacts.index(shipped.digests)]
            else:
                measured, failed = weigh(drawn, shipped, names)
                self.failed |= {name: f"{text}; {where}" for name, text in failed.items()}
            self._artifacts.append(shipped.digests)
            self._measured.append(measured)

    def of(self, name: str) -> list[Measurement]:
        """The measurement `name` of every draw that has it."""
        return [measured[name] for measured in self._measured if name in measured]

    def shown(self, judge: Callable[[str, Measurement], Verdict]) -> dict[str, Measurement]:
        """Each measurement as the row has it: the worst draw's, with all values among its details.

        `judge` gives the verdict on a threshold.
        """
        return {name: self._worst(name, judge) for name in self._measured[0]}

    def _worst(self, name: str, judge: Callable[[str, Measurement], Verdict]) -> Measurement:
        found = self.of(name)
        if len(found) == 1:
            return found[0]
        asked = [
            one for one in self._job.plan.wanted if one in THRESHOLDS and THRESHOLDS.get(one).measure == name
        ]
        verdicts = [min((judge(one, each) for one in asked), key=badness) for each in found] if asked else []
        at = min(range(len(found)), key=lambda index: badness(verdicts[index])) if verdicts else 0
        values = [one.candidate for one in found]
        seed = self._job.plan.case.seed
        draws = {
            "seeds": list(range(seed, seed + len(values))),
            "values": values,
            "min": min(values),
            "median": statistics.median(values),
            "max": max(values),
            "shown": at,
        }
        return replace(found[at], details={**found[at].details, "draws": draws})

    def notes(self, shown: Mapping[str, Measurement]) -> Iterator[str]:
        """The spread of what differs from draw to draw, for the row."""
        count = len(self._artifacts)
        if count == 1:
            return
        if len(set(self._artifacts)) == 1:
            yield (
                f"repeat: {count} draws gave the same artifact, byte for byte, so repeating this recipe changes nothing"
            )
            return
        for name, one in shown.items():
            draws = one.details.get("draws")
            if draws and draws["min"] < draws["max"]:
                values = ", ".join(show(value, one.unit) for value in draws["values"])
                yield (
                    f"{name} of {count} draws (seeds {draws['seeds'][0]} to {draws['seeds'][-1]}): {values}; "
                    f"median {show(draws['median'], one.unit)}"
                )


def badness(verdict: Verdict) -> tuple[int, float]:
    """What orders the verdicts on draws, the smallest being the worst: the status, then the margin over the limit."""
    rank = _WORST.index(verdict.status) if verdict.status in _WORST else len(_WORST)
    if verdict.margin is None or verdict.margin != verdict.margin:
        return rank, -math.inf
    bounds = (abs(verdict.limit.get(side) or 0.0) for side in ("min", "max", "equals"))
    return rank, verdict.margin / (max(bounds) or 1.0)


def worst_of(verdicts: Sequence[Verdict]) -> Verdict:
    """The worst verdict of several draws; its message tells how the draws differ."""
    worst = min(verdicts, key=badness)
    values = [one.measured for one in verdicts if one.measured is not None]
    if len(verdicts) == 1 or min(values) == max(values):
        return worst
    low, median, high = (
        show(value, worst.unit) for value in (min(values), statistics.median(values), max(values))
    )
    spread = f"the worst of {len(verdicts)} draws, from {low} to {high}, median {median}"
    return replace(worst, message=f"{worst.message}; {spread}")
