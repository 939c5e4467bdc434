"""A training that was killed goes on after its last whole epoch, and gives what it would have given."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.found.torch_modules import mlp
from tests.projects import CASE, report_of
from torch import nn

from weighbridge.contracts import STEPS, Context, Model
from weighbridge.core.data import Data
from weighbridge.core.errors import StageError
from weighbridge.run.store import GIVEN_UP_S, Store
from weighbridge.steps.train.checkpoint import Checkpoint

Project = Callable[..., Path]

RECIPES: dict[str, dict[str, Any]] = {
    "finetune:supervised": {},
    "finetune:supervised patient": {"patience": 2, "hold_out": 0.25, "lr": 5e-2},
    "finetune:supervised scheduled": {"lr_schedule": "cosine", "warmup": 0.3, "optimizer": "adamw"},
    "finetune:distill": {"alpha": 0.5},
    "finetune:qat": {"bits": 4, "patience": 3, "hold_out": 0.2},
    "prune:gradual": {"amount": 0.8, "end": 0.7, "frequency": 2},
}


class Noisy(nn.Module):
    """Draws from torch's, numpy's and Python's own generators, as dropout and augmentations do."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return x
        return nn.functional.dropout(x, 0.2) * (1 + 0.1 * random.random()) + 0.1 * float(np.random.rand())


def noisy() -> nn.Sequential:
    net = mlp(12, 32, 3)
    return nn.Sequential(net[0], nn.BatchNorm1d(32), Noisy(), net[1], net[2])


def context(folder: Path, say: Callable[[str], None] = lambda text: None) -> Context:
    x = np.random.default_rng(1).normal(0, 1, (300, 12)).astype("f4")
    labelled = (x, np.random.default_rng(2).integers(0, 3, 300))
    original = Model("torch", mlp(12, 16, 3).eval())
    return Context(folder, folder, 0, Data({"train": labelled}), say, original=original)


def carried_out(name: str, where: Context) -> tuple[Model, list[str]]:
    """The step on a fresh module, and what it said."""
    step, said = STEPS.get(name.split()[0]), []

    def say(text: str) -> None:
        said.append(text)
        where.say(text)

    random.seed(0)
    np.random.seed(0)
    options = step.options.model_validate({"epochs": 6, **RECIPES[name]})
    return step.apply(Model("torch", noisy(), {}), options, replace(where, say=say)), said


def until(epoch: int) -> Callable[[str], None]:
    def say(text: str) -> None:
        if f": epoch {epoch}/" in text:
            raise KeyboardInterrupt

    return say


@pytest.mark.parametrize("killed", [1, 2, 4])
@pytest.mark.parametrize("name", RECIPES)
def test_a_killed_training_gives_what_it_would_have_given(tmp_path: Path, name: str, killed: int) -> None:
    whole, epochs = carried_out(name, context(tmp_path))
    left = tmp_path / "left"
    if killed <= len(epochs):
        with pytest.raises(KeyboardInterrupt):
            carried_out(name, replace(context(tmp_path, until(killed)), progress=left))
    gone_on, said = carried_out(name, replace(context(tmp_path), progress=left))
    if 1 < killed <= len(epochs):
        assert f"goes on after epoch {killed - 1}" in said[0]
        assert said[1:] == epochs[killed - 1 :]
    assert gone_on.notes == whole.notes
    for (at, one), (_, two) in zip(
        whole.value.state_dict().items(), gone_on.value.state_dict().items(), strict=True
    ):
        assert torch.equal(one, two), at


@pytest.mark.parametrize("name", RECIPES)
def test_a_training_that_was_over_is_not_trained_again(tmp_path: Path, name: str) -> None:
    where = replace(context(tmp_path), progress=tmp_path / "left")
    whole, _ = carried_out(name, where)
    again, said = carried_out(name, where)
    assert [text for text in said if ": epoch" in text] == []
    for one, two in zip(whole.value.parameters(), again.value.parameters(), strict=True):
        assert torch.equal(one, two)


