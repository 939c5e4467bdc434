"""What the verbs share: how one is added to the parser, the options that several have, and progress on one line."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from weighbridge.case.model import Case

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
        default=".weighbridge",
        metavar="PLACE",
        help="the folder of kept results (.weighbridge), or its address, such as s3://bucket/prefix",
    )


def add_executor(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "--executor",
        default="process",
        metavar="NAME",
        help="where cases are carried out: process (a worker, the default), inline, or ray[://HOST:PORT], a cluster",
    )


def case_of(name: str, recipe: bool = True) -> Case:
    """The case that `FILE` or `FILE::NAME` names, one with a `recipe` or candidate where that is asked for; raises
    `UsageError`."""
    from weighbridge.case.load import load_cases
    from weighbridge.core.errors import UsageError, did_you_mean
    from weighbridge.core.files import is_file
    from weighbridge.run.extensions import load_conftests

    path, _, wanted = name.partition("::")
    if not is_file(Path(path)):
        raise UsageError(f"there is no case file {path}")
    load_conftests(Path(path))
    what = "recipe" if recipe else "case"
    cases = {
        case.name: case
        for case in load_cases(Path(path), recipe_to_come=not recipe)
        if not recipe or case.recipe or case.candidate
    }
    if wanted and wanted not in cases:
        raise UsageError(f"{path} has no {what} '{wanted}'{did_you_mean(wanted, list(cases))}")
    if not wanted and len(cases) != 1:
        raise UsageError(
            f"{path} has {len(cases)} {what}s; name one: {', '.join(f'{path}::{one}' for one in cases)}"
        )
    return cases[wanted] if wanted else next(iter(cases.values()))


def say(text: str) -> None:
    """Progress on one line, where somebody is there to read it; no text clears it."""
    from weighbridge.report.escape import terminal

    if sys.stderr.isatty():
        print(f"\r\x1b[K{terminal(text)[:100]}", end="", file=sys.stderr, flush=True)
