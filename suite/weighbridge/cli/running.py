"""`weighbridge run`: pytest on cases, wherever they lie."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from weighbridge.cli.verbs import add_verb

_EXAMPLES = (
    "examples: weighbridge run; weighbridge run gates --bench -k int8; weighbridge run cases/net.yaml -x"
)


def register(verbs: Any) -> None:
    text = "run cases through pytest: every YAML file of a folder counts, wherever it lies"
    # No word begins with this: options are pytest's, and argparse is to leave them alone.
    verb = add_verb(verbs, "run", run, text, _EXAMPLES, prefix_chars="\0", add_help=False)
    verb.add_argument(
        "words",
        nargs="*",
        metavar="CASE",
        help="case files and folders of them (cases), then options of pytest",
    )
    verb.usage = "weighbridge run [CASE ...] [PYTEST OPTION ...]"
    verb.set_defaults(help=verb.print_help)


def run(arguments: argparse.Namespace) -> int:
    """pytest's exit status."""
    import pytest

    words = list(arguments.words)
    if words[:1] in (["-h"], ["--help"]):
        arguments.help()
        return 0
    named = next((index for index, word in enumerate(words) if word.startswith("-")), len(words))
    return int(pytest.main([*case_files(words[:named] or ["cases"]), *words[named:]]))


def case_files(names: list[str]) -> list[str]:
    """The names, with a folder's case files in its place; raises `UsageError` where there are none."""
    from weighbridge.core.errors import UsageError

    found: list[str] = []
    for name in names:
        path = Path(name)
        if path.is_dir():
            files = [file for file in sorted(path.rglob("*")) if file.suffix in (".yaml", ".yml")]
            if not files:
                raise UsageError(f"no case file in the folder {name}; `weighbridge init` writes one")
            found += map(str, files)
        elif not Path(name.partition("::")[0]).exists():
            raise UsageError(f"no file or folder {name}; name case files, or folders of them")
        else:
            found.append(name)
    return found
