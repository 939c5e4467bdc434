"""The reports that machines read: what is in them, and that a hostile case breaks none."""

from __future__ import annotations

import csv
import io
import json
import re
import xml.etree.ElementTree as ElementTree
from datetime import datetime
from pathlib import Path
from typing import Any

import made_reports as made
import pytest

from weighbridge.cli.main import main
from weighbridge.contracts import REPORTS
from weighbridge.report.github import SUMMARY_BYTES, announce, write_summary
from weighbridge.report.junit import properties
from weighbridge.report.markdown import Markdown
from weighbridge.report.reading import read_report
from weighbridge.report.table import build
from weighbridge.report.text import TextReport

THOUSANDS = made.report(5000)
ATTACK = "=cmd|'/C calc'!A0\n::error::forged\x1b[31m<b>|x|</b>\x00"


def hostile() -> dict[str, Any]:
    report = made.report(8)
    for row in report["rows"]:
        row.update(case=ATTACK, name=ATTACK, path=ATTACK, message=ATTACK, notes=[ATTACK])
        for verdict in row["verdicts"]:
            verdict.update(threshold=ATTACK, message=ATTACK, advice=[ATTACK], unit=ATTACK)
    return report


@pytest.mark.parametrize("name", [sink.name for sink in REPORTS if isinstance(sink, TextReport)])
def test_every_format_shows_hostile_text_harmlessly(name: str) -> None:
    text = REPORTS.get(name).render(hostile())
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", text.replace("\r\n", "\n"))
    if name == "json":  # the source of all others keeps what was given, written as JSON
        return
    if name == "markdown":
        assert "<b>" not in text
        assert "\n::error" not in text
    if name in ("terminal", "github"):
        forged = [line for line in text.splitlines() if line.lstrip().startswith("::") and "forged" in line]
        assert all(re.match(r"::(error|warning|notice) file=", line) for line in forged)


