"""The HTML report as a person meets it: a real browser, mouse, keyboard, printer, and a hostile case."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import made_reports as made
import pytest
from chromium import CHROMIUM, INSTALL, Browser

from weighbridge.report.html import Html
from weighbridge.report.slim import slim

ATTACK = "<img src=x onerror=alert(1)></script><script>alert(2)</script>\x1b[31m\u202e"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip(INSTALL)
    with Browser() as one:
        yield one


@pytest.fixture
def show(browser: Browser, tmp_path: Path) -> Iterator[Any]:
    """Open a report, and in the end hold that nothing was requested and nothing went wrong on the page."""

    def open_report(report: dict[str, Any]) -> Browser:
        path = tmp_path / "report.html"
        path.write_text(Html().render(report), encoding="utf-8")
        browser.size(1200, 900)
        browser.media()
        browser.open(path)
        return browser

    browser.requests.clear()
    browser.errors.clear()
    yield open_report
    browser.run("1")  # lets the last events arrive
    assert browser.errors == []
    assert [url for url in browser.requests if not url.startswith("file:")] == []


def names(browser: Browser) -> list[str]:
    found: list[str] = browser.run("[...document.querySelectorAll('.name')].map((one) => one.textContent)")
    return found


def click(browser: Browser, label: str) -> None:
    browser.run(
        "[...document.querySelectorAll('label,button')]"
        f".find((one) => one.textContent.trim() === {label!r}).click()"
    )


def test_headline_counts_and_worst_first(show: Any) -> None:
    browser = show(made.report(10))
    assert browser.run("document.querySelector('h1').textContent") == "5 of 9 cases within their limits"
    statuses = browser.run(
        "[...document.querySelectorAll('tr.row .status')].map((one) => one.textContent.slice(2))"
    )
    order = ["error", "fail", "inconclusive", "unmeasured", "xfail", "pass", "skip"]
    assert statuses == sorted(statuses, key=order.index)
    assert len(statuses) == 10


def test_sort_by_number_both_ways_with_the_missing_last(show: Any) -> None:
    report = made.report(20)
    browser = show(report)
    sizes = {
        row["name"]: row["measurements"]["size"]["candidate"] for row in report["rows"] if row["measurements"]
    }
    click(browser, "size")
    assert names(browser)[: len(sizes)] == sorted(sizes, key=sizes.__getitem__)
    click(browser, "size")
    assert names(browser)[: len(sizes)] == sorted(sizes, key=sizes.__getitem__, reverse=True)
    assert browser.run("document.querySelectorAll('[aria-sort]').length") == 1


def test_filter_by_text_and_status(show: Any) -> None:
    report = made.report(40)
    browser = show(report)
    click(browser, "✓ pass")
    expected = {row["name"] for row in report["rows"] if row["status"] != "pass"}
    assert set(names(browser)) == expected
    browser.press("/")
    for key in "int8":
        browser.press(key)
    browser.wait("document.getElementById('count').textContent.includes('shown')")
    wanted = {name for name in expected if "int8" in name}
    browser.wait(f"document.querySelectorAll('.name').length === {len(wanted)}")
    assert set(names(browser)) == wanted


def test_columns_are_chosen(show: Any) -> None:
    report = made.report(6)
    for row in report["rows"]:
        if row["measurements"]:
            row["measurements"]["peak_memory"] = made.measurement("bytes", 5e6, 4e6)
    browser = show(report)
    heads = "[...document.querySelectorAll('.cases th')].map((one) => one.textContent)"
    assert browser.run(heads) == [
        "Status",
        "Case",
        "Thresholds",
        "accuracy",
        "size",
        "speed",
        "nonzero",
        "Time",
    ]
    click(browser, "peak memory")
    click(browser, "size")
    assert browser.run(heads)[3:-1] == ["accuracy", "speed", "nonzero", "peak memory"]
    assert browser.run("document.querySelectorAll('tr.row').length") == 6


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


def test_keyboard_alone_reaches_sorts_and_opens(show: Any) -> None:
    browser = show(made.report(5))
    for _ in range(60):
        browser.press("Tab")
        if browser.run("document.activeElement.className") == "name":
            break
    browser.press("Enter")
    assert browser.run("document.activeElement.getAttribute('aria-expanded')") == "true"
    assert browser.run("document.querySelectorAll('tr.opened').length") == 1
    browser.run("document.querySelector('th button').focus()")
    browser.press("Enter")
    assert browser.run("document.querySelector('th').getAttribute('aria-sort')") == "descending"
    browser.run("document.querySelector('#plot svg').focus()")
    browser.press("ArrowRight")
    browser.press("Enter")
    assert browser.run("document.activeElement.className") == "name"


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


def test_reasons_stand_above_the_chart_open_and_lead_to_their_rows(show: Any) -> None:
    report = made.report(60)
    browser = show(report)
    headings = browser.run("[...document.querySelectorAll('main h2')].map((one) => one.textContent)")
    assert headings == ["What needs attention", "Trade-off", "Cases"]
    assert browser.run("document.querySelector('.reasons').checkVisibility()")
    texts = browser.run("[...document.querySelectorAll('.reasons > li')].map((one) => one.innerText)")
    assert sum("the quantizer returned its input unchanged" in text for text in texts) == 1
    assert "pytest cases/group0/model.yaml::prune50-int16-5" in texts[0]
    click(browser, "✗ fail")  # even a row that the filters hide is shown
    browser.run(
        "[...document.querySelectorAll('.reasons a')].find((one) => one.textContent.endsWith('int4-3')).click()"
    )
    assert browser.run("document.activeElement.textContent") == "prune30-int4-3"
    assert browser.run("document.querySelectorAll('tr.opened').length") == 1


def test_reasons_need_no_script() -> None:
    page = Html().render(made.report(60))
    body = page[page.index("<main>") : page.index("<script")]
    assert body.index(", allows 1 point") < body.index('id="tradeoff"')
    assert "What needs attention" not in Html().render(made.settled(5, failing=0))


def test_one_model_a_chart(show: Any) -> None:
    report = made.settled(12, failing=0)
    for row in report["rows"][8:]:
        row["path"] = "cases/other/net.yaml"
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
    assert "the JSON report has them" in browser.run("document.querySelector('.panel').textContent")


def test_hostile_text_stays_text(show: Any) -> None:
    report = made.report(1)
    row = report["rows"][0]
    row.update(
        case=ATTACK, name=ATTACK, path=ATTACK, message=ATTACK, notes=[ATTACK], engine=ATTACK, status="fail"
    )
    row["verdicts"][0].update(
        threshold=ATTACK, advice=[ATTACK], message=ATTACK, unit=ATTACK, limit={ATTACK: ATTACK}
    )
    row["measurements"]["layers"]["details"]["layers"][0].update(name=ATTACK, dtype=ATTACK)
    row["measurements"][ATTACK] = row["measurements"].pop("size")
    row["steps"][0].update(step=ATTACK, notes=[ATTACK])
    report["machine"]["cpu"] = report["versions"][ATTACK] = report["created"] = ATTACK
    browser = show(report)
    assert browser.run("document.querySelectorAll('img').length") == 0
    assert browser.run("document.scripts.length") == 2
    assert "onerror=alert(1)" in browser.run("document.querySelector('.name').textContent")
    assert "\u202e" not in browser.run("document.body.textContent")


def test_policy_stops_a_script_that_is_not_ours(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "tampered.html"
    path.write_text(
        Html().render(made.report(1)).replace("</main>", "<script>document.title = 'owned'</script></main>")
    )
    browser.open(path)
    assert browser.run("document.title") != "owned"
    browser.errors.clear()


def test_five_thousand_rows_open_and_sort_at_once(show: Any, tmp_path: Path) -> None:
    report = made.report(5000)
    for row in report["rows"]:  # as heavy as a report gets
        row["verdicts"] *= 2
        for name in ("fidelity", "peak_memory", "cold_start"):
            row["measurements"][name] = made.measurement("bytes", 5123456.1, 4123123.3)
    browser = show(report)
    assert (tmp_path / "report.html").stat().st_size < 10_000_000
    assert browser.run("document.getElementById('count').textContent") == "5000 cases"
    count = "document.querySelectorAll('tr.row').length"
    assert browser.run(count) == 100
    # Processor time: what else runs on this machine is no fault of the page.
    opening = browser.cost(lambda: browser.open(tmp_path / "report.html"))
    sort = "document.querySelectorAll('th button')[3].click(), document.body.offsetHeight"
    assert opening < 1
    assert browser.cost(lambda: browser.run(sort)) < 1
    assert browser.run(count) == 100
    best = max(
        row["measurements"]["accuracy"]["candidate"]
        for row in report["rows"]
        if "accuracy" in row["measurements"]
    )
    assert browser.run("document.querySelector('tr.row td.num').textContent").startswith(f"{100 * best:.3g}")
    for expected in (200, 300):
        browser.run("scrollTo(0, document.body.scrollHeight)")
        browser.wait(f"{count} === {expected}")


@pytest.mark.parametrize("width", [1280, 400])
def test_nothing_runs_off_the_page(show: Any, width: int) -> None:
    browser = show(made.report(10))
    browser.size(width, 900)
    browser.run("document.querySelectorAll('.name')[2].click()")
    browser.run("new Promise((done) => setTimeout(done, 100))")
    edges = "[...document.querySelectorAll('.panel, .cases')].map((one) => one.getBoundingClientRect().right)"
    assert browser.run(f"Math.max(...{edges}) <= innerWidth")
    assert browser.run("document.documentElement.scrollWidth <= document.documentElement.clientWidth")


def test_dark_and_print(show: Any) -> None:
    browser = show(made.report(250))
    light = browser.run("getComputedStyle(document.body).backgroundColor")
    browser.media(scheme="dark")
    assert browser.run("getComputedStyle(document.body).backgroundColor") != light
    assert contrast(browser) >= 4.5
    browser.media(kind="print", scheme="dark")
    assert browser.run("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert browser.run("getComputedStyle(document.getElementById('filters')).display") == "none"
    browser.size(720, 1000)  # A4 with its margins
    assert browser.run("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    browser.run("dispatchEvent(new Event('beforeprint'))")
    assert browser.run("document.querySelectorAll('tr.row').length") == 250


def contrast(browser: Browser) -> float:
    """The least contrast ratio of a status colour against the page (WCAG 2.2, 1.4.3)."""

    def luminance(colour: str) -> float:
        parts = [int(part) / 255 for part in colour.removeprefix("rgb(").rstrip(")").split(",")]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    page = luminance(browser.run("getComputedStyle(document.body).backgroundColor"))
    colours = browser.run(
        "[...document.querySelectorAll('.tally li')].map((one) => getComputedStyle(one).color)"
    )
    ratios = [(max(page, one) + 0.05) / (min(page, one) + 0.05) for one in map(luminance, colours)]
    return min(ratios)


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


@pytest.mark.parametrize("rows", [0, 1])
def test_empty_and_single(show: Any, rows: int) -> None:
    browser = show(made.report(rows))
    assert browser.run("document.querySelectorAll('tr.opened').length") == rows
    assert browser.run("document.getElementById('tradeoff').hidden")
    assert ("no rows" in browser.run("document.body.innerText")) == (rows == 0)


def test_page_markup_is_made_from_text_only() -> None:
    for asset in files("weighbridge.report").joinpath("assets").iterdir():
        if asset.name.endswith(".js"):
            code = asset.read_text(encoding="utf-8")
            assert not any(
                word in code
                for word in ("innerHTML", "outerHTML", "insertAdjacent", "document.write", "eval(")
            )


def test_a_speed_says_over_how_many_loads(show: Any) -> None:
    report = made.settled(1, failing=0)
    loads = {"loads": 12, "processes": 6, "spread": 0.0132, "ratios": [1.2 + 0.01 * n for n in range(12)]}
    report["rows"][0]["measurements"]["speed"]["details"] |= loads
    browser = show(report)  # of one case, which is open
    text = browser.run("document.querySelector('.panel').innerText").replace("\u00a0", " ")
    assert "over 12 loads in 6 processes, which differ by 1.3 %" in text
    assert "12 loads in the order they ran" in browser.run("document.querySelector('.panel').textContent")
