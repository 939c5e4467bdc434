"""`weighbridge check`: every fault of case files, without running anything."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weighbridge.cli.verbs import add_verb

if TYPE_CHECKING:
    from weighbridge.case.model import Case, ThresholdRef
    from weighbridge.core.errors import Fault


def register(verbs: Any) -> None:
    verb = add_verb(verbs, "check", run, "read case files and report every fault")
    verb.add_argument("files", nargs="+", type=Path)
    verb.add_argument(
        "--sarif", type=Path, metavar="FILE", help="write the faults for code scanning and editors too"
    )


def run(arguments: argparse.Namespace) -> int:
    from weighbridge.case.load import load_cases
    from weighbridge.core.errors import CaseError
    from weighbridge.report.escape import terminal
    from weighbridge.run.extensions import load_conftests

    found: list[tuple[str, Fault]] = []
    for path in arguments.files:
        load_conftests(path)  # what a case names may be registered there, as it is when pytest runs
        try:
            cases = load_cases(path)
        except CaseError as error:
            found += [(path.as_posix(), fault) for fault in error.faults]
            print("\n".join(terminal(fault.at(path)) for fault in error.faults), file=sys.stderr)
        else:
            print(terminal(f"{path}: {len(cases)} case{'s' if len(cases) != 1 else ''}"))
            for case in cases:
                for ref, text in _undecidable(case):
                    print(terminal(f"{path}:{ref.line}:{ref.column}: note: {ref.name}: {text}"))
    if arguments.sarif:
        _write_sarif(arguments.sarif, found)
    return 1 if found else 0


def _write_sarif(path: Path, found: Sequence[tuple[str, Fault]]) -> None:
    from importlib.metadata import version

    from weighbridge.core.errors import UsageError
    from weighbridge.report.sarif import faults_as_sarif

    try:
        path.write_text(faults_as_sarif(found, version("weighbridge")), encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from error


def _undecidable(case: Case) -> Sequence[tuple[ThresholdRef, str]]:
    """The limits that an `.npz` is too small for. What a callable gives is not asked here: it is the user's code."""
    from weighbridge.core.data import load_data
    from weighbridge.core.errors import StageError
    from weighbridge.core.layout import Layout
    from weighbridge.run.inputs import undecidable

    if case.data is None or not case.data.endswith(".npz"):
        return ()
    try:
        data = load_data(
            case.data, case.folder, case.seed, Layout(case.targets, case.batch, case.sequence, case.groups)
        )
    except StageError:  # a file that is made before the run need not be there yet
        return ()
    return undecidable(case, case.thresholds, data)
