"""The `weighbridge` command. Its verbs are the files beside this one."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from weighbridge.cli import audit, cache, check, init, inspect, names, new, report, schema, trial, verify
from weighbridge.core.errors import WeighbridgeError
from weighbridge.report.escape import terminal

VERBS = (init, trial, check, new, names, schema, report, cache, inspect, audit, verify)


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status: 0 done, 1 faults found, 2 wrong use or an unreadable file."""
    parser = argparse.ArgumentParser(
        prog="weighbridge", description="The gate for pruned and quantized models."
    )
    verbs = parser.add_subparsers(dest="verb", required=True)
    for verb in VERBS:
        verb.register(verbs)
    arguments = parser.parse_args(argv)
    try:
        return int(arguments.run(arguments))
    except WeighbridgeError as error:
        print(terminal(f"weighbridge: {error}", lines=True), file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
