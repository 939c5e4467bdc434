"""A case opened in the HTML report, in a real browser: its thresholds, layers, samples and pictures."""

from __future__ import annotations

from typing import Any

import made_reports as made
import pytest

from weighbridge.report.html import Html
from weighbridge.report.slim import slim


def test_a_case_opens_with_thresholds_layers_histograms_and_samples(show: Any) -> None:
    browser = show(made.report(3, layers=20))
    browser.run("document.querySelector('.name').click()")
    headings = browser.run("[...document.querySelectorAll('.panel h3')].map((one) => one.textContent)")
    assert headings == [
        "Thresholds",
        "Steps",
        "Notes",
        "speed samples: baseline over candidate",
        "Layers",
        "Weights before and after",
    ]
    assert browser.run("document.querySelectorAll('.panel figure').length") == 12
    browser.run("[...document.querySelectorAll('.more')].at(-1).click()")
    assert browser.run("document.querySelectorAll('.panel figure').length") == 20
    assert browser.run("document.querySelectorAll('.panel .sample').length") > 120


def flipped(report: dict[str, Any]) -> dict[str, Any]:
    """`report`, whose first case answers three samples differently."""
    names = ("position", "target", "before", "after", "harmful")
    samples = [(14, 7, 7, 1, True), (93, 2, 5, 2, False), (201, 2, 5, -1, False)]
    worst = {"class": 7, "n": 36, "baseline": 0.96, "candidate": 0.82, "drop": 0.14, "interval": [0.02, 0.3]}
    report["rows"][0]["measurements"]["accuracy"]["details"] |= {
        "flips": {
            "total": 60,
            "harmful": 1,
            "helpful": 1,
            "listed": [dict(zip(names, one, strict=True)) for one in samples],
        },
        "classes": {"total": 10, "worst": [worst, {**worst, "class": 3, "drop": 0.0}], "counts": []},
    }
    return report


def test_the_samples_that_flipped_are_listed(show: Any) -> None:
    browser = show(flipped(made.report(1)))
    text = browser.run("document.querySelector('.panel').innerText")
    assert "60 samples are answered differently: 1 right to wrong, 1 wrong to right" in text
    assert "57 more are not listed" in text
    rows = browser.run(
        "[...document.querySelectorAll('.panel details tbody tr')].map((one) => one.innerText)"
    )
    assert [row.split() for row in rows] == [
        ["14", "7", "7", "1", "right", "to", "wrong"],
        ["93", "2", "5", "2", "wrong", "to", "right"],
        ["201", "2", "5", "none", "another", "answer"],
    ]
    assert "Classes that lost most, of 10" in text
    assert "14" in text


def test_a_page_takes_flips_and_what_is_none() -> None:
    (row,) = slim(flipped(made.report(1)))["rows"]
    assert row["flips"]["listed"][0] == [14, 7, 7, 1, True]
    assert row["flips"]["worst"][0]["drop"] == 0.14
    assert "flips" not in slim(made.report(1))["rows"][0]
    odd = made.report(1)
    odd["rows"][0]["measurements"]["accuracy"]["details"]["flips"] = "many"
    assert "flips" not in slim(odd)["rows"][0]


def test_the_calls_of_an_absolute_latency_are_drawn(show: Any) -> None:
    report = made.report(1)
    details = {"samples": [5.0, 5.2, 5.1, 30.0, 5.1], "interval": [5.0, 5.2]}
    report["rows"][0]["measurements"] = {
        "latency": {"unit": "ms", "baseline": None, "candidate": 5.1, "details": details}
    }
    report["rows"][0]["verdicts"] = [made.verdict("latency", "pass", {"max": 6}, 5.1, [5.0, 5.2], "ms")]
    browser = show(report)
    section = "[...document.querySelectorAll('.panel section')].find((one) => one.textContent.startsWith('latency samples'))"
    assert browser.run(f"{section}.querySelectorAll('.sample').length") == 5
    assert browser.run(f"{section}.querySelector('.limit-text').textContent") == "limit ≤\xa06\xa0ms"


def test_random_inputs_and_what_was_not_measured_are_said(show: Any) -> None:
    report = made.settled(2, failing=0)
    report["rows"][0]["inputs"] = "random"
    report["rows"][1] = made.row(1, made.random.Random(1), status="unmeasured")
    browser = show(report)
    assert browser.run("document.querySelectorAll('.invented').length") == 1
    assert browser.run("document.querySelector('h1').textContent") == "1 of 2 cases within their limits"
    assert "without a decision" in browser.run("document.querySelector('.tally').textContent")


def test_a_step_says_which_layers_it_left(show: Any) -> None:
    report = made.settled(1, failing=0)
    layers = [
        {"name": f"conv{index}", "asked": True, "converted": index > 9, "reason": "shared weight"}
        for index in range(12)
    ]
    report["rows"][0]["steps"][1]["coverage"] = {
        "asked": 12,
        "convertible": 12,
        "converted": 2,
        "layers": layers,
    }
    browser = show(report)
    text = browser.run("document.querySelector('.panel').innerText")
    assert "2 of 12 layers converted" in text
    assert "conv0: shared weight" in text
    assert "and 2 more layers" in text


