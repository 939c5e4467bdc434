"""The HTML report under axe-core, which holds a page to WCAG and to what screen readers and keyboards need."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import made_reports as made
import pytest
from chromium import Browser

_AXE = find_spec("axe_core_python")
pytestmark = pytest.mark.skipif(_AXE is None, reason="no axe-core: pip install axe-core-python")


def violations(browser: Browser) -> list[str]:
    """What axe finds, a line each: its rule, and the element."""
    assert _AXE is not None
    assert _AXE.origin is not None
    browser.run((Path(_AXE.origin).parent / "axe.min.js").read_text(encoding="utf-8") + ";0")
    found: list[str] = browser.run(
        "axe.run().then((found) => found.violations.flatMap((rule) => rule.nodes.map((node) => `${rule.id}: ${node.html}`)))"
    )
    return found


@pytest.mark.parametrize(
    ("rows", "width", "scheme"),
    [
        (1, 1200, "light"),
        pytest.param(10, 380, "dark", marks=pytest.mark.slow),
        (10, 1600, "light"),
        pytest.param(10, 1200, "dark", marks=pytest.mark.slow),
        pytest.param(300, 1200, "light", marks=pytest.mark.slow),
    ],
)
def test_axe_finds_nothing(show: Any, rows: int, width: int, scheme: str) -> None:
    report = made.heavy(rows)
    for row in report["rows"]:
        if row["status"] == "fail":
            row["layer_errors"] = made.layer_errors(20)
    browser = show(report)
    browser.size(width, 900)
    browser.media(scheme=scheme)
    if rows > 1:  # of one case the row is open
        assert browser.run("document.querySelectorAll('.name[aria-expanded=false]').length") == min(rows, 100)
        browser.run("[...document.querySelectorAll('.name')].slice(0, 3).forEach((one) => one.click())")
    browser.run("new Promise((done) => setTimeout(done, 200))")
    assert violations(browser) == []


def test_axe_finds_what_is_wrong(show: Any) -> None:
    browser = show(made.heavy(1))
    browser.run(
        "document.querySelector('.panel').append(document.createElement('button')),"
        " document.querySelector('h1').style.color = '#ddd', 0"
    )
    found = {one.partition(":")[0] for one in violations(browser)}
    assert {"button-name", "color-contrast"} <= found


def test_what_scrolls_sideways_is_reached_by_the_keyboard(show: Any) -> None:
    report = made.heavy(1)
    report["rows"][0]["steps"][0]["step"] = "prune: " + "l1_unstructured_" * 2
    browser = show(report)
    browser.size(1600, 900)
    wide = "[...document.querySelectorAll('.panel > section')].filter((one) => one.scrollWidth > one.clientWidth)"
    browser.run(
        "document.querySelectorAll('.panel td').forEach((one) => one.style.setProperty('white-space', 'nowrap'))"
    )
    browser.size(380, 900)
    browser.wait(f"{wide}.length > 0 && {wide}.every((one) => one.tabIndex === 0)")
    browser.size(1600, 900)
    browser.wait("document.querySelectorAll('.panel > section[tabindex]').length === 0")
