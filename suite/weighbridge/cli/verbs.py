"""What the verbs share: how one is added to the parser, and progress on one line."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
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


def say(text: str) -> None:
    """Progress on one line, where somebody is there to read it; no text clears it."""
    from weighbridge.report.escape import terminal

    if sys.stderr.isatty():
        print(f"\r\x1b[K{terminal(text)[:100]}", end="", file=sys.stderr, flush=True)
