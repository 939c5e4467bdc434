"""`finetune: distill`: the original teaches, with labels or without, and what it cannot teach is refused."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from tests.found.torch_modules import mlp
from tests.projects import CASE, report_of
from torch import nn

from weighbridge.contracts import STEPS, Context, Model
from weighbridge.core.data import Data
from weighbridge.core.errors import StageError
from weighbridge.steps.train.distill import DistillOptions, _kl

Project = Callable[..., Path]
STEP = STEPS.get("finetune:distill")


def inputs(n: int = 600, seed: int = 1) -> Any:
    return np.random.default_rng(seed).normal(0, 1, (n, 12)).astype("f4")


def distilled(
    student: nn.Module, teacher: nn.Module, folder: Path, train: Any = None, **options: Any
) -> Model:
    data = Data(splits={"train": train or (inputs(), None)})
    context = Context(folder, folder, 0, data, original=Model("torch", teacher.eval()))
    return STEP.apply(Model("torch", student, {}), STEP.options.model_validate(options), context)


def other(*sizes: int) -> nn.Sequential:
    made = mlp(*sizes)
    torch.manual_seed(1)
    for layer in made:
        if isinstance(layer, nn.Linear):
            layer.reset_parameters()
    return made


def distance(one: nn.Module, two: nn.Module) -> float:
    x = torch.from_numpy(inputs(300, 2))
    with torch.no_grad():
        return float((one(x).log_softmax(1) - two(x).log_softmax(1)).abs().mean())


def test_without_labels_it_comes_close_to_the_original(tmp_path: Path) -> None:
    teacher, student = mlp(12, 64, 3), other(12, 16, 3)
    model = distilled(student, teacher, tmp_path, alpha=0, epochs=20, lr=1e-2)
    assert distance(model.value, teacher) < 0.3 * distance(student, teacher)


@pytest.mark.parametrize("loss", ["kl", "mse", "losses.py:own"])
def test_every_soft_loss_teaches(tmp_path: Path, loss: str) -> None:
    (tmp_path / "losses.py").write_text(
        "def own(outputs, original_outputs):\n    return (outputs - original_outputs).abs().mean()\n"
    )
    teacher, student = mlp(12, 64, 3), other(12, 16, 3)
    model = distilled(student, teacher, tmp_path, alpha=0, soft_loss=loss, epochs=20, lr=1e-2)
    assert distance(model.value, teacher) < 0.5 * distance(student, teacher)


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 2**31), st.floats(0.5, 8), st.sampled_from([(5, 3), (4, 3, 6)]))
def test_the_soft_loss_is_the_divergence_at_a_temperature(
    seed: int, temperature: float, shape: tuple[int, ...]
) -> None:
    """Held against torch's own, whose mean over samples is `batchmean` where a sample has one answer."""
    student, original = (3 * torch.randn(2, *shape, generator=torch.Generator().manual_seed(seed))).unbind()
    found = _kl(student, original, temperature)
    answers = [each.movedim(1, -1).reshape(-1, shape[1]) / temperature for each in (student, original)]
    expected = nn.functional.kl_div(answers[0].log_softmax(1), answers[1].softmax(1), reduction="batchmean")
    assert float(found) == pytest.approx(float(expected) * temperature**2, rel=1e-4, abs=1e-5)
    assert float(_kl(original, original, temperature)) == pytest.approx(0, abs=1e-6)


def test_labels_have_the_weight_that_is_asked(tmp_path: Path) -> None:
    """Where labels and original disagree, `alpha` says who is believed."""
    x = inputs()
    teacher = mlp(12, 64, 3)
    with torch.no_grad():
        wrong = (teacher(torch.from_numpy(x)).argmax(1).numpy() + 1) % 3

    def agreement(alpha: float) -> float:
        model = distilled(other(12, 32, 3), teacher, tmp_path, (x, wrong), alpha=alpha, epochs=15, lr=1e-2)
        with torch.no_grad():
            return float((model.value(torch.from_numpy(x)).argmax(1).numpy() == wrong).mean())

    assert agreement(0.95) > 0.8
    assert agreement(0.0) < 0.2


def test_labels_are_needed_as_soon_as_they_count(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="the train split has no targets"):
        distilled(other(12, 16, 3), mlp(12, 64, 3), tmp_path, alpha=0.1)


