"""What pytest does to Weighbridge's modules when it starts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import weighbridge

CONFTEST = """
import sys


def pytest_unconfigure():
    rewritten = [name for name, module in sys.modules.items() if "@pytest_ar" in vars(module)]
    print("rewritten:", sorted(name for name in rewritten if name.partition(".")[0] in ("weighbridge", "conftest")))
    print("ours:", sum(name.startswith("weighbridge.") for name in sys.modules))
"""


@pytest.mark.parametrize("installed", [False, True], ids=["checkout", "wheel"])
def test_pytest_rewrites_no_module_of_ours(
    pytester: pytest.Pytester,
    project: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    installed: bool,
) -> None:
    """By the files that a distribution lists pytest tells what to rewrite; a checkout lists none."""
    project()
    pytester.makeconftest(CONFTEST)
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    if installed:
        site = pytester.mkdir("site")
        (site / "weighbridge").symlink_to(Path(weighbridge.__file__).parent)
        about = site / "weighbridge-1.dist-info"
        about.mkdir()
        (about / "METADATA").write_text("Metadata-Version: 2.1\nName: weighbridge\nVersion: 1\n")
        (about / "RECORD").write_text("weighbridge/__init__.py,,\nweighbridge/core/stats.py,,\n")
        (about / "entry_points.txt").write_text("[pytest11]\nweighbridge = weighbridge.plugin.hooks\n")
        monkeypatch.setenv("PYTHONPATH", str(site))
    result = pytester.runpytest_subprocess("--collect-only")
    result.stdout.fnmatch_lines(["rewritten: ['conftest']", "ours: [1-9][0-9]*"])
