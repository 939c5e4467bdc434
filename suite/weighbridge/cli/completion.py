"""`weighbridge completion`: the script that lets a shell complete the command."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from weighbridge.cli.verbs import add_verb

SHELLS = ("bash", "zsh", "fish")
_EXAMPLES = """bash: weighbridge completion bash > ~/.local/share/bash-completion/completions/weighbridge
zsh: weighbridge completion zsh > a folder of $fpath, as _weighbridge
fish: weighbridge completion fish > ~/.config/fish/completions/weighbridge.fish"""


def register(verbs: Any) -> None:
    text = "print the script that lets a shell complete verbs, options and files"
    verb = add_verb(
        verbs, "completion", run, text, _EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    verb.add_argument("shell", choices=SHELLS)


def run(arguments: argparse.Namespace) -> int:
    from weighbridge.cli.main import parser
    from weighbridge.core.errors import UsageError

    try:
        import shtab
    except ImportError:
        raise UsageError(
            "completion needs the package shtab: pip install 'weighbridge[completion]'"
        ) from None
    whole = parser()
    for action in _actions(whole):
        if action.type is Path:
            action.complete = shtab.FILE  # type: ignore[attr-defined]
    print(shtab.complete(whole, arguments.shell))
    return 0


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """Every option and positional, those of the verbs too."""
    for action in parser._actions:
        yield action
        for verb in action.choices.values() if isinstance(action, argparse._SubParsersAction) else ():
            yield from _actions(verb)
