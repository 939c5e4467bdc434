"""`weighbridge inspect`: what is in an artifact."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from weighbridge.cli.verbs import CODES, add_verb


def register(verbs: Any) -> None:
    verb = add_verb(verbs, "inspect", run, "show what is in an artifact", CODES)
    verb.add_argument("artifacts", nargs="+", metavar="ARTIFACT", help="a model file, a folder, or a glob")
    verb.add_argument("--json", action="store_true", help="as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Each file that can be read is shown; a file that cannot is an error of its own."""
    from weighbridge.audit.apart import describe_apart
    from weighbridge.audit.budget import find_artifacts
    from weighbridge.audit.inspect import table
    from weighbridge.audit.run import UNREADABLE, WITHIN
    from weighbridge.core.errors import WeighbridgeError
    from weighbridge.report.escape import terminal

    answers = list(describe_apart(find_artifacts(arguments.artifacts)))
    found = [one for one in answers if not isinstance(one, WeighbridgeError)]
    wrong = [one for one in answers if isinstance(one, WeighbridgeError)]
    if arguments.json:
        print(json.dumps(found, indent=1))
    elif found:
        print("\n\n".join(table(one) for one in found))
    for error in wrong:
        print(terminal(f"weighbridge: {error}"), file=sys.stderr)
    return UNREADABLE if wrong else WITHIN
