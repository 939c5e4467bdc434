"""`Plan` -> `Outcome`: load, transform, convert, save, weigh. An exception becomes an outcome that names its stage."""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from weighbridge.case.model import Case, ModelRef, ThresholdRef
from weighbridge.case.steps import path_between
from weighbridge.contracts import (
    CONVERTERS,
    ENGINES,
    FORMATS,
    MEASURES,
    STEPS,
    THRESHOLDS,
    Context,
    Model,
    Weighing,
)
from weighbridge.core.data import Data
from weighbridge.core.errors import StageError, Unavailable, WeighbridgeError
from weighbridge.core.results import Artifact, Measurement, Outcome, Status, StepRecord
from weighbridge.engines.sequences import SteppedEngine
from weighbridge.environment.requirements import missing
from weighbridge.formats.finished import finished_file
from weighbridge.measure.metrics import find_metric
from weighbridge.run.census import check_changed, take_census
from weighbridge.run.inputs import data_notes, make_data
from weighbridge.run.plan import Plan, converter_key
from weighbridge.run.round_trip import keep_weights

Say = Callable[[str], None]
Keep = Callable[[str, Sequence[float]], None]


def execute(plan: Plan, workdir: Path, say: Say = lambda text: None) -> Outcome:
    """Carry out `plan` with files under `workdir`; never raises for a fault of the model, data or recipe."""
    case, started = plan.case, time.monotonic()
    absent = missing(*plan.requirements)
    if absent:
        return Outcome(case.name, Status.SKIP, "requires", absent)
    stage = _Stage(say, case.line)
    try:
        outcome = _execute(plan, workdir, stage)
    except (Exception, SystemExit) as error:  # whatever is raised belongs to this case and to no other
        status = Status.SKIP if isinstance(error, Unavailable) else Status.ERROR
        name = error.stage if isinstance(error, StageError) else stage.name
        text = f"{stage.line}: {_explain(error, stage.name)}" if status is Status.ERROR else str(error)
        return Outcome(case.name, status, name, text, time.monotonic() - started)
    return Outcome(case.name, Status.PASS, "done", "", time.monotonic() - started, *outcome)


def _explain(error: BaseException, stage: str) -> str:
    if isinstance(error, StageError):
        return str(error)
    if isinstance(error, MemoryError):
        return f"{stage}: out of memory"
    return (
        f"{stage}: {error}"
        if isinstance(error, WeighbridgeError | OSError)
        else f"{stage}: {type(error).__name__}: {error}"
    )


class _Stage:
    """Where the run is, for progress and for the row of a failure."""

    def __init__(self, say: Say, line: int) -> None:
        self.name, self.say, self.line = "load", say, line

    def enter(self, name: str, text: str = "", line: int | None = None) -> None:
        self.name, self.line = name, line or self.line
        self.say(text or name)


def _execute(plan: Plan, workdir: Path, stage: _Stage) -> tuple[Any, ...]:
    case = plan.case
    shutil.rmtree(workdir, ignore_errors=True)
    workdir.mkdir(parents=True)
    stage.enter("load", line=case.model.line)
    _seed(case)
    model = original = _load(case.model, case.folder)
    if case.candidate:
        stage.enter("load", "load the candidate", case.candidate.line)
        model = _load(case.candidate, case.folder)
    stage.enter("data", line=case.line)
    data = make_data(case)
    context = Context(case.folder, workdir, case.seed, data, stage.say)
    convert = _Conversions(context)
    records: list[StepRecord] = []
    notes: list[str] = []
    for item in plan.stages:
        if item.step:
            stage.enter(item.step.kind, str(item), item.step.line)
            if STEPS.get(item.step.key).scheme is not None:
                keep_weights(case.recipe.index(item.step), model, workdir)
            model, record = _step(item.step, model, context)
            records.append(record)
        elif item.target:
            stage.enter("export", str(item))
            model = convert(model, item.target)
    notes += [*model.notes, *data_notes(data)]
    stage.enter("save", line=case.line)
    candidate = _ship(case.candidate or case.model, model, not plan.stages, case.folder, workdir, "candidate")
    baseline = None
    if case.recipe or case.candidate:
        stage.enter("export", "baseline")
        for target in plan.baseline:
            original = convert(original, target)
        stage.enter("save", "baseline")
        baseline = _ship(case.model, original, not plan.baseline, case.folder, workdir, "baseline")
        if case.recipe and _same(baseline, candidate):
            raise StageError(
                "save", "the recipe changed nothing: the artifact is the original, byte for byte"
            )
    scales = weighing(plan, baseline, candidate, data, stage.say)
    if case.recipe:
        stage.enter("open", "open the candidate")
        scales.engine.open(
            candidate, scales.engine_options
        )  # no size makes up for a file that nobody can load
    measurements, failed = _measure(plan, scales, stage)
    asked = {THRESHOLDS.get(ref.name).measure for ref in case.thresholds}
    notes += [text for name, text in failed.items() if name not in asked]
    failed = {name: f"{case.line}: {text}" for name, text in failed.items() if name in asked}
    return baseline, candidate, tuple(records), measurements, tuple(notes), failed


