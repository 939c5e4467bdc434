"""`Job` -> `CaseResult`: the one driver. Load, transform, convert, save, weigh, judge.

pytest, `audit` and whatever else runs cases hand their jobs to an executor, and an executor calls `run_case`, here or
in a worker. An exception becomes a result that names its stage; it never takes another case along.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace

from weighbridge.contracts import THRESHOLDS
from weighbridge.core.code import unchanging_code
from weighbridge.core.errors import StageError, Unavailable, WeighbridgeError
from weighbridge.core.layer_errors import LayerErrors
from weighbridge.core.results import CaseResult, Measurement, Status, Verdict
from weighbridge.core.trust import trusting
from weighbridge.environment.requirements import missing
from weighbridge.formats.opened import forget_opened
from weighbridge.run.answers import (
    as_in_training,
    called_otherwise,
    check_answers,
    in_another_order,
    the_original_itself,
)
from weighbridge.run.artifacts import case_folder, ship
from weighbridge.run.blame import find_layer_errors, is_missed
from weighbridge.run.chain import Chain
from weighbridge.run.draws import Draws
from weighbridge.run.events import Event, Listener, Said, StageEntered, Waiting
from weighbridge.run.inputs import data_notes, undecidable
from weighbridge.run.job import Job, unjudged
from weighbridge.run.manifest import write_manifest
from weighbridge.run.narrower import narrower
from weighbridge.run.plan import Stage
from weighbridge.run.reads import Reads
from weighbridge.run.recent import forget_other_data
from weighbridge.run.remedies import advised
from weighbridge.run.round_trip import check_round_trips
from weighbridge.run.since import Since
from weighbridge.run.store import Store
from weighbridge.run.turns import Turns
from weighbridge.run.verdicts import judge_all, judge_threshold, overall
from weighbridge.run.weighing import Scales
from weighbridge.run.workshop import Workshop
from weighbridge.run.zero_groups import check_shipped

PATIENCE_S = 60.0
"""Seconds that a failed case may take to find the layers behind it."""


def run_case(job: Job, listen: Listener = lambda event: None) -> CaseResult:
    """Carry out, measure and judge; never raises for a fault of the model, the data or the recipe."""
    case, started = job.plan.case, time.monotonic()
    if case.skip is not None:
        return unjudged(job, Status.SKIP, "skip", case.skip)
    if (absent := missing(*job.plan.requirements)) is not None:
        return _absent(job, absent)
    where = _Where(listen, case.line)
    try:
        turns = Turns(job.options.clock or job.options.store, where.tell) if job.options.bench else None
        with trusting(case.trust), unchanging_code(), turns.working() if turns else nullcontext():
            forget_other_data(case, job.options.root)
            result = _run(job, where, turns.timing if turns else nullcontext)
    except (Exception, SystemExit) as error:  # whatever is raised belongs to this case and to no other
        if isinstance(error, Unavailable):
            return replace(_absent(job, str(error)), seconds=time.monotonic() - started)
        stage = error.stage if isinstance(error, StageError) else where.stage
        result = unjudged(job, Status.ERROR, stage, explain(error, where.stage), where.line)
    finally:
        forget_opened()
    notes = tuple(dict.fromkeys([*result.notes, *where.notes]))
    return replace(result, seconds=time.monotonic() - started, notes=notes)


def explain(error: BaseException, stage: str) -> str:
    """An exception as the sentence of a row."""
    if isinstance(error, StageError):
        return str(error)
    if isinstance(error, MemoryError):
        return f"{stage}: out of memory"
    if isinstance(error, WeighbridgeError | OSError):
        return f"{stage}: {error}"
    return f"{stage}: {type(error).__name__}: {error}"


def _absent(job: Job, why: str) -> CaseResult:
    status = Status.ERROR if job.options.strict_requirements else Status.SKIP
    return unjudged(job, status, "requires", f"requires: {why}" if status is Status.ERROR else why)


class _Where:
    """Where the run is, for whoever listens and for the row of a failure."""

    def __init__(self, listen: Listener, line: int) -> None:
        self._listen = listen
        self._default = line
        self.stage, self.line = "load", line
        self.notes: list[str] = []
        self._started = time.monotonic()
        self._waited = 0.0

    def patience(self, job: Job) -> float:
        """Seconds that advice may take: of the time that the case is allowed, which waiting does not take from, a quarter of
        what is left.
        """
        allowed = job.limits.time
        if allowed is None:
            return PATIENCE_S
        return min(PATIENCE_S, (allowed + self._waited - (time.monotonic() - self._started)) / 4)

    def enter(self, stage: str, text: str, line: int | None = None) -> None:
        self.stage, self.line = stage, line or self._default
        self.tell(StageEntered(stage, text, self.line))

    def say(self, text: str) -> None:
        self.tell(Said(text))

    def tell(self, event: Event) -> None:
        if isinstance(event, Waiting):  # the end of it less its beginning
            self._waited += -time.monotonic() if event.begins else time.monotonic()
        self._listen(event)


def _run(job: Job, where: _Where, timing: Callable[[], AbstractContextManager[None]]) -> CaseResult:
    plan, case, options = job.plan, job.plan.case, job.options
    reads = Reads(case, options.root, options.store, options.artifacts)
    store = Store(options.store, where.notes.append, options.before, options.beyond, reads)
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(store.compiled))  # fresh processes inherit it
    with store.workdir() as workdir:
        shop = Workshop(case, store, options.root, workdir, where.enter, where.say, timing)
        for ref, text in undecidable(case, job.thresholds, shop.data):
            where.say(f"{ref.name}: {text}")
        chain = Chain(shop, case.candidate or case.model, plan.stages)
        records = chain.records()
        folder = options.artifacts and case_folder(options.artifacts, job.case)
        candidate = ship(chain, folder and folder / "candidate", options.root, plan.engine)
        if folder and not chain.finished:
            candidate = write_manifest(job, shop, chain, candidate, folder)
        check_shipped(shop, chain, candidate, case.recipe)
        baseline = None
        if case.recipe or case.candidate:
            where.enter("export", "baseline")
            original = Chain(shop, case.model, [Stage(target=target) for target in plan.baseline])
            baseline = ship(original, folder and folder / "baseline", options.root, plan.baseline_engine)
            if case.recipe and baseline.digests == candidate.digests:
                raise StageError(
                    "save", "the recipe changed nothing: the artifact is the original, byte for byte"
                )
        scales = Scales(job, shop, candidate, baseline, where.tell)
        scales.open_candidate(chain.finished)
        if scales.weighing.engine.runs and (note := check_answers(job, scales.weighing)) is not None:
            where.notes.append(note)
        where.notes += the_original_itself(candidate, baseline)
        where.notes += called_otherwise(scales.weighing)
        measured, failed = _measure(scales, plan.measures, where)
        draws = Draws(job, candidate, measured)
        draws.carry_out(
            shop,
            lambda drawn, shipped, names: _measure(
                Scales(job, drawn, shipped, baseline, where.tell), names, where
            ),
        )
        failed = {**draws.failed, **failed}
        since = Since(job, candidate, baseline)
        measurements = draws.shown(lambda name, one: judge_threshold(job, name, one, since))
        round_trips, notes = check_round_trips(job, shop, chain, candidate)
        verdicts = judge_all(job, {name: draws.of(name) for name in measurements}, failed, round_trips, since)
        errors, said = _layer_errors(job, shop, scales, verdicts, where.patience(job))
        lost = () if case.sequence else narrower(scales.weighing)
        told = (*as_in_training(scales.weighing), *in_another_order(scales.weighing), *lost)
        verdicts = advised(case, verdicts, measurements, errors, shop.data, told)
    asked = {THRESHOLDS.get(name).measure for name in plan.wanted if name in THRESHOLDS}
    return CaseResult(
        case=job.case,
        name=case.name,
        path=job.path,
        line=case.line,
        status=overall(verdicts),
        key=candidate.key,
        engine=plan.engine,
        inputs=shop.data.kind if shop.data.splits or shop.data.invented else "none",
        steps=records,
        artifacts={"baseline": baseline.record if baseline else None, "candidate": candidate.record},
        measurements=measurements,
        verdicts=verdicts,
        layer_errors=errors,
        against=since.told(measurements),
        unasked=plan.unasked,
        notes=(
            *chain.notes,
            *data_notes(shop.data),
            *notes,
            *draws.notes(measurements),
            *said,
            *(text for name, text in failed.items() if name not in asked),
        ),
    )


def _measure(
    scales: Scales, names: Sequence[str], where: _Where
) -> tuple[dict[str, Measurement], dict[str, str]]:
    """What was measured, and why the rest could not be: that concerns the thresholds that read it and no others."""
    measurements: dict[str, Measurement] = {}
    failed: dict[str, str] = {}
    for name in names:
        try:
            measurements[name] = scales.measure(name)
        except (Exception, SystemExit) as error:
            failed[name] = explain(error, where.stage)
    return measurements, failed


def _layer_errors(
    job: Job, shop: Workshop, scales: Scales, verdicts: Sequence[Verdict], patience: float
) -> tuple[LayerErrors | None, tuple[str, ...]]:
    """The layers behind a missed threshold, or a note why they were not found: advice never changes a verdict."""
    wanted = job.options.seek_layers
    if wanted == "never" or (wanted == "missed" and not any(map(is_missed, verdicts))):
        return None, ()
    try:
        deadline = time.monotonic() + patience
        return find_layer_errors(job.plan, shop, scales.weighing, deadline, tries=wanted == "missed"), ()
    except (Exception, SystemExit) as error:
        return None, (f"the output error by layer was not measured: {explain(error, 'layers')}",)
