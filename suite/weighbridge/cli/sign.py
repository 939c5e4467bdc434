"""`weighbridge sign`: the artifacts that passed, signed in OpenSSF's format."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from weighbridge.cli.verbs import add_report, add_verb, last_report

_EXAMPLES = """example: weighbridge sign cases/net.yaml::int8 --key key.pem
verified by: model_signing verify key FOLDER --signature FOLDER/model.sig --public_key key.pub
exit codes: 0 signed; 1 refused; 2 wrong use"""


def register(verbs: Any) -> None:
    text = "sign artifacts of the last run that passed, with their manifests, by OpenSSF model signing"
    verb = add_verb(verbs, "sign", run, text, _EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter)
    verb.add_argument("cases", nargs="+", metavar="CASE", help="its node id, or its name as the table has it")
    verb.add_argument(
        "--key", type=Path, required=True, help="private key (PEM, P-256, P-384 or P-521) to sign with"
    )
    add_report(verb)


def run(arguments: argparse.Namespace) -> int:
    from weighbridge.audit.model_signature import sign_artifact
    from weighbridge.audit.sign import Refused
    from weighbridge.report.escape import terminal
    from weighbridge.report.explained import rows_called

    report = last_report(arguments.report)
    rows = {row["case"]: row for name in arguments.cases for row in rows_called(report["rows"], name)}
    refused = False
    for row in rows.values():
        try:
            print(terminal(f"signed: {sign_artifact(row, Path.cwd(), arguments.key)}"))
        except Refused as error:
            print(terminal(f"refused: {error}"), file=sys.stderr)
            refused = True
    return int(refused)
