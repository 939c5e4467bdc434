"""What docs/speed.md promises in numbers is what the code does."""

from pathlib import Path

import pytest

from weighbridge.measure import peak_memory
from weighbridge.measure.cold_start import ColdStartLimit
from weighbridge.measure.speed import SpeedupLimit
from weighbridge.measure.timing import limits, load, loads, paired

TEXT = " ".join((Path(__file__).parents[2] / "docs/speed.md").read_text(encoding="utf-8").split())
NUMBERS = {2: "two", 4: "four"}


@pytest.mark.parametrize(
    "sentence",
    [
        f"{NUMBERS[loads.A_PROCESS]} loads in each process",
        f"more than a quarter away from the limit takes {NUMBERS[loads.LEAST]} loads",
        f"`budget:` ({SpeedupLimit().budget:g} s, for `cold_start` {ColdStartLimit().budget:g} s)",
        f"At {limits.CONFIDENCE:.0%} ten loads that agree decide".replace("%", " %"),
        f"up to {peak_memory.MOST} processes",
    ],
)
def test_the_numbers_are_those_of_the_code(sentence):
    assert sentence in TEXT


def test_the_words_are_those_of_the_code():
    assert paired.LOADS_MOVE == 1.25, "a quarter away from the limit"
    assert load.LOAD_S == 0.1, "each tenth of a second"
    assert pytest.approx(1 / 3) == loads.STARTING, "a third of the budget at most"


def test_the_options_exist(pytestconfig):
    assert "--bench-no-priority" in TEXT
    assert pytestconfig.getoption("weighbridge_bench_no_priority") is False
    assert "weighbridge_bench_priority = false" in TEXT
    assert pytestconfig.getini("weighbridge_bench_priority") is True
