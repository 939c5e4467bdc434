"""Which of a model's recipes to ship, as the table says it."""

from __future__ import annotations

from typing import Any

import pytest
from tests.report.made_reports import report, row

from weighbridge.report.choices import choices
from weighbridge.report.markdown import Markdown
from weighbridge.report.table import build
from weighbridge.report.terminal import render


def recipe(
    name: str, ratio: float, speedup: float | None, drop: float = 0.0, status: str = "pass", model: str = "a"
) -> dict[str, Any]:
    """The row of a recipe that makes `model` so many times smaller and faster."""
    import random

    one = row(1, random.Random(0), status="pass") | {"status": status}
    one |= {
        "name": name,
        "case": f"cases/a.yaml::{name}",
        "path": "cases/a.yaml",
        "steps": [{"name": "quantize: static"}],
    }
    one["artifacts"]["baseline"]["files"] = [{"path": "m.onnx", "bytes": 1000, "sha256": model * 64}]
    one["verdicts"] = []
    one["measurements"] = {
        "size": {"unit": "bytes", "baseline": 1000, "candidate": 1000 / ratio, "details": {}},
        "accuracy": {"unit": "fraction", "baseline": 0.9, "candidate": 0.9 - drop, "details": {"drop": drop}},
    }
    if speedup is not None:
        one["measurements"]["speed"] = {
            "unit": "ms",
            "baseline": speedup,
            "candidate": 1.0,
            "details": {"ratio": speedup},
        }
    return one


def said(*rows: dict[str, Any]) -> list[str]:
    return [str(choice) for choice in choices(build({**report(0), "rows": list(rows)}).lines)]


THREE = (recipe("small", 8, 1.2), recipe("fast", 3, 3), recipe("both", 6, 2))


def test_smallest_fastest_and_recommended() -> None:
    (line,) = said(*THREE)
    assert line == (
        "of 3 recipes that passed, recommended: both (6x smaller, 2x faster); smallest: small (8x smaller, 1.2x faster); "
        "fastest: fast (3x smaller, 3x faster)"
    )


def test_what_was_judged_in_part_is_not_recommended() -> None:
    """With `-k size_ratio` nobody asked what a recipe costs."""
    assert not said(*(one | {"unasked": ["accuracy_drop"]} for one in THREE))


def test_one_that_is_best_at_everything_is_named_once() -> None:
    (line,) = said(*THREE[1:], recipe("all", 9, 4))
    assert "recommended, smallest, fastest: all (9x smaller, 4x faster); beaten: " in line


def test_what_another_beats_is_named() -> None:
    """A speed that the next load may have is no reason, nor is what another one is better at."""
    (line,) = said(*THREE)
    assert "beaten" not in line
    (line,) = said(*THREE, recipe("heavy", 5, 2.01), recipe("lossy", 6, 2, 0.01), recipe("near", 6, 1.99))
    assert line.endswith("; beaten: heavy (by both), lossy (by both)")
    (line,) = said(*THREE, *(recipe(f"worse{index}", 2, 1) for index in range(6)))
    assert line.endswith("worse2 (by small), worse3 (by small), 2 others")


def test_where_nothing_was_judged_the_outputs_are_compared() -> None:
    one, two, three = (recipe(name, size, None) for name, size in (("one", 4), ("two", 4), ("three", 3)))
    for each, decibels in ((one, 30.0), (two, 20.0), (three, 40.0)):
        del each["measurements"]["accuracy"]
        each["measurements"]["fidelity"] = {
            "unit": "dB",
            "baseline": None,
            "candidate": decibels,
            "details": {},
        }
    assert said(one, two, three)[0].endswith("; beaten: two (by one)")


def test_of_equal_gains_the_one_that_loses_least() -> None:
    (line,) = said(recipe("one", 4, 2, 0.009), recipe("two", 4, 1.98, 0.001), recipe("three", 2, 1))
    assert "recommended: two " in line


@pytest.mark.parametrize("status", ["fail", "inconclusive", "xfail", "error", "unmeasured"])
def test_only_what_passed_is_a_choice(status: str) -> None:
    (line,) = said(*THREE, recipe("lossy", 99, 9, 0.5, status))
    assert "lossy" not in line


def test_larger_or_slower_is_never_recommended() -> None:
    useless = recipe("slow", 4, 0.5), recipe("large", 0.5, 3), recipe("same", 1, 1)
    assert said(*useless) == []
    (line,) = said(*useless, recipe("some", 1.1, 1))
    assert "recommended: some " in line


def test_without_speed_of_all_nothing_is_fastest() -> None:
    (line,) = said(recipe("small", 8, None), *THREE[1:])
    assert "recommended, smallest: small (8x smaller)" in line
    assert "fastest" not in line


def test_models_are_not_compared_with_each_other() -> None:
    assert said(*THREE, recipe("other", 99, 9, model="b")) == said(*THREE)
    assert said(*THREE[:2], recipe("other", 99, 9, model="b")) == []


def test_table_and_comment_say_it() -> None:
    whole = {**report(0), "rows": list(THREE)}
    assert "→ of 3 recipes that passed, recommended: both" in render(whole, False, 100)
    assert "- of 3 recipes that passed, recommended: both" in Markdown().render(whole)
