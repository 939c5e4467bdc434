"""The files that a proposal becomes: the case with its budgets, a workflow for CI, pytest's settings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from weighbridge.case.scaffold import Subject, step_lines
from weighbridge.environment.machine import describe
from weighbridge.environment.requirements import INT8_WIDE_SUMS, isa
from weighbridge.propose.budgets import budgets
from weighbridge.propose.splits import CALLABLE, FILE
from weighbridge.propose.trials import Trial, head_lines, prepared

WORKFLOW = Path(".github/workflows/weighbridge.yml")
REPORTS = "html,markdown"
_WORKFLOW = """# The gate of {cases}, for every push. Written by `weighbridge init`; yours to change.
name: weighbridge
on: [push, pull_request]
jobs:
  gate:
    runs-on: ubuntu-latest
    env:
      PIP_EXTRA_INDEX_URL: https://download.pytorch.org/whl/cpu  # torch without 4 GB of CUDA
    steps:
      - uses: actions/checkout@v4
      - uses: actions/setup-python@v5
        with: {{python-version: "3.12"}}
      - run: pip install weighbridge{requirements}
      - run: pytest {cases} --bench --strict-requirements --report github,{reports} --junitxml=reports/gate.xml
      - uses: actions/upload-artifact@v4
        if: always()
        with: {{name: weighbridge, path: reports}}
"""


@dataclass(frozen=True)
class CaseFile:
    """A case and the files that it brings along, by path."""

    case: Path
    files: dict[Path, str]


def case_files(subject: Subject, trial: Trial, path: Path) -> CaseFile:
    """The case at `path` that holds the subject to what `trial` reached."""
    seen, splits = prepared(subject, path.parent)
    int8 = ", ".join(sorted(isa() & INT8_WIDE_SUMS)) or "no instructions for int8"
    lines = [
        f"# Limits measured by weighbridge on {describe()['cpu']} with {int8}; a speed is of its machine.",
        *head_lines(seen),
        *(
            []
            if subject.data
            else [f"# With your data, accuracy is judged too: fill in {FILE}, and write", *_with_data()]
        ),
        "recipe:",
        *(line for step in trial.recipe for line in step_lines(step)),
        "thresholds:",
        *(budget.line for budget in budgets(trial.result)),
    ]
    files = {path: "\n".join(lines) + "\n"}
    return CaseFile(path, files | ({path.parent / FILE: splits} if splits else {}))


def _with_data() -> Sequence[str]:
    return (f"# data: {FILE}:{CALLABLE}    # in place of `inputs`",)


def workflow(cases: Path) -> str:
    """A GitHub workflow that runs the cases in `cases`, speed included."""
    requirements = " -r requirements.txt" if Path("requirements.txt").is_file() else ""
    return _WORKFLOW.format(cases=cases.as_posix(), requirements=requirements, reports=REPORTS)


def settings(cases: Path) -> str:
    """A `pytest.ini` that makes `pytest` find the cases under `cases` and write the HTML report."""
    own = "" if cases.parts[:1] == ("cases",) else f"weighbridge_cases = {cases.as_posix()}/*.yaml\n"
    return f"[pytest]\naddopts = --report {REPORTS}\n{own}"
