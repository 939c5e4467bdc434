"""`weighbridge ratchet`: limits tightened to what the last run reached."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from weighbridge.cli.verbs import add_report, add_verb, last_report

_EXAMPLES = "examples: weighbridge ratchet --check; weighbridge ratchet cases/digits"


def register(verbs: Any) -> None:
    text = "tighten the limits of case files to what the last run reached, with a margin; never loosens one"
    verb = add_verb(verbs, "ratchet", run, text, _EXAMPLES)
    verb.add_argument(
        "files",
        nargs="*",
        type=Path,
        metavar="FILE",
        help="case files or folders; without any, all of the report's",
    )
    add_report(verb)
    verb.add_argument(
        "--check", action="store_true", help="write nothing, and print what would change, as a patch"
    )


def run(arguments: argparse.Namespace) -> int:
    """Exit status: 0; 1 where `--check` finds a limit to tighten; 2 for wrong use."""
    from weighbridge.core.errors import UsageError
    from weighbridge.propose.ratchet import diff, edited, of_files, tighten, write
    from weighbridge.report.escape import terminal
    from weighbridge.run.extensions import load_conftests

    chosen = list(of_files(last_report(arguments.report), arguments.files))
    if not chosen:
        raise UsageError("no case file of the report is there, or among those that were named")
    tightened = 0
    for path, rows in chosen:
        load_conftests(path)
        found = tighten(path, rows)
        changed = [one for one in found if one.new != one.old]
        tightened += len(changed)
        if arguments.check:
            print(terminal(diff(path, edited(path, changed)), lines=True), end="")
            continue
        if changed:
            write(path, edited(path, changed))
        for one in found:
            step = f"{one.old} → {one.new}" if one.new != one.old else one.old
            print(terminal(f"{path}:{one.start[0]}: {one.name} {step}: {one.why}"))
    if not tightened and arguments.check:
        print("no limit can be tightened")
    return 1 if arguments.check and tightened else 0
