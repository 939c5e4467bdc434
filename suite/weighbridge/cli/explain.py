"""`weighbridge explain`: why a case of the last run failed, layer by layer."""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path
from typing import Any

from weighbridge.cli.verbs import add_verb

_EXAMPLES = "example: weighbridge explain cases/digits/cnn.yaml::int8, or: weighbridge explain int8"


def register(verbs: Any) -> None:
    verb = add_verb(
        verbs, "explain", run, "why a case of the last run failed, with what became of its layers", _EXAMPLES
    )
    verb.add_argument("case", help="its node id, or its name as the table has it")
    verb.add_argument(
        "--from",
        dest="report",
        type=Path,
        default=Path("reports/latest.json"),
        metavar="FILE",
        help="the report (reports/latest.json)",
    )


def run(arguments: argparse.Namespace) -> int:
    from weighbridge.core.errors import UsageError
    from weighbridge.report.explained import explain, rows_called
    from weighbridge.report.reading import read_report

    if not arguments.report.is_file():
        raise UsageError(f"there is no report {arguments.report}; pytest writes it, and --from names another")
    report = read_report(arguments.report)
    width = shutil.get_terminal_size((100, 24)).columns
    for row in rows_called(report["rows"], arguments.case):
        print(explain(report, row, color=sys.stdout.isatty(), width=width))
    return 0
