"""A browser for the tests of pages, and a page in it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from chromium import CHROMIUM, INSTALL, Browser

from weighbridge.report.html import Html


@pytest.fixture(scope="session")
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
