"""A torch module that was saved and opened again is the one that a step gave."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from tests.found.torch_modules import apply, mlp, written
from torch import nn

from weighbridge.contracts import FORMATS, STEPS, Context, Model, Options, Step
from weighbridge.core.data import Data
from weighbridge.core.errors import StageError
from weighbridge.steps.torch_layers import rebuilt_by

VIEWS = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b = nn.Linear(24, 24), nn.Linear(24, 4)
        whole = self.a.weight.detach()
        self.register_buffer("rows", whole[:4])
        self.register_buffer("turned", whole.T)
        self.register_buffer("flat", whole.view(-1))
        self.register_buffer("column", whole[:, 3])

    def forward(self, x):
        return self.b(torch.relu(self.a(x))) + x @ self.rows.T + self.turned.sum() + self.flat[:4] + self.column[:4]


def net(): return Net()
"""


@pytest.mark.parametrize("key", ["prune:l1_unstructured", "quantize:dynamic@torch"])
def test_views_among_the_buffers_are_saved(tmp_path: Path, key: str) -> None:
    written(tmp_path, VIEWS)
    format_ = FORMATS.get("torch")
    loaded = format_.load("model.py:net", None, tmp_path)
    options = {"amount": 0.5} if key.startswith("prune") else {}
    model = apply(key, loaded.value, tmp_path, source=loaded.source, **options)
    opened = format_.open(format_.save(model, tmp_path, "candidate"))
    x = torch.randn(5, 24)
    torch.testing.assert_close(opened.value(x), model.value(x))


def test_a_checkpoint_in_half_precision_is_loaded(tmp_path: Path) -> None:
    written(tmp_path, VIEWS)
    state = FORMATS.get("torch").load("model.py:net", None, tmp_path).value.state_dict()
    save_file(
        {name: value.half().contiguous().clone() for name, value in state.items()},
        tmp_path / "half.safetensors",
    )
    loaded = FORMATS.get("torch").load("model.py:net", tmp_path / "half.safetensors", tmp_path).value
    torch.testing.assert_close(loaded.a.weight, state["a.weight"].half().float())


def test_a_view_follows_its_weight(tmp_path: Path) -> None:
    written(tmp_path, VIEWS)
    loaded = FORMATS.get("torch").load("model.py:net", None, tmp_path)
    pruned = apply("prune:l1_unstructured", loaded.value, tmp_path, amount=0.5).value
    assert torch.equal(pruned.turned, pruned.a.weight.T)
    assert not torch.equal(loaded.value.a.weight, pruned.a.weight)
    assert torch.equal(loaded.value.turned, loaded.value.a.weight.T)


def test_a_view_that_a_step_did_not_follow_overwrites_no_weight(tmp_path: Path) -> None:
    written(tmp_path, VIEWS)
    format_ = FORMATS.get("torch")
    loaded = format_.load("model.py:net", None, tmp_path)
    changed = copy.deepcopy(loaded.value)  # torch copies parameter and view apart
    with torch.no_grad():
        changed.a.weight.zero_()
    opened = format_.open(format_.save(Model("torch", changed, loaded.source), tmp_path, "candidate")).value
    assert not opened.a.weight.any()
    assert opened.rows.any()


def test_parameters_tied_by_their_data_stay_tied(tmp_path: Path) -> None:
    net = mlp(16, 16, 16)
    net[2].weight.data = net[0].weight.data
    pruned = apply("prune:random_unstructured", net, tmp_path, amount=0.5).value
    assert pruned[0].weight.data_ptr() == pruned[2].weight.data_ptr()
    assert int(pruned[0].weight.count_nonzero()) == 128, "pruned once"
    assert net[0].weight.all()


