"""A search for a recipe: trials that are cases, each carried out by the one driver as far as it is worth it.

A trial has up to three rungs, and what an earlier one made the next reads from the store: the limits on the answers over a
few samples, all limits but those of a clock, and the clock.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from weighbridge.case.load import load_cases
from weighbridge.case.model import Case, Limits, ThresholdRef
from weighbridge.contracts import MEASURES, STEPS, THRESHOLDS
from weighbridge.core.errors import CaseError
from weighbridge.core.results import CaseResult, Status, Verdict
from weighbridge.core.signal_to_noise import IDENTICAL
from weighbridge.measure.clocked import reads_clock
from weighbridge.propose.rewritten import Step, rewritten
from weighbridge.propose.space import Space, spares
from weighbridge.propose.study import BROKEN, Study, Tried
from weighbridge.propose.trials import BUDGET_S, Trial
from weighbridge.propose.tuning import Tuning
from weighbridge.run.blame import pattern_of
from weighbridge.run.executors.base import Executor
from weighbridge.run.job import RunOptions
from weighbridge.run.several import Say, carry_out_one

SIZE, LATENCY = "size", "latency"
OBJECTIVES = (SIZE, LATENCY)
FAR_DB = 6.0
"""Further than this from a limit in dB, other samples make no difference."""
STUCK, REPEATS = 8, 40
"""Recipes in a row that were tried before, after which the next are drawn by chance, and after which there are no others."""
LONGEST = 44
"""Characters of a recipe's name."""


@dataclass
class Search:
    """One call of a search. `tried` are the trials of this call and of earlier ones."""

    case: Case
    stated: Mapping[str, Any]
    """What its file said when the search began."""
    engine: str
    space: Space
    tuning: Tuning
    study: Study
    minimize: tuple[str, ...]
    folder: Path
    options: RunOptions
    executor: Executor
    say: Say
    tried: list[Tried] = field(default_factory=list)
    exhausted: bool = False
    """Whether nothing was found that was not tried."""
    interrupted: bool = False

    def run(self, budget: float, most: int | None) -> None:
        """Trials until `budget` seconds are over, `most` more were made, nothing is left to try, or Ctrl-C is pressed."""
        self.tried = list(self.study.tried())
        deadline, before, repeats = time.monotonic() + budget, len(self.tried), 0
        while time.monotonic() < deadline and (most is None or len(self.tried) - before < most):
            trial = self.study.ask(by_chance=repeats > STUCK)
            try:
                recipe = self._recipe_of(trial)
                known = any(one.recipe == recipe for one in self.tried)
                if recipe is None or known or not self._carry_out(trial, recipe, deadline):
                    self.study.drop(trial)
                    repeats += 1
                    if repeats == REPEATS:
                        self.exhausted = True
                        return
                    continue
                repeats = 0
            except KeyboardInterrupt:  # the next call finds the trial as a killed process would leave it
                self.interrupted = True
                return

    def _recipe_of(self, trial: Any) -> tuple[Step, ...] | None:
        recipe = self.study.recipe_of(trial)
        if recipe is None:
            return self.space.choose(trial, self.study.worst)
        if self.study.was_chosen(trial):
            self.space.choose(trial, {})  # only what a trial is asked for is learned of it
        return recipe

    def _carry_out(self, trial: Any, recipe: tuple[Step, ...], deadline: float) -> bool:
        """False where the recipe is none, since its options do not go together."""
        number = trial.number
        try:
            case = self._case(number, recipe)
        except CaseError:
            return False
        result, early = self._rungs(case, deadline)
        if result.status is Status.ERROR and time.monotonic() >= deadline and self.study.put_back(number):
            return True  # the budget ended it
        tried = Tried(number, recipe, result, early)
        broken = Trial((), result).trouble is not None
        values, short = (None, BROKEN) if broken else (self._values(result), missed(result))
        self.study.tell(trial, tried, values, short)
        self.tried.append(tried)
        self._learn(result)
        return True

    def _case(self, number: int, recipe: tuple[Step, ...]) -> Case:
        """The trial as a case file that pytest can run again; raises `CaseError` where the recipe is none."""
        path = self.folder / f"{number}-{in_short(recipe)}.yaml"
        path.write_text(self.text(recipe, self.folder), encoding="utf-8")
        try:
            (case,) = load_cases(path)
        except CaseError:
            path.unlink()
            raise
        return replace(case, thresholds=self._thresholds(case.thresholds), repeat=1)

    def text(self, recipe: Sequence[Step], folder: Path, above: Sequence[str] = ()) -> str:
        """The case with this recipe, as a file in `folder`."""
        return rewritten(self.stated, self.case.folder, recipe, folder, self.engine, above)

    def _thresholds(self, stated: Sequence[ThresholdRef]) -> tuple[ThresholdRef, ...]:
        """The case's own, those of a clock with a short budget; with a speed to judge where that is minimized."""
        found = [
            replace(ref, limit=ref.limit.model_copy(update={"budget": min(BUDGET_S, ref.limit.budget)}))  # type: ignore[attr-defined]
            if "budget" in type(ref.limit).model_fields
            else ref
            for ref in stated
        ]
        if LATENCY in self.minimize and not any(THRESHOLDS.get(ref.name).measure == "speed" for ref in found):
            limit = THRESHOLDS.get("speedup").options.model_validate({"min": 1.0, "budget": float(BUDGET_S)})
            found.append(ThresholdRef("speedup", limit, 1, 1))
        return tuple(found)

    def _rungs(self, case: Case, deadline: float) -> tuple[CaseResult, int | None]:
        """What became of the trial, and the samples after which it was ended where it was hopeless."""
        standard = len(case.recipe) == 1 and spares(STEPS.get(case.recipe[0].key))
        rank = standard and case.recipe[0].key not in self.study.worst
        few = self.tuning.few
        if few is not None and not rank:
            result = self._run(self.tuning.of(case, few), deadline, False)
            if result.message:
                return result, None
            if ended := [verdict for verdict in result.verdicts if hopeless(verdict)]:
                return replace(result, verdicts=tuple(ended)), few
        result = self._run(self.tuning.of(case), deadline, False, rank)
        clocked = any(reads_clock(THRESHOLDS.get(ref.name).measure) for ref in case.thresholds)
        if not clocked or result.message or missed(result):
            return result, None
        return self._run(self.tuning.of(case), deadline, True), None

    def _run(self, case: Case, deadline: float, bench: bool, rank: bool = False) -> CaseResult:
        left = max(deadline - time.monotonic(), 1.0)
        limits = Limits(min(left, case.limits.time or math.inf), case.limits.memory)
        options = replace(self.options, bench=bench, seek_layers="always" if rank else "never")
        title = f"trial {len(self.tried) + 1}, {left:.0f} s left{self._best()}: {case.name}"
        case = replace(case, limits=limits)
        return carry_out_one(case, options, self.say, self.executor, ("fidelity",), title)

    def _best(self) -> str:
        holding = [one for one in self.tried if holds(one)]
        if not holding:
            return ""
        best = min(self._values(one.result) or [math.inf] for one in holding)
        first = f"{best[0]:.0f} bytes" if self.minimize[0] == SIZE else f"{1 / best[0]:.3g} times faster"
        return f", best {first}"

    def _values(self, result: CaseResult) -> list[float] | None:
        """What is minimized: bytes; a call's time as a share of the original's, which a busy machine slows as well."""
        size, speed = result.measurements.get("size"), result.measurements.get("speed")
        if size is None or (LATENCY in self.minimize and speed is None):
            return None
        return [size.candidate if one == SIZE else 1 / speed.details["ratio"] for one in self.minimize]  # type: ignore[union-attr]

    def _learn(self, result: CaseResult) -> None:
        """Which of the layers that the step changes it had better spare, from the trial in which it stands alone."""
        if result.layer_errors is not None and len(result.steps) == 1:
            layers = result.layer_errors.layers
            patterns = [pattern_of(layer.name) for layer in layers if layer.sqnr_db < IDENTICAL]
            self.study.remember_worst(result.steps[0].key, patterns)


