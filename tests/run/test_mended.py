"""Faults that the first engine had: rows that mixed, runs that were green by mistake, reports that were lost."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.projects import CASE, report_of, statuses, write_project

from weighbridge.run.artifacts import case_folder

Project = Callable[..., Path]


@pytest.mark.slow
def test_names_that_fold_alike_have_folders_of_their_own(pytester: pytest.Pytester) -> None:
    """`a/b.yaml::z` and `a_b.yaml::z` once shared a folder, and judged each other's artifacts."""
    folder = write_project(pytester.path)
    (folder / "a").mkdir()
    text = CASE.replace("model.py", f"{folder}/model.py").replace("net.saf", f"{folder}/net.saf")
    (folder / "a" / "b.yaml").write_text(f"name: z\n{text}")
    (folder / "a_b.yaml").write_text("name: z\n" + text.replace("amount: 0.5", "amount: 0.9"))
    pytester.runpytest_subprocess("-n", "2")
    rows = {row["case"]: row for row in report_of(pytester.path)["rows"]}
    assert set(rows) == {"cases/a/b.yaml::z", "cases/a_b.yaml::z"}
    shipped = {row["artifacts"]["candidate"]["files"][0]["path"] for row in rows.values()}
    assert shipped == {
        "reports/artifacts/cases/a/b.yaml/z/candidate/model.safetensors",
        "reports/artifacts/cases/a_b.yaml/z/candidate/model.safetensors",
    }
    nonzero = {name: row["measurements"]["nonzero"]["candidate"] for name, row in rows.items()}
    assert nonzero["cases/a/b.yaml::z"] > 4 * nonzero["cases/a_b.yaml::z"]


@pytest.mark.parametrize("case", ["cases/a.yaml::..", "../a.yaml::b", "/abs/a.yaml::b", "a.yaml::b"])
def test_a_case_folder_stays_inside(case: str, tmp_path: Path) -> None:
    found = case_folder(tmp_path, case)
    assert found.resolve().is_relative_to(tmp_path.resolve())
    assert found.resolve() != tmp_path.resolve()
    assert ".." not in found.parts


def test_an_item_of_somebody_elses_with_an_attribute_row(pytester: pytest.Pytester, project: Project) -> None:
    project()
    pytester.makeconftest(
        "import pytest\n"
        "class Item(pytest.Item):\n"
        "    row = 3\n"
        "    verdict = 'mine'\n"
        "    def runtest(self): pass\n"
        "class File(pytest.File):\n"
        "    def collect(self): yield Item.from_parent(self, name='one')\n"
        "def pytest_collect_file(file_path, parent):\n"
        "    if file_path.suffix == '.foreign': return File.from_parent(parent, path=file_path)\n"
    )
    (pytester.path / "a.foreign").write_text("")
    pytester.runpytest_inprocess().assert_outcomes(passed=3)


@pytest.mark.parametrize("selection", [("-k", "net"), ("-m", "not nightly"), ("-k", "size_ratio and net")])
def test_a_broken_file_fails_whatever_is_selected(
    pytester: pytest.Pytester, project: Project, selection: tuple[str, ...]
) -> None:
    project(net=CASE, bad="model: {torhc: model.py:net}\nthresholds: {size: 1}\n")
    result = pytester.runpytest_inprocess(*selection)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines("*unknown key 'torhc'*")


def test_one_case_by_its_node_id_runs_beside_a_broken_file(
    pytester: pytest.Pytester, project: Project
) -> None:
    project(net=CASE, bad="- 1")
    pytester.runpytest_inprocess("cases/net.yaml::net::size_ratio").assert_outcomes(passed=1)


@pytest.mark.slow
def test_each_worker_may_carry_out_every_case(pytester: pytest.Pytester, project: Project) -> None:
    project(a=CASE, b=CASE)
    result = pytester.runpytest_subprocess("-n", "2", "--dist", "each")
    result.assert_outcomes(passed=8)
    assert [row["case"] for row in report_of(pytester.path)["rows"]] == ["cases/a.yaml::a", "cases/b.yaml::b"]


def test_a_report_that_another_run_wrote_meanwhile_is_left_alone(
    pytester: pytest.Pytester, project: Project
) -> None:
    folder = project()
    other = pytester.path / "reports" / "latest.json"
    other.parent.mkdir()
    later = time.time() + 3600
    other.write_text("{}")
    os.utime(other, (later, later))
    result = pytester.runpytest_inprocess()
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(
        "another run wrote *latest.json while this one ran; this run's report is run-*"
    )
    assert other.read_text() == "{}"
    (own,) = other.parent.glob("run-*.json")
    assert json.loads(own.read_text())["rows"][0]["status"] == "pass"
    assert folder


def test_only_one_row_travels_for_a_case(pytester: pytest.Pytester, project: Project) -> None:
    project()
    pytester.makeconftest(
        "rows = []\n"
        "def pytest_runtest_logreport(report):\n"
        "    if hasattr(report, 'weighbridge'): rows.append(report.nodeid)\n"
        "def pytest_terminal_summary(terminalreporter):\n"
        "    terminalreporter.line(f'rows: {rows}')\n"
    )
    result = pytester.runpytest_inprocess()
    result.stdout.fnmatch_lines("rows: ['cases/net.yaml::net::accuracy_drop']")


def test_runxfail_judges_as_if_nothing_were_expected(pytester: pytest.Pytester, project: Project) -> None:
    project(net="xfail: {size_ratio: known}\n" + CASE.replace("size_ratio: 0.9", "size_ratio: 90"))
    pytester.runpytest_inprocess().assert_outcomes(passed=1, xfailed=1)
    pytester.runpytest_inprocess("--runxfail").assert_outcomes(passed=1, failed=1)
    assert statuses(pytester.path)["net::size_ratio"] == "fail"


def test_an_xfail_does_not_excuse_an_error(pytester: pytest.Pytester, project: Project) -> None:
    project(net="xfail: {size_ratio: known}\n" + CASE.replace("net.safetensors", "nothing.safetensors"))
    pytester.runpytest_inprocess().assert_outcomes(errors=2)
    assert set(statuses(pytester.path).values()) == {"error"}
