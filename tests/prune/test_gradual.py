"""Pruning while training: the share of zeros follows its schedule, and what is zero stays so."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from tests.found.torch_modules import apply, mlp, split
from torch import nn

from weighbridge.contracts import STEPS
from weighbridge.core.errors import StageError
from weighbridge.steps.prune import gradual as module
from weighbridge.steps.prune.gradual import GradualOptions, sparsity


def shares(made: Any) -> list[float]:
    return [float((layer.weight == 0).float().mean()) for layer in made if isinstance(layer, nn.Linear)]


class Watched(nn.Sequential):
    """Takes down the share of zeros that each batch in training meets."""

    def __init__(self) -> None:
        super().__init__(*mlp(12, 100, 3))
        self.seen: list[float] = []

    def forward(self, x: Any) -> Any:
        if self.training:
            self.seen.append(round(float((self[0].weight == 0).float().mean()), 2))
        return super().forward(x)


def seen(folder: Path, **options: Any) -> list[float]:
    """What each of twenty batches meets."""
    made = apply("prune:gradual", Watched(), folder, split(), epochs=2, amount=0.8, frequency=1, **options)
    found: list[float] = made.value.seen
    assert len(found) == 20
    assert shares(made.value)[0] == pytest.approx(0.8, abs=0.01)
    return found


def test_polynomial_decay_is_that_of_zhu_and_gupta(tmp_path: Path) -> None:
    found = seen(tmp_path, begin=0.1, end=0.6, initial=0.2)
    wanted = [0.8 + (0.2 - 0.8) * (1 - (step - 2) / 10) ** 3 for step in range(2, 12)]
    assert found[:2] == [0, 0]
    assert found[2:12] == pytest.approx(wanted, abs=0.011)
    assert found[12:] == [0.8] * 8


def test_cosine(tmp_path: Path) -> None:
    found = seen(tmp_path, schedule="cosine", end=0.5)
    wanted = [0.4 * (1 - np.cos(np.pi * step / 10)) for step in range(10)]
    assert found[:10] == pytest.approx(wanted, abs=0.011)
    assert found[10:] == [0.8] * 10


def test_constant_removes_all_at_once(tmp_path: Path) -> None:
    assert seen(tmp_path, schedule="constant", begin=0.5) == [0] * 10 + [0.8] * 10


def test_between_two_prunings_nothing_more_goes(tmp_path: Path) -> None:
    made = apply("prune:gradual", Watched(), tmp_path, split(), epochs=2, amount=0.8, frequency=5)
    steps = np.flatnonzero(np.diff(made.value.seen))
    assert steps.tolist() == [4, 9, 14]


@pytest.mark.parametrize("scope", ["local", "global"])
def test_the_share_is_reached_and_the_model_is_trained(tmp_path: Path, scope: str) -> None:
    net = mlp(12, 64, 3)
    x, y = split()["train"]
    made = apply(
        "prune:gradual", net, tmp_path, split(), epochs=8, lr=1e-2, amount=0.75, scope=scope, exclude=["2"]
    )
    assert shares(made.value) == [pytest.approx(0.75, abs=0.01), 0.0]
    right = (made.value(torch.as_tensor(x)).argmax(1).numpy() == y).mean()
    assert right > 0.9
    assert any(note.startswith("pruned from step 10 to 60 of 80 (polynomial_decay)") for note in made.notes)


def test_what_went_once_stays_zero(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone: list[Any] = []
    real = module.rank

    def noted(*arguments: Any) -> Any:
        kept, notes = real(*arguments)
        gone.append(~kept["0"])
        return kept, notes

    monkeypatch.setattr(module, "rank", noted)
    apply("prune:gradual", mlp(12, 64, 3), tmp_path, split(), epochs=4, amount=0.75, frequency=5)
    assert len(gone) > 3
    for before, after in itertools.pairwise(gone):
        assert (after | ~before).all()


def test_zeros_of_an_earlier_step_stay(tmp_path: Path) -> None:
    before = apply("prune:n_m", mlp(12, 64, 3), tmp_path).value
    made = apply("prune:gradual", before, tmp_path, split(), epochs=4, amount=0.55, begin=0.6, lr=3e-2).value
    assert (made[0].weight[before[0].weight == 0] == 0).all()
    assert shares(made) == pytest.approx([0.55, 0.55], abs=0.01)


@pytest.mark.parametrize(
    ("options", "hint"),
    [
        ({"schedule": "constant", "initial": 0.1}, "a schedule that grows"),
        ({"initial": 0.5}, "`initial` must be below"),
        ({"begin": 0.8}, "`begin` must be before `end`"),
    ],
)
def test_a_schedule_that_contradicts_itself(options: dict[str, Any], hint: str) -> None:
    with pytest.raises(ValidationError, match=hint):
        STEPS.get("prune:gradual").options.model_validate({"amount": 0.5, **options})


def test_a_training_that_is_too_short(tmp_path: Path) -> None:
    with pytest.raises(StageError, match=r"the training has 1 steps, too few .*raise `epochs`"):
        apply("prune:gradual", mlp(12, 3), tmp_path, split(64))


@pytest.mark.parametrize("options", [{"schedule": "constant", "begin": 0.9}, {}])
def test_a_loader_that_gives_less_each_time_is_an_error(tmp_path: Path, options: dict[str, Any]) -> None:
    """Where pruning ends is counted in a first reading."""

    class Shrinking:
        left = 12

        def __iter__(self) -> Any:
            Shrinking.left -= 3
            x, y = split()["train"]
            return iter([(x[:64], y[:64])] * Shrinking.left)

    with pytest.raises(StageError, match="a loader of varying length"):
        apply("prune:gradual", Watched(), tmp_path, {"train": Shrinking()}, epochs=2, amount=0.5, **options)


def test_it_says_where_the_first_pruning_was(tmp_path: Path) -> None:
    made = apply("prune:gradual", Watched(), tmp_path, split(), epochs=2, amount=0.8, frequency=7)
    assert any("pruned from step 7 to 15 of 20" in note for note in made.notes), made.notes


def test_the_ends_of_every_schedule() -> None:
    for schedule in ("polynomial_decay", "cosine"):
        options = GradualOptions(amount=0.9, initial=0.1, schedule=schedule)  # type: ignore[arg-type]
        assert [sparsity(options, progress) for progress in (0.0, 1.0)] == pytest.approx([0.1, 0.9])
        assert np.all(np.diff([sparsity(options, progress) for progress in np.linspace(0, 1, 20)]) > 0)
