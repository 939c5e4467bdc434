"""Fixtures that several folders use."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Writes a user's project where `pytester` runs, with a case file a keyword: `project(cnn="model: ...")`."""
    from tests.projects import CASE, write_project

    # A run inside a test forgets the modules that it imported, and torch cannot be imported twice.
    monkeypatch.setattr("_pytest.pytester.SysModulesSnapshot.restore", lambda snapshot: None)

    def write(**cases: str) -> Path:
        folder = write_project(pytester.path)
        for name, text in (cases or {"net": CASE}).items():
            (folder / f"{name}.yaml").write_text(text)
        return folder

    return write
