"""What GitHub shows of a run: annotations at the line of the YAML, and the summary of the step.

The format renders the annotations (workflow commands, which work in the job's log only). `announce` puts them
there, and the Markdown report into the file that `GITHUB_STEP_SUMMARY` names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from weighbridge.contracts import REPORTS
from weighbridge.core.units import compared
from weighbridge.report.escape import workflow
from weighbridge.report.markdown import Markdown
from weighbridge.report.text import TextReport

LEVELS = {
    "fail": "error",
    "error": "error",
    "inconclusive": "warning",
    "unmeasured": "warning",
    "skip": "notice",
    "xfail": "notice",
}
MOST = 10
"""GitHub keeps ten annotations of each level in a step: one more line counts the rest."""
SUMMARY_BYTES = 1 << 20
"""GitHub drops a step's summary that is longer."""


class Github(TextReport):
    """Workflow commands, one a line: `::error file=cases/a.yaml,line=12,title=...::message`."""

    name = "github"
    suffix = ".github.txt"

    def render(self, report: Mapping[str, Any]) -> str:
        """An error for each threshold missed and each case that could not be weighed, at its line."""
        kept: dict[str, list[str]] = {"error": [], "warning": [], "notice": []}
        for level, line in _annotations(report):
            kept[level].append(line)
        lines = []
        for level, found in kept.items():
            lines += found if len(found) <= MOST else found[: MOST - 1]
            if len(found) > MOST:
                lines.append(
                    f"::{level} title=Weighbridge::and {len(found) - MOST + 1} more; the report has them all"
                )
        return "".join(f"{line}\n" for line in lines)


def _annotations(report: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for row in report["rows"]:
        missed = [verdict for verdict in row["verdicts"] if verdict["status"] in LEVELS]
        for verdict in missed:
            text = verdict["message"] or compared(
                verdict["threshold"], verdict["measured"] or 0, verdict["limit"], verdict["unit"]
            )
            # Where nothing was decided, what was not measured is more than a notice.
            status = row["status"] if row["status"] == "unmeasured" else verdict["status"]
            title = f"{row['name']}: {verdict['threshold']} {status}"
            yield _command(status, row, verdict["line"], title, "\n".join([text, *verdict["advice"]]))
        if not missed and row["status"] in LEVELS:
            title = f"{row['name']}: {row['status']}"
            yield _command(row["status"], row, None, title, row["message"] or row["stage"])


def _command(
    status: str, row: Mapping[str, Any], line: int | None, title: str, message: str
) -> tuple[str, str]:
    level = LEVELS[status]
    place = {"file": row["path"], "line": line or row.get("line") or 1, "title": title}
    attributes = ",".join(f"{key}={workflow(value, attribute=True)}" for key, value in place.items())
    return level, f"::{level} {attributes}::{workflow(message)}"


def write_summary(report: Mapping[str, Any], path: Path) -> None:
    """Append the Markdown report to the summary at `path`, cut at a line where GitHub would drop it."""
    text = Markdown().render(report)
    left = SUMMARY_BYTES - (path.stat().st_size if path.exists() else 0)
    data = text.encode("utf-8")
    if len(data) + 1 > left:
        note = b"\n\nCut here: the step summary may hold 1 MiB. The whole report is in the artifacts.\n"
        data = data[: max(0, left - len(note) - 1)].rpartition(b"\n")[0] + note
    with path.open("ab") as file:
        file.write(data + b"\n")


def announce(
    report: Mapping[str, Any], write: Callable[[str], object], environment: Mapping[str, str]
) -> None:
    """In a job on GitHub: the annotations go to its log through `write`, the summary to its file."""
    if environment.get("GITHUB_ACTIONS") == "true":
        write(Github().render(report))
    if environment.get("GITHUB_STEP_SUMMARY"):
        write_summary(report, Path(environment["GITHUB_STEP_SUMMARY"]))


REPORTS.add("github", Github())
