"""Fine-tuning torch modules: every sample is seen, zeros of a pruning stay and those of an initialization do not."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import save_file
from tests.found.torch_modules import apply, mlp, written
from torch import nn

from weighbridge.contracts import FORMATS, STEPS
from weighbridge.core.errors import StageError


def split(n: int, seed: int = 1) -> tuple[Any, Any]:
    x = np.random.default_rng(seed).normal(0, 1, (n, 12)).astype("f4")
    return x, x[:, :3].argmax(1)


def normalized() -> nn.Sequential:
    torch.manual_seed(12)
    return nn.Sequential(nn.Linear(12, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 3))


@pytest.mark.parametrize(("n", "size"), [(129, 64), (65, 64), (5, 2), (128, 64), (1281, 128)])
def test_a_last_batch_of_one_is_trained(tmp_path: Path, n: int, size: int) -> None:
    model = apply("finetune:supervised", normalized(), tmp_path, {"train": split(n)}, batch_size=size)
    assert not torch.equal(model.value[0].weight, normalized()[0].weight)


@pytest.mark.parametrize(("n", "size"), [(10, 1), (1, 64)])
def test_statistics_of_one_name_the_option(tmp_path: Path, n: int, size: int) -> None:
    with pytest.raises(
        StageError,
        match=r"^finetune: .*batch normalization.*`batch_size`",
    ):
        apply("finetune:supervised", normalized(), tmp_path, {"train": split(n)}, batch_size=size)


@pytest.mark.parametrize(("n", "size"), [(65, 64), (129, 64), (5, 2), (7, 3), (64, 64), (10, 64)])
def test_every_sample_is_seen_once_an_epoch(tmp_path: Path, n: int, size: int) -> None:
    seen: list[int] = []
    sizes: list[int] = []

    class Watched(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            seen.extend(x[:, 0].int().tolist())
            sizes.append(len(x))
            return super().forward(x)

    x, y = split(n)
    x[:, 0] = np.arange(n)
    apply("finetune:supervised", nn.Sequential(Watched(12, 3)), tmp_path, {"train": (x, y)}, batch_size=size)
    assert sorted(seen) == list(range(n))
    assert min(sizes) > 1
    assert max(sizes) <= size + 1


HEADS = """
def _net(fill):
    torch.manual_seed(13)
    net = nn.Sequential(nn.Linear(12, 64), nn.ReLU(), nn.Linear(64, 3))
    fill(net[2].weight)
    return net


