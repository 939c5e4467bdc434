"""Numbers as people read them."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weighbridge.core.units import digits_apart, parse, show

UNITS = ("bytes", "ms", "count", "fraction", "points", "ratio", "dB", "samples/s", "")


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0, "bytes", "0 B"),
        (999.6, "bytes", "1 kB"),
        (999_499, "bytes", "999 kB"),
        (999_500, "bytes", "1 MB"),
        (3e13, "bytes", "30 TB"),
        (6800, "count", "6800"),
        (45_300, "count", "45.3k"),
        (999_950, "count", "1M"),
        (1e9, "count", "1B"),
        (0, "ms", "0 ms"),
        (0.605, "ms", "605 µs"),
        (0.9996, "ms", "1 ms"),
        (4.764, "ms", "4.76 ms"),
        (12_000, "ms", "12 s"),
        (0.986, "fraction", "98.6 %"),
        (0.01, "points", "1 point"),
        (-0.01, "points", "-1 point"),
        (0.336, "points", "33.6 points"),
        (0.0, "points", "0 points"),
        (2.456, "ratio", "2.46x"),
        (1234.5, "ratio", "1234x"),
        (40.3, "dB", "40.3 dB"),
        (1_234_567, "samples/s", "1234567 samples/s"),
        (1e-5, "", "1e-5"),
        (float("inf"), "ratio", "∞"),
        (float("nan"), "ms", "NaN"),
    ],
)
def test_shown(value: float, unit: str, text: str) -> None:
    assert show(value, unit) == text


@given(st.floats(-1e12, 1e12), st.sampled_from(UNITS), st.integers(3, 6))
def test_no_suffix_stands_behind_an_exponent_and_nothing_is_lost(
    value: float, unit: str, digits: int
) -> None:
    text = show(value, unit, digits)
    assert not re.search(r"e\+?\d", text)
    number = re.match(r"-?[0-9.]+(e-\d+)?", text)
    assert number
    if unit in ("fraction", "points", "bytes") and not number.group(1):
        read = parse(text.replace(" TB", "e3 GB"), unit)
        # Below a whole byte, and below the digits shown, there is nothing to read back.
        assert read == pytest.approx(
            value, rel=0.6 * 10.0 ** (1 - digits), abs=0.5 if unit == "bytes" else 1e-12
        )


@given(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6), st.sampled_from(UNITS))
def test_two_numbers_that_differ_look_different_where_digits_can_tell(
    one: float, other: float, unit: str
) -> None:
    digits = digits_apart(one, other, unit)
    if abs(one - other) > 1e-8 * max(abs(one), abs(other), 1) and unit not in ("count", "bytes"):
        assert show(one, unit, digits) != show(other, unit, digits)
