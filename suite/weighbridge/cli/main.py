"""The `weighbridge` command. Its verbs are the files beside this one."""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from weighbridge.cli import (
    audit,
    bundle,
    cache,
    check,
    completion,
    explain,
    history,
    init,
    inspect,
    merge,
    names,
    new,
    plan,
    ratchet,
    rebuild,
    report,
    running,
    schema,
    search,
    sensitivity,
    sign,
    trial,
    verify,
)
from weighbridge.core.errors import WeighbridgeError
from weighbridge.report.encoding import NEAREST
from weighbridge.report.escape import terminal

VERBS = (
    init,
    trial,
    running,
    explain,
    search,
    sensitivity,
    history,
    bundle,
    rebuild,
    sign,
    plan,
    ratchet,
    check,
    new,
    names,
    schema,
    report,
    merge,
    cache,
    inspect,
    audit,
    verify,
    completion,
)


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status: 0 done, 1 faults found, 2 wrong use or an unreadable file, 141 where nobody reads the output to its end."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # and no test's or notebook's stand-in
            stream.reconfigure(errors=NEAREST)
    arguments = parser().parse_args(argv)
    try:
        status = int(arguments.run(arguments))
        sys.stdout.flush()
        return status
    except BrokenPipeError:  # `| head` has seen enough; what is left must not be written at exit either
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + 13  # SIGPIPE, as a shell has it
    except WeighbridgeError as error:
        print(terminal(f"weighbridge: {error}", lines=True), file=sys.stderr)
        return 2


def parser() -> argparse.ArgumentParser:
    """The command line, every verb in it."""
    made = argparse.ArgumentParser(
        prog="weighbridge",
        description="The gate for pruned and quantized models.",
        epilog="start with: weighbridge init model.onnx --data samples.npz",
    )
    made.add_argument("--version", action=_Version, help="print the version, and those of what it runs on")
    verbs = made.add_subparsers(dest="verb", required=True)
    for verb in VERBS:
        verb.register(verbs)
    return made


class _Version(argparse.Action):
    """Reads the versions when they are asked for."""

    def __init__(self, option_strings: Sequence[str], dest: str, **options: Any) -> None:
        super().__init__(option_strings, dest, nargs=0, **options)

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        found = {
            name: _version(name) for name in ("torch", "onnx", "onnxruntime", "ai-edge-litert", "tensorflow")
        }
        beside = ", ".join(f"{name} {number}" for name, number in found.items() if number)
        python = sys.version.split()[0]
        print(f"weighbridge {_version('weighbridge')} (Python {python}{beside and f', {beside}'})")
        parser.exit()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


if __name__ == "__main__":
    sys.exit(main())
