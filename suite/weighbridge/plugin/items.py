"""Case file -> pytest items. A threshold is an item, so that `-k`, `--lf`, JUnit and xdist work on it.

`cases/digits/cnn.yaml::prune-int8::accuracy_drop` is file, case and threshold. A case is carried out once, when the
first of its items is set up; every item reads its verdict from the result.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

from weighbridge.case.load import load_cases
from weighbridge.case.model import Case
from weighbridge.case.steps import promising
from weighbridge.contracts import MEASURES, THRESHOLDS
from weighbridge.core.errors import (
    CaseError,
    CaseFailed,
    Inconclusive,
    StageError,
    ThresholdMissed,
    WeighbridgeError,
)
from weighbridge.core.results import CaseResult, Status, Verdict
from weighbridge.plugin.runner import RUNNER, shown_path
from weighbridge.report.escape import terminal


class _OfAFile:
    """A node whose id names its file, wherever that lies: outside of pytest's root directory it would be `::case`, and two cases
    of one name would be one row.
    """

    @property
    def nodeid(self) -> str:
        own: str = super().nodeid  # type: ignore[misc]
        return f"{shown_path(self)}{own}" if own.startswith("::") else own  # type: ignore[arg-type]


class _Repeatable:
    """An item that pytest-retry can run again: it calls `_initrequest`, which only functions have, of every item that failed, and
    one without it would end the session. A verdict stays what it is.
    """

    def _initrequest(self) -> None:
        """There are no fixtures to forget."""


class CaseFile(pytest.File):
    """One YAML file. A faulty one is a single failing item: it never stops the other files."""

    def collect(self) -> Iterable[pytest.Item | pytest.Collector]:
        try:
            cases = load_cases(self.path)
        except CaseError as error:
            shown = CaseError(shown_path(self), error.faults)
            yield FaultItem.from_parent(self, name="case file", error=shown)
            return
        for case in cases:
            node = CaseNode.from_parent(self, name=case.name, case=case)
            try:
                for mark in case.marks:
                    node.add_marker(mark)
            except (Exception, pytest.fail.Exception) as error:  # unknown with --strict-markers, or no name
                wrong = StageError("collect", f"{shown_path(self)}:{case.line}: {error}")
                yield FaultItem.from_parent(self, name=case.name, error=wrong)
                continue
            yield node


class CaseNode(_OfAFile, pytest.Collector):
    """One case, and what became of it once it was carried out."""

    def __init__(self, *, case: Case, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.case = case
        self.timings: dict[str, dict[str, tuple[float, ...]]] = {}
        """Seconds a call, by measurement and by `baseline` or `candidate`."""
        self.reported = False
        """Whether the row hangs on a report already."""

    def collect(self) -> Iterable[pytest.Item]:
        for ref in self.case.thresholds:
            yield ThresholdItem.from_parent(self, name=ref.name, line=ref.line)
        for name, step in promising(self.case.recipe).items():
            yield CaseItem.from_parent(self, name=name, line=step.line)

    @cached_property
    def result(self) -> CaseResult:
        """Carried out now, judging those of its items that are to run."""
        runner = self.config.stash[RUNNER]
        if not runner.wanted:
            for item in self.session.items:
                if isinstance(item.parent, CaseNode):
                    runner.wanted.setdefault(item.parent, []).append(item.name)
        return runner.carry_out(self)


class FaultItem(_OfAFile, _Repeatable, pytest.Item):
    """A file, or a case, that cannot be read: it fails with every fault."""

    def __init__(self, *, error: WeighbridgeError, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.error = error

    def runtest(self) -> None:
        raise self.error

    def reportinfo(self) -> tuple[Path, int | None, str]:
        return self.path, 0, f"{self.name}"

    @property
    def result(self) -> CaseResult:
        faults = self.error.faults if isinstance(self.error, CaseError) else ()
        line, column = (faults[0].line, faults[0].column) if faults else (1, 1)
        verdict = Verdict("case file", Status.ERROR, message=str(self.error), line=line, column=column)
        return CaseResult(
            self.nodeid,
            self.name,
            shown_path(self),
            line,
            Status.ERROR,
            "collect",
            str(self.error),
            verdicts=(verdict,),
        )


class CaseItem(_OfAFile, _Repeatable, pytest.Item):
    """One thing a case is held to, at `line` of its file: a threshold, or the round trip of a quantize step."""

    parent: CaseNode
    bench = False

    def __init__(self, *, line: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.line = line
        self.settings = self.config.stash[RUNNER].settings

    @property
    def verdict(self) -> Verdict:
        found = self.parent.result.verdict(self.name)
        assert found is not None  # every item that is to run is judged
        return found

    def setup(self) -> None:
        verdict = self.verdict
        if verdict.status is Status.ERROR:
            raise CaseFailed(f"{shown_path(self)}:{verdict.line}: {verdict.message}")
        if verdict.status is Status.SKIP:
            again = f": pytest --bench '{self.nodeid}'" if self.bench and not self.settings.bench else ""
            pytest.skip(terminal(f"{verdict.message}{again}"))

    def runtest(self) -> None:
        verdict = self.verdict
        if verdict.status is Status.XFAIL:
            pytest.xfail(terminal(verdict.message))
        if verdict.status in (Status.FAIL, Status.INCONCLUSIVE):
            self.miss(verdict)

    def miss(self, verdict: Verdict) -> None:
        advice = "".join(f"\n  - {line}" for line in verdict.advice)
        text = f"{shown_path(self)}:{verdict.line}: {verdict.message}{advice}"
        raise (Inconclusive if verdict.status is Status.INCONCLUSIVE else ThresholdMissed)(text)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        return self.path, self.line - 1, f"{self.parent.name}::{self.name}"


class ThresholdItem(CaseItem):
    """One threshold of one case."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.measure = THRESHOLDS.get(self.name).measure
        self.bench = MEASURES.get(self.measure).bench
        if self.bench and self.settings.bench:
            # By this pytest-benchmark tells a benchmark, for --benchmark-skip and --benchmark-only.
            self.fixturenames = ["benchmark"]

    def runtest(self) -> None:
        if self.bench and self.measure in self.parent.timings:
            from weighbridge.plugin.benchmark import record

            record(self, self.parent.timings.pop(self.measure))
        super().runtest()

    def miss(self, verdict: Verdict) -> None:
        undecided = verdict.status is Status.INCONCLUSIVE
        if undecided and self.bench and self.settings.bench_inconclusive == "warn":
            self.warn(pytest.PytestWarning(terminal(verdict.message)))
            return
        super().miss(verdict)
