"""Class numbers in the forms that people keep them, and what only looks like one of them."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from weighbridge.core.errors import StageError
from weighbridge.core.targets import Reader, class_numbers

NAN, INFINITE = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("targets", "wanted"),
    [
        ([[-1, 1, -1], [1, -1, -1]], [1, 0]),  # one against the others
        ([[False, True], [True, False]], [1, 0]),
        ([[0, 255], [255, 0]], [1, 0]),
        ([[0.2, 0.7, 0.1], [0.5, 0.5, 0.0]], [1, 0]),  # shares, of which two may be equal
        ([[3, 40, 7]], [1]),  # votes
        (np.array([60000, 1], np.float16), [60000, 1]),
        ([[2**62], [2**62 + 1]], [2**62, 2**62 + 1]),
        (["3", "10"], [3, 10]),
    ],
)
def test_the_class_of_each_sample(targets: Any, wanted: list[int]) -> None:
    assert class_numbers(np.asarray(targets), Reader("metric", "accuracy")).tolist() == wanted


@pytest.mark.parametrize(
    ("targets", "said"),
    [
        ([[NAN, 0, 1], [0, 1, 0]], "a target is nan"),
        ([[INFINITE, 0, 1]], "a target is inf"),
        ([1.0, NAN], "a target is nan"),
        ([0.5, 1.0], "a target is 0.5"),
        ([[-1, 1, 1]], "the target [-1, 1, 1] marks several"),
        ([[1, -1, 0, 1]], "the target [1, -1, 0, 1] marks several"),
        (np.array([2**63, 1], np.uint64), "a target is 9.22337e+18"),
        ([2**63, 1], "a target is 9.22337e+18"),
        ([2.0**53 + 2, 1.0], "a target is 9.0072e+15"),
        ([2**70, 1], "object_ such as 1180591620717411303424"),
        (["99999999999999999999", "1"], "str_ such as '99999999999999999999'"),
        (["²", "1"], "str_ such as '²'"),
    ],
)
def test_what_only_looks_like_it(targets: Any, said: str) -> None:
    with pytest.raises(StageError, match=re.escape(said)):
        class_numbers(np.asarray(targets), Reader("metric", "accuracy"))