def _measure(plan: Plan, scales: Weighing, stage: _Stage) -> tuple[dict[str, Measurement], dict[str, str]]:
    """What was measured, and why the rest could not be."""
    measurements: dict[str, Measurement] = {}
    failed: dict[str, str] = {}
    for name in plan.measures:
        stage.enter("measure", f"measure {name}")
        try:
            measurements[name] = MEASURES.get(name).run(scales)
        except (Exception, SystemExit) as error:
            failed[name] = _explain(error, stage.name)
    return measurements, failed


def _ship(ref: ModelRef, model: Model, untouched: bool, root: Path, workdir: Path, stem: str) -> Artifact:
    """The files that would ship. A finished file is weighed itself, not a copy that this program wrote."""
    finished = finished_file(model, root / ref.reference) if untouched else None
    return finished or FORMATS.get(model.format).save(model, workdir, stem)


def weighing(
    plan: Plan,
    baseline: Artifact | None,
    candidate: Artifact,
    data: Data,
    say: Say,
    thresholds: tuple[ThresholdRef, ...] = (),
    keep: Keep = lambda side, seconds: None,
) -> Weighing:
    """The two artifacts on the scales, with the engine that serves them."""
    case = plan.case
    engine, other = (
        SteppedEngine(ENGINES.get(name)) if case.sequence else ENGINES.get(name)
        for name in (plan.engine, plan.baseline_engine)
    )
    return Weighing(
        candidate=candidate,
        baseline=baseline,
        engine=engine,
        engine_options=engine.options.model_validate(dict(case.engine_options)),
        data=data,
        metric=find_metric(case.metric, case.folder),
        folder=case.folder,
        allow_chance=case.allow_chance,
        limits=tuple(ref.limit for ref in thresholds),
        say=say,
        keep=keep,
        original=lambda formats, folder: _original(
            case, formats, Context(case.folder, folder, case.seed, data, say)
        ),
        baseline_engine=None if plan.baseline_engine == plan.engine else other,
    )


def _original(case: Case, formats: Sequence[str], context: Context) -> Artifact:
    """The original in one of `formats`, for an engine that does not serve the baseline's."""
    path = path_between(case.model.format, formats)
    if path is None:
        wanted = " or ".join(formats)
        raise StageError("measure", f"no conversion leads from {case.model.format} to {wanted}")
    _seed(case)
    model, convert = _load(case.model, case.folder), _Conversions(context)
    for target in path:
        model = convert(model, target)
    return _ship(case.model, model, not path, case.folder, context.workdir, "original")


def _seed(case: Case) -> None:
    import numpy as np

    random.seed(case.seed)
    np.random.seed(case.seed % 2**32)
    if case.model.format in ("torch", "exported"):
        import torch

        torch.manual_seed(case.seed)


def _load(ref: ModelRef, folder: Path) -> Model:
    return FORMATS.get(ref.format).load(ref.reference, folder / ref.weights if ref.weights else None, folder)


def _step(ref: Any, model: Model, context: Context) -> tuple[Model, StepRecord]:
    step, before, started = STEPS.get(ref.key), take_census(model), time.monotonic()
    try:
        result = step.apply(model, ref.options, context)
    except WeighbridgeError:
        raise
    except Exception as error:
        raise StageError(ref.kind, f"{type(error).__name__}: {error}", str(ref)) from error
    after = take_census(result)
    check_changed(step, before, after)
    return result, StepRecord(str(ref), time.monotonic() - started, before, after, result.notes)


class _Conversions:
    """Conversions, each carried out once: the baseline often goes the way that the candidate's recipe began with."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._done: list[tuple[Model, str, Model]] = []

    def __call__(self, model: Model, target: str) -> Model:
        for source, to, result in self._done:
            if source is model and to == target:
                return result
        result = CONVERTERS.get(converter_key(model.format, target)).convert(model, self._context)
        self._done.append((model, target, result))
        return result


def _same(one: Artifact, other: Artifact) -> bool:
    return len(one.files) == len(other.files) and all(
        a.read_bytes() == b.read_bytes() for a, b in zip(one.files, other.files, strict=True)
    )
