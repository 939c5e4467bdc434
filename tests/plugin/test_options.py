"""One test for each option, ini value and state of the surroundings."""

from __future__ import annotations

import errno
import json
import os
import pty
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from tests.projects import CASE, report_of, statuses

from weighbridge.plugin.options import Settings
from weighbridge.report.contract import report_schema

Project = Callable[..., Path]
SPEED = CASE.replace("thresholds:", "thresholds:\n  speedup: 0.01")


@pytest.mark.slow
def test_xdist_runs_a_recipe_once_and_reports_every_row(pytester: pytest.Pytester, project: Project) -> None:
    """Two cases share their recipe, and two workers the store: one carries it out, the other reads what it gave.

    The model's callable leaves behind how often it was called. A worker calls it to open what the other one stored,
    which one process has in memory: so with two workers there are more calls, but fewer than without a store.
    """
    folder = project(a=CASE, b=CASE)

    def carried_out_and_calls() -> tuple[list[bool], int]:
        steps = [step for row in report_of(pytester.path)["rows"] for step in row["steps"]]
        return sorted(not step["cached"] for step in steps), (folder / "calls.txt").read_text().count("net")

    def forget() -> None:
        (folder / "calls.txt").unlink()
        shutil.rmtree(pytester.path / ".weighbridge")

    pytester.runpytest_inprocess()
    once, together = carried_out_and_calls()
    forget()
    pytester.runpytest_inprocess("cases/a.yaml")
    _, single = carried_out_and_calls()
    forget()
    pytester.makepyfile("import pytest\n@pytest.mark.parametrize('n', range(4))\ndef test_one(n): pass")
    pytester.runpytest_subprocess("-n", "2").assert_outcomes(passed=8)
    carried_out, calls = carried_out_and_calls()
    assert carried_out == once == [False, True]
    assert together <= calls < 2 * single
    assert statuses(pytester.path) == {
        f"{name}::{threshold}": "pass" for name in "ab" for threshold in ("accuracy_drop", "size_ratio")
    }
    assert all(row["measurements"]["size"] for row in report_of(pytester.path)["rows"])


def test_without_bench_a_speed_item_is_skipped_and_says_how(
    pytester: pytest.Pytester, project: Project
) -> None:
    project(net=SPEED)
    result = pytester.runpytest_inprocess("-rs")
    result.assert_outcomes(passed=2, skipped=1)
    result.stdout.fnmatch_lines("*pytest --bench 'cases/net.yaml::net::speedup'*")
    assert statuses(pytester.path)["net::speedup"] == "skip"
    assert report_of(pytester.path)["rows"][0]["status"] == "pass"


def test_a_case_whose_items_are_all_skipped_has_not_passed(
    pytester: pytest.Pytester, project: Project
) -> None:
    project(net=f"skip: no reason\n{CASE}")
    pytester.runpytest_inprocess().assert_outcomes(skipped=2)
    assert report_of(pytester.path)["rows"][0]["status"] == "skip"


def test_bench_goes_through_pytest_benchmark(pytester: pytest.Pytester, project: Project) -> None:
    project(net=SPEED)
    result = pytester.runpytest_inprocess("--bench", "--benchmark-json=speed.json")
    result.assert_outcomes(passed=3)
    entries = json.loads((pytester.path / "speed.json").read_text())["benchmarks"]
    assert sorted(entry["name"] for entry in entries) == ["net::speed[baseline]", "net::speed[candidate]"]
    assert all(entry["stats"]["rounds"] > 1 and entry["stats"]["min"] > 0 for entry in entries)
    (row,) = report_of(pytester.path)["rows"]
    assert row["measurements"]["speed"]["candidate"] > 0


@pytest.mark.parametrize(
    ("args", "ini", "raised"),
    [
        ((), "", True),
        (("--bench-no-priority",), "", False),
        ((), "weighbridge_bench_priority = false", False),
        ((), "weighbridge_bench_priority = true", True),
    ],
)
def test_the_raised_priority_can_be_forbidden(
    pytester: pytest.Pytester, args: tuple[str, ...], ini: str, raised: bool
) -> None:
    pytester.makeini(f"[pytest]\n{ini}")
    config = pytester.parseconfig(*args)
    assert Settings.from_config(config).bench_priority is raised


@pytest.mark.slow
def test_benchmark_skip_and_only(pytester: pytest.Pytester, project: Project) -> None:
    project(net=SPEED)
    pytester.runpytest_inprocess("--bench", "--benchmark-skip").assert_outcomes(passed=2, skipped=1)
    pytester.runpytest_inprocess("--bench", "--benchmark-only").assert_outcomes(passed=1, skipped=2)


XFAIL = CASE.replace("size_ratio: 0.9", "size_ratio: 90")


def test_xfail_with_its_reason(pytester: pytest.Pytester, project: Project) -> None:
    project(net=f"xfail: {{size_ratio: zeros take room}}\n{XFAIL}")
    result = pytester.runpytest_inprocess("-rx")
    result.assert_outcomes(passed=1, xfailed=1)
    result.stdout.fnmatch_lines("*zeros take room*")
    assert statuses(pytester.path) == {"net::accuracy_drop": "pass", "net::size_ratio": "xfail"}


def test_xfail_of_one_threshold_is_strict(pytester: pytest.Pytester, project: Project) -> None:
    project(net=f"xfail: {{size_ratio: zeros take room}}\n{CASE}")
    pytester.runpytest_inprocess().assert_outcomes(passed=1, failed=1)