def test_the_original_is_left_as_it_is(tmp_path: Path) -> None:
    def normalized() -> nn.Sequential:
        return nn.Sequential(nn.Linear(12, 16), nn.BatchNorm1d(16), nn.Dropout(0.5), nn.Linear(16, 3))

    teacher = normalized()
    before = copy.deepcopy(teacher.state_dict())
    distilled(normalized(), teacher, tmp_path, alpha=0)
    assert all(torch.equal(value, before[name]) for name, value in teacher.state_dict().items())
    assert not teacher.training
    assert all(weight.grad is None for weight in teacher.parameters())


def test_regression_is_taught_by_its_numbers(tmp_path: Path) -> None:
    """A look-alike of what is refused below: one number a sample, and a loss that fits it."""
    teacher, student = mlp(12, 64, 1), other(12, 16, 1)
    model = distilled(student, teacher, tmp_path, alpha=0, loss="mse", epochs=20, lr=1e-2)
    x = torch.from_numpy(inputs(300, 2))
    with torch.no_grad():
        before, after = ((one(x) - teacher(x)).square().mean() for one in (student, model.value))
    assert float(after) < 0.2 * float(before)


def test_one_number_a_sample_has_no_divergence(tmp_path: Path) -> None:
    """The divergence over one class is always 0: it would train nothing."""
    with pytest.raises(StageError, match=r"shape \[64, 1\] has no two classes .* `soft_loss: mse`"):
        distilled(other(12, 16, 1), mlp(12, 64, 1), tmp_path, alpha=0)


def test_outputs_that_do_not_fit_are_told_with_their_shapes(tmp_path: Path) -> None:
    with pytest.raises(StageError, match=r"first output is \[64, 3\] and this model's \[64, 4\]"):
        distilled(other(12, 16, 4), mlp(12, 64, 3), tmp_path, alpha=0)


def test_the_original_has_nothing_to_teach_itself(tmp_path: Path) -> None:
    teacher = mlp(12, 64, 3)
    x = inputs()
    with pytest.raises(StageError, match=r"still the original, so with `alpha: 0` there is nothing to learn"):
        distilled(copy.deepcopy(teacher), teacher, tmp_path, alpha=0)
    labelled = (x, x[:, :3].argmax(1))
    assert distilled(copy.deepcopy(teacher), teacher, tmp_path, labelled, alpha=0.5).value is not teacher


def test_zeros_stay_and_the_best_epoch_is_kept_without_labels(tmp_path: Path) -> None:
    teacher = mlp(12, 64, 3)
    prune = STEPS.get("prune:l1_unstructured")
    pruned = prune.apply(
        Model("torch", teacher),
        prune.options.model_validate({"amount": 0.5}),
        Context(tmp_path, tmp_path, 0, Data()),
    )
    model = distilled(pruned.value, teacher, tmp_path, alpha=0, epochs=4, patience=2, hold_out=0.25)
    assert [int((layer.weight == 0).sum()) for layer in model.value[::2]] == [384, 96]
    assert "held-out samples" in model.notes[-1]


def test_a_temperature_belongs_to_the_divergence() -> None:
    for options in ({"soft_loss": "mse"}, {"loss": "mse"}, {"soft_loss": "losses.py:own"}):
        with pytest.raises(ValidationError, match="`temperature` is for `soft_loss: kl`"):
            DistillOptions.model_validate({**options, "temperature": 4.0})
    assert DistillOptions.model_validate({"temperature": 4.0}).soft == "kl"


DISTILLED = CASE.replace(
    "    amount: 0.5\n", "    amount: 0.8\n  - finetune: distill\n    alpha: 0\n    lr: LR\n    epochs: 20\n"
)


def test_a_case_is_taught_by_its_own_original(pytester: pytest.Pytester, project: Project) -> None:
    """Were the teacher the model before the step, there would be nothing to learn, and the step would say so."""
    project(net=DISTILLED.replace("LR", "3e-3"), pruned=CASE.replace("0.5", "0.8"))
    pytester.runpytest_inprocess()
    rows = {Path(row["path"]).stem: row for row in report_of(pytester.path)["rows"]}
    assert {name: row["status"] for name, row in rows.items()} == {"net": "pass", "pruned": "fail"}


def test_a_distillation_that_learns_nothing_is_an_error(pytester: pytest.Pytester, project: Project) -> None:
    project(net=DISTILLED.replace("LR", "1e-30"))
    result = pytester.runpytest_inprocess()
    result.assert_outcomes(errors=2)
    result.stdout.fnmatch_lines("*finetune (finetune: distill): the step changed nothing: *")
