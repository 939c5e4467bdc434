"""A list in a sentence."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from weighbridge.core.listed import few


@pytest.mark.parametrize(
    ("found", "told"),
    [([], ""), (["a"], "a"), (list("abc"), "a, b, c"), (list("abcde"), "a, b, c and 2 more")],
)
def test_a_few_are_named_and_the_others_counted(found: Sequence[str], told: str) -> None:
    assert few(found, 3) == few(iter(found), 3) == told
    assert few(found, 3, "; ") == told.replace(",", ";")
