"""What every folder of tests shares."""

from __future__ import annotations

import ast
import copy
import functools
import gc
import sys
import warnings
from collections.abc import Callable, Generator, Iterator
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

import _pytest._code.code
import pytest
from _pytest._code.source import Source
from _pytest.pytester import SysModulesSnapshot
from hypothesis import HealthCheck, settings
from tests.skips import is_allowed

import weighbridge
from weighbridge.core import registry
from weighbridge.numerics.quantizer import Quantizer
from weighbridge.numerics.schemes import Scheme

_OURS = Path(weighbridge.__file__).parent
_restore = SysModulesSnapshot.restore


def _is_installed(module: ModuleType) -> bool:
    file = getattr(module, "__file__", None)
    return file is None or "site-packages" in file or _is_ours(file)


@functools.cache  # asked for three thousand modules after every inner run
def _is_ours(file: str) -> bool:
    return _OURS in Path(file).parents


def _restore_but_keep_installed(snapshot: SysModulesSnapshot) -> None:
    """pytester forgets every module that a test imported; torch does not survive a second import."""
    kept = {name: module for name, module in sys.modules.items() if _is_installed(module)}
    _restore(snapshot)
    sys.modules.update(kept)


SysModulesSnapshot.restore = _restore_but_keep_installed


@pytest.hookimpl(trylast=True)  # Hypothesis loads the profile that was asked for in this hook
def pytest_configure() -> None:
    """Hypothesis fails a test whose examples come slowly. Beside a busy neighbour that says nothing of the test."""
    settings.register_profile(
        "tests", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow]
    )
    settings.load_profile("tests")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--no-skips",
        action="store_true",
        help="a skipped test fails, but for those that tests/skips.py names",
    )
    parser.addoption(
        "--may-skip",
        action="append",
        default=[],
        metavar="TEXT",
        help="with --no-skips: let skips through whose reason holds TEXT",
    )


def _fail_if_skipped(config: pytest.Config, report: pytest.TestReport | pytest.CollectReport) -> None:
    if report.outcome != "skipped" or hasattr(report, "wasxfail") or not config.getoption("no_skips"):
        return
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    if not is_allowed(report.nodeid, reason, config.getoption("may_skip")):
        report.outcome = "failed"
        report.longrepr = f"{reason}\n--no-skips: what CI does not run, nobody runs"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    _fail_if_skipped(item.config, report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    _fail_if_skipped(collector.config, report)
    return report


@pytest.fixture(autouse=True)
def small_heap() -> None:
    """A full garbage collection beside torch takes half a second, and pytest asks for five after every inner run.

    What is alive before a test is left out of the collections during it: they look at what the test itself made.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def own_profile() -> None:
    """A pytest that a test started with `--hypothesis-profile=thorough` leaves that loaded: fifty times the examples."""
    settings.load_profile("tests")


@pytest.fixture
def project(pytester: pytest.Pytester) -> Callable[..., Path]:
    """Writes a user's project where `pytester` runs, with a case file a keyword: `project(cnn="model: ...")`."""
    from tests.projects import CASE, write_project

    def write(**cases: str) -> Path:
        folder = write_project(pytester.path)
        for name, text in (cases or {"net": CASE}).items():
            (folder / f"{name}.yaml").write_text(text)
        return folder

    return write


@pytest.fixture(autouse=True)
def nobodys_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pytest that a test starts is not xdist's: pytest-benchmark would switch itself off in a worker."""
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Spawning a worker for every pytest that a test starts would take most of the time; `tests/run` does."""
    if request.node.get_closest_marker("worker") is None:
        from weighbridge.run.executors.base import EXECUTORS

        monkeypatch.setenv("PYTEST_ADDOPTS", "--executor=inline")
        monkeypatch.setitem(EXECUTORS._entries, "process", EXECUTORS.get("inline"))


@pytest.fixture(autouse=True)
def nobodys_extensions(monkeypatch: pytest.MonkeyPatch) -> None:
    """What another test's conftest registered is not imported again by the workers of this one."""
    monkeypatch.setattr(registry, "_origins", {})


@pytest.fixture(autouse=True, scope="session")
def _hunts_once() -> Generator[None, None, None]:
    """What held on drawn tensors holds for the next test too, as the store says between runs.

    A quantizer that a test plants is another object, and is looked at anew.
    """
    from weighbridge.numerics import hunt as module

    held: dict[tuple[int, str, str], object] = {}
    hunt = module.hunt

    def once(quantizer: Quantizer, scheme: Scheme | None = None, *arguments: Any, **options: Any) -> None:
        key = (id(quantizer), repr(scheme), repr((arguments, options, settings())))
        if key not in held:
            hunt(quantizer, scheme, *arguments, **options)
            held[key] = quantizer  # keeps its id its own

    module.hunt = once
    yield
    module.hunt = hunt


@functools.cache
def _translate_once() -> None:
    from torch.onnx._internal.exporter._registration import ONNXRegistry

    read = functools.cache(ONNXRegistry.from_torchlib)

    def copied(*opset: int, **named: int) -> ONNXRegistry:
        registry = copy.copy(read(*opset, **named))
        registry.functions = {target: [*found] for target, found in registry.functions.items()}
        return registry

    ONNXRegistry.from_torchlib = staticmethod(copied)  # type: ignore[method-assign]


@pytest.fixture(autouse=True)
def operators_once() -> None:
    """Each `torch.onnx.export` reads torch's translations of five hundred operators anew: half the time of a small network.

    Where nothing has been exported yet they are not imported either.
    """
    if "torch.onnx._internal.exporter._registration" in sys.modules:
        _translate_once()


@pytest.fixture(autouse=True, scope="session")
def _entry_points_once() -> Iterator[None]:
    """Every pytest that a test starts reads the entry points of each installed package twice, from 300 files."""
    original = metadata.Distribution.entry_points.fget
    held: dict[str, metadata.EntryPoints] = {}

    def entry_points(self: metadata.Distribution) -> metadata.EntryPoints:
        place = str(getattr(self, "_path", ""))
        if "site-packages" not in place:  # a test may have written it, and write it again
            return original(self)
        if place not in held:
            held[place] = original(self)
        return held[place]

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(metadata.Distribution, "entry_points", property(entry_points))
        yield


@pytest.fixture(autouse=True, scope="session")
def _sources_once() -> Iterator[None]:
    """For the traceback of each test that fails, as those inside of our tests do, pytest parses every file on the way anew."""

    @functools.lru_cache(maxsize=200)
    def parsed(text: str) -> ast.AST:
        with warnings.catch_warnings():  # as pytest does
            warnings.simplefilter("ignore")
            return ast.parse(text)

    def once(lineno: int, source: Source, assertion: bool = False, astnode: ast.AST | None = None) -> Any:
        return statement(lineno, source, assertion, astnode or parsed(str(source)))

    statement = _pytest._code.code.getstatementrange_ast
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(_pytest._code.code, "getstatementrange_ast", once)
        yield
