"""`weighbridge merge`: the reports of shards joined, in every format."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from weighbridge.cli.verbs import add_verb

_EXAMPLES = "example: weighbridge merge shard-*/latest.json -o reports"


def register(verbs: Any) -> None:
    text = "join the reports of shards or of several runs; refuses duplicates, and a shard that is missing"
    verb = add_verb(verbs, "merge", run, text, _EXAMPLES)
    verb.add_argument("files", nargs="+", type=Path, metavar="FILE", help="reports (latest.json)")
    verb.add_argument(
        "-o",
        "--output",
        type=Path,
        required=True,
        metavar="FOLDER",
        help="where the joined report is written",
    )
    verb.add_argument(
        "--report", metavar="FORMATS", help="formats beside latest.json, comma-separated (all that are files)"
    )
    verb.add_argument(
        "--history",
        default="off",
        metavar="PLACE",
        help="keep the joined run there: a file, a database's URL, or off (off)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Exit status: 0; 2 where the reports cannot be joined."""
    from weighbridge.contracts import REPORTS
    from weighbridge.core.errors import UsageError
    from weighbridge.history.history import History
    from weighbridge.report.escape import terminal
    from weighbridge.report.merge import merge
    from weighbridge.report.reading import read_report
    from weighbridge.report.table import count
    from weighbridge.report.text import TextReport

    reports = {str(path): read_report(path) for path in dict.fromkeys(arguments.files)}
    merged = merge(reports)
    files = [name for name in REPORTS.names() if isinstance(REPORTS.get(name), TextReport)]
    names = [name.strip() for name in arguments.report.split(",")] if arguments.report else files
    sinks = [REPORTS.get(name) for name in dict.fromkeys(["json", *names])]
    try:
        arguments.output.mkdir(parents=True, exist_ok=True)
        written = [path for sink in sinks for path in sink.write(merged, arguments.output)]
    except OSError as error:
        raise UsageError(f"{arguments.output} cannot be written: {error.strerror or error}") from error
    if arguments.history not in ("", "off"):
        History(arguments.history, lambda text: print(terminal(text))).keep(
            merged, [one["run"] for one in reports.values()]
        )
    print(count(row["status"] for row in merged["rows"]))
    print(terminal(f"wrote {', '.join(map(str, written))}"))
    return 0
