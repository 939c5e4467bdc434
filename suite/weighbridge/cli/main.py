"""The `weighbridge` command. Its verbs are the files beside this one."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from weighbridge.cli import audit, cache, check, inspect, names, new, report, schema, verify
from weighbridge.core.errors import WeighbridgeError
from weighbridge.report.escape import terminal

VERBS = (check, new, names, schema, report, cache, inspect, audit, verify)


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status: 0 done, 1 faults found, 2 wrong use or an unreadable file, 141 where nobody reads the output to its end."""
    parser = argparse.ArgumentParser(
        prog="weighbridge", description="The gate for pruned and quantized models."
    )
    verbs = parser.add_subparsers(dest="verb", required=True)
    for verb in VERBS:
        verb.register(verbs)
    arguments = parser.parse_args(argv)
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


if __name__ == "__main__":
    sys.exit(main())
