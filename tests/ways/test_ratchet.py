"""`weighbridge ratchet`: limits follow what was reached, in the user's own file, and never the other way."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.projects import report_of

from weighbridge.case.load import load_cases
from weighbridge.cli.main import main
from weighbridge.propose.ratchet import rounded

Project = Callable[..., Path]
HEAD = """\
# how we gate the net
model: {torch: model.py:net, weights: net.safetensors}
data: model.py:splits
"""
CASE = (
    HEAD
    + """
recipe:
    - {prune: l1_unstructured, amount: 0.5}   # half of it
thresholds:
    accuracy_drop:   {max: 20 %, confidence: 0.9}  # generous
    nonzero:
        max:  9k      # of ten
    size: "1 MB"
    nonzero_ratio: 0.95   # and a comment: max: 0.95
"""
)


def ratchet(capsys: pytest.CaptureFixture[str], *words: str, expected: int = 0) -> str:
    capsys.readouterr()
    assert main(["ratchet", *words]) == expected
    return capsys.readouterr().out


def limits(path: Path) -> dict[str, dict[str, Any]]:
    return {
        f"{case.name}::{ref.name}": ref.limit.model_dump(exclude_none=True)
        for case in load_cases(path)
        for ref in case.thresholds
    }


def test_limits_follow_what_was_reached_and_the_text_stays(
    project: Project, pytester: pytest.Pytester, capsys: pytest.CaptureFixture[str]
) -> None:
    path = project(net=CASE) / "net.yaml"
    pytester.runpytest_inprocess().assert_outcomes(passed=4)
    (row,) = report_of(pytester.path)["rows"]
    by_name = {one["threshold"]: one for one in row["verdicts"]}
    ratchet(capsys)
    text = path.read_text()
    old, new = (content.splitlines() for content in (CASE, text))
    assert len(old) == len(new)
    differing = [index for index, pair in enumerate(zip(old, new, strict=True)) if pair[0] != pair[1]]
    assert [old[index].split(":")[0].strip() for index in differing] == [
        "accuracy_drop",
        "max",
        "size",
        "nonzero_ratio",
    ]
    found = limits(path)
    drop = found["net::accuracy_drop"]
    assert drop["confidence"] == 0.9
    assert (
        by_name["accuracy_drop"]["interval"][1]
        <= drop["max"]
        < by_name["accuracy_drop"]["interval"][1] * 1.01
    )
    assert by_name["size"]["measured"] < found["net::size"]["max"] < by_name["size"]["measured"] * 1.06
    assert " %, confidence: 0.9}  # generous" in text
    assert "k      # of ten" in text
    assert 'size: "' in text
    assert ' MB"' in text
    pytester.runpytest_inprocess().assert_outcomes(passed=4)


def test_check_prints_the_patch_and_writes_nothing(
    project: Project, pytester: pytest.Pytester, capsys: pytest.CaptureFixture[str]
) -> None:
    path = project(net=CASE) / "net.yaml"
    pytester.runpytest_inprocess()
    out = ratchet(capsys, "--check", expected=1)
    assert out.startswith("--- a/cases/net.yaml\n+++ b/cases/net.yaml\n")
    assert "-    nonzero_ratio: 0.95   # and a comment: max: 0.95\n" in out
    assert "+    nonzero_ratio: 0.525   # and a comment: max: 0.95\n" in out
    assert path.read_text() == CASE
    ratchet(capsys)
    pytester.runpytest_inprocess()
    assert ratchet(capsys, "--check") == "no limit can be tightened\n"


def test_nothing_is_ever_loosened(
    project: Project, pytester: pytest.Pytester, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is missed, and what is kept with less than the margin, stays as it is."""
    text = HEAD + "recipe: [{prune: l1_unstructured, amount: 0.5}]\n"
    text += "thresholds: {nonzero_ratio: 0.51, nonzero: 100, size_ratio: 0.99}\n"
    path = project(net=text) / "net.yaml"
    pytester.runpytest_inprocess().assert_outcomes(passed=2, failed=1)
    out = ratchet(capsys)
    assert path.read_text() == text
    assert "nonzero 100: net: fail in the report, and only what passed is tightened" in out
    assert "nonzero_ratio 0.51: it is as tight as what was reached allows" in out


def test_a_limit_of_several_cases_is_what_all_of_them_reached(
    project: Project, pytester: pytest.Pytester, capsys: pytest.CaptureFixture[str]
) -> None:
    text = HEAD + "matrix: {amount: [0.5, 0.8]}\n"
    text += "recipe: [{prune: l1_unstructured, amount: '${{ matrix.amount }}'}]\nthresholds: {nonzero_ratio: 0.9}\n"
    path = project(net=text) / "net.yaml"
    pytester.runpytest_inprocess().assert_outcomes(passed=2)
    ratchet(capsys)
    assert {limit["max"] for limit in limits(path).values()} == {0.525}
    pytester.runpytest_inprocess("-k", "0.8")
    path.write_text(text)
    pytester.runpytest_inprocess("-k", "0.8")
    assert "net-0.5: no row in the report" in ratchet(capsys)
    assert path.read_text() == text