def zero(): return _net(nn.init.zeros_)
def half(): return _net(lambda weight: nn.init.zeros_(weight[:, :32]))
def eye(): return _net(nn.init.eye_)
"""


@pytest.mark.parametrize("head", ["zero", "half", "eye"])
def test_zeros_of_the_initialization_are_trained(tmp_path: Path, head: str) -> None:
    written(tmp_path, HEADS)
    loaded = FORMATS.get("torch").load(f"model.py:{head}", None, tmp_path)
    options = {"epochs": 8, "lr": 5e-3}
    model = apply(
        "finetune:supervised", loaded.value, tmp_path, {"train": split(2000)}, loaded.source, **options
    )
    assert int((model.value[2].weight == 0).sum()) == 0
    x, y = split(500, 2)
    assert float((model.value(torch.from_numpy(x)).argmax(1).numpy() == y).mean()) > 0.85
    assert model.notes == ()


@pytest.mark.parametrize("head", ["zero", "half", "eye"])
def test_zeros_of_a_pruning_stay(tmp_path: Path, head: str) -> None:
    written(tmp_path, HEADS)
    loaded = FORMATS.get("torch").load(f"model.py:{head}", None, tmp_path)
    pruned = apply(
        "prune:l1_unstructured", loaded.value, tmp_path, source=loaded.source, amount=0.5, layers=["0"]
    )
    zeros = pruned.value[0].weight == 0
    model = apply("finetune:supervised", pruned.value, tmp_path, {"train": split(200)}, pruned.source)
    assert torch.equal(model.value[0].weight == 0, zeros)
    assert int((model.value[2].weight == 0).sum()) == 0
    assert model.notes == ("the zeros of 0.weight were kept",)


def test_zeros_of_a_pruned_checkpoint_stay(tmp_path: Path) -> None:
    written(tmp_path, HEADS.replace("fill(net[2].weight)", "pass"))
    state = apply("prune:l1_unstructured", mlp(12, 64, 3), tmp_path, amount=0.5).value.state_dict()
    save_file(state, tmp_path / "pruned.safetensors")
    loaded = FORMATS.get("torch").load("model.py:zero", tmp_path / "pruned.safetensors", tmp_path)
    model = apply("finetune:supervised", loaded.value, tmp_path, {"train": split(200)}, loaded.source)
    assert int((model.value[0].weight == 0).sum()) == 12 * 64 // 2


def test_training_keeps_to_one_thread_and_gives_the_others_back(tmp_path: Path) -> None:
    before, seen = torch.get_num_threads(), set()

    class Watched(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            seen.add(torch.get_num_threads())
            return super().forward(x)

    try:
        torch.set_num_threads(2)
        apply("finetune:supervised", nn.Sequential(Watched(12, 3)), tmp_path, {"train": split(100)})
        assert seen == {1}
        assert torch.get_num_threads() == 2
        with pytest.raises(StageError):
            apply("finetune:supervised", nn.Sequential(Watched(7, 3)), tmp_path, {"train": split(100)})
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_a_dictionary_of_outputs_is_trained_by_its_first(tmp_path: Path) -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.box = nn.Linear(12, 3), nn.Linear(12, 2)

        def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"logits": self.body(x), "box": self.box(x)}

    model = apply("finetune:supervised", Two(), tmp_path, {"train": split(500)}, epochs=5, lr=1e-2)
    x, y = split(500, 2)
    assert float((model.value(torch.from_numpy(x))["logits"].argmax(1).numpy() == y).mean()) > 0.6


def test_a_loss_that_refuses_a_batch_names_the_way_out(tmp_path: Path) -> None:
    targets = np.random.default_rng(0).normal(0, 1, (100, 5)).astype("f4")
    with pytest.raises(StageError, match=r"^finetune: .*`loss: cross_entropy`; .*file\.py:function"):
        apply("finetune:supervised", mlp(12, 3), tmp_path, {"train": (split(100)[0], targets)})


def test_several_labels_a_sample_are_no_classes_to_train_on(tmp_path: Path) -> None:
    x, y = split(100)
    several = (np.eye(3) + np.eye(3, k=1))[y].astype("f4")
    with pytest.raises(
        StageError, match=r"^data: loss 'cross_entropy' wants one class a sample, and the target \["
    ) as error:
        apply("finetune:supervised", mlp(12, 3), tmp_path, {"train": (x, several)})
    assert "`loss: file.py:function`" in str(error.value)
    for shares in (np.eye(3)[y], np.full((100, 3), 1 / 3)):
        apply("finetune:supervised", mlp(12, 3), tmp_path, {"train": (x, shares.astype("f4"))})


def test_targets_of_a_regression_are_told_its_loss(tmp_path: Path) -> None:
    """A loss and a metric have one sentence, and each its own key of the case."""
    x, y = split(100)
    with pytest.raises(
        StageError, match=r"loss 'cross_entropy' needs class numbers, .*; .* say `loss: mse`$"
    ):
        apply("finetune:supervised", mlp(12, 3), tmp_path, {"train": (x, y + 0.5)})


def test_a_loss_that_nobody_knows_is_told_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(
        StageError, match=r"unknown loss 'bce' \(valid: cross_entropy, mse\); a loss of your own"
    ):
        apply("finetune:supervised", mlp(12, 3), tmp_path, {"train": split(100)}, loss="bce")


@pytest.mark.parametrize("shape", [(400,), (400, 1), (400, 1, 1)])
@pytest.mark.parametrize("step", ["finetune:supervised", "finetune:qat"])
def test_a_regression_learns_its_targets_and_not_their_mean(
    tmp_path: Path, step: str, shape: tuple[int, ...]
) -> None:
    x, _ = split(400)
    y = x @ np.linspace(-1, 1, 12, dtype="f4")
    train = {"train": (x, y.reshape(shape))}
    model = apply(step, mlp(12, 1), tmp_path, train, loss="mse", epochs=40, lr=3e-2)
    with torch.no_grad():
        found = model.value(torch.from_numpy(x))[:, 0].numpy()
    assert float(np.square(found - y).mean()) < 0.1 * float(y.var())


def test_targets_of_another_shape_are_refused_with_both_shapes(tmp_path: Path) -> None:
    train = {"train": (split(64)[0], np.zeros((64, 5), "f4"))}
    with pytest.raises(
        StageError, match=r"^finetune: .*\[64, 5\] and the first output \[64, 1\].*`loss: mse`"
    ):
        apply("finetune:supervised", mlp(12, 1), tmp_path, train, loss="mse")


def test_a_model_whose_every_parameter_is_frozen_is_told(tmp_path: Path) -> None:
    with pytest.raises(StageError, match=r"^finetune: there is nothing to train"):
        apply("finetune:supervised", mlp(12, 3).requires_grad_(False), tmp_path, {"train": split(64)})
    part = mlp(12, 8, 3)
    part[0].requires_grad_(False)
    model = apply("finetune:supervised", part, tmp_path, {"train": split(64)})
    assert torch.equal(model.value[0].weight, part[0].weight)
    assert not torch.equal(model.value[2].weight, part[2].weight)


# ------------------------------------------------------------------------------------ schedules, early stop


def rates(folder: Path, monkeypatch: pytest.MonkeyPatch, train: Any = None, **options: Any) -> list[float]:
    """The learning rate of each step, as a share of `lr`."""
    found: list[float] = []
    real = torch.optim.Adam.step

    def noted(self: Any, *arguments: Any) -> Any:
        found.append(self.param_groups[0]["lr"] / 1e-2)
        return real(self, *arguments)

    monkeypatch.setattr(torch.optim.Adam, "step", noted)
    apply(
        "finetune:supervised",
        mlp(12, 3),
        folder,
        {"train": train or split(640)},
        lr=1e-2,
        epochs=2,
        **options,
    )
    return found


def test_the_learning_rate_is_constant_unless_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert rates(tmp_path, monkeypatch) == [1.0] * 20


def test_a_cosine_after_a_linear_warmup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = rates(tmp_path, monkeypatch, lr_schedule="cosine", warmup=0.2)
    assert found[:4] == pytest.approx([0.25, 0.5, 0.75, 1.0])
    assert found[4:] == pytest.approx([0.5 + 0.5 * np.cos(np.pi * step / 16) for step in range(16)])


def test_the_steps_of_a_loader_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its batches, not ours, say how long the training is."""
    x, y = split(100)
    batches = [(x[start : start + 10], y[start : start + 10]) for start in range(0, 100, 10)]
    assert rates(tmp_path, monkeypatch, batches, warmup=0.5) == pytest.approx(
        [*np.linspace(0.1, 1, 10), *[1] * 10]
    )


