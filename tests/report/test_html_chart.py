"""The chart of the HTML report, in a real browser: fronts, limits, labels."""

from __future__ import annotations

from typing import Any

import made_reports as made
import pytest


def test_pareto_front_and_limits_are_drawn(show: Any) -> None:
    report = made.report(0)
    for index, (size, accuracy) in enumerate([(100, 0.90), (200, 0.95), (300, 0.94), (50, 0.80)]):
        one = made.row(0, made.random.Random(1), status="pass")
        one["name"] = one["case"] = f"case{index}"
        one["measurements"] = {
            "size": made.measurement("bytes", 400, size),
            "accuracy": made.measurement("fraction", 0.96, accuracy),
        }
        one["verdicts"] = [
            made.verdict("accuracy_drop", "pass", {"max": 0.01}, 0.96 - accuracy, unit="points")
        ]
        report["rows"].append(one)
    browser = show(report)
    browser.wait("document.querySelectorAll('.dot').length === 4")
    hover = "document.querySelectorAll('.dot').forEach((one) => one.dispatchEvent(new Event('mouseover', {bubbles: true})))"
    browser.run(hover)
    titles = browser.run("[...document.querySelectorAll('.dot title')].map((one) => one.textContent)")
    assert [text.split(":")[0] for text in titles if "on the Pareto front" in text] == [
        "case0",
        "case1",
        "case3",
    ]
    limits = browser.run("[...document.querySelectorAll('.limit-text')].map((one) => one.textContent)")
    assert limits == ["accuracy drop: ≥\xa095\xa0%"]


def test_what_another_beats_is_faint_and_the_one_to_ship_is_named(show: Any) -> None:
    report = made.report(0)
    for index, (size, accuracy) in enumerate([(100, 0.95), (200, 0.95), (50, 0.94), (120, 0.93)]):
        one = made.row(0, made.random.Random(1), status="pass")
        one["name"], one["case"] = f"case{index}", f"cases/net.yaml::case{index}"
        one["measurements"] = {
            "size": made.measurement("bytes", 400, size),
            "accuracy": made.measurement("fraction", 0.96, accuracy) | {"details": {"drop": 0.96 - accuracy}},
        }
        report["rows"].append(one)
    browser = show(report)
    browser.wait("document.querySelectorAll('.dot').length === 4")
    faint = "[...document.querySelectorAll('.dot')].map((one) => one.classList.contains('beaten'))"
    assert browser.run(faint) == [False, True, False, True]
    assert browser.run(
        "document.getElementById('plot-legend').textContent.includes('Faint: passed, and beaten')"
    )
    said = browser.run("document.querySelector('[aria-labelledby=choices-title]').textContent")
    assert "recommended, smallest: case2 (8x smaller)" in said
    assert "beaten: case1 (by case0), case3 (by case0)" in said


def test_one_model_a_chart(show: Any) -> None:
    report = made.settled(12, failing=0)
    for row in report["rows"][8:]:
        row["path"] = "cases/other/net.yaml"
        row["artifacts"]["baseline"] = made.artifact("another")
    browser = show(report)
    dots = "document.querySelectorAll('.dot').length"
    browser.wait(f"{dots} === 8")
    choices = "[...document.querySelector('#axes select').options].map((one) => one.textContent)"
    assert browser.run(choices) == ["group0/model (8)", "other/net (4)"]
    browser.run(
        "(() => { const one = document.querySelector('#axes select'); one.selectedIndex = 1;"
        " one.dispatchEvent(new Event('change')); })()"
    )
    browser.wait(f"{dots} === 4")


def test_files_of_the_same_original_are_one_model(show: Any) -> None:
    report = made.settled(12, failing=0)
    for row in report["rows"][8:]:
        row["path"] = "cases/other/net.yaml"
    browser = show(report)
    browser.wait("document.querySelectorAll('.dot').length === 12")
    assert browser.run("document.querySelector('#axes').textContent.includes('Model')") is False


def test_limits_that_read_the_same_are_one_line(show: Any) -> None:
    report = made.settled(2, failing=0)
    report["rows"][1]["verdicts"][1]["limit"] = {"min": 1.5001}
    browser = show(report)
    browser.wait("document.querySelectorAll('.dot').length === 2")
    texts = browser.run("[...document.querySelectorAll('.limit-text')].map((one) => one.textContent)")
    assert len(texts) == len(set(texts)) == 2
    assert browser.run("document.querySelectorAll('line.limit').length") == 2


def test_only_what_passed_is_on_the_front(show: Any) -> None:
    report = made.report(0)
    for index, status in enumerate(["fail", "inconclusive", "xfail", "unmeasured", "pass", "pass"]):
        one = made.row(0, made.random.Random(1), status=status)
        one["name"] = one["case"] = f"case{index}"
        # The earlier, the smaller and the more accurate.
        one["measurements"] = {
            "size": made.measurement("bytes", 400, 100 + index),
            "accuracy": made.measurement("fraction", 0.96, 0.95 - index / 100),
        }
        report["rows"].append(one)
    browser = show(report)
    browser.wait("document.querySelectorAll('.dot').length === 6")
    assert browser.run("document.querySelectorAll('.ring').length") == 1
    assert browser.run("document.getElementById('plot-legend').textContent.includes('of what passed')")


def test_an_audit_has_no_front_of_unrelated_models(show: Any) -> None:
    report = made.settled(12, failing=0)
    report["options"] = {"audit": True}
    for index, row in enumerate(report["rows"]):
        row["path"] = f"budget{index}.yaml"
    browser = show(report)
    browser.wait("document.querySelectorAll('.dot').length === 12")
    assert browser.run("document.querySelectorAll('.ring').length") == 0
    assert browser.run("document.querySelector('#axes').textContent.includes('Model')") is False


@pytest.mark.parametrize("count", [5, 40, 300])
@pytest.mark.parametrize("width", [420, 1200])
def test_no_label_of_the_chart_lies_on_another(show: Any, count: int, width: int) -> None:
    report = made.report(count)
    for index, row in enumerate(report["rows"]):
        row["path"] = "cases/one.yaml"
        row["name"] += "-with-a-long-name" * (index % 3)
        for verdict in row["verdicts"][:2]:
            verdict["limit"] = {side: value * (1 + index % 3) for side, value in verdict["limit"].items()}
    browser = show(report)
    browser.size(width, 900)
    browser.wait("document.querySelectorAll('#plot .dot').length > 0")
    browser.run("new Promise((done) => setTimeout(done, 200))")
    boxes = browser.run(
        "[...document.querySelectorAll('#plot svg text')].filter((one) => one.textContent)"
        ".map((one) => { const box = one.getBoundingClientRect();"
        " return [one.textContent, box.left, box.right, box.top + 2, box.bottom - 2]; })"
    )
    assert any("prune" in box[0] for box in boxes)
    for index, (one, left, right, top, bottom) in enumerate(boxes):
        for other, *edges in boxes[:index]:
            apart = right <= edges[0] or edges[1] <= left or bottom <= edges[2] or edges[3] <= top
            assert apart, (one, other)
    edge = browser.run("document.querySelector('#plot svg').getBoundingClientRect().toJSON()")
    assert all(edge["left"] <= box[1] and box[2] <= edge["right"] + 1 for box in boxes)
