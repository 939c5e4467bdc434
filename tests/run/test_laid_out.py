"""Artifacts laid out for people: links to what the store keeps, made anew only where something else lies there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

Project = Callable[..., Path]


def test_what_lies_there_is_left_and_what_is_wrong_is_replaced(
    pytester: pytest.Pytester, project: Project
) -> None:
    project()
    pytester.runpytest_inprocess()
    (folder,) = pytester.path.glob("reports/artifacts/cases/net.yaml/*/candidate")
    (file,) = folder.iterdir()
    first, content = folder.stat().st_ino, file.read_bytes()
    pytester.runpytest_inprocess()
    assert folder.stat().st_ino == first
    (folder / "stray").write_text("of another time")
    pytester.runpytest_inprocess()
    assert [path.name for path in folder.iterdir()] == [file.name]
    file.unlink()
    file.write_bytes(b"of somebody else")
    pytester.runpytest_inprocess()
    assert file.read_bytes() == content
