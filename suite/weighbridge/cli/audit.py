"""`weighbridge audit`: finished artifacts held to a budget, and a record of it."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from weighbridge.cli.verbs import CODES, add_executor, add_verb, say


def register(verbs: Any) -> None:
    verb = add_verb(
        verbs, "audit", run, "hold finished artifacts to a budget, and write a record of it", CODES
    )
    verb.add_argument("artifacts", nargs="+", metavar="ARTIFACT", help="a model file, a folder, or a glob")
    verb.add_argument(
        "--budget", type=Path, required=True, help="thresholds, as in a case file without model and recipe"
    )
    verb.add_argument("--baseline", type=Path, help="the previous release, for relative thresholds")
    verb.add_argument(
        "--report", default="", metavar="FORMATS", help="reports to write, such as html,markdown"
    )
    verb.add_argument(
        "--out", type=Path, default=Path("reports"), help="folder of record and reports (reports)"
    )
    verb.add_argument("--record", type=Path, help="file of the record (OUT/audit.intoto.json)")
    verb.add_argument("--key", type=Path, help="Ed25519 private key (PEM) to sign the record with")
    verb.add_argument(
        "--confidence",
        metavar="P",
        help="how sure a verdict on something sampled must be, such as 0.95, where the budget does not say it",
    )
    add_executor(verb)


def run(arguments: argparse.Namespace) -> int:
    from weighbridge.audit.budget import find_artifacts, read_budget
    from weighbridge.audit.record import SUFFIX, artifact_files, make_statement, materials, write_record
    from weighbridge.audit.run import audit, exit_code
    from weighbridge.audit.witness import Witness, check_digests
    from weighbridge.contracts import REPORTS
    from weighbridge.report.github import announce
    from weighbridge.report.terminal import render

    confidence = _confidence(arguments.confidence)
    writers = [REPORTS.get(name) for name in ["json", *filter(None, arguments.report.split(","))]]
    also = [name for writer in writers for name in getattr(writer, "measures", ())]
    witness, artifacts = Witness(), find_artifacts(arguments.artifacts)
    witness.watch([arguments.budget, *artifacts])
    cases = read_budget(arguments.budget, artifacts, arguments.baseline)
    witness.watch([*materials(cases), *(path for case in cases for path in artifact_files(case))])
    with tempfile.TemporaryDirectory(prefix="weighbridge-") as workdir:
        report = audit(cases, Path(workdir), say, arguments.executor, also, confidence)
    say("")
    statement = make_statement(report, cases, arguments.budget)
    witness.check()
    check_digests(report, statement)
    arguments.out.mkdir(parents=True, exist_ok=True)
    record = arguments.record or arguments.out / f"audit{SUFFIX}"
    write_record(statement, record, arguments.key)
    for writer in writers:
        writer.write(report, arguments.out, "audit")
    width = shutil.get_terminal_size((100, 24)).columns
    print(render(report, color=sys.stdout.isatty(), width=width))
    if any(writer.name == "github" for writer in writers):
        announce(report, sys.stdout.write, os.environ)
    print(f"record: {record}{' (signed)' if arguments.key else ' (not signed)'}")
    return exit_code(report)


def _confidence(text: str | None) -> float | None:
    from weighbridge.core.errors import UsageError
    from weighbridge.core.options import read_confidence

    try:
        return read_confidence(text) if text else None
    except ValueError as error:
        raise UsageError(f"--confidence {error}") from None
