"""What every folder of tests shares."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from _pytest.pytester import SysModulesSnapshot

import weighbridge

_OURS = Path(weighbridge.__file__).parent
_restore = SysModulesSnapshot.restore


def _is_installed(module: ModuleType) -> bool:
    file = getattr(module, "__file__", None)
    return file is None or "site-packages" in file or _OURS in Path(file).parents


def _restore_but_keep_installed(snapshot: SysModulesSnapshot) -> None:
    """pytester forgets every module that a test imported; torch does not survive a second import."""
    kept = {name: module for name, module in sys.modules.items() if _is_installed(module)}
    _restore(snapshot)
    sys.modules.update(kept)


SysModulesSnapshot.restore = _restore_but_keep_installed


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
        from weighbridge.run.executors.inline import Inline

        monkeypatch.setenv("PYTEST_ADDOPTS", "--executor=inline")
        EXECUTORS.get("process")
        monkeypatch.setitem(EXECUTORS._entries, "process", Inline)
