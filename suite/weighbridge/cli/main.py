"""The `weighbridge` command, one function a verb."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from weighbridge.cli.finished import register
from weighbridge.core.errors import UsageError, WeighbridgeError
from weighbridge.report.escape import terminal


def schema(arguments: argparse.Namespace) -> int:
    """Print the JSON Schema of case files, or of the report."""
    from weighbridge.case.schema import case_schema
    from weighbridge.report.contract import report_schema

    print(json.dumps(report_schema() if arguments.report else case_schema(), indent=1))
    return 0


def check(arguments: argparse.Namespace) -> int:
    """Read case files and report every fault, without running anything."""
    from weighbridge.case.load import load_cases
    from weighbridge.core.errors import CaseError

    faulty = False
    for path in arguments.files:
        try:
            cases = load_cases(path)
        except CaseError as error:
            faulty = True
            print(error, file=sys.stderr)
        else:
            print(f"{path}: {len(cases)} case{'s' if len(cases) != 1 else ''}")
    return 1 if faulty else 0


def names(arguments: argparse.Namespace) -> int:
    """Print what a case can name."""
    from weighbridge.cli.catalogue import catalogue

    print(catalogue(arguments.style), end="")
    return 0


def new(arguments: argparse.Namespace) -> int:
    """Print a first case file for a model."""
    from weighbridge.case.scaffold import scaffold

    print(scaffold(arguments.model, arguments.data), end="")
    return 0


def report(arguments: argparse.Namespace) -> int:
    """Render a `latest.json` in another format, to standard output or a file."""
    from weighbridge.contracts import REPORTS
    from weighbridge.report.reading import read_report
    from weighbridge.report.text import TextReport

    form = REPORTS.get(arguments.format)
    if not isinstance(form, TextReport):
        raise UsageError(f"{arguments.format} is no text that could be printed")
    text = form.render(read_report(arguments.file))
    if arguments.output:
        arguments.output.write_text(text, encoding="utf-8")
    else:
        print(text, end="")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status: 0 done, 1 faults found, 2 wrong use or an unreadable file."""
    parser = argparse.ArgumentParser(
        prog="weighbridge", description="The gate for pruned and quantized models."
    )
    verbs = parser.add_subparsers(dest="verb", required=True)
    add_verbs(verbs)
    arguments = parser.parse_args(argv)
    try:
        return int(arguments.run(arguments))
    except WeighbridgeError as error:
        print(terminal(f"weighbridge: {error}", lines=True), file=sys.stderr)
        return 2


def add_verbs(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    verb = verbs.add_parser("schema", help="print the JSON Schema of case files")
    verb.add_argument("--report", action="store_true", help="of reports/latest.json instead")
    verb.set_defaults(run=schema)
    verb = verbs.add_parser("check", help="read case files and report every fault")
    verb.add_argument("files", nargs="+", type=Path)
    verb.set_defaults(run=check)
    verb = verbs.add_parser("list", help="list the steps, thresholds, engines, metrics and reports")
    verb.add_argument("--style", default="simple", help="a table format of tabulate's (default: simple)")
    verb.set_defaults(run=names)
    verb = verbs.add_parser(
        "new", help="print a first case file for a model: weighbridge new model.onnx > cases/mine.yaml"
    )
    verb.add_argument("model", help="a model file, or file.py:callable")
    verb.add_argument("--data", help="file.py:callable that gives the splits")
    verb.set_defaults(run=new)
    verb = verbs.add_parser("report", help="render reports/latest.json in another format")
    verb.add_argument("file", type=Path)
    verb.add_argument("--format", default="terminal")
    verb.add_argument("--output", type=Path)
    verb.set_defaults(run=report)
    register(verbs)


if __name__ == "__main__":
    sys.exit(main())
