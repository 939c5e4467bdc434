"""Whether two models' outputs agree: one check for every conversion."""

from __future__ import annotations

import numpy as np
import pytest

from weighbridge.core.agreement import TOLERANCE, check_agreement
from weighbridge.core.errors import StageError

OUTPUT = np.linspace(-4, 4, 24, dtype=np.float32).reshape(6, 4)


def check(have: np.ndarray, want: np.ndarray = OUTPUT) -> float:
    return check_agreement([have], [want], "file", "torch")


@pytest.mark.parametrize(
    "wrong",
    [
        OUTPUT + np.float32(2 * TOLERANCE * 4),
        OUTPUT[:, ::-1],
        np.where(OUTPUT > 3, np.nan, OUTPUT),
        np.where(OUTPUT > 3, np.inf, OUTPUT),
        OUTPUT[:5],
        OUTPUT.reshape(4, 6),
    ],
    ids=["off", "layout", "nan", "inf", "fewer", "shape"],
)
def test_another_output_is_refused(wrong: np.ndarray) -> None:
    with pytest.raises(StageError, match=r"output 0 (of the file differs from torch's|is \[)"):
        check(wrong)


def test_another_number_of_outputs_is_refused() -> None:
    with pytest.raises(StageError, match="the file has 2 outputs, the torch model 1"):
        check_agreement([OUTPUT, OUTPUT], [OUTPUT], "file", "torch")


def test_where_only_the_original_is_not_finite_is_refused() -> None:
    with pytest.raises(StageError, match="differs"):
        check(OUTPUT, np.where(OUTPUT > 3, -np.inf, OUTPUT))


@pytest.mark.parametrize(
    ("have", "want"),
    [
        (OUTPUT + np.float32(1e-6), OUTPUT),
        (np.where(OUTPUT > 3, -np.inf, OUTPUT), np.where(OUTPUT > 3, -np.inf, OUTPUT)),
        (np.where(OUTPUT > 3, np.nan, OUTPUT), np.where(OUTPUT > 3, np.nan, OUTPUT)),
        (np.zeros((3, 2)), np.zeros((3, 2))),
        (np.zeros((0, 2)), np.zeros((0, 2))),
        (np.array([1, 2]), np.array([1, 2])),
        (np.array([True, False]), np.array([True, False])),
        (np.float32(3), np.float32(3)),
    ],
    ids=["rounding", "masked", "nan", "zeros", "empty", "integers", "truth", "scalar"],
)
def test_the_same_output_agrees(have: np.ndarray, want: np.ndarray) -> None:
    assert check(np.asarray(have), np.asarray(want)) <= 1e-5
