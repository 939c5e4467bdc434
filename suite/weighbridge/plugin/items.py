"""Case file -> pytest items. A threshold is an item, so that `-k`, `--lf`, JUnit and xdist work on it.

`cases/digits/cnn.yaml::prune-int8::accuracy_drop` is file, case and threshold. A recipe runs once, when the first
of its items is set up.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

from weighbridge.case.load import load_cases
from weighbridge.case.model import Case, StepRef, ThresholdRef
from weighbridge.case.steps import promising
from weighbridge.contracts import MEASURES, THRESHOLDS, Limit
from weighbridge.core.errors import (
    CaseError,
    CaseFailed,
    Inconclusive,
    StageError,
    ThresholdMissed,
    WeighbridgeError,
)
from weighbridge.core.results import Measurement, Outcome, Status, Verdict
from weighbridge.plugin.options import Settings
from weighbridge.plugin.progress import Progress
from weighbridge.run.plan import Plan, make_plan
from weighbridge.run.rows import make_fault_row, make_row

SETTINGS: pytest.StashKey[Settings] = pytest.StashKey()
PROGRESS: pytest.StashKey[Progress] = pytest.StashKey()


class CaseFile(pytest.File):
    """One YAML file. A faulty one is a single failing item: it never stops the other files."""

    def collect(self) -> Iterable[pytest.Item | pytest.Collector]:
        try:
            cases = load_cases(self.path)
        except CaseError as error:
            yield FaultItem.from_parent(
                self, name="case file", error=CaseError(_relative(self), error.faults)
            )
            return
        for case in cases:
            node = CaseNode.from_parent(self, name=case.name, case=case)
            try:
                for mark in case.marks:
                    node.add_marker(mark)
            except (
                Exception,
                pytest.fail.Exception,
            ) as error:  # an unknown mark with --strict-markers, a bad name
                yield FaultItem.from_parent(
                    self,
                    name=case.name,
                    error=StageError("collect", f"{_relative(self)}:{case.line}: {error}"),
                )
                continue
            yield node


class CaseNode(pytest.Collector):
    """One case: its plan, and its outcome once a recipe has run."""

    def __init__(self, *, case: Case, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.case = case
        self.settings = self.config.stash[SETTINGS]
        self.measured: dict[str, Measurement] = {}

    def collect(self) -> Iterable[pytest.Item]:
        for ref in self.case.thresholds:
            yield ThresholdItem.from_parent(self, name=ref.name, ref=ref)
        for name, step in promising(self.case.recipe).items():
            yield RoundTripItem.from_parent(self, name=name, step=step)

    @cached_property
    def plan(self) -> Plan:
        return make_plan(self.case)

    @cached_property
    def workdir(self) -> Path:
        return self.settings.reports / "artifacts" / re.sub(r"[^\w.-]+", "_", self.nodeid)

    @cached_property
    def outcome(self) -> Outcome:
        from weighbridge.run.pipeline import execute

        with self.config.stash[PROGRESS].showing(self.nodeid) as say:
            return execute(self.plan, self.workdir, say)

    def refs_of(self, measure: str) -> tuple[ThresholdRef, ...]:
        return tuple(ref for ref in self.case.thresholds if THRESHOLDS.get(ref.name).measure == measure)


class FaultItem(pytest.Item):
    """A file, or a case, that cannot be read: it fails with every fault."""

    def __init__(self, *, error: WeighbridgeError, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.error = error

    def runtest(self) -> None:
        raise self.error

    def reportinfo(self) -> tuple[Path, int | None, str]:
        return self.path, 0, f"{self.name}"

    def row(self, status: Status, message: str) -> dict[str, Any]:
        line = self.error.faults[0].line if isinstance(self.error, CaseError) else 1
        return make_fault_row(self.nodeid, _relative(self), self.name, line, status, message)


class CaseItem(pytest.Item):
    """One thing a case is held to, at `line` and `column` of its file."""

    parent: CaseNode
    bench = False

    def __init__(self, *, ref: ThresholdRef, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.ref = ref
        self.verdict: Verdict | None = None
        case = self.parent.case
        reason = case.xfail.get(self.name, case.xfail.get("*"))
        if reason is not None:
            self.add_marker(pytest.mark.xfail(reason=reason, strict=self.name in case.xfail))

    def setup(self) -> None:
        case, settings = self.parent.case, self.parent.settings
        if case.skip is not None:
            pytest.skip(case.skip)
        if self.bench and not settings.bench:
            pytest.skip(f"{self.name} is measured with --bench only: pytest --bench '{self.nodeid}'")
        outcome = self.parent.outcome
        if outcome.status is Status.SKIP:
            if settings.strict_requirements:
                raise StageError("requires", outcome.message)
            pytest.skip(outcome.message)
        if outcome.status is Status.ERROR:
            raise CaseFailed(f"{_relative(self)}:{outcome.message}")

    def undecided(self, status: Status) -> Verdict:
        """The verdict of an item that was not judged."""
        return Verdict(self.name, status, str(self.ref.limit))

    def reportinfo(self) -> tuple[Path, int | None, str]:
        return self.path, self.ref.line - 1, f"{self.parent.name}::{self.name}"

    def row(self, status: Status, message: str) -> dict[str, Any]:
        """This item's part of the report contract."""
        node = self.parent
        outcome = node.__dict__.get("outcome")
        verdict = self.verdict or self.undecided(status)
        return make_row(
            node.nodeid,
            _relative(self),
            node.case,
            outcome,
            node.measured,
            verdict,
            self.ref,
            status,
            message,
            node.plan.engine if "plan" in node.__dict__ else None,
        )