def table(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_csv_has_a_line_a_threshold_and_one_for_a_case_without() -> None:
    report = made.report(8)
    lines = table(REPORTS.get("csv").render(report))
    assert len(lines) == sum(len(row["verdicts"]) or 1 for row in report["rows"])
    first = report["rows"][0]
    assert lines[0]["threshold"] == "accuracy_drop"
    assert (lines[0]["limit_min"], lines[0]["limit_max"]) == ("", "0.01")
    assert float(lines[0]["measured"]) == first["verdicts"][0]["measured"]
    assert float(lines[0]["candidate"]) == first["measurements"]["accuracy"]["candidate"]
    assert [line["message"] for line in lines if line["status"] == "error"] == [
        "the quantizer returned its input unchanged"
    ]


def test_csv_keeps_a_negative_number_a_number() -> None:
    report = made.report(1)
    report["rows"][0]["verdicts"][0]["measured"] = -0.25
    assert table(REPORTS.get("csv").render(report))[0]["measured"] == "-0.25"


def test_csv_has_no_formula() -> None:
    for line in table(REPORTS.get("csv").render(hostile())):
        assert not any(cell.startswith(("=", "+", "@", "\t", "\r")) for cell in line.values())


def test_github_points_at_the_line_of_the_threshold() -> None:
    report = made.report(8)
    text = REPORTS.get("github").render(report)
    row, broken = report["rows"][3], report["rows"][5]
    assert row["status"] == "fail"
    assert f"::error file={row['path']},line=21,title={row['name']}%3A accuracy_drop fail::" in text
    assert "%0Acalibrate on more samples" in text
    assert f"::error file={row['path']},line={broken['line']},title={broken['name']}%3A error::" in text
    levels = re.findall(r"(?m)^::(\w+) ", text)
    assert sorted(levels) == ["error", "error", "notice", "notice", "warning"]
    assert "prune00-int4-0" not in text  # what passed is not annotated


def test_github_says_how_many_it_left_out() -> None:
    lines = REPORTS.get("github").render(made.report(200)).splitlines()
    assert [
        sum(line.startswith(f"::{level} ") for line in lines) for level in ("error", "warning", "notice")
    ] == [10, 10, 10]
    assert lines[9] == "::error title=Weighbridge::and 41 more; the report has them all"


def test_github_command_is_not_forged() -> None:
    for line in REPORTS.get("github").render(hostile()).splitlines():
        assert re.match(r"::(error|warning|notice) file=[^:,]*,line=\d+,title=[^:,]*::", line)


def test_summary_is_appended_and_cut_to_what_github_keeps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Long:
        name, suffix = "markdown", ".md"

        def render(self, report: object) -> str:
            return "| a row | of the table |\n" * 60_000

    monkeypatch.setattr("weighbridge.report.github.Markdown", Long)
    path = tmp_path / "summary.md"
    path.write_text("earlier\n")
    write_summary({}, path)
    text = path.read_text()
    assert text.startswith("earlier\n| a row |")
    assert path.stat().st_size <= SUMMARY_BYTES
    assert text.rstrip().endswith("The whole report is in the artifacts.")


def test_announced_in_a_job_on_github_and_nowhere_else(tmp_path: Path) -> None:
    said: list[str] = []
    announce(made.report(8), said.append, {})
    assert said == []
    summary = tmp_path / "summary.md"
    announce(made.report(8), said.append, {"GITHUB_ACTIONS": "true", "GITHUB_STEP_SUMMARY": str(summary)})
    assert said[0].startswith("::error file=")
    assert "prune30-int4-3" in summary.read_text()


def test_junit_counts_and_properties() -> None:
    report = made.report(8)
    suite = ElementTree.fromstring(REPORTS.get("junit").render(report)).find("testsuite")
    assert suite is not None
    assert {key: suite.get(key) for key in ("tests", "failures", "errors", "skipped")} == {
        "tests": "20",
        "failures": "2",
        "errors": "1",
        "skipped": "2",
    }
    found = {item.get("name"): item.get("value") for item in suite.findall("testcase")[0].iter("property")}
    assert found == {name: str(value) for name, value in properties(report["rows"][0]["verdicts"][0]).items()}
    assert float(suite.get("time") or 0) == pytest.approx(
        sum(row["seconds"] for row in report["rows"]), abs=0.01
    )


def test_junit_of_hostile_text_is_well_formed() -> None:
    root = ElementTree.fromstring(REPORTS.get("junit").render(hostile()))
    assert len(list(root.iter("testcase"))) == 20


def markdown(report: dict[str, Any]) -> str:
    return Markdown().render(report)


def test_markdown_has_the_rows_of_the_terminal() -> None:
    report = made.settled(20)
    text, table = markdown(report), build(report)
    assert text.startswith("## Weighbridge: 20 cases: 1 fail, 19 pass\n\n| | case | accuracy | size |")
    for line in table.lines:
        shown = next(row for row in text.splitlines() if row.startswith("|") and f" {line.name} |" in row)
        assert all(cell.value in shown for cell in line.cells.values())
        assert ("≤1 point" in shown) == (line.status == "fail")


def test_markdown_folds_what_passed_and_opens_what_failed() -> None:
    text = markdown(made.settled(20))
    reasons = text[text.index("<details open><summary>Reasons") : text.index("</details>")]
    assert ", allows 1 point" in reasons
    assert "<code>pytest cases/group0/model.yaml::prune10-int8-10::accuracy_drop</code>" in reasons
    assert text.index("</details>") < text.index("<details><summary>19 passed</summary>")
    assert "<details open><summary>3 passed" in markdown(made.settled(3, failing=0))


@pytest.mark.parametrize("kind", ["many", "long", "signs"])
def test_markdown_fits_a_comment(kind: str) -> None:
    report = THOUSANDS if kind == "many" else made.report(40)
    for row in report["rows"] if kind != "many" else ():
        row["message"] = row["message"] and {"long": "word " * 20_000, "signs": "@a#1$" * 20_000}[kind]
        for verdict in row["verdicts"]:
            verdict["message"] = {"long": "word " * 20_000, "signs": "@a#1$" * 20_000}[kind]
    text = markdown(report)
    assert len(text) < 65_536
    assert text.count("<details") == text.count("</details>")
    assert (" more: the other reports have them" in text) == (kind != "long")
    assert ("word …" in text) == (kind == "long")


@pytest.mark.parametrize(
    ("name", "most"),
    [("json", 20_000_000), pytest.param("html", 10_000_000, marks=pytest.mark.slow), ("markdown", 65_535)],
)
def test_five_thousand_heavy_rows_stay_small(name: str, most: int, heavy: dict[str, Any]) -> None:
    assert len(REPORTS.get(name).render(heavy).encode()) <= most  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def heavy() -> dict[str, Any]:
    """Four times as heavy as `latest.json` may be."""
    return made.heavy(5000)


@pytest.mark.slow
def test_rows_that_need_somebody_keep_what_is_listed_and_all_keep_their_verdicts(
    heavy: dict[str, Any], tmp_path: Path
) -> None:
    (path,) = REPORTS.get("json").write(heavy, tmp_path)
    read = read_report(path)
    full = {row["case"]: row for row in heavy["rows"]}
    for row in read["rows"]:
        assert row["verdicts"] == full[row["case"]]["verdicts"]
        accuracy, before = (one["measurements"].get("accuracy") for one in (row, full[row["case"]]))
        if row.get("left_out"):
            assert row["status"] != "fail"
            if accuracy:
                assert accuracy["details"] == {}
                assert accuracy["candidate"] == before["candidate"]
        else:
            assert row == full[row["case"]]
    assert any(row.get("left_out") for row in read["rows"])
    assert "left_out" not in REPORTS.get("json").render(made.heavy(100))  # type: ignore[attr-defined]


def test_json_has_a_line_a_row_and_reads_back(tmp_path: Path) -> None:
    report = made.report(5)
    report["rows"][0]["measurements"]["accuracy"]["candidate"] = float("nan")
    (path,) = REPORTS.get("json").write(report, tmp_path)
    assert len(path.read_text().splitlines()) == 7
    report["rows"][0]["measurements"]["accuracy"]["candidate"] = None
    assert json.loads(path.read_text()) == report


def test_sarif_has_what_did_not_pass_on_its_line() -> None:
    report = made.report(8)
    (run,) = json.loads(REPORTS.get("sarif").render(report))["runs"]
    wanted = [
        (row["path"], verdict["line"], verdict["threshold"])
        for row in report["rows"]
        for verdict in row["verdicts"]
        if verdict["status"] in ("fail", "error", "inconclusive")
    ]
    places = [result["locations"][0]["physicalLocation"] for result in run["results"]]
    found = {
        (place["artifactLocation"]["uri"], place["region"]["startLine"], result["ruleId"])
        for place, result in zip(places, run["results"], strict=True)
    }
    assert wanted
    assert set(wanted) <= found
    errors = [row for row in report["rows"] if row["status"] == "error" and not row["verdicts"]]
    assert len(run["results"]) == len(wanted) + len(errors)
    assert {rule["id"] for rule in run["tool"]["driver"]["rules"]} == {
        each["ruleId"] for each in run["results"]
    }
    levels = {result["ruleId"]: result["level"] for result in run["results"]}
    assert set(levels.values()) <= {"error", "warning"}


def test_sarif_knows_a_finding_again_on_another_line() -> None:
    report = made.report(8)
    before = json.loads(REPORTS.get("sarif").render(report))["runs"][0]["results"]
    for row in report["rows"]:
        row["line"] += 10
        for verdict in row["verdicts"]:
            verdict["line"] += 10
    after = json.loads(REPORTS.get("sarif").render(report))["runs"][0]["results"]
    assert before != after
    assert [each["partialFingerprints"] for each in before] == [each["partialFingerprints"] for each in after]
    assert len({str(each["partialFingerprints"]) for each in before}) == len(before)


def test_sarif_has_each_fault_of_a_file_on_its_own_line(pytester: pytest.Pytester) -> None:
    (pytester.mkdir("cases") / "bad.yaml").write_text(
        "model: {onnx: a.onnx}\nthresholds:\n  sise: 5 MB\n  speedup: [2]\n"
    )
    assert pytester.runpytest_inprocess("--report", "sarif").ret == 1
    assert main(["check", "cases/bad.yaml", "--sarif", "check.sarif"]) == 1
    found = [
        json.loads((pytester.path / name).read_text()) for name in ("reports/latest.sarif", "check.sarif")
    ]
    assert found[0] == found[1]
    results = found[0]["runs"][0]["results"]
    regions = [one["locations"][0]["physicalLocation"]["region"] for one in results]
    assert [(one["startLine"], one["startColumn"]) for one in regions] == [(3, 3), (4, 12)]
    assert results[0]["message"]["text"].startswith("unknown threshold 'sise'; did you mean 'size'?")
    assert {one["ruleId"] for one in results} == {"case file"}
    assert len({str(one["partialFingerprints"]) for one in results}) == 2


def test_check_writes_an_empty_sarif_where_nothing_is_wrong(pytester: pytest.Pytester) -> None:
    (pytester.path / "good.yaml").write_text("model: {onnx: a.onnx}\nthresholds: {size: 5 MB}\n")
    assert main(["check", "good.yaml", "--sarif", "check.sarif"]) == 0
    assert json.loads((pytester.path / "check.sarif").read_text())["runs"][0]["results"] == []


def test_ctrf_counts_what_it_lists() -> None:
    report = made.report(8)
    results = json.loads(REPORTS.get("ctrf").render(report))["results"]
    summary, tests = results["summary"], results["tests"]
    assert summary["tests"] == len(tests) == 20
    for status in ("passed", "failed", "pending", "skipped", "other"):
        assert summary[status] == sum(test["status"] == status for test in tests)
    assert summary["failed"]
    total = sum(test["duration"] for test in tests)
    assert total == pytest.approx(1000 * sum(row["seconds"] for row in report["rows"]), abs=8)
    assert summary["stop"] - summary["start"] == total
    assert summary["stop"] == datetime.fromisoformat(report["created"]).timestamp() * 1000
    failed = next(test for test in tests if test["status"] == "failed")
    assert failed["message"]
    assert failed["extra"]["status"] in ("fail", "inconclusive")


def test_a_ctrf_report_of_no_known_time_has_no_time_before_1970() -> None:
    summary = json.loads(REPORTS.get("ctrf").render(made.odd()))["results"]["summary"]
    assert (summary["start"], summary["stop"]) == (0, 0)
