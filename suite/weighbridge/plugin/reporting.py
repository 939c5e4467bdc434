"""From pytest's reports to ours: the rows, the files, the table."""

from __future__ import annotations

import contextlib
import json
import os
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from weighbridge.contracts import REPORTS
from weighbridge.core.errors import ThresholdMissed, UsageError, WeighbridgeError, first_line
from weighbridge.core.results import CaseResult, Status
from weighbridge.plugin.items import CaseItem, CaseNode, FaultItem
from weighbridge.plugin.options import Settings
from weighbridge.plugin.runner import shown_path
from weighbridge.report.assembly import make_report
from weighbridge.report.escape import terminal
from weighbridge.report.github import announce

_SEVERITY = (
    Status.ERROR,
    Status.FAIL,
    Status.INCONCLUSIVE,
    Status.XFAIL,
    Status.PASS,
    Status.UNMEASURED,
    Status.SKIP,
)


def attach(item: pytest.Item, call: pytest.CallInfo[None], report: pytest.TestReport) -> None:
    """Hang the row of the item's case on the first report of it; xdist carries it to the controller."""
    if not isinstance(item, CaseItem | FaultItem):
        return
    if call.excinfo is not None and call.excinfo.errisinstance((ThresholdMissed, WeighbridgeError)):
        # Written for the user: our own traceback would only hide it. Names in it may be a stranger's.
        report.longrepr = terminal(call.excinfo.value, lines=True)
    if isinstance(item, FaultItem):
        if report.when == "call":
            report.weighbridge = item.result.row()  # type: ignore[attr-defined]
        return
    if "result" not in item.parent.__dict__:
        if report.when == "setup" and not report.passed and call.excinfo is not None:
            report.weighbridge = _kept_from(item.parent, report, call.excinfo)  # type: ignore[attr-defined]
        return
    if not item.parent.reported:
        item.parent.reported = True
        report.weighbridge = item.parent.result.row()  # type: ignore[attr-defined]
    if report.when == "setup":
        for key in ("limit", "measured", "interval", "sure"):
            value = getattr(item.verdict, key)
            if value:  # JUnit takes them from the teardown's report
                item.user_properties.append((key, json.dumps(value) if key == "limit" else str(value)))


def worse(one: dict[str, Any] | None, other: dict[str, Any]) -> dict[str, Any]:
    """Of two rows of one case, which several workers carried out, the one that a gate must go by."""
    if one is None:
        return other
    return min(one, other, key=lambda row: _SEVERITY.index(Status(row["status"])))


def not_run(items: Sequence[pytest.Item], known: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A row for each case that was to run and did not, since the session ended before it."""
    nodes = {item.parent.nodeid: item.parent for item in items if isinstance(item, CaseItem)}
    rows = []
    for name, node in nodes.items():
        if name not in known:
            rows.append(
                _not_begun(node, Status.UNMEASURED, "run", "did not run: the session ended before it")
            )
    return rows


def _kept_from(
    node: CaseNode, report: pytest.TestReport, raised: pytest.ExceptionInfo[BaseException]
) -> dict[str, Any]:
    """The row of a case that a mark, a conftest or another plugin skipped, or made fail, before it was carried out."""
    why = first_line(raised.value) or "no reason given"
    if report.skipped:
        return _not_begun(node, Status.SKIP, "skip", why)
    return _not_begun(node, Status.ERROR, "setup", f"setup: {type(raised.value).__name__}: {why}")


def _not_begun(node: CaseNode, status: Status, stage: str, why: str) -> dict[str, Any]:
    case = node.case
    return CaseResult(node.nodeid, case.name, shown_path(node), case.line, status, stage, why).row()


def set_aside(folder: Path, started: float) -> None:
    """Call the reports of an earlier run `previous`: where this one is killed, nobody takes them for its own."""
    for path in folder.glob("latest.*"):
        with contextlib.suppress(OSError):  # another worker was faster
            if path.stat().st_mtime < started:
                path.replace(path.with_name(f"previous{path.name.removeprefix('latest')}"))


def write_reports(
    rows: Sequence[Mapping[str, Any]],
    settings: Settings,
    started: float,
    shard: Mapping[str, Any] | None,
) -> tuple[list[Path], list[str]]:
    """Write `latest.json`, then every format asked for; gives the files, and what kept the rest from being written.

    A full disk costs the report, not the run. Where another run has written its report since `started`, that one is
    left alone and this one gets a name of its own. The run is kept in the history too.
    """
    report = _report(rows, settings, uuid.uuid4().hex, shard)
    trouble, stem = [], "latest"
    if settings.history:
        trouble += kept(report, settings.history)
    latest = settings.reports / "latest.json"
    if latest.is_file() and latest.stat().st_mtime > started:
        stem = f"run-{report['run'][:8]}"
        trouble.append(
            f"another run wrote {latest} while this one ran; this run's report is {stem}.json beside it"
        )
    written: list[Path] = []
    for name in dict.fromkeys(["json", *settings.formats]):
        try:
            settings.reports.mkdir(parents=True, exist_ok=True)
            written += REPORTS.get(name).write(report, settings.reports, stem)
        except OSError as error:
            return written, [*trouble, f"the {name} report could not be written: {error}"]
    return written, trouble


def kept(report: Mapping[str, Any], place: str) -> list[str]:
    """Keep the run in the history at `place`; gives what there is to say. A history costs no run its verdict."""
    from weighbridge.history.history import History

    said: list[str] = []
    try:
        History(place, said.append).keep(report)
    except (UsageError, OSError) as error:
        said.append(f"the run was not kept: {error}")
    return said


def _report(
    rows: Sequence[Mapping[str, Any]],
    settings: Settings,
    run: str = "",
    shard: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    options = {"bench": settings.bench, "confidence": settings.confidence}
    return make_report(rows, options, settings.root, run, settings.machine, shard)


def show(
    reporter: Any,
    rows: Sequence[Mapping[str, Any]],
    settings: Settings,
    written: Sequence[Path],
    trouble: Sequence[str],
) -> None:
    from weighbridge.report.encoding import fitting
    from weighbridge.report.terminal import render

    report = json.loads(written[0].read_text(encoding="utf-8")) if written else _report(rows, settings)
    reporter.section("weighbridge")
    encoding = getattr(reporter._tw._file, "encoding", None)
    table = render(
        report, reporter.hasmarkup, reporter._tw.fullwidth, max(reporter.config.get_verbosity(), 0)
    )
    reporter.write(fitting(table, encoding))
    names = ", ".join(
        str(path.relative_to(settings.root)) if path.is_relative_to(settings.root) else str(path)
        for path in written
    )
    if names:
        reporter.line(terminal(f"wrote {names}"))
    for text in trouble:
        reporter.line(fitting(terminal(text), encoding), red=True)
    if "github" in settings.formats:
        announce(report, reporter.write, os.environ)


def show_overlooked(reporter: Any, paths: Sequence[Path], settings: Settings) -> None:
    """That files of a folder that was named read like cases and did not count, and how they would."""
    root, patterns = settings.root, " ".join(settings.case_patterns)
    first = paths[0].relative_to(root) if paths[0].is_relative_to(root) else paths[0]
    others = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
    what = "read like cases" if others else "reads like a case"
    text = (
        f"{first}{others} {what}, but `weighbridge_cases` ({patterns}) has no place for it: name the file, or "
        f"`weighbridge run {first.parent}`, or write into pytest's settings: weighbridge_cases = {patterns} "
        f"{(first.parent / '*.yaml').as_posix()}"
    )
    reporter.line(terminal(text), yellow=True)
