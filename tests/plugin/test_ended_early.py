"""A run that ends early says what did not run, and leaves no earlier run's report in its place."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.projects import CASE, report_of

FAILING = CASE.replace("thresholds:", "thresholds:\n  size: 1 B", 1)


def test_what_did_not_run_is_in_the_report(project: Callable[..., Path], pytester: pytest.Pytester) -> None:
    project(a=FAILING, b=CASE, c=CASE)
    pytester.runpytest_inprocess("-x", "-p", "no:cacheprovider", *(f"cases/{name}.yaml" for name in "abc"))
    rows = {row["name"]: row for row in report_of(pytester.path)["rows"]}
    assert [rows[name]["status"] for name in "abc"] == ["fail", "unmeasured", "unmeasured"]
    assert rows["c"]["message"] == "did not run: the session ended before it"


def test_a_whole_run_lacks_nothing(project: Callable[..., Path], pytester: pytest.Pytester) -> None:
    project(a=FAILING, b=CASE)
    pytester.runpytest_inprocess("-p", "no:cacheprovider", "cases/a.yaml", "cases/b.yaml")
    assert [row["status"] for row in report_of(pytester.path)["rows"]] == ["fail", "pass"]


def test_a_report_says_which_run_commit_and_cases_it_is_of(
    project: Callable[..., Path], pytester: pytest.Pytester
) -> None:
    project(a=CASE)
    pytester.runpytest_inprocess("-p", "no:cacheprovider", "cases/a.yaml", "-k", "size_ratio")
    first = report_of(pytester.path)
    assert first["commit"] is None
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b.c"]
    for command in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "one"]):
        subprocess.run([*git, *command], cwd=pytester.path, check=True)
    pytester.runpytest_inprocess("-p", "no:cacheprovider", "cases/a.yaml", "-k", "size_ratio")
    second = report_of(pytester.path)
    assert second["run"] != first["run"]
    head = subprocess.run([*git, "rev-parse", "HEAD"], cwd=pytester.path, capture_output=True, text=True)
    assert second["commit"] == head.stdout.strip()
    assert [row["case"] for row in second["rows"]] == ["cases/a.yaml::a"]


@pytest.mark.slow
def test_yesterdays_report_is_no_longer_the_latest_one(
    project: Callable[..., Path], pytester: pytest.Pytester
) -> None:
    """A run that is killed leaves none: here it is killed in the middle of its case."""
    folder = project(a=CASE.replace("model.py:net", "killed.py:net"))
    (folder / "killed.py").write_text("import os\n\ndef net():\n    os._exit(9)\n")
    reports = pytester.path / "reports"
    reports.mkdir(exist_ok=True)
    (reports / "latest.json").write_text("{}")
    os.utime(reports / "latest.json", (1, 1))
    assert pytester.runpytest_subprocess("--executor=inline", "cases/a.yaml").ret == 9
    assert [path.name for path in reports.glob("*.json")] == ["previous.json"]
