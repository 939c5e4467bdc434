"""`weighbridge report`: a `latest.json` in another format."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from weighbridge.cli.verbs import add_verb


def register(verbs: Any) -> None:
    verb = add_verb(verbs, "report", run, "render reports/latest.json in another format")
    verb.add_argument("file", type=Path)
    verb.add_argument("--format", default="terminal")
    verb.add_argument("--output", type=Path)


def run(arguments: argparse.Namespace) -> int:
    from weighbridge.contracts import REPORTS
    from weighbridge.core.errors import UsageError
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
