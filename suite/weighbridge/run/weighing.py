"""Both artifacts on the scales: what was measured, from the store or now, and why the rest could not be."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from weighbridge.case.steps import path_between
from weighbridge.contracts import ENGINES, FORMATS, MEASURES, THRESHOLDS, Weighing
from weighbridge.core.errors import StageError
from weighbridge.core.results import Artifact, Measurement
from weighbridge.core.versions import version_of
from weighbridge.engines.sequences import SteppedEngine
from weighbridge.formats.finished import read_through
from weighbridge.formats.opened import opened
from weighbridge.measure.metrics import find_metric, metric_requires
from weighbridge.run.artifacts import Shipped
from weighbridge.run.chain import Chain
from weighbridge.run.events import Timed
from weighbridge.run.job import Job
from weighbridge.run.keys import (
    MOST_SAMPLES,
    data_key,
    extension_code,
    machine_key,
    make_key,
    metric_code,
    surroundings,
)
from weighbridge.run.plan import Stage
from weighbridge.run.workshop import Workshop, seed_everything


class Scales:
    """What one case is weighed with."""

    def __init__(
        self,
        job: Job,
        shop: Workshop,
        candidate: Shipped,
        baseline: Shipped | None,
        tell: Callable[[Timed], None],
    ) -> None:
        self._job, self._shop, self._tell = job, shop, tell
        self.store, self.root = shop.store, shop.root
        self._candidate, self._baseline = candidate, baseline
        plan, case = job.plan, job.plan.case
        engine, other = (
            SteppedEngine(ENGINES.get(name)) if case.sequence else ENGINES.get(name)
            for name in (plan.engine, plan.baseline_engine)
        )
        shipped = candidate.artifact
        if baseline is not None:
            shipped = FORMATS.get(shipped.format).called_as(shipped, baseline.artifact)
        self.weighing = Weighing(
            candidate=shipped,
            baseline=baseline.artifact if baseline else None,
            engine=engine,
            engine_options=engine.options.model_validate(dict(case.engine_options)),
            data=shop.data,
            metric=find_metric(case.metric, case.folder),
            allow_chance=case.allow_chance,
            say=shop.say,
            original=self._original,
            precedence=job.options.bench_priority,
            held={},
            baseline_engine=None if plan.baseline_engine == plan.engine else other,
        )

    def open_candidate(self, finished: bool) -> None:
        """No size makes up for a file that nobody can load, or that lacks a part; raises `StageError`. `finished`: it came as a
        file.
        """
        candidate, original = self.weighing.candidate, self.weighing.baseline
        held_against = self._baseline.key if self._baseline else None
        key = make_key(
            "opens", self._candidate.key, held_against, self._running_key("opens", self._job.plan.engine)
        )
        if self._shop.store.find(f"result-{key}") is None:
            self._shop.enter("open", "open the candidate", None)
            if self.weighing.engine.runs:
                self.weighing.session("candidate")
            if finished:
                read_through(candidate, opened(candidate))
            if original is not None and original.format == candidate.format:
                FORMATS.get(candidate.format).check_against(opened(candidate), opened(original))
            self._shop.store.keep(f"result-{key}", {"opens": True})

    def measure(self, name: str) -> Measurement:
        """The measurement `name`; what reads a clock is always taken anew, the rest may stand in the store."""
        measure, case = MEASURES.get(name), self._job.plan.case
        self._shop.enter("measure", f"measure {name}", None)
        seed_everything(case.seed)
        limits = tuple(
            ref.limit
            for ref in self._job.thresholds
            if THRESHOLDS.get(ref.name).measure == name and ref.name in self._job.plan.wanted
        )
        if measure.bench:
            self._let_go()  # what is timed has the memory to itself
            with self._shop.timing():
                return measure.run(replace(self.weighing, limits=limits, keep=self._keeper(name), held=None))
        if "metric" in measure.needs:  # keeps what it learned of each model alone
            return measure.run(replace(self.weighing, limits=limits, kept=_Kept(self, name)))
        key = make_key("measurement", name, *self._measurement_key(measure.needs, name))
        entry = self._shop.store.find(f"result-{key}")
        if entry is None:
            taken = measure.run(replace(self.weighing, limits=limits))
            self._shop.store.keep(f"result-{key}", vars(taken))
            return taken
        return Measurement(**entry.facts)

    def _let_go(self) -> None:
        if self.weighing.held is not None:
            self.weighing.held.clear()

    def side_key(self, side: str, name: str) -> str:
        """What is known of one model under the metric; which samples it was fed, it says itself."""
        plan = self._job.plan
        shipped = self._candidate if side == "candidate" else self._baseline
        engine = plan.engine if side == "candidate" else plan.baseline_engine
        packages = [version_of(one.name) for one in metric_requires(plan.case.metric)]
        metric = [plan.case.metric, metric_code(plan.case, self._shop.root), packages]
        # The same file is called in another way beside another original.
        own, called = self._candidate.artifact.source, self.weighing.candidate.source
        told = {name: value for name, value in called.items() if own.get(name) != value}
        called_so = told if side == "candidate" else {}
        return make_key(name, shipped and shipped.key, called_so, metric, self._running_key(name, engine))

    def _measurement_key(self, needs: Sequence[str], name: str) -> list[Any]:
        plan, shop = self._job.plan, self._shop
        parts: list[Any] = [
            self._candidate.key,
            self._baseline.key if self._baseline else None,
            self._running_key(name, plan.engine, plan.baseline_engine),
        ]
        if {"data", "inputs"} & set(needs):
            parts += [data_key(shop.data, (), MOST_SAMPLES), shop.data.kind]
        return parts

    def _running_key(self, name: str, *engines: str) -> list[Any]:
        """What the outputs depend on beside the artifact and the samples; `name` is the measurement's, if it is one."""
        root = self._shop.root
        return [
            engines,
            self.weighing.engine_options.model_dump(mode="json"),
            self._job.plan.case.sequence,
            machine_key(),
            [extension_code(ENGINES, engine, root) for engine in engines],
            extension_code(MEASURES, name, root),
            surroundings(),
        ]

    def _keeper(self, name: str) -> Callable[[str, Sequence[float]], None]:
        return lambda side, seconds: self._tell(Timed(name, side, tuple(seconds)))

    def _original(self, formats: Sequence[str]) -> Artifact:
        """The original in one of `formats`, for an engine that does not serve the baseline's."""
        model = self._job.plan.case.model
        path = path_between(model.format, formats)
        if path is None:
            wanted = " or ".join(formats)
            raise StageError("measure", f"no conversion leads from {model.format} to {wanted}")
        return Chain(self._shop, model, [Stage(target=target) for target in path]).artifact()


class _Kept:
    """The store, for what a measurement learns of one model alone."""

    def __init__(self, scales: Scales, name: str) -> None:
        self._scales, self._name = scales, name

    def find(self, side: str) -> Path | None:
        entry = self._scales.store.find(self._key(side))
        return entry.folder if entry else None

    def keep(self, side: str, write: Callable[[Path], None]) -> None:
        self._scales.store.keep(self._key(side), {}, write)

    def _key(self, side: str) -> str:
        return f"side-{self._scales.side_key(side, self._name)}"
