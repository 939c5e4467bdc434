"""`weighbridge history`: the trend of a case, in the terminal and as a page."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.history.histories import CASE, FIRST, SECOND, report, row

from weighbridge.cli.main import main
from weighbridge.history.chart import chart
from weighbridge.history.history import History
from weighbridge.history.series import limits_of, series_of
from weighbridge.history.terminal import sparkline
from weighbridge.report.json import Json

sys.path.insert(0, str(Path(__file__).parents[1] / "report"))
from chromium import CHROMIUM, INSTALL, Browser

ATTACK = "</script><script>alert(1)</script>"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Thirty runs: accuracy falls by a point at run 20, and every third ran on another machine, at another speed."""
    found = tmp_path / "h.sqlite"
    history = History(str(found))
    for number in range(30):
        other = number % 3 == 2
        facts = {"machine_class": SECOND} if other else {}
        accuracy = 0.97 if number < 20 else 0.96
        ratio = (1.2 if other else 1.5) + 0.001 * (number % 4)
        one = row(
            accuracy=accuracy, size=9_000 + number, ratio=ratio, status="fail" if number == 29 else "pass"
        )
        history.keep(report(number, one, row("cases/net.yaml::other", accuracy=None), **facts))
    return found


def shown(capsys: pytest.CaptureFixture[str], place: Path, *words: str) -> str:
    capsys.readouterr()
    assert main(["history", "--history", str(place), *words]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("width", [80, 100, 160])
def test_a_case_has_a_line_a_quantity_and_a_line_a_run(
    width: int, place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    out = shown(capsys, place, "net")
    assert max(map(len, out.splitlines())) <= width
    assert out.startswith(f"{CASE}: 30 runs, 2026-01-01 to 2026-01-02\n")
    lines = {line.split()[0]: line for line in out.splitlines() if re.search("[▁-█]", line)}
    assert "96.0 %" in lines["accuracy"]
    assert "96.0 to 97.0 %" in lines["accuracy"]
    assert "9 to 9.03 kB" in lines["size"]
    commit = report(29)["commit"][:7]
    assert re.search(rf"✗  2026-01-02 05:00 +{commit} +main +96\.0 % +9\.03 kB +1\.2x", out)


def test_what_changed_is_told_with_the_commit(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = [line for line in shown(capsys, place, "net").splitlines() if line.startswith("!")]
    assert (
        f"accuracy 97.0→96.0 % since {report(20)['commit'][:7]} of 2026-01-01, in 10 runs after 20" in told[0]
    )
    assert "little by little" in told[1]  # the size grew by a byte each time
    assert len(told) == 2  # and neither machine's speed changed


def test_a_speed_has_a_trend_for_each_machine(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = shown(capsys, place, "net")
    assert [line.split()[1] for line in out.splitlines() if line.startswith("speed")] == ["1.5x", "1.2x"]
    assert f"on {FIRST}" in out
    assert f"on {SECOND}" in out


def test_all_cases_have_a_line_each(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    out = shown(capsys, place)
    assert max(map(len, out.splitlines())) <= 80
    assert re.search(r"✗  net +96\.0 % [▁-█]+ +9\.03 kB [▁-█]+", out)
    assert re.search(r"✓  other +10 kB +[▁-█]+", out)
    assert "! net: accuracy 97.0→96.0 %" in out
    assert re.search(rf"2026-01-02 05:00 +{report(29)['commit'][:7]} +main +2 cases: 1 fail, 1 pass", out)


def test_a_limit_of_zero_is_a_limit(tmp_path: Path) -> None:
    history = History(str(tmp_path / "h.sqlite"))
    verdict = dict.fromkeys(("interval", "confidence", "sure")) | {"threshold": "accuracy", "status": "fail"}
    verdict |= {"measured": 0.97, "unit": "fraction", "limit": {"min": None, "max": 0.0}}
    history.keep(report(1, row() | {"verdicts": [verdict]}))
    (accuracy,) = (one for one in series_of(history.of_case(CASE, 5)) if one.name == "accuracy")
    assert limits_of(accuracy) == {"max": 0.0}
    assert "at most 0.0 %" in chart(accuracy)


def test_a_branch_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = tmp_path / "h.sqlite"
    history = History(str(place))
    for number in range(6):
        history.keep(report(number, branch="main" if number % 2 else "topic"))
    assert "3 runs" in shown(capsys, place, "net", "--branch", "topic")
    assert main(["history", "--history", str(place), "--branch", "nobody"]) == 2
    assert "no run of branch 'nobody'" in capsys.readouterr().err


def test_a_report_from_elsewhere_is_added(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "latest.json"
    file.write_text(Json().render(report(3)))
    assert f"{file}: 1 cases kept" in shown(capsys, tmp_path / "h.sqlite", "--add", str(file))
    assert "kept already" in shown(capsys, tmp_path / "h.sqlite", "--add", str(file))


def test_what_is_not_there_is_told(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["history", "--history", str(place), "nett"]) == 2
    assert "the history has no case 'nett'; did you mean 'net'?" in capsys.readouterr().err
    assert main(["history", "--history", str(place.with_name("none.sqlite"))]) == 2
    assert "no run is kept in" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("values", "expected"),
    [([1, 2, 3], "▁▅█"), ([2, 2], "▄▄"), ([1], "▄"), ([0, 0, 8, 8], "▁▁██"), (list(range(16)), "▁▂▃▄▅▆▇█")],
)
def test_a_sparkline_goes_from_the_least_to_the_most(values: Sequence[float], expected: str) -> None:
    assert sparkline(values, 8) == expected


def test_names_of_others_do_no_harm(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place, page = tmp_path / "h.sqlite", tmp_path / "page.html"
    history = History(str(place))
    for number in range(3):
        facts = {"branch": f"\x1b[31m{ATTACK}", "machine_class": ATTACK, "commit": ATTACK}
        history.keep(report(number, row(f"cases/{ATTACK}\x1b.yaml::net", ratio=1.5), **facts))
    out = shown(capsys, place) + shown(capsys, place, "net")
    assert "\x1b" not in out
    shown(capsys, place, "--html", str(page))
    text = page.read_text()
    assert "<script" not in text
    assert "\x1b" not in text


def test_the_page_has_a_chart_a_quantity_and_asks_for_nothing(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if CHROMIUM is None:
        pytest.skip(INSTALL)
    page = tmp_path / "page.html"
    shown(capsys, place, "net", "--html", str(page))
    with Browser() as browser:
        for scheme in ("light", "dark"):
            for width in (1200, 400):
                browser.size(width, 900)
                browser.media(scheme=scheme)
                browser.send("Page.navigate", url=page.as_uri())
                browser.wait("document.readyState === 'complete' && document.querySelector('svg') !== null")
                assert browser.run("document.documentElement.scrollWidth <= innerWidth")
                assert browser.run("document.querySelectorAll('svg[role=img]').length") == 4
        labels = browser.run(
            "[...document.querySelectorAll('svg')].map((one) => one.getAttribute('aria-label'))"
        )
        assert labels[0] == "accuracy of 30 runs, from 97.0 % to 96.0 %"
        assert browser.run("document.querySelector('.changes').innerText").startswith("accuracy 97.0→96.0 %")
        assert browser.run("document.querySelectorAll('tbody tr').length") == 30
        style = browser.run("getComputedStyle(document.querySelector('.trend')).fill")
        assert style == "none"  # the style was let through by the page's policy
        assert browser.errors == []
        assert [url for url in browser.requests if not url.startswith("file:")] == []
