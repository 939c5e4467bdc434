"""A threshold is a pytest item like any other: it is named, chosen, repeated and stopped at as everywhere."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.projects import CASE, report_of, statuses, write_project

FAILING = CASE.replace("size_ratio: 0.9", "size_ratio: 250")
Project = Callable[..., Path]


def test_node_ids_are_file_case_and_threshold(pytester: pytest.Pytester, project: Project) -> None:
    project(net=CASE, other=f"name: renamed\n{CASE}")
    result = pytester.runpytest_inprocess("--co", "-q")
    assert result.outlines[:4] == [
        "cases/net.yaml::net::accuracy_drop",
        "cases/net.yaml::net::size_ratio",
        "cases/other.yaml::renamed::accuracy_drop",
        "cases/other.yaml::renamed::size_ratio",
    ]


def test_collecting_runs_nothing(pytester: pytest.Pytester, project: Project) -> None:
    folder = project()
    pytester.runpytest_inprocess("--co")
    assert not (folder / "calls.txt").exists()
    assert not (pytester.path / "reports").exists()


def test_a_node_id_selects_one_threshold(pytester: pytest.Pytester, project: Project) -> None:
    project()
    result = pytester.runpytest_inprocess("cases/net.yaml::net::size_ratio")
    result.assert_outcomes(passed=1)
    assert statuses(pytester.path) == {"net::size_ratio": "pass"}


def test_k(pytester: pytest.Pytester, project: Project) -> None:
    project(net=CASE, other=CASE)
    pytester.runpytest_inprocess("-k", "size_ratio and other").assert_outcomes(passed=1, deselected=3)


def test_marks(pytester: pytest.Pytester, project: Project) -> None:
    pytester.makeini("[pytest]\nmarkers =\n    nightly: at night")
    project(net=CASE, marked=f"marks: [nightly]\n{CASE}")
    result = pytester.runpytest_inprocess("-m", "nightly", "--strict-markers", "--co", "-q")
    assert result.outlines[:2] == [
        "cases/marked.yaml::marked::accuracy_drop",
        "cases/marked.yaml::marked::size_ratio",
    ]
    result.stdout.fnmatch_lines("*2 deselected*")


def test_an_unknown_mark_fails_its_case_alone(pytester: pytest.Pytester, project: Project) -> None:
    project(marked=f"marks: [unheard_of]\n{CASE}", net=CASE)
    result = pytester.runpytest_inprocess("--strict-markers")
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines("*cases/marked.yaml:1:*'unheard_of' not found in `markers`*")


def test_a_mark_that_is_no_name_fails_its_case_alone(pytester: pytest.Pytester, project: Project) -> None:
    project(marked=f"marks: ['two words', _private]\n{CASE}", net=CASE)
    result = pytester.runpytest_inprocess()
    result.assert_outcomes(passed=2, failed=1)


def test_last_failed(pytester: pytest.Pytester, project: Project) -> None:
    project(net=FAILING)
    pytester.runpytest_inprocess().assert_outcomes(passed=1, failed=1)
    again = pytester.runpytest_inprocess("--lf", "-v")
    again.assert_outcomes(failed=1, deselected=1)
    again.stdout.fnmatch_lines("cases/net.yaml::net::size_ratio FAILED*")


def test_a_case_of_a_matrix_is_named_and_run_again_like_any_other(
    pytester: pytest.Pytester, project: Project
) -> None:
    """A bracket inside a node id is nothing that pytest's command line, or its cache, finds again."""
    project(net=FAILING + "matrix: {seed: [1, 2]}\nseed: ${{ matrix.seed }}\n")
    pytester.runpytest_inprocess().assert_outcomes(passed=2, failed=2)
    pytester.runpytest_inprocess("--lf").assert_outcomes(failed=2, deselected=2)
    one = pytester.runpytest_inprocess("cases/net.yaml::net-2::accuracy_drop", "-v")
    one.assert_outcomes(passed=1)
    one.stdout.fnmatch_lines("cases/net.yaml::net-2::accuracy_drop PASSED*")


def test_exitfirst(pytester: pytest.Pytester, project: Project) -> None:
    project(a=FAILING, b=CASE)
    result = pytester.runpytest_inprocess("-x")
    result.assert_outcomes(passed=1, failed=1)
    assert statuses(pytester.path) == {"a::accuracy_drop": "pass", "a::size_ratio": "fail"}


