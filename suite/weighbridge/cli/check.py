"""`weighbridge check`: every fault of case files, without running anything."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from weighbridge.cli.verbs import add_verb


def register(verbs: Any) -> None:
    verb = add_verb(verbs, "check", run, "read case files and report every fault")
    verb.add_argument("files", nargs="+", type=Path)


def run(arguments: argparse.Namespace) -> int:
    from weighbridge.case.load import load_cases
    from weighbridge.core.errors import CaseError
    from weighbridge.report.escape import terminal
    from weighbridge.run.extensions import load_conftests

    faulty = False
    for path in arguments.files:
        load_conftests(path)  # what a case names may be registered there, as it is when pytest runs
        try:
            cases = load_cases(path)
        except CaseError as error:
            faulty = True
            print("\n".join(terminal(fault.at(path)) for fault in error.faults), file=sys.stderr)
        else:
            print(terminal(f"{path}: {len(cases)} case{'s' if len(cases) != 1 else ''}"))
    return 1 if faulty else 0
