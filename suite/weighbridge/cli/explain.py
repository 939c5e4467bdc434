"""`weighbridge explain`: why a case of the last run failed, layer by layer."""

from __future__ import annotations

import argparse
import shutil
import sys
from typing import Any

from weighbridge.cli.verbs import add_report, add_verb, last_report

_EXAMPLES = "example: weighbridge explain cases/digits/cnn.yaml::int8, or: weighbridge explain int8"


def register(verbs: Any) -> None:
    verb = add_verb(
        verbs, "explain", run, "why a case of the last run failed, with what became of its layers", _EXAMPLES
    )
    verb.add_argument("case", help="its node id, or its name as the table has it")
    add_report(verb)


def run(arguments: argparse.Namespace) -> int:
    from weighbridge.report.explained import explain, rows_called

    report = last_report(arguments.report)
    width = shutil.get_terminal_size((100, 24)).columns
    for row in rows_called(report["rows"], arguments.case):
        print(explain(report, row, color=sys.stdout.isatty(), width=width))
    return 0