def missed(result: CaseResult) -> float:
    """How far the limits are from being met, each as a share of itself, summed; 0 where all that were judged hold."""
    return sum(map(distance, result.verdicts))


def distance(verdict: Verdict) -> float:
    """How far what was measured is from the limit, as a share of the limit; 0 where it holds, or was not judged.

    What the tuning samples cannot tell holds as far as its number does.
    """
    if verdict.status in (Status.PASS, Status.SKIP):
        return 0.0
    if verdict.measured is None or verdict.margin is None or not math.isfinite(verdict.margin):
        return 1.0
    bounds = [abs(verdict.limit[side]) for side in ("min", "max", "equals") if verdict.limit.get(side)]
    short = max(0.0, -verdict.margin) / max(bounds, default=1.0)
    return short if verdict.status is Status.INCONCLUSIVE else max(short, 1e-6)


def hopeless(verdict: Verdict) -> bool:
    """Whether the limit is missed by so much that no other samples would meet it."""
    if verdict.status is not Status.FAIL:
        return False
    if not _sampled(verdict):
        return True
    low, high = verdict.limit.get("min"), verdict.limit.get("max")
    if verdict.interval is not None:
        return (low is not None and verdict.interval[1] < low) or (
            high is not None and verdict.interval[0] > high
        )
    return verdict.unit == "dB" and verdict.margin is not None and verdict.margin < -FAR_DB


def _sampled(verdict: Verdict) -> bool:
    """Whether it depends on the samples, and is not counted in the file."""
    return verdict.threshold in THRESHOLDS and bool(
        MEASURES.get(THRESHOLDS.get(verdict.threshold).measure).needs
    )


def in_short(recipe: Sequence[Step]) -> str:
    """`channels-0.5-finetune-static-uint8`: the methods and what is not as it is by default."""
    words: list[str] = []
    for step in recipe:
        (kind, method), *options = ((key, value) for key, value in step.items() if key != "engine")
        words += [kind if kind == "finetune" else str(method), *(_word(key, value) for key, value in options)]
    return re.sub(r"[^\w.-]+", "-", "-".join(words))[:LONGEST].rstrip("-.")


def _word(key: str, value: Any) -> str:
    if isinstance(value, bool):
        return key if value else f"no-{key}"
    if isinstance(value, list):
        return f"{key}-{len(value)}"
    return str(value) if key == "amount" or isinstance(value, str) else f"{key}-{value}"


def holds(tried: Tried) -> bool:
    """Whether the trial was carried out to its end, and nothing that was judged is missed."""
    return tried.early is None and Trial((), tried.result).trouble is None and missed(tried.result) == 0
