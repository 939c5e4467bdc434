"""The verbs of the command line that are about finished artifacts: `audit`, `verify`, `inspect`."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from weighbridge.core.errors import UsageError

CODES = """exit codes: 0 within the budget; 1 over it, or refused; 2 wrong use, or a file that cannot be read;
3 could not be decided (a requirement is absent, or the data cannot tell)"""


def register(verbs: Any) -> None:
    """Add the verbs to argparse's subparsers; each sets `run`, which gives the exit code."""
    one = _verb(verbs, "audit", audit, "hold finished artifacts to a budget, and write a record of it")
    one.add_argument("artifacts", nargs="+", metavar="ARTIFACT", help="a model file, a folder, or a glob")
    one.add_argument(
        "--budget", type=Path, required=True, help="thresholds, as in a case file without model and recipe"
    )
    one.add_argument("--baseline", type=Path, help="the previous release, for relative thresholds")
    one.add_argument(
        "--report", default="", metavar="FORMATS", help="reports to write, such as html,markdown"
    )
    one.add_argument(
        "--out", type=Path, default=Path("reports"), help="folder of record and reports (reports)"
    )
    one.add_argument("--record", type=Path, help="file of the record (OUT/audit.intoto.json)")
    one.add_argument("--key", type=Path, help="Ed25519 private key (PEM) to sign the record with")

    one = _verb(verbs, "verify", verify, "hold a record against the artifact that it is about")
    one.add_argument("record", type=Path, metavar="RECORD")
    one.add_argument("artifacts", nargs="+", type=Path, metavar="ARTIFACT")
    one.add_argument("--budget", type=Path, help="the budget must be the one of the record")
    one.add_argument(
        "--key", type=Path, help="Ed25519 public key (PEM): the record must be signed by its owner"
    )
    one.add_argument("--baseline", type=Path, help="the previous release, for --rerun")
    one.add_argument("--rerun", action="store_true", help="measure again and compare (needs --budget)")

    one = _verb(verbs, "inspect", inspect, "show what is in an artifact")
    one.add_argument("artifacts", nargs="+", metavar="ARTIFACT", help="a model file, a folder, or a glob")
    one.add_argument("--json", action="store_true", help="as JSON")


def _verb(
    verbs: Any, name: str, run: Callable[[argparse.Namespace], int], text: str
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = verbs.add_parser(name, help=text, description=text, epilog=CODES)
    parser.set_defaults(run=run)
    return parser


def audit(arguments: argparse.Namespace) -> int:
    """`weighbridge audit`."""
    from weighbridge.audit.budget import find_artifacts, read_budget
    from weighbridge.audit.record import SUFFIX, make_statement, write_record
    from weighbridge.audit.run import audit as run_audit
    from weighbridge.audit.run import exit_code
    from weighbridge.contracts import REPORTS
    from weighbridge.report.github import announce
    from weighbridge.report.reading import upgrade
    from weighbridge.report.terminal import render

    writers = [REPORTS.get(name) for name in ["json", *filter(None, arguments.report.split(","))]]
    cases = read_budget(arguments.budget, find_artifacts(arguments.artifacts), arguments.baseline)
    with tempfile.TemporaryDirectory(prefix="weighbridge-") as workdir:
        report = upgrade(run_audit(cases, Path(workdir), _say))
    _say("")
    arguments.out.mkdir(parents=True, exist_ok=True)
    record = arguments.record or arguments.out / f"audit{SUFFIX}"
    write_record(make_statement(report, cases, arguments.budget), record, arguments.key)
    for writer in writers:
        writer.write(report, arguments.out, "audit")
    print(render(report, color=sys.stdout.isatty()))
    if any(writer.name == "github" for writer in writers):
        announce(report, sys.stdout.write, os.environ)
    print(f"record: {record}{' (signed)' if arguments.key else ' (not signed)'}")
    return exit_code(report)


def verify(arguments: argparse.Namespace) -> int:
    """`weighbridge verify`."""
    from weighbridge.audit.run import OVER
    from weighbridge.audit.sign import Refused
    from weighbridge.report.escape import terminal

    if arguments.rerun and arguments.budget is None:
        raise UsageError("--rerun measures again, so it needs the --budget")
    try:
        code, lines = _verify(arguments)
    except Refused as error:
        print(terminal(f"refused: {error}"), file=sys.stderr)
        return OVER
    print("\n".join(terminal(line) for line in lines))
    return code


def _verify(arguments: argparse.Namespace) -> tuple[int, list[str]]:
    """The exit code and what was found; raises `Refused`."""
    from weighbridge.audit.budget import read_budget
    from weighbridge.audit.record import check_files, check_materials, compare, read_record, recorded_verdicts
    from weighbridge.audit.run import OVER, WITHIN, exit_code
    from weighbridge.audit.run import audit as run_audit

    statement, signed = read_record(arguments.record, arguments.key)
    lines = check_files(statement, arguments.artifacts, arguments.budget)
    unsigned = "no signature was checked: whoever alters an unsigned record can mend its checksum"
    lines.append("the signature is good" if signed else unsigned)
    lines += recorded_verdicts(statement)
    if not arguments.rerun:
        return WITHIN, lines
    cases = read_budget(arguments.budget, arguments.artifacts, arguments.baseline)
    check_materials(statement, cases)
    with tempfile.TemporaryDirectory(prefix="weighbridge-") as workdir:
        report = run_audit(cases, Path(workdir), _say)
    _say("")
    differences = compare(statement, report)
    if differences:
        return OVER, lines + differences
    same = "measured again: every verdict and every counted number is the same"
    code = exit_code(report)
    return (code if code > OVER else WITHIN), [*lines, same]


def inspect(arguments: argparse.Namespace) -> int:
    """`weighbridge inspect`."""
    from weighbridge.audit.budget import find_artifacts
    from weighbridge.audit.inspect import describe, table

    found = [describe(path) for path in find_artifacts(arguments.artifacts)]
    print(json.dumps(found, indent=1) if arguments.json else "\n\n".join(table(one) for one in found))
    return 0


def _say(text: str) -> None:
    """Progress on one line, where somebody is there to read it; no text clears it."""
    from weighbridge.report.escape import terminal

    if sys.stderr.isatty():
        print(f"\r\x1b[K{terminal(text)[:100]}", end="", file=sys.stderr, flush=True)