def test_a_checkpoint_that_was_cut_is_never_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that dies while it writes leaves the epoch before."""
    where = replace(context(tmp_path), progress=tmp_path / "left")
    real, written = torch.save, []

    def dies(state: Any, path: Path) -> None:
        real(state, path)
        written.append(path)
        if len(written) == 3:
            path.write_bytes(path.read_bytes()[:100])
            raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", dies)
    with pytest.raises(KeyboardInterrupt):
        carried_out("finetune:supervised", where)
    _, said = carried_out("finetune:supervised", where)
    assert "goes on after epoch 2" in said[0]


class Warming(nn.Linear):
    """Counts in a buffer that its checkpoint leaves out, which grows, and keeps a state that is no tensor."""

    def __init__(self, extra: Any) -> None:
        super().__init__(12, 3)
        self._extra = extra
        self.register_buffer("seen", torch.zeros(1), persistent=False)
        self.register_buffer("table", torch.zeros(0), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.training:
            self.seen += 1
            self.table = torch.cat([self.table, self.seen])
        return super().forward(x) * (1 + self.seen + self.table.mean())

    def get_extra_state(self) -> Any:
        return self._extra

    def set_extra_state(self, state: Any) -> None:
        self._extra = state


@pytest.mark.parametrize(
    ("extra", "said"),
    [({"a": [1]}, "goes on after epoch 2"), (Path("own"), "begins anew, since the checkpoint")],
)
@pytest.mark.parametrize("options", [{}, {"patience": 4, "hold_out": 0.2, "lr": 1.0}])
def test_a_module_with_states_of_its_own_goes_on_or_begins_anew(
    tmp_path: Path, extra: Any, said: str, options: dict[str, Any]
) -> None:
    step, told = STEPS.get("finetune:supervised"), list[str]()

    def result(where: Context) -> nn.Module:
        torch.manual_seed(0)
        found = step.options.model_validate({"epochs": 4, **options})
        return step.apply(Model("torch", Warming(extra), {}), found, where).value

    whole, left = result(context(tmp_path)), tmp_path / "left"
    with pytest.raises(KeyboardInterrupt):
        result(replace(context(tmp_path, until(3)), progress=left))
    gone_on = result(replace(context(tmp_path, told.append), progress=left))
    assert said in told[0]
    assert torch.equal(gone_on.weight, whole.weight)
    assert torch.equal(gone_on.seen, whole.seen)
    assert torch.equal(gone_on.table, whole.table)


def test_the_best_epoch_has_its_own_buffers(tmp_path: Path) -> None:
    step = STEPS.get("finetune:supervised")
    found = step.options.model_validate({"epochs": 6, "patience": 2, "hold_out": 0.2, "lr": 5.0})
    model = step.apply(Model("torch", Warming(None), {}), found, context(tmp_path))
    assert "those of epoch 1 of 3" in model.notes[-1]
    assert int(model.value.seen) == len(model.value.table) == 4, "batches of one epoch"


# ----------------------------------------------------------------------------------------------- the store


def leave(store: Store, error: BaseException | None) -> Path:
    with store.progress("key") as folder:
        folder.mkdir()
        (folder / "epoch.pt").write_text("half")
        if error is not None:
            raise error
    return folder


@pytest.mark.parametrize("error", [None, ValueError("no"), StageError("finetune", "no")])
def test_what_was_made_or_failed_leaves_nothing(tmp_path: Path, error: Exception | None) -> None:
    store = Store(tmp_path)
    with nullcontext() if error is None else pytest.raises(type(error)):
        leave(store, error)
    assert list((tmp_path / "progress").iterdir()) == []


def test_what_was_killed_is_there_for_the_next_and_for_no_fresh_run(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        leave(Store(tmp_path), KeyboardInterrupt())
    with Store(tmp_path, before=time.time() - 3600).progress("key") as folder:
        assert (folder / "epoch.pt").exists()
        os.utime(folder, (1, 1))
    with pytest.raises(KeyboardInterrupt):
        leave(Store(tmp_path), KeyboardInterrupt())
    os.utime(tmp_path / "progress" / "key", (1, 1))
    with Store(tmp_path, before=time.time()).progress("key") as folder:
        assert not folder.exists()


def test_what_nobody_goes_on_with_is_given_up(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        leave(store, KeyboardInterrupt())
    store.prune()
    left = tmp_path / "progress" / "key"
    assert left.exists()
    old = time.time() - GIVEN_UP_S - 60
    os.utime(left, (old, old))
    store.prune()
    assert not left.exists()
    with pytest.raises(KeyboardInterrupt):
        leave(store, KeyboardInterrupt())
    store.clear()
    assert not left.exists()


def test_a_run_that_was_interrupted_goes_on(
    pytester: pytest.Pytester, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project(net=CASE.replace("    amount: 0.5\n", "    amount: 0.5\n  - finetune: {epochs: 4, lr: 1e-3}\n"))
    real, resumed = Checkpoint.resume, []
    monkeypatch.setattr(Checkpoint, "resume", lambda self: resumed.append(real(self)) or resumed[-1])
    keep = Checkpoint.keep

    def interrupted(self: Checkpoint, passed: Any) -> None:
        keep(self, passed)
        if passed.epochs == 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoint, "keep", interrupted)
        pytester.runpytest_inprocess("--executor=inline", no_reraise_ctrlc=True)
    assert len(list((pytester.path / ".weighbridge" / "progress").iterdir())) == 1
    pytester.runpytest_inprocess("--executor=inline")
    assert [passed.epochs for passed in resumed] == [0, 3]
    assert report_of(pytester.path)["rows"][0]["status"] == "pass"
    assert list((pytester.path / ".weighbridge" / "progress").iterdir()) == []
