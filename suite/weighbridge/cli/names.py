"""`weighbridge list`: what a case can name."""

from __future__ import annotations

import argparse
from typing import Any

from weighbridge.cli.verbs import add_verb

_EXAMPLES = "examples: weighbridge list; weighbridge list quantize:static; weighbridge list speedup"


def register(verbs: Any) -> None:
    text = "list the steps, thresholds, engines, metrics and reports, or the options of some"
    verb = add_verb(verbs, "list", run, text, _EXAMPLES)
    verb.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help="a step (quantize:static, or static), a threshold or an engine: its options with their values and defaults",
    )
    verb.add_argument("--style", default="simple", help="a table format of tabulate's (default: simple)")


def run(arguments: argparse.Namespace) -> int:
    from weighbridge.cli.catalogue import catalogue
    from weighbridge.cli.options import options_of

    # `quantize: static`, as a case file has it, comes as two words.
    names = " ".join(arguments.names).replace(": ", ":").split()
    print(
        "\n".join(options_of(name, arguments.style) for name in names) or catalogue(arguments.style), end=""
    )
    return 0
