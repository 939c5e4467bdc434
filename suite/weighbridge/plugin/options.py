"""What flags and ini options become, once. pytest's config stops here."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from weighbridge.core.urls import store_place

if TYPE_CHECKING:
    from weighbridge.history.shards import Shard

YAML = (".yaml", ".yml")
DEFAULT_REPORT = "markdown"
DEFAULT_EXECUTOR = "process"


@dataclass(frozen=True)
class Settings:
    """The run's settings. Paths are absolute."""

    root: Path
    bench: bool
    bench_inconclusive: str
    bench_priority: bool
    strict_requirements: bool
    case_patterns: tuple[str, ...]
    reports: Path
    formats: tuple[str, ...]
    executor: str
    speed_resource: str
    """What nodes of a cluster offer that may time models; empty where all may."""
    fresh: bool
    store: Path
    beyond: str
    """The address of a store that several machines have, in front of which `store` stands; empty where there is none."""
    store_size: float
    time_limit: float | None
    memory_limit: float | None
    confidence: float | None
    against: str
    """A branch, a run, a commit, or the path of a report; empty where nothing is compared with an earlier run."""
    history: str
    """A path, or a database's URL; empty where no run is to be kept."""
    shard: Shard | None
    machine: str
    """What the project calls machines of this kind; empty leaves it to their processor."""

    @classmethod
    def from_config(cls, config: pytest.Config) -> Settings:
        formats = tuple(
            name.strip() for name in config.getoption("weighbridge_report").split(",") if name.strip()
        )
        if formats != (DEFAULT_REPORT,):
            _check_formats(formats)
        store, beyond = store_place(config.getini("weighbridge_store"), config.rootpath)
        return cls(
            root=config.rootpath,
            bench=config.getoption("weighbridge_bench"),
            bench_inconclusive=config.getoption("weighbridge_bench_inconclusive"),
            bench_priority=config.getini("weighbridge_bench_priority")
            and not config.getoption("weighbridge_bench_no_priority"),
            strict_requirements=config.getoption("weighbridge_strict_requirements"),
            case_patterns=tuple(config.getini("weighbridge_cases")),
            reports=config.rootpath / config.getini("weighbridge_reports"),
            formats=formats,
            executor=_executor(config),
            speed_resource=config.getini("weighbridge_speed_resource"),
            fresh=config.getoption("weighbridge_fresh"),
            store=store,
            beyond=beyond,
            store_size=_quantity(config, "weighbridge_store_size", "bytes") or 0.0,
            time_limit=_quantity(config, "weighbridge_limit_time", "s"),
            memory_limit=_quantity(config, "weighbridge_limit_memory", "bytes"),
            confidence=_confidence(config),
            against=_against(config),
            history=_history(config),
            shard=_shard(config),
            machine=config.getini("weighbridge_machine"),
        )

    def is_case_file(self, path: Path) -> bool:
        """Whether a YAML file that was not named on the command line is a case file."""
        if not path.is_relative_to(self.root):
            return False
        relative = path.relative_to(self.root).as_posix()
        return any(fnmatchcase(relative, pattern) for pattern in self.case_patterns)


def _shard(config: pytest.Config) -> Shard | None:
    stated = config.getoption("weighbridge_shard")
    if not stated:
        return None
    from weighbridge.core.errors import UsageError
    from weighbridge.history.shards import read_shard

    try:
        return read_shard(stated)
    except UsageError as error:
        raise pytest.UsageError(f"--shard: {error}") from None


def _against(config: pytest.Config) -> str:
    """A file is relative to where pytest was called, and there before anything runs."""
    stated: str = config.getoption("weighbridge_against") or ""
    if not stated.endswith(".json"):
        return stated
    path = config.invocation_params.dir / stated
    if not path.is_file():
        raise pytest.UsageError(f"--against: there is no report {stated}")
    return str(path)


def _history(config: pytest.Config) -> str:
    """A path is relative to the root directory in the settings, and to where pytest was called on the command line."""
    stated, ini = config.getoption("weighbridge_history"), config.getini("weighbridge_history")
    place = (stated or ini).strip()
    if place in ("", "off") or "://" in place:
        return "" if place == "off" else place
    return str((config.invocation_params.dir if stated else config.rootpath) / place)


def _executor(config: pytest.Config) -> str:
    """A debugger wants the case in its own process."""
    stated: str | None = config.getoption("weighbridge_executor")
    if (stated or "").partition("://")[0] == "ray" and config.getoption("numprocesses", None):
        raise pytest.UsageError("--executor ray has its cases side by side already: leave -n out")
    debugging = config.getoption("usepdb", False) or config.getoption("trace", False)
    return stated or ("inline" if debugging else DEFAULT_EXECUTOR)


def _quantity(config: pytest.Config, name: str, unit: str) -> float | None:
    """An option, or the ini value of the same name, such as `5m` or `4 GB`; None where neither is given."""
    from weighbridge.core.units import parse

    text = config.getoption(name, None) or config.getini(name)
    if not text:
        return None
    try:
        return float(text) if text.replace(".", "", 1).isdigit() else parse(text, unit)
    except ValueError as error:
        raise pytest.UsageError(f"{name}: {error}") from None


