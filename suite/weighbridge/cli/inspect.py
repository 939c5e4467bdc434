"""`weighbridge inspect`: what is in an artifact."""

from __future__ import annotations

import argparse
import json
from typing import Any

from weighbridge.cli.verbs import CODES, add_verb


def register(verbs: Any) -> None:
    verb = add_verb(verbs, "inspect", run, "show what is in an artifact", CODES)
    verb.add_argument("artifacts", nargs="+", metavar="ARTIFACT", help="a model file, a folder, or a glob")
    verb.add_argument("--json", action="store_true", help="as JSON")


def run(arguments: argparse.Namespace) -> int:
    from weighbridge.audit.budget import find_artifacts
    from weighbridge.audit.inspect import describe, table

    found = [describe(path) for path in find_artifacts(arguments.artifacts)]
    print(json.dumps(found, indent=1) if arguments.json else "\n\n".join(table(one) for one in found))
    return 0
