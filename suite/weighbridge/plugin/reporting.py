"""From pytest's reports to ours: the status of an item, the rows, the files, the table."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from weighbridge.contracts import REPORTS
from weighbridge.core.errors import Inconclusive, ThresholdMissed, WeighbridgeError
from weighbridge.core.results import Status
from weighbridge.plugin.options import Settings
from weighbridge.report.github import announce
from weighbridge.report.reading import upgrade
from weighbridge.run.rows import make_report


def attach(item: Any, call: pytest.CallInfo[None], report: pytest.TestReport) -> None:
    """Hang the item's row on the report that decides it; xdist carries it to the controller."""
    status = _status(call, report)
    if status is None:
        return
    judged = getattr(item, "verdict", None)
    if (
        status is Status.PASS and judged is not None
    ):  # let through by --bench-inconclusive=warn, and not passed
        status = judged.status
    text = getattr(report, "wasxfail", "") if status is Status.XFAIL else ""
    if status in (Status.SKIP, Status.ERROR) and call.excinfo is not None:
        text = str(getattr(call.excinfo.value, "msg", "") or call.excinfo.value)
    if (
        report.failed
        and call.excinfo is not None
        and call.excinfo.errisinstance((ThresholdMissed, WeighbridgeError))
    ):
        report.longrepr = str(
            call.excinfo.value
        )  # written for the user: our own traceback would only hide it
    row = item.row(status, text)
    report.weighbridge = row  # type: ignore[attr-defined]
    verdict = row["verdicts"][0]
    for key in ("limit", "measured", "interval", "sure"):
        if verdict[key] is not None:
            item.user_properties.append(
                (key, str(verdict[key]))
            )  # JUnit takes them from the teardown's report


def _status(call: pytest.CallInfo[None], report: pytest.TestReport) -> Status | None:
    """None for a phase that does not decide."""
    if report.skipped:
        return Status.XFAIL if hasattr(report, "wasxfail") else Status.SKIP
    if report.failed:
        if call.excinfo is None:  # passed, though a strict xfail says it must not
            return Status.FAIL
        if call.excinfo.errisinstance(Inconclusive):
            return Status.INCONCLUSIVE
        return Status.FAIL if call.excinfo.errisinstance(ThresholdMissed) else Status.ERROR
    if report.when != "call":
        return None
    return Status.PASS


def write_reports(parts: Sequence[Mapping[str, Any]], settings: Settings) -> tuple[list[Path], str]:
    """Write `latest.json`, then every format asked for; gives the files, and what kept the rest from being written.

    A full disk costs the report, not the run.
    """
    report = upgrade(make_report(parts, {"bench": settings.bench}))
    written: list[Path] = []
    for name in dict.fromkeys(["json", *settings.formats]):
        try:
            settings.reports.mkdir(parents=True, exist_ok=True)
            written += REPORTS.get(name).write(report, settings.reports)
        except OSError as error:
            return written, f"the {name} report could not be written: {error}"
    return written, ""


def show(
    terminal: Any,
    parts: Sequence[Mapping[str, Any]],
    settings: Settings,
    written: Sequence[Path],
    trouble: str,
) -> None:
    from weighbridge.report.terminal import render

    report = (
        json.loads((settings.reports / "latest.json").read_text(encoding="utf-8"))
        if written
        else upgrade(make_report(parts, {"bench": settings.bench}))
    )
    terminal.section("weighbridge")
    terminal.write(
        render(report, terminal.hasmarkup, terminal._tw.fullwidth, max(terminal.config.get_verbosity(), 0))
    )
    names = ", ".join(
        str(path.relative_to(settings.root)) if path.is_relative_to(settings.root) else str(path)
        for path in written
    )
    if names:
        terminal.line(f"wrote {names}")
    if trouble:
        terminal.line(trouble, red=True)
    if "github" in settings.formats:
        announce(report, terminal.write, os.environ)
