"""Whether the target is among the largest k, by counting; held to sorting, equal scores and NaN included."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from weighbridge.measure.metrics import TopK

SCORES = arrays.arrays(
    np.float32,
    st.tuples(st.integers(1, 12), st.integers(2, 9)),
    elements=st.sampled_from([-2.0, -1.0, 0.0, 1.0, 2.0, float("nan"), float("inf")]),
)


@pytest.mark.parametrize("k", [1, 2, 5])
@given(scores=SCORES, seed=st.integers(0, 99))
def test_it_is_what_sorting_gives(k: int, scores: npt.NDArray[Any], seed: int) -> None:
    assume(scores.shape[1] > k)  # of fewer classes the target is always among the first
    labels = np.random.default_rng(seed).integers(0, scores.shape[1], len(scores))
    largest = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    expected = (largest == labels[:, None]).any(1) & np.isfinite(scores).all(1)
    assert TopK("top", k).per_sample((scores,), labels).tolist() == expected.tolist()