def test_a_recipe_runs_once_for_all_its_items(pytester: pytest.Pytester, project: Project) -> None:
    folder = project()
    pytester.runpytest_inprocess("--fresh").assert_outcomes(passed=2)
    once = (folder / "calls.txt").read_text().count("net")
    (folder / "calls.txt").unlink()
    pytester.runpytest_inprocess("--fresh", "cases/net.yaml::net::size_ratio").assert_outcomes(passed=1)
    assert (folder / "calls.txt").read_text().count("net") <= once


def test_a_failure_says_where_what_and_what_to_do(pytester: pytest.Pytester, project: Project) -> None:
    project(net=FAILING)
    result = pytester.runpytest_inprocess()
    result.stdout.fnmatch_lines(["*cases/net.yaml:9: size_ratio *x, needs 250x*"])
    assert "weighbridge/plugin/items.py" not in result.stdout.str()


def test_cases_stand_beside_ordinary_tests(pytester: pytest.Pytester, project: Project) -> None:
    project()
    pytester.makepyfile("def test_one(): pass")
    pytester.runpytest_inprocess().assert_outcomes(passed=3)


def test_junitxml(pytester: pytest.Pytester, project: Project) -> None:
    import xml.etree.ElementTree as ET

    project(net=FAILING)
    pytester.runpytest_inprocess("--junitxml=junit.xml")
    suite = ET.parse(pytester.path / "junit.xml").getroot()[0]
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("2", "1", "0")
    drop, ratio = suite.iter("testcase")
    assert (ratio.get("name"), ratio.get("classname")) == ("size_ratio", "cases.net.yaml.net")
    properties = {item.get("name"): item.get("value") for item in ratio.iter("property")}
    assert json.loads(properties["limit"] or "") == {"min": 250}
    assert float(properties["measured"] or 0) == pytest.approx(1)
    assert "needs 250x" in (ratio.find("failure").get("message") or "")  # type: ignore[union-attr]
    assert {item.get("name") for item in drop.iter("property")} >= {"limit", "measured", "interval"}


def test_cases_of_one_name_beside_the_root_directory_are_two(pytester: pytest.Pytester) -> None:
    """A monorepo's: pytest's root is the first project that has settings, and the others' files lie outside of it."""
    for name, ratio in (("one", 1), ("two", 50), ("three", 1)):
        (pytester.path / name).mkdir()
        cases = write_project(pytester.path / name)
        (cases / "gate.yaml").write_text(
            "model: {torch: model.py:net, weights: net.safetensors}\ndata: model.py:splits\n"
            f"recipe: [{{quantize: dynamic, engine: torch}}]\nthresholds: {{size_ratio: {ratio}}}\n"
        )
    (pytester.path / "one" / "pytest.ini").write_text("[pytest]\n")
    pytester.chdir()
    files = [f"{name}/cases/gate.yaml" for name in ("one", "two", "three")]
    pytester.runpytest_inprocess("-p", "no:cacheprovider", "--executor=inline", *files)
    rows = {row["case"]: row["status"] for row in report_of(pytester.path / "one")["rows"]}
    assert rows == {
        "cases/gate.yaml::gate": "pass",
        "../two/cases/gate.yaml::gate": "fail",
        "../three/cases/gate.yaml::gate": "pass",
    }


RETRIES = """
import pytest


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    \"\"\"As pytest-retry 1.7 runs an item again that failed.\"\"\"
    yield
    if call.when == "call" and call.excinfo and not hasattr(item, "again"):
        item.again = True
        item._initrequest()
        item.ihook.pytest_runtest_setup(item=item)
        again = pytest.CallInfo.from_call(lambda: item.ihook.pytest_runtest_call(item=item), when="call")
        print("again:", item.name, again.excinfo.typename)
"""


def test_a_plugin_that_runs_failed_items_again_gets_the_same_verdict(
    pytester: pytest.Pytester, project: Project
) -> None:
    project(net=FAILING, broken="thresholds: 1")
    pytester.makeconftest(RETRIES)
    result = pytester.runpytest_inprocess("-s", "--executor=inline")
    result.assert_outcomes(passed=1, failed=2)
    result.stdout.fnmatch_lines(["*again: case file CaseError", "*again: size_ratio ThresholdMissed"])
    assert statuses(pytester.path)["net::size_ratio"] == "fail"