@pytest.mark.parametrize("options", [{}, {"per_channel": True}, {"exclude": ["a"]}, {"layers": ["b"]}])
def test_an_opened_checkpoint_has_the_layers_that_were_quantized(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    written(
        tmp_path,
        "class Net(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
        "        self.a, self.b = nn.Linear(8, 8), nn.Linear(8, 8)\n"
        "        self.again = self.a\n\n"
        "    def forward(self, x): return self.again(self.b(self.a(x)))\n\n\ndef net(): return Net()\n",
    )
    format_ = FORMATS.get("torch")
    loaded = format_.load("model.py:net", None, tmp_path)
    model = apply("quantize:dynamic@torch", loaded.value, tmp_path, source=loaded.source, **options)
    assert model.value.again is model.value.a
    opened = format_.open(format_.save(model, tmp_path, "candidate"))
    x = torch.randn(5, 8)
    torch.testing.assert_close(opened.value(x), model.value(x))
    assert format_.operators(opened) == format_.operators(model)


def test_a_step_that_ranks_is_not_repeated_but_rebuilt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ranked anew on a fresh module, other rows would go, and other widths could stay."""

    def resized(module: Any, rows: list[int]) -> Any:
        first = nn.Linear(module[0].in_features, len(rows))
        last = nn.Linear(len(rows), module[2].out_features)
        with torch.no_grad():
            first.weight.copy_(module[0].weight[rows])
            first.bias.copy_(module[0].bias[rows])
            last.weight.copy_(module[2].weight[:, rows])
        return nn.Sequential(first, nn.ReLU(), last)

    def shrink(model: Model, options: Options, context: Any) -> Model:
        rows = (model.value[0].weight.norm(dim=1) > 1.1).nonzero().flatten().tolist()
        source = rebuilt_by(model, "prune:shrink", options, {"rows": rows})
        return Model("torch", resized(model.value, rows), source)

    def rebuild(model: Model, options: Options, facts: Any) -> Model:
        return Model("torch", resized(model.value, facts["rows"]))

    monkeypatch.setattr(STEPS, "_entries", {name: STEPS.get(name) for name in STEPS.names()})
    STEPS.add("prune:shrink", Step("prune", "shrink", ("torch",), Options, shrink, rebuild=rebuild))
    written(
        tmp_path,
        "def net():\n    torch.manual_seed(torch.seed() % 1000)\n"
        "    return nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 4))\n",
    )
    format_ = FORMATS.get("torch")
    loaded = format_.load("model.py:net", None, tmp_path)
    with torch.no_grad():
        loaded.value[0].weight[::3] *= 8
    shrunk = apply("prune:shrink", loaded.value, tmp_path, source=loaded.source)
    step = STEPS.get("quantize:dynamic@torch")
    for model in (shrunk, step.apply(shrunk, step.options(), Context(tmp_path, tmp_path, 0, Data()))):
        opened = format_.open(format_.save(model, tmp_path, "candidate"))
        x = torch.randn(5, 16)
        torch.testing.assert_close(opened.value(x), model.value(x))


SHRINKING = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.a, self.norm, self.depth = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 8, 3, groups=8)
        self.up, self.out = nn.ConvTranspose2d(8, 8, 2), nn.Linear(8, 4)

    def forward(self, x):
        return self.out(self.up(self.depth(torch.relu(self.norm(self.a(x))))).mean((2, 3)))


def net(): return Net()
"""


def shrunk(net: Any, keep: int) -> Any:
    """A copy of `Net` whose eight channels are the first `keep`."""
    small = copy.deepcopy(net)
    small.a, small.norm = nn.Conv2d(3, keep, 3), nn.BatchNorm2d(keep)
    small.depth, small.up = nn.Conv2d(keep, keep, 3, groups=keep), nn.ConvTranspose2d(keep, keep, 2)
    small.out = nn.Linear(keep, 4)
    cut = {name: tuple(slice(side) for side in value.shape) for name, value in small.state_dict().items()}
    small.load_state_dict({name: value[cut[name]] for name, value in net.state_dict().items()})
    return small.eval()


@pytest.mark.parametrize("quantize", [False, True])
def test_a_step_of_the_users_own_that_shrinks_is_opened_again(tmp_path: Path, quantize: bool) -> None:
    written(tmp_path, SHRINKING)
    format_ = FORMATS.get("torch")
    loaded = format_.load("model.py:net", None, tmp_path)
    model = Model("torch", shrunk(loaded.value, 5), loaded.source)
    if quantize:
        model = apply("quantize:dynamic@torch", model.value, tmp_path, source=model.source)
    opened = format_.open(format_.save(model, tmp_path, "candidate")).value
    x = torch.randn(4, 3, 9, 9)
    torch.testing.assert_close(opened(x), model.value(x))
    assert (opened.depth.groups, opened.norm.num_features, opened.up.out_channels) == (5, 5, 5)


def test_a_recurrent_layer_of_another_size_asks_for_rebuild(tmp_path: Path) -> None:
    written(tmp_path, "def net(): return nn.LSTM(8, 16)\n")
    format_ = FORMATS.get("torch")
    source = format_.load("model.py:net", None, tmp_path).source
    artifact = format_.save(Model("torch", nn.LSTM(8, 4), source), tmp_path, "candidate")
    with pytest.raises(StageError, match=r"'weight_ih_l0' from \[64, 8\] to \[16, 8\].*`rebuild`"):
        format_.open(artifact)


def test_a_checkpoint_of_the_users_own_must_fit(tmp_path: Path) -> None:
    written(tmp_path, "def net(): return nn.Linear(8, 16)\n")
    save_file(nn.Linear(8, 4).state_dict(), tmp_path / "other.safetensors")
    with pytest.raises(StageError, match="does not fit the module"):
        FORMATS.get("torch").load("model.py:net", tmp_path / "other.safetensors", tmp_path)


@pytest.mark.parametrize("key", ["model_state_dict", "state_dict", "net"])
def test_a_checkpoint_of_a_training_holds_more_than_the_weights(tmp_path: Path, key: str) -> None:
    written(tmp_path, "def net(): return nn.Linear(4, 2)\n")
    module = nn.Linear(4, 2)
    optimizer = torch.optim.Adam(module.parameters())
    module(torch.ones(1, 4)).sum().backward()
    optimizer.step()
    held = {
        "epoch": 3,
        key: module.state_dict(),
        "optimizer": optimizer.state_dict(),
        "history": {},
        "loss": torch.ones(()),
    }
    torch.save(held, tmp_path / "w.pth")
    loaded = FORMATS.get("torch").load("model.py:net", tmp_path / "w.pth", tmp_path)
    torch.testing.assert_close(loaded.value.weight, module.weight)


def test_of_several_state_dicts_none_is_chosen(tmp_path: Path) -> None:
    written(tmp_path, "def net(): return nn.Linear(4, 2)\n")
    state = nn.Linear(4, 2).state_dict()
    torch.save({"model": state, "ema": state}, tmp_path / "w.pth")
    with pytest.raises(
        StageError, match=r"w.pth holds several state dicts, 'model', 'ema'; save the one to judge"
    ):
        FORMATS.get("torch").load("model.py:net", tmp_path / "w.pth", tmp_path)