def test_the_layers_that_lost_the_output_are_drawn_worst_first(show: Any) -> None:
    report = made.settled(1)
    report["rows"][0]["layer_errors"] = made.layer_errors(20)
    browser = show(report)
    found = "document.querySelectorAll('.panel section')"
    section = f"[...{found}].find((one) => one.textContent.startsWith('Output error by layer'))"
    text = browser.run(f"{section}.innerText")
    assert "conv0" in text
    assert "3.1\xa0dB" in text
    assert "with exclude: conv0 28.5\xa0dB" in text
    assert browser.run(f"{section}.querySelectorAll(':scope tbody tr').length") == 12
    assert browser.run(f"{section}.querySelector('.after').getAttribute('width')") > "110"
    browser.run(f"{section}.querySelector('.more').click()")
    assert browser.run(f"{section}.querySelectorAll(':scope tbody tr').length") == 20


def test_the_page_holds_the_worst_layers_and_no_thousands_of_them() -> None:
    report = made.settled(1)
    report["rows"][0]["layer_errors"] = made.layer_errors(5000)
    (row,) = slim(report)["rows"]
    assert len(row["layer_errors"]["layers"]) == 100
    assert row["layer_errors"]["layers"][0]["name"] == "conv0"


@pytest.mark.slow
def test_pictures_go_to_what_failed_first() -> None:
    report = made.report(400)
    layers = [made.layer(index, made.random.Random(2)) for index in range(48)]
    for row in report["rows"]:
        if row["measurements"]:
            row["measurements"]["layers"] = made.measurement("count", 48, 48, layers=layers)
    shown = slim(report)["rows"]
    drawn = [row for row in shown if "details" in row["measurements"].get("layers", {})]
    assert {row["status"] for row in shown if row.get("left_out")} <= {"xfail", "pass"}
    assert sum(row["status"] == "fail" for row in drawn) == 50
    assert any(row.get("left_out") for row in shown)
    assert len(Html().render(report)) < 10_000_000


def test_a_page_whose_pictures_were_left_out_says_so(show: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("weighbridge.report.slim.SIZE", 0)
    monkeypatch.setattr("weighbridge.report.slim.PICTURES", 0)
    browser = show(made.settled(2, failing=0))
    browser.run("document.querySelector('.name').click()")
    assert "a run of this case alone has them" in browser.run("document.querySelector('.panel').textContent")


def test_odd_numbers_are_drawn_without_an_error(show: Any) -> None:
    browser = show(made.odd())
    browser.run("document.querySelectorAll('.name').forEach((one) => one.click())")
    assert browser.run("document.querySelectorAll('tr.opened').length") == len(made.odd()["rows"])
    for axis in range(3):
        count = browser.run(f"document.querySelectorAll('#axes select')[{axis}].options.length")
        for option in range(count):
            browser.run(
                f"(() => {{ const one = document.querySelectorAll('#axes select')[{axis}]; one.selectedIndex = {option};"
                " one.dispatchEvent(new Event('change')); return new Promise(requestAnimationFrame).then(() => 1); })()"
            )
            drawn = browser.run("document.querySelector('main').innerHTML")
            assert not [word for word in ("NaN", "Infinity", "undefined") if word in drawn]


def test_a_speed_says_over_how_many_loads(show: Any) -> None:
    report = made.settled(1, failing=0)
    loads = {"loads": 12, "processes": 6, "spread": 0.0132, "ratios": [1.2 + 0.01 * n for n in range(12)]}
    report["rows"][0]["measurements"]["speed"]["details"] |= loads
    browser = show(report)  # of one case, which is open
    text = browser.run("document.querySelector('.panel').innerText").replace("\u00a0", " ")
    assert "over 12 loads in 6 processes, which differ by 1.3 %" in text
    assert "12 loads in the order they ran" in browser.run("document.querySelector('.panel').textContent")


def test_a_case_tells_what_an_earlier_run_had(show: Any) -> None:
    report = made.report(3)
    changes = [
        {"quantity": "accuracy", "unit": "fraction", "before": 0.981, "now": 0.971, "clear": True},
        {"quantity": "size", "unit": "bytes", "before": 5000, "now": 5000, "clear": False},
    ]
    run = {"reference": "main", "run": "5f0c", "commit": "4be1f0c96d", "branch": "main", "why": ""}
    report["rows"][0]["against"] = {**run, "created": "2026-11-20T00:00:00+00:00", "changes": changes}
    browser = show(report)
    assert "Against main (4be1f0c of 2026-11-20): 1 of 1 cases differ" in browser.run(
        "document.querySelector('#since-title').textContent"
    )
    assert browser.run("document.querySelector('.since').innerText").endswith("accuracy 98.1→97.1 %")
    browser.run("document.querySelector('.since a').click()")
    text = browser.run(
        "[...document.querySelectorAll('.panel section')].find((one) => one.innerText.startsWith('Against main')).innerText"
    ).replace("\N{NO-BREAK SPACE}", " ")
    rows = text.splitlines()
    assert [row.split("\t") for row in rows if "\t" in row][1:] == [
        ["accuracy", "98.1 %", "97.1 %", "changed"],
        ["size", "5 kB", "5 kB", "the same"],
    ]


def test_a_limit_against_an_earlier_run_is_none_on_this_runs_scale(show: Any) -> None:
    report = made.report(10)
    for verdict in (one for row in report["rows"] for one in row["verdicts"]):
        if verdict["threshold"] == "accuracy_drop":
            verdict["limit"]["against"] = "main"
    browser = show(report)
    browser.wait("document.querySelector('.limit-text') !== null")
    texts = browser.run("[...document.querySelectorAll('.limit-text')].map((one) => one.textContent)")
    assert any("size" in text for text in texts)
    assert not any("accuracy" in text for text in texts)
