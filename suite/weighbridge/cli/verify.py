"""`weighbridge verify`: a record held against the artifact that it is about."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

from weighbridge.cli.verbs import CODES, add_verb, say
from weighbridge.core.errors import UsageError


def register(verbs: Any) -> None:
    verb = add_verb(verbs, "verify", run, "hold a record against the artifact that it is about", CODES)
    verb.add_argument("record", type=Path, metavar="RECORD")
    verb.add_argument("artifacts", nargs="+", type=Path, metavar="ARTIFACT")
    verb.add_argument("--budget", type=Path, help="the budget must be the one of the record")
    verb.add_argument(
        "--key", type=Path, help="Ed25519 public key (PEM): the record must be signed by its owner"
    )
    verb.add_argument("--baseline", type=Path, help="the previous release, for --rerun")
    verb.add_argument("--rerun", action="store_true", help="measure again and compare (needs --budget)")
    verb.add_argument(
        "--allow-breach",
        action="store_true",
        help="accept a record of a budget that was not kept: only its authenticity is asked for",
    )


def run(arguments: argparse.Namespace) -> int:
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
    from weighbridge.audit.record import (
        check_files,
        check_materials,
        compare,
        other_samples,
        read_record,
        recorded_breach,
        recorded_verdicts,
    )
    from weighbridge.audit.run import OVER, WITHIN, audit, exit_code

    statement, signed = read_record(arguments.record, arguments.key)
    lines = check_files(statement, arguments.artifacts, arguments.budget)
    unsigned = "no signature was checked: whoever alters an unsigned record can mend its checksum"
    lines.append("the signature is good" if signed else unsigned)
    lines += recorded_verdicts(statement)
    breach = recorded_breach(statement) and not arguments.allow_breach
    if breach:
        lines.append(
            "the record is good, and what it records is no licence to ship (--allow-breach accepts it)"
        )
    if breach or not arguments.rerun:
        return OVER if breach else WITHIN, lines
    cases = read_budget(arguments.budget, arguments.artifacts, arguments.baseline)
    check_materials(statement, cases)
    with tempfile.TemporaryDirectory(prefix="weighbridge-") as workdir:
        report = audit(cases, Path(workdir), say, confidence=statement["predicate"].get("confidence"))
    say("")
    differences = compare(statement, report)
    lines += other_samples(statement, report)
    if differences:
        return OVER, lines + differences
    same = "measured again: every verdict and every counted number is the same"
    code = exit_code(report)
    return (code if code > OVER else WITHIN), [*lines, same]
