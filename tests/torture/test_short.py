"""Some kills and some harm; `make torture` does 300 and 50."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.torture.harm import harm
from tests.torture.killing import kill_again_and_again

pytestmark = [pytest.mark.worker, pytest.mark.slow]


def test_a_killed_run_goes_on_as_if_nothing_had_happened(tmp_path: Path) -> None:
    kill_again_and_again(tmp_path, 4, seed=0)


def test_harm_costs_its_case_alone(tmp_path: Path) -> None:
    harm(tmp_path, 4, ["aborts", "is_killed", "hangs_in_native_code", "fills_the_disk_too"])