def test_xfail_of_a_case_lets_the_good_thresholds_pass(pytester: pytest.Pytester, project: Project) -> None:
    project(net=f"xfail: too early\n{XFAIL}")
    result = pytester.runpytest_inprocess()
    assert result.parseoutcomes() in ({"xfailed": 1, "xpassed": 1}, {"xfailed": 1, "passed": 1})


def test_an_absent_requirement_is_a_skip_and_says_what(pytester: pytest.Pytester, project: Project) -> None:
    needs = "requires: [{package: no_such_package, install: pip install no-such-package}]\n"
    folder = project(net=needs + CASE)
    result = pytester.runpytest_inprocess("-rs")
    result.assert_outcomes(skipped=2)
    result.stdout.fnmatch_lines("*no_such_package*pip install no-such-package*")
    assert not (folder / "calls.txt").exists()
    pytester.runpytest_inprocess("--strict-requirements").assert_outcomes(errors=2)


def test_ini_options(pytester: pytest.Pytester, project: Project) -> None:
    pytester.makeini("[pytest]\nweighbridge_cases = models/*.yml gates.yaml\nweighbridge_reports = out/weigh")
    folder = project()
    (pytester.path / "models" / "deep").mkdir(parents=True)
    text = CASE.replace("model.py", f"{folder}/model.py").replace(
        "net.safetensors", f"{folder}/net.safetensors"
    )
    for name in ("models/deep/one.yml", "gates.yaml"):
        (pytester.path / name).write_text(text)
    (pytester.path / "models" / "other.yaml").write_text("broken: [")
    pytester.runpytest_inprocess().assert_outcomes(passed=4)
    assert (pytester.path / "out" / "weigh" / "latest.json").is_file()
    assert not (pytester.path / "reports").exists()


def test_report_formats(pytester: pytest.Pytester, project: Project) -> None:
    project()
    pytester.runpytest_inprocess("--report=markdown,csv,html")
    assert {path.name for path in (pytester.path / "reports").glob("latest.*")} == {
        "latest.json",
        "latest.md",
        "latest.csv",
        "latest.html",
    }


def test_an_unknown_report_format_is_a_usage_error(pytester: pytest.Pytester, project: Project) -> None:
    folder = project()
    result = pytester.runpytest_inprocess("--report=markdwon")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines("*unknown report 'markdwon'; did you mean 'markdown'?*")
    assert not (folder / "calls.txt").exists(), "said before anything ran"


def test_latest_json_keeps_its_contract(pytester: pytest.Pytester, project: Project) -> None:

    project(
        good=CASE,
        bad="- 1",
        broken=CASE.replace("model.py:net", "model.py:broken"),
        skipped=f"skip: later\n{CASE}",
        known=f"xfail: {{size_ratio: known}}\n{XFAIL}",
        missed=XFAIL,
    )
    pytester.runpytest_inprocess()
    report = report_of(pytester.path)
    jsonschema.Draft202012Validator(report_schema()).validate(report)
    assert {row["name"]: row["status"] for row in report["rows"]} == {
        "good": "pass",
        "case file": "error",
        "broken": "error",
        "skipped": "skip",
        "known": "xfail",
        "missed": "fail",
    }


@pytest.mark.parametrize("call", ["unfinished", "Path.replace"])
def test_a_full_disk_costs_the_report_and_nothing_else(
    pytester: pytest.Pytester, project: Project, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    project()
    before = pytester.path / "reports" / "latest.json"
    before.parent.mkdir()
    before.write_text("{}")

    def full(*args: Any, **kwargs: Any) -> Any:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(f"weighbridge.report.text.{call}", full)
        result = pytester.runpytest_inprocess()
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["*net*", "*could not be written: *No space left on device*"])
    (kept,) = before.parent.glob(
        "*.json"
    )  # an earlier run's report, which is not called the latest where it can be
    assert kept.read_text() == "{}"
    assert kept.name == ("previous.json" if call == "unfinished" else "latest.json")


@pytest.mark.slow
def test_no_xdist_and_no_pytest_benchmark(pytester: pytest.Pytester, project: Project) -> None:
    project(net=SPEED)
    without = ("-p", "no:xdist", "-p", "no:benchmark", "-p", "no:xdist.looponfail")
    result = pytester.runpytest_inprocess(*without)
    result.assert_outcomes(passed=2, skipped=1)
    # Where they are not registered; a process of its own would not find them loaded by another test either.
    result = pytester.runpytest_subprocess(*without, "--bench")
    result.assert_outcomes(passed=3)


def run_on_a_terminal(folder: Path) -> str:
    """What pytest writes where standard output is a terminal of 100 columns."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "COLUMNS": "100", "TERM": "xterm"}
    process = subprocess.Popen(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider"],
        cwd=folder,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=environment,
    )
    os.close(theirs)
    written = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # Linux says so when the last writer is gone
            break
        if not part:
            break
        written += part
    os.close(ours)
    assert process.wait() == 0, written.decode()
    return written.decode()


@pytest.mark.slow
def test_progress_on_a_terminal_only(pytester: pytest.Pytester, project: Project) -> None:
    project()
    shown = run_on_a_terminal(pytester.path)
    assert "net.yaml::net: " in shown
    assert "measure accuracy" in shown
    piped = pytester.runpytest_inprocess().stdout.str()
    assert "measure accuracy" not in piped
    assert "\033" not in piped