def noise(n: int) -> tuple[Any, Any]:
    """Labels that nothing tells: whoever learns them by heart gets worse on others."""
    random = np.random.default_rng(0)
    return random.normal(0, 1, (n, 12)).astype("f4"), random.integers(0, 3, n)


STOP = {"patience": 3, "hold_out": 0.25, "lr": 1e-2, "batch_size": 16}


def test_the_best_epoch_is_kept(tmp_path: Path) -> None:
    model = apply("finetune:supervised", mlp(12, 128, 3), tmp_path, {"train": noise(200)}, epochs=40, **STOP)
    (note,) = model.notes
    told = re.match(
        r"the weights are those of epoch (\d+) of (\d+), .* on 50 held-out samples: ([\d.]+)", note
    )
    assert told, note
    best, last = int(told[1]), int(told[2])
    assert last == best + 3 < 40
    again = apply(
        "finetune:supervised", mlp(12, 128, 3), tmp_path, {"train": noise(200)}, epochs=best, **STOP
    )
    for one, other in zip(model.value.parameters(), again.value.parameters(), strict=True):
        assert torch.equal(one, other)


def test_what_is_held_out_is_not_trained_on(tmp_path: Path) -> None:
    x, y = split(40)
    x[:, 0] = np.arange(40)
    trained, looked_at = set(), set()

    class Seen(nn.Linear):
        def forward(self, inputs: Any) -> Any:
            (trained if self.training else looked_at).update(inputs[:, 0].int().tolist())
            return super().forward(inputs)

    apply("finetune:supervised", nn.Sequential(Seen(12, 3)), tmp_path, {"train": (x, y)}, epochs=3, **STOP)
    assert (len(trained), len(looked_at)) == (30, 10)
    assert trained | looked_at == set(range(40))


def test_zeros_stay_in_the_best_epoch(tmp_path: Path) -> None:
    pruned = apply("prune:l1_unstructured", mlp(12, 32, 3), tmp_path, amount=0.5)
    model = apply("finetune:supervised", pruned.value, tmp_path, {"train": split(200)}, epochs=4, **STOP)
    assert [int((layer.weight == 0).sum()) for layer in model.value[::2]] == [192, 48]


def test_patience_needs_samples_that_can_be_chosen(tmp_path: Path) -> None:
    x, y = split(100)
    loader = [(x[start : start + 10], y[start : start + 10]) for start in range(0, 100, 10)]
    with pytest.raises(
        StageError, match=r"`patience` holds samples out, and those .* come in batches of their own"
    ):
        apply("finetune:supervised", mlp(12, 3), tmp_path, {"train": loader}, **STOP)
    with pytest.raises(StageError, match=r"`hold_out: 0.25` of 1 samples is 0"):
        apply("finetune:supervised", mlp(12, 3), tmp_path, {"train": split(1)}, **STOP)
    with pytest.raises(ValidationError, match="`hold_out` is for `patience`"):
        STEPS.get("finetune:supervised").options.model_validate({"hold_out": 0.2})