class ThresholdItem(CaseItem):
    """One threshold of one case."""

    def __init__(self, *, ref: ThresholdRef, **kwargs: Any) -> None:
        super().__init__(ref=ref, **kwargs)
        self.threshold = THRESHOLDS.get(ref.name)
        self.bench = MEASURES.get(self.threshold.measure).bench
        if self.bench and self.parent.settings.bench:
            # By this pytest-benchmark tells a benchmark, for --benchmark-skip and --benchmark-only.
            self.fixturenames = ["benchmark"]

    def setup(self) -> None:
        super().setup()
        failed = self.parent.outcome.failed
        if self.threshold.measure in failed:
            raise CaseFailed(f"{_relative(self)}:{failed[self.threshold.measure]}")

    def undecided(self, status: Status) -> Verdict:
        return Verdict(self.name, status, str(self.ref.limit), unit=self.threshold.unit)

    def runtest(self) -> None:
        from weighbridge.run.judge import judge

        self.verdict = judge(self.ref, self._measurement())
        if self.verdict.status is Status.PASS:
            return
        kind = Inconclusive if self.verdict.status is Status.INCONCLUSIVE else ThresholdMissed
        if kind is Inconclusive and self.bench and self.parent.settings.bench_inconclusive == "warn":
            self.warn(pytest.PytestWarning(self.verdict.message))
            return
        lines = [
            f"{_relative(self)}:{self.ref.line}: {self.verdict.message}",
            *(f"  - {line}" for line in self.verdict.advice),
        ]
        raise kind("\n".join(lines))

    def _measurement(self) -> Measurement:
        name = self.threshold.measure
        node = self.parent
        if not self.bench:
            if name not in node.outcome.measurements:
                raise StageError(
                    "measure",
                    f"'{name}' could not be measured: the case has nothing to run the model on; give `data` or `inputs`",
                )
            return node.outcome.measurements[name]
        if name not in node.measured:
            from weighbridge.plugin.benchmark import measure_with_benchmark

            with self.config.stash[PROGRESS].showing(node.nodeid) as say:
                node.measured[name] = measure_with_benchmark(self, name, say)
        return node.measured[name]


class RoundTripItem(CaseItem):
    """A quantize step: its arithmetic has the properties of a quantizer, and the artifact holds what was asked for."""

    def __init__(self, *, step: StepRef, **kwargs: Any) -> None:
        super().__init__(ref=ThresholdRef(kwargs["name"], Limit(), step.line, 1), **kwargs)
        self.step = step

    def undecided(self, status: Status) -> Verdict:
        return Verdict(self.name, status, "as asked for")

    def runtest(self) -> None:
        from weighbridge.run.round_trip import PromiseBroken, check_round_trip

        node = self.parent
        artifact = node.outcome.candidate
        assert artifact is not None
        try:
            with self.config.stash[PROGRESS].showing(f"{node.nodeid}: {self.name}"):
                notes = check_round_trip(node.case, self.step, artifact, node.workdir)
        except PromiseBroken as broken:
            self.verdict = Verdict(self.name, Status.FAIL, "as asked for", message=str(broken))
            raise PromiseBroken(f"{_relative(self)}:{self.ref.line}: {broken}") from broken
        self.verdict = Verdict(self.name, Status.PASS, "as asked for", message="; ".join(notes))


def _relative(node: pytest.Item | pytest.Collector) -> str:
    root = node.config.rootpath
    return node.path.relative_to(root).as_posix() if node.path.is_relative_to(root) else str(node.path)
