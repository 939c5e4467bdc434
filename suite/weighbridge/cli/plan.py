"""`weighbridge plan`: what a run of cases would do, what of it is stored, and how long the rest took last time."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weighbridge.cli.verbs import add_store, add_verb

if TYPE_CHECKING:
    from weighbridge.case.model import Case

_EXAMPLES = "examples: weighbridge plan; weighbridge plan cases/net.yaml --bench"


def register(verbs: Any) -> None:
    text = "what a run would do, and what of it is stored, without running anything but the code that gives model and data"
    verb = add_verb(verbs, "plan", run, text, _EXAMPLES)
    verb.add_argument("cases", nargs="*", help="case files, or folders of them (cases)")
    verb.add_argument("--bench", action="store_true", help="with what reads a clock")
    add_store(verb)


def run(arguments: argparse.Namespace) -> int:
    """Exit status: 0; 1 where a case file has faults, or a case could not begin."""
    from weighbridge.case.load import load_cases
    from weighbridge.cli.running import case_files
    from weighbridge.core.errors import CaseError
    from weighbridge.report.escape import terminal
    from weighbridge.run.extensions import load_conftests

    took, wrong = _last_run(), False
    for name in case_files(arguments.cases or ["cases"]):
        load_conftests(Path(name))
        try:
            cases = load_cases(Path(name))
        except CaseError as error:
            print(terminal(str(error), lines=True))
            wrong = True
            continue
        for case in cases:
            node = f"{name}::{case.name}"
            seconds = f"    took {took[node]:.3g} s last time" if node in took else ""
            print(terminal(f"{node}{seconds}"))
            try:
                lines = list(_lines(case, arguments.bench, arguments.store))
            except Exception as error:  # the user's own code is called
                lines, wrong = [f"cannot begin: {error}"], True
            print("".join(f"    {terminal(line)}\n" for line in lines), end="")
    return int(wrong)


def _last_run() -> Mapping[str, float]:
    """Seconds by node id, of the cases in `reports/latest.json` where there is one."""
    from weighbridge.core.errors import UsageError
    from weighbridge.report.reading import read_report

    try:
        return {row["case"]: row["seconds"] for row in read_report(Path("reports/latest.json"))["rows"]}
    except UsageError:
        return {}


def _lines(case: Case, bench: bool, stated: str) -> Iterator[str]:
    from weighbridge.core.urls import store_place
    from weighbridge.environment.requirements import missing
    from weighbridge.run.foresight import foresee
    from weighbridge.run.plan import make_plan
    from weighbridge.run.reads import Reads
    from weighbridge.run.store import Store

    plan = make_plan(case, bench=bench)
    if case.skip is not None or (absent := missing(*plan.requirements)) is not None:
        yield f"skipped: {case.skip if case.skip is not None else absent}"
        return
    folder, beyond = store_place(stated, Path.cwd())
    store = Store(folder, beyond=beyond, reads=Reads(case, Path.cwd(), folder))
    for one in foresee(plan, store, Path.cwd()):
        state = "stored" if one.stored else "to do"
        yield f"{one.stage:<32}{state}{f', took {one.seconds:.2g} s' if one.seconds is not None else ''}"
    yield f"measured by {plan.engine}: {', '.join(sorted(plan.measures))}"