def _confidence(config: pytest.Config) -> float | None:
    """How sure a verdict on something sampled must be; None where neither the option nor the ini value is given."""
    from weighbridge.core.options import read_confidence

    stated, ini = config.getoption("weighbridge_confidence"), config.getini("weighbridge_confidence")
    if not (stated or ini):
        return None
    try:
        return read_confidence(stated or ini)
    except ValueError as error:
        raise pytest.UsageError(f"{'--confidence' if stated else 'weighbridge_confidence'} {error}") from None


def _check_formats(formats: tuple[str, ...]) -> None:
    """Raise before anything runs. The registry is imported for an unusual wish only: it takes time."""
    from weighbridge.contracts import REPORTS
    from weighbridge.core.errors import UsageError
    from weighbridge.environment.requirements import missing

    for name in formats:
        try:
            report = REPORTS.get(name)
        except UsageError as error:
            raise pytest.UsageError(f"--report: {error}") from None
        if (absent := missing(*getattr(report, "requires", ()))) is not None:
            raise pytest.UsageError(f"--report {name} needs {absent}")


def add_options(parser: pytest.Parser) -> None:
    group = parser.getgroup("weighbridge", "weighbridge: the gate for pruned and quantized models")
    group.addoption(
        "--bench",
        dest="weighbridge_bench",
        action="store_true",
        help="measure speed too, one case at a time, through pytest-benchmark",
    )
    group.addoption(
        "--bench-inconclusive",
        dest="weighbridge_bench_inconclusive",
        choices=("fail", "warn"),
        default="fail",
        help="what a speed verdict that the noise does not allow means (default: fail)",
    )
    group.addoption(
        "--bench-no-priority",
        dest="weighbridge_bench_no_priority",
        action="store_true",
        help="time models at the priority of other programs, even where a higher one is allowed",
    )
    group.addoption(
        "--strict-requirements",
        dest="weighbridge_strict_requirements",
        action="store_true",
        help="an absent requirement is an error, not a skip",
    )
    group.addoption(
        "--report",
        dest="weighbridge_report",
        default=DEFAULT_REPORT,
        metavar="FORMATS",
        help="formats to write beside latest.json, comma-separated (default: markdown)",
    )
    group.addoption(
        "--executor",
        dest="weighbridge_executor",
        metavar="NAME",
        help="where cases are carried out: process (default: a worker, so that a crash costs one case), inline, or "
        "ray[://HOST:PORT], a cluster",
    )
    group.addoption(
        "--fresh",
        dest="weighbridge_fresh",
        action="store_true",
        help="make everything anew, whatever the store holds",
    )
    group.addoption(
        "--limit-time",
        dest="weighbridge_limit_time",
        metavar="TIME",
        help="end a case that takes longer, such as 5m, where it states no `limits` itself",
    )
    group.addoption(
        "--limit-memory",
        dest="weighbridge_limit_memory",
        metavar="BYTES",
        help="end a case whose processes hold more, such as '4 GB', where it states no `limits` itself",
    )
    group.addoption(
        "--confidence",
        dest="weighbridge_confidence",
        metavar="P",
        help="how sure a verdict on something sampled must be, such as 0.95, where its limit has no `confidence` "
        "itself; what is less sure is inconclusive",
    )
    group.addoption(
        "--against",
        dest="weighbridge_against",
        metavar="RUN",
        help="compare with an earlier run: a branch, the first digits of a run or commit, or a report's file; limits that "
        "name another one are held to this",
    )
    group.addoption(
        "--shard",
        dest="weighbridge_shard",
        metavar="I/N",
        help="run the I-th of N parts, so that N jobs run everything once; balanced by the history's durations, where all "
        "jobs have the same one. `weighbridge merge` joins the reports",
    )
    group.addoption(
        "--history",
        dest="weighbridge_history",
        metavar="PLACE",
        help="where the run is kept: an SQLite file, a database's URL, or off (default: .weighbridge/history.sqlite)",
    )
    parser.addini("weighbridge_history", "as --history", default=".weighbridge/history.sqlite")
    parser.addini(
        "weighbridge_machine",
        "a name for machines of this kind, such as ci-large: speeds are compared within it, not by processor",
        default="",
    )
    parser.addini("weighbridge_confidence", "as --confidence", default="")
    parser.addini(
        "weighbridge_bench_priority",
        "whether what is timed goes before other programs where the system allows it; false as --bench-no-priority",
        type="bool",
        default=True,
    )
    parser.addini("weighbridge_limit_time", "as --limit-time", default="")
    parser.addini("weighbridge_limit_memory", "as --limit-memory", default="")
    parser.addini(
        "weighbridge_speed_resource",
        "with --executor ray: the resource of the nodes that models are timed on, one case at a time each",
        default="",
    )
    parser.addini(
        "weighbridge_store",
        "the folder of results that are kept, or an address such as s3://bucket/prefix",
        default=".weighbridge",
    )
    parser.addini("weighbridge_store_size", "how large the folder on this machine may grow", default="10 GB")
    parser.addini(
        "weighbridge_cases",
        "patterns of the case files, relative to the root directory",
        "args",
        default=[f"cases/*{suffix}" for suffix in YAML],
    )
    parser.addini("weighbridge_reports", "the folder that reports are written to", default="reports")
