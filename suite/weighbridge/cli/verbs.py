"""What the verbs share: how one is added to the parser, the options that several have, and progress on one line."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

CODES = """exit codes: 0 within the budget; 1 over it, or refused; 2 wrong use, or a file that cannot be read;
3 could not be decided (a requirement is absent, or the data cannot tell)"""


def add_verb(
    verbs: Any,
    name: str,
    run: Callable[[argparse.Namespace], int],
    text: str,
    epilog: str = "",
    **options: Any,
) -> argparse.ArgumentParser:
    """A subparser; `run` gives the exit code, `options` are argparse's."""
    parser: argparse.ArgumentParser = verbs.add_parser(
        name, help=text, description=text, epilog=epilog, **options
    )
    parser.set_defaults(run=run)
    return parser


def add_report(verb: argparse.ArgumentParser) -> None:
    """`--from`, for what looks at the last run; `last_report` reads it."""
    verb.add_argument(
        "--from",
        dest="report",
        type=Path,
        default=Path("reports/latest.json"),
        metavar="FILE",
        help="the report (reports/latest.json)",
    )


def last_report(path: Path) -> dict[str, Any]:
    """The report that `--from` names. Raises `UsageError` where there is none, or it is none."""
    from weighbridge.core.errors import UsageError
    from weighbridge.report.reading import read_report

    if not path.is_file():
        raise UsageError(f"there is no report {path}; pytest writes it, and --from names another")
    return read_report(path)


def add_store(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "--store",
        type=Path,
        default=Path(".weighbridge"),
        metavar="FOLDER",
        help="the folder of kept results (.weighbridge)",
    )


def add_executor(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "--executor",
        default="process",
        metavar="NAME",
        help="where cases are carried out: process (a worker, the default), or inline",
    )


def say(text: str) -> None:
    """Progress on one line, where somebody is there to read it; no text clears it."""
    from weighbridge.report.escape import terminal

    if sys.stderr.isatty():
        print(f"\r\x1b[K{terminal(text)[:100]}", end="", file=sys.stderr, flush=True)
