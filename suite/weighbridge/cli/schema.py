"""`weighbridge schema`: the JSON Schema of case files, or of the report."""

from __future__ import annotations

import argparse
import json
from typing import Any

from weighbridge.cli.verbs import add_verb


def register(verbs: Any) -> None:
    verb = add_verb(verbs, "schema", run, "print the JSON Schema of case files")
    verb.add_argument("--report", action="store_true", help="of reports/latest.json instead")


def run(arguments: argparse.Namespace) -> int:
    from weighbridge.case.schema import case_schema
    from weighbridge.report.contract import report_schema

    print(json.dumps(report_schema() if arguments.report else case_schema(), indent=1))
    return 0
