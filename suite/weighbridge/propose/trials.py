"""The standard recipes of a format, each carried out on a user's model as a case like any other."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

from weighbridge.case.limits import known_metric
from weighbridge.case.load import load_cases
from weighbridge.case.model import Case
from weighbridge.case.scaffold import NO_METRIC, Subject, step_lines
from weighbridge.core.errors import UsageError
from weighbridge.core.flow import flow
from weighbridge.core.results import CaseResult, Status
from weighbridge.propose.splits import CALLABLE, FILE, splitting
from weighbridge.run.job import RunOptions
from weighbridge.run.several import carry_out

CASES = "gate.yaml"
LEAST_FIDELITY = 10.0
"""dB that a candidate has at least where no accuracy is judged: its noise is a tenth of the signal's power."""
BUDGET_S = 5
"""Seconds for a verdict on whether a candidate is faster at all."""


Recipe: TypeAlias = tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Trial:
    """A recipe, each step a line of YAML an option, and what became of it."""

    recipe: Recipe
    result: CaseResult

    @property
    def trouble(self) -> str | None:
        """Why nothing can be said of it; None where its size and its quality are known."""
        if self.result.message:
            return self.result.message
        wrong = [one.message for one in self.result.verdicts if one.status is Status.ERROR]
        return wrong[0] if wrong else None


def drop_threshold(metric: str | Mapping[str, Any]) -> str:
    """A drop of right and wrong is in points; of an error or a score of another scale, only its share means something."""
    known = known_metric(metric)
    return "accuracy_drop" if known is not None and known.binary else "relative_accuracy_drop"


def prepared(subject: Subject, folder: Path) -> tuple[Subject, str | None]:
    """The subject as a case in `folder` names it, and the text of the file that splits its data, where it needs one."""
    text = splitting(subject, folder)
    seen = subject.seen_from(folder)
    return (replace(seen, data=f"{FILE}:{CALLABLE}"), text) if text else (seen, None)


def head_lines(subject: Subject) -> list[str]:
    """What a case says of its model and data."""
    lines = [subject.model_line()]
    lines += [f"data: {flow(subject.data)}"] if subject.data else ["inputs: random"]
    return [
        *lines,
        *([f"metric: {flow(subject.metric)}"] if subject.data and subject.metric != NO_METRIC else ()),
    ]


def try_recipes(
    subject: Subject,
    folder: Path,
    max_drop: float,
    options: RunOptions,
    say: Callable[[str], None],
    executor: str,
    also: Sequence[str] = (),
) -> list[Trial]:
    """Each recipe of the subject's format, as a case of `folder/gate.yaml`, which is written.

    It is held to what an optimizer must do at least: lose no more than `max_drop`, be no larger and no slower. Raises
    `UsageError` where a file is missing, or the format has no recipe.
    """
    subject.check()
    recipes = subject.format.recipes(data=subject.data is not None)
    if not recipes:
        raise UsageError(
            f"there is no standard recipe for {subject.format.name} models; see weighbridge list"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"{folder}, where recipes are tried, cannot be written: {error.strerror}; go to a folder that can be, and name "
            "model and data from there"
        ) from error
    seen, text = prepared(subject, folder)
    if text:
        (folder / FILE).write_text(text, encoding="utf-8")
    limits = _limits(subject, max_drop, options.bench)
    lines = [*head_lines(seen), "cases:"]
    for recipe in recipes:
        lines += [f"  - name: {step_name(recipe)}", "    recipe:", *step_lines(recipe, "      ")]
        lines.append(f"    thresholds: {{{limits}}}")
    (folder / CASES).write_text("\n".join(lines) + "\n", encoding="utf-8")
    distinct: dict[str, tuple[tuple[str, ...], Case]] = {}
    for recipe, case in zip(recipes, load_cases(folder / CASES), strict=True):
        distinct.setdefault(str([(ref.key, ref.options) for ref in case.recipe]), (recipe, case))
    chosen = list(distinct.values())
    results = carry_out([case for _, case in chosen], options, say, executor, ("fidelity", *also))
    return [Trial((recipe,), result) for (recipe, _), result in zip(chosen, results, strict=True)]


def _limits(subject: Subject, max_drop: float, bench: bool) -> str:
    kept = f"{drop_threshold(subject.metric)}: {max_drop:g}"
    quality = kept if subject.judges_accuracy else f"fidelity: {LEAST_FIDELITY:g}"
    speed = f", speedup: {{min: 1, budget: {BUDGET_S}}}" if bench else ""
    return f"{quality}, size_ratio: 1{speed}"


def original_of(case: Case) -> Case:
    """The case's model alone, judged by nothing."""
    return replace(
        case, recipe=(), candidate=None, thresholds=(), engine=None, engine_options={}, xfail={}, repeat=1
    )


def step_name(recipe: Sequence[str]) -> str:
    """`static-per_channel` of `quantize: static`, `per_channel: true`; one word an option."""
    words = []
    for index, line in enumerate(recipe):
        key, _, value = line.partition("#")[0].partition(":")
        value = value.strip()
        words.append(key if value == "true" else value)
        if index and value not in ("true",) and key not in ("engine", "mode", "calibration"):
            words[-1] = f"{key}-{value}"
    return re.sub(r"[^\w.-]+", "-", "-".join(words))
