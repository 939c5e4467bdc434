"""What a person does on a page of the HTML report."""

from __future__ import annotations

from chromium import Browser


def names(browser: Browser) -> list[str]:
    found: list[str] = browser.run("[...document.querySelectorAll('.name')].map((one) => one.textContent)")
    return found


def click(browser: Browser, label: str) -> None:
    browser.run(
        "[...document.querySelectorAll('label,button')]"
        f".find((one) => one.textContent.trim() === {label!r}).click()"
    )