@pytest.mark.parametrize(
    "thresholds",
    [
        "thresholds: {nonzero_ratio: &most 0.95, accuracy_drop: {max: *most}}",
        "matrix: {most: [0.95]}\nthresholds: {nonzero_ratio: '${{ matrix.most }}'}",
    ],
)
def test_what_is_no_number_of_its_own_is_left_to_its_author(
    thresholds: str, project: Project, pytester: pytest.Pytester, capsys: pytest.CaptureFixture[str]
) -> None:
    text = f"{HEAD}recipe: [{{prune: l1_unstructured, amount: 0.5}}]\n{thresholds}\n"
    path = project(net=text) / "net.yaml"
    pytester.runpytest_inprocess()
    out = ratchet(capsys)
    assert "edit it by hand" in out or "by an alias" in out
    assert path.read_text() == text


def test_a_file_that_changed_since_the_run_is_left(
    project: Project, pytester: pytest.Pytester, capsys: pytest.CaptureFixture[str]
) -> None:
    path = project(net=CASE) / "net.yaml"
    pytester.runpytest_inprocess()
    path.write_text(CASE.replace("0.95   #", "0.94   #"))
    assert "nonzero_ratio 0.94: it was another limit in that run; run again" in ratchet(capsys)


def test_line_ends_and_letters_of_all_kinds_stay(
    project: Project, pytester: pytest.Pytester, capsys: pytest.CaptureFixture[str]
) -> None:
    path = project(net=CASE) / "net.yaml"
    raw = "\ufeff" + CASE.replace("# how", "# wie Größe und 重量 \U0001f600: how").replace("\n", "\r\n")
    path.write_bytes(raw.encode())
    pytester.runpytest_inprocess().assert_outcomes(passed=4)
    ratchet(capsys)
    now = path.read_bytes().decode()
    assert now.startswith("\ufeff# wie Größe und 重量 \U0001f600")
    assert now.count("\r\n") == raw.count("\r\n") == now.count("\n")
    assert limits(path)["net::nonzero_ratio"] == {"max": 0.525}


def test_a_speed_keeps_the_margin_that_other_machines_need(
    project: Project, pytester: pytest.Pytester, capsys: pytest.CaptureFixture[str]
) -> None:
    text = CASE.replace("nonzero_ratio: 0.95", "speedup: 1.1")
    path = project(net=text) / "net.yaml"
    pytester.runpytest_inprocess()
    report = report_of(pytester.path)
    verdict = next(one for one in report["rows"][0]["verdicts"] if one["threshold"] == "speedup")
    verdict |= {"status": "pass", "measured": 2.0, "interval": [1.9, 2.1], "confidence": 0.99, "sure": 0.99}
    (pytester.path / "reports/latest.json").write_text(json.dumps(report))
    ratchet(capsys)
    assert limits(path)["net::speedup"]["min"] == 1.6


@pytest.mark.parametrize(
    ("known", "expected", "why"),
    [
        # AUC with few positives: on some resamples it has no value, and nothing tells how sure it is.
        ({"measured": 0.0, "interval": None, "sure": 0.5}, 0.2, "do not tell how sure it is"),
        ({"measured": -0.01, "interval": None, "sure": 0.5}, 0.2, "do not tell how sure it is"),
        ({"measured": -0.03, "interval": [-0.05, -0.01], "sure": 0.99}, 0.0, "with its margin"),
    ],
)
def test_a_drop_is_tightened_to_what_is_known_and_never_to_a_gain(
    known: dict[str, Any],
    expected: float,
    why: str,
    project: Project,
    pytester: pytest.Pytester,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = project(net=CASE) / "net.yaml"
    pytester.runpytest_inprocess()
    report = report_of(pytester.path)
    verdict = next(one for one in report["rows"][0]["verdicts"] if one["threshold"] == "accuracy_drop")
    verdict |= known
    (pytester.path / "reports/latest.json").write_text(json.dumps(report))
    assert why in next(line for line in ratchet(capsys).splitlines() if "accuracy_drop" in line)
    assert limits(path)["net::accuracy_drop"]["max"] == pytest.approx(expected)


def test_files_can_be_chosen(
    project: Project, pytester: pytest.Pytester, capsys: pytest.CaptureFixture[str]
) -> None:
    project(net=CASE, other=CASE)
    pytester.runpytest_inprocess()
    out = ratchet(capsys, "cases/other.yaml", "--check", expected=1)
    assert "cases/other.yaml" in out
    assert "cases/net.yaml" not in out
    ratchet(capsys, "nowhere", expected=2)


@pytest.mark.parametrize(
    ("value", "up", "expected"),
    [
        (0.12341, True, 0.124),
        (0.12341, False, 0.123),
        (12345, True, 12400),
        (0.5, True, 0.5),
        (2.0, False, 2.0),
    ],
)
def test_a_new_limit_is_rounded_to_the_easier_side(value: float, up: bool, expected: float) -> None:
    assert rounded(value, up) == expected
