"""pytest's hooks, and nothing else. Imports no torch; everything heavy is imported when the first case is collected."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from weighbridge.plugin.options import YAML, Settings, add_options

NAME = "weighbridge-session"
MOST_LOOKED_AT = 64_000
"""Characters of a YAML file that is no case file by its place."""
_INTERRUPTED = (pytest.ExitCode.INTERRUPTED, pytest.ExitCode.INTERNAL_ERROR)


def pytest_addoption(parser: pytest.Parser) -> None:
    add_options(parser)


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(parser: pytest.Parser, args: list[str]) -> None:
    """Where nobody knows `-n`, pytest would only call it unrecognized."""
    _, unknown = parser.parse_known_and_unknown_args(args)
    if any(re.fullmatch(r"-n\w*|--numprocesses(=.*)?", arg) for arg in unknown):
        raise pytest.UsageError("-n runs cases side by side, by pytest-xdist: pip install pytest-xdist")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--hypothesis-profile", None):
        from weighbridge.numerics.hunt import register_profiles

        register_profiles()  # before Hypothesis' own plugin loads the profile
    config.pluginmanager.register(Session(config), NAME)


class Session:
    """One test session: which files are cases, and what became of them."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.settings = Settings.from_config(config)
        self.started = float(getattr(config, "workerinput", {}).get("weighbridge_started", time.time()))
        self.rows: dict[str, dict[str, Any]] = {}
        self.written: list[Path] = []
        self.trouble: list[str] = []
        self.shard: dict[str, Any] | None = None
        """What part of the cases this run has, where it is one of several."""
        self.overlooked: list[Path] = []
        """YAML files that count as no cases; after collection, those that read like some."""

    @property
    def controls(self) -> bool:
        """False in an xdist worker, whose rows travel to the controller with the test reports."""
        return not hasattr(self.config, "workerinput")

    def pytest_collect_file(self, file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
        if file_path.suffix not in YAML:
            return None
        if not (parent.session.isinitpath(file_path) or self.settings.is_case_file(file_path)):
            self.overlooked.append(file_path)
            return None
        from weighbridge.plugin.items import CaseFile
        from weighbridge.plugin.runner import RUNNER, Runner

        if RUNNER not in self.config.stash:
            before = self.started if self.settings.fresh else 0.0
            self.config.stash[RUNNER] = Runner(self.config, self.settings, before, self.started)
        return CaseFile.from_parent(parent, path=file_path)

    @pytest.hookimpl(wrapper=True)
    def pytest_collection_modifyitems(
        self, session: pytest.Session, items: list[pytest.Item]
    ) -> Generator[None, None, None]:
        """Add the quantizers that the user registered, unless single items were asked for; keep broken files.

        A broken case file has no names that -k or -m could speak of, so leaving it out would turn a run green.
        """
        if "weighbridge.numerics.quantizer" in sys.modules and not any(
            "::" in arg for arg in self.config.args
        ):
            from weighbridge.plugin.quantizers import collect_quantizers

            items += collect_quantizers(session)
        collected = list(items)
        yield
        if "weighbridge.plugin.items" in sys.modules:
            from weighbridge.plugin.items import FaultItem

            items += [item for item in collected if isinstance(item, FaultItem) and item not in items]
        if self.settings.shard:
            from weighbridge.plugin.sharding import take_part

            self.shard = take_part(self.settings.shard, items, self.settings, self.config)

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """A folder that was named, or the whole project, is none of cases where it holds tests, whatever YAML lies in it."""
        if self.overlooked:
            tested = {folder for item in session.items for folder in item.path.parents}
            here = self.config.invocation_params.dir
            named = {(here / arg.partition("::")[0]).resolve() for arg in self.config.args} & tested
            self.overlooked = [
                path
                for path in self.overlooked
                if named.isdisjoint(path.parents) and _reads_like_a_case(path)
            ]

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """xdist: what --fresh means to one worker it means to all."""
        node.workerinput["weighbridge_started"] = self.started

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """xdist: the workers collect, and know the part."""
        self.shard = getattr(node, "workeroutput", {}).get("weighbridge_shard", self.shard)

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_make_scheduler(self, config: pytest.Config, log: Any) -> Any:
        """Keep the items of a case together, so that its recipe runs once."""
        if config.getoption("dist") not in ("load", "worksteal"):
            return None
        from weighbridge.plugin.xdist import CaseScheduling

        return CaseScheduling(config, log)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        if "weighbridge.plugin.items" in sys.modules:
            from weighbridge.plugin.reporting import attach

            attach(item, call, report)
        return report

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        row = getattr(report, "weighbridge", None)
        if self.controls and row is not None:
            from weighbridge.plugin.reporting import worse

            self.rows[row["case"]] = worse(self.rows.get(row["case"]), row)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        if "weighbridge.plugin.runner" in sys.modules:
            from weighbridge.plugin.runner import RUNNER

            if (runner := self.config.stash.get(RUNNER, None)) is not None:
                runner.close()
        ended_early = session.shouldstop or session.shouldfail or exitstatus in _INTERRUPTED
        if self.controls and ended_early and "weighbridge.plugin.items" in sys.modules:
            from weighbridge.plugin.reporting import not_run

            items = getattr(session, "items", ())  # under xdist the workers have them
            self.rows |= {row["case"]: row for row in not_run(items, self.rows)}
        if self.shard and not self.controls:
            self.config.workeroutput["weighbridge_shard"] = self.shard  # type: ignore[attr-defined]
        if self.shard and exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED:
            from weighbridge.plugin.sharding import had_nothing

            if not had_nothing(self.shard):
                session.exitstatus = pytest.ExitCode.OK  # other parts have what there is
        if self.controls and (self.rows or self.shard):
            from weighbridge.plugin.reporting import write_reports

            rows = list(self.rows.values())
            self.written, self.trouble = write_reports(rows, self.settings, self.started, self.shard)

    @pytest.hookimpl(trylast=True)
    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        if self.controls and self.rows:
            from weighbridge.plugin.reporting import show

            show(terminalreporter, list(self.rows.values()), self.settings, self.written, self.trouble)
        if self.overlooked:
            from weighbridge.plugin.reporting import show_overlooked

            show_overlooked(terminalreporter, self.overlooked, self.settings)


def _reads_like_a_case(path: Path) -> bool:
    """Whether a YAML file has a case's own keys, as far as its beginning tells."""
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            text = file.read(MOST_LOOKED_AT)
    except OSError:
        return False
    return bool(
        re.search(r"^\s*thresholds\s*:", text, re.MULTILINE)
        and re.search(r"^\s*-?\s*model\s*:", text, re.MULTILINE)
    )
