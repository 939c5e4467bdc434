"""`weighbridge list`: what a case can name."""

from __future__ import annotations

import argparse
from typing import Any

from weighbridge.cli.verbs import add_verb


def register(verbs: Any) -> None:
    verb = add_verb(verbs, "list", run, "list the steps, thresholds, engines, metrics and reports")
    verb.add_argument("--style", default="simple", help="a table format of tabulate's (default: simple)")


def run(arguments: argparse.Namespace) -> int:
    from weighbridge.cli.catalogue import catalogue

    print(catalogue(arguments.style), end="")
    return 0
