"""Some kills and some harm; `make torture` does 300 and 50."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.torture.harm import harm
from tests.torture.killing import kill_again_and_again, onnx_cases, torch_cases

pytestmark = [pytest.mark.worker, pytest.mark.slow]


@pytest.mark.parametrize("write", [torch_cases, onnx_cases])
def test_a_killed_run_goes_on_as_if_nothing_had_happened(
    tmp_path: Path, write: Callable[[Path], None]
) -> None:
    kill_again_and_again(tmp_path, write, 2, seed=0)


def test_harm_costs_its_case_alone(tmp_path: Path) -> None:
    harm(tmp_path, 4, ["aborts", "is_killed", "hangs_in_native_code", "fills_the_disk_too"])
