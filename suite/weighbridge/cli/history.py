"""`weighbridge history`: how accuracy, size and speed of a case went from run to run."""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weighbridge.cli.verbs import add_verb

if TYPE_CHECKING:
    from weighbridge.core.past import Past
    from weighbridge.history.history import History

_EXAMPLES = "examples: weighbridge history; weighbridge history int8 --branch main --html trend.html"


def register(verbs: Any) -> None:
    text = "how a case went from run to run: its trend, what changed since when, and the runs"
    verb = add_verb(verbs, "history", run, text, _EXAMPLES)
    verb.add_argument("case", nargs="?", help="its node id, its name, or its file; all cases without one")
    verb.add_argument("--branch", help="the runs of this branch only")
    verb.add_argument("--last", type=int, default=100, metavar="N", help="so many runs at most (100)")
    verb.add_argument("--html", type=Path, metavar="FILE", help="write a page with the charts instead")
    verb.add_argument(
        "--add",
        type=Path,
        nargs="+",
        default=(),
        metavar="FILE",
        help="first keep these reports, such as another machine's latest.json",
    )
    add_place(verb)


def add_place(verb: argparse.ArgumentParser) -> None:
    """`--history`, for whoever reads one."""
    verb.add_argument(
        "--history",
        default=".weighbridge/history.sqlite",
        metavar="PLACE",
        help="the file, or a database's URL (.weighbridge/history.sqlite)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Exit status: 0; 2 for wrong use, or where there is nothing to show."""
    from weighbridge.core.errors import UsageError
    from weighbridge.core.urls import without_password
    from weighbridge.history.history import History
    from weighbridge.history.page import page
    from weighbridge.history.terminal import all_cases, one_case
    from weighbridge.report.escape import terminal

    history = History(arguments.history, lambda text: print(terminal(text), file=sys.stderr))
    for path in arguments.add:
        _add(history, path)
    if not history.runs(1):
        place = without_password(arguments.history)
        raise UsageError(f"no run is kept in {place}; pytest keeps them, and --history names another place")
    found = _pasts(history, arguments)
    if not found:
        raise UsageError(f"no run of branch '{arguments.branch}' is kept")
    if arguments.html:
        arguments.html.write_text(page(found), encoding="utf-8")
        print(terminal(f"wrote {arguments.html}"))
        return 0
    color, width = sys.stdout.isatty(), shutil.get_terminal_size((100, 24)).columns
    if arguments.case:
        print("\n".join(one_case(case, pasts, color, width) for case, pasts in found.items()), end="")
    else:
        print(all_cases(arguments.history, history.runs(arguments.last), found, color, width), end="")
    return 0


def _pasts(history: History, arguments: argparse.Namespace) -> dict[str, list[Past]]:
    from weighbridge.report.explained import rows_called
    from weighbridge.report.names import rows_of_nodes

    if not arguments.case:
        return history.recent(arguments.last, arguments.branch)
    rows = rows_called(rows_of_nodes(history.cases()), arguments.case, "the history")
    found = {row["case"]: history.of_case(row["case"], arguments.last, arguments.branch) for row in rows}
    return {case: pasts for case, pasts in found.items() if pasts}


def _add(history: History, path: Path) -> None:
    from weighbridge.report.reading import read_report

    kept = history.keep(read_report(path))
    print(f"{path}: {kept} cases kept" if kept else f"{path}: kept already, or nothing was measured")
