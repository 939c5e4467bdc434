"""When two models that ought to be the same are told apart: infinities and whole numbers among their answers."""

from __future__ import annotations

from typing import Any

import numpy as np

from weighbridge.steps.alike import alike, same_answers

RANDOM = np.random.default_rng(0)
EPS = float(np.finfo(np.float32).eps)
SCORES, OTHERS = (RANDOM.standard_normal((16, 6)).astype(np.float32) for _ in range(2))


def masked(scores: Any, column: int = 2) -> Any:
    """As an attention's logits are."""
    found = scores.copy()
    found[:, column] = -np.inf
    return found


def test_an_infinity_that_both_have_hides_nothing() -> None:
    assert alike(masked(SCORES), masked(SCORES), EPS)
    assert not alike(masked(SCORES), masked(OTHERS), EPS)


def test_an_infinity_stands_in_the_same_place() -> None:
    assert not alike(masked(SCORES), masked(SCORES, 3), EPS)
    assert not alike(SCORES, masked(SCORES), EPS)
    broken = SCORES.copy()
    broken[0, 0] = np.nan
    assert not alike(SCORES, broken, EPS)
    assert alike(broken, broken, EPS)


def test_classes_alone_are_compared_as_they_are() -> None:
    classes, others = SCORES.argmax(1), OTHERS.argmax(1)
    assert same_answers([(classes, classes, None)])
    assert not same_answers([(classes, others, None)])
    assert same_answers([(classes, others, None), (SCORES, SCORES, EPS)]), "scores tell it better"
