"""Channels taken out of torch modules: what is left computes the same, and what cannot be followed is refused."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.found.torch_modules import mlp
from tests.projects import weigh
from torch import nn

from weighbridge.case.load import load_cases
from weighbridge.contracts import Context, Model
from weighbridge.core.data import Data
from weighbridge.core.errors import StageError
from weighbridge.formats.torch_module import TorchModule
from weighbridge.steps.prune import torch_channels
from weighbridge.steps.prune.torch_channels import ChannelOptions, TaylorOptions, channels

pytest.importorskip("torch_pruning")


class Residual(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs)
        self.second = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.skip = nn.Conv2d(inputs, outputs, 1, stride) if inputs != outputs else nn.Identity()

    def forward(self, x: Any) -> Any:
        return torch.relu(self.second(torch.relu(self.norm(self.first(x)))) + self.skip(x))


class Excite(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.down, self.up = nn.Conv2d(width, width // 4, 1), nn.Conv2d(width // 4, width, 1)

    def forward(self, x: Any) -> Any:
        return x * torch.sigmoid(self.up(torch.relu(self.down(x.mean((2, 3), keepdim=True)))))


class Branches(nn.Module):
    """Two branches side by side, read together."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right, self.both = (
            nn.Conv2d(3, 16, 1),
            nn.Conv2d(3, 32, 3, padding=1),
            nn.Conv2d(48, 16, 1),
        )

    def forward(self, x: Any) -> Any:
        return self.both(torch.cat([self.left(x), torch.relu(self.right(x))], 1))


class Turned(nn.Module):
    """Reads the channels in another order than they are given: nothing in the shapes says so."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(3, 32, 3, padding=1), nn.Conv2d(32, 8, 1)

    def forward(self, x: Any) -> Any:
        return self.two(torch.relu(self.one(x)).flip(1))


class Attention(nn.Module):
    """Its heads stand in one matrix."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.out = nn.Linear(32, 96), nn.Linear(32, 32)

    def forward(self, x: Any) -> Any:
        n, t, c = x.shape
        q, k, v = self.qkv(x).reshape(n, t, 3, 4, c // 4).permute(2, 0, 3, 1, 4)
        mixed = ((q @ k.transpose(-1, -2)).softmax(-1) @ v).transpose(1, 2)
        return self.out(mixed.reshape(n, t, -1))


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.read, self.attention = nn.Linear(8, 32), Attention()
        self.up, self.down, self.head = nn.Linear(32, 64), nn.Linear(64, 32), nn.Linear(32, 5)

    def forward(self, x: Any) -> Any:
        x = self.read(x)
        x = x + self.attention(x)
        return self.head((x + self.down(torch.relu(self.up(x)))).mean(1))


def images() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1),
        Residual(16, 32, 2),
        Excite(32),
        nn.Conv2d(32, 32, 3, padding=1, groups=32),
        nn.Hardswish(),
        nn.Conv2d(32, 64, 3, padding=1, groups=4),
        nn.Sigmoid(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(256, 32),
        nn.ReLU(),
        nn.Linear(32, 10),
        nn.Softmax(-1),
    )


def removed(module: nn.Module, shape: tuple[int, ...] = (3, 16, 16), **options: Any) -> Model:
    random = np.random.default_rng(0)
    inputs, targets = random.standard_normal((32, *shape)).astype(np.float32), random.integers(0, 5, 32)
    split = (inputs, targets)
    context = Context(Path(), Path(), 0, Data(splits={"test": split, "train": split}))
    kind = TaylorOptions if options.pop("rank", None) == "taylor" else ChannelOptions
    torch.manual_seed(0)
    for layer in module.modules():  # a fresh normalization does nothing, and would hide what is done to it
        if isinstance(layer, nn.BatchNorm2d):
            for values in (layer.weight, layer.bias, layer.running_mean, layer.running_var):
                nn.init.uniform_(values, 0.5, 2)
    return channels(Model("torch", module.eval(), {}), kind(**options), context)


@pytest.mark.parametrize(
    ("make", "rank", "scope"),
    [
        *((Branches, rank, scope) for rank in ("l1", "l2", "taylor") for scope in ("local", "global")),
        (images, "l1", "local"),
        (images, "taylor", "global"),
        *(
            pytest.param(images, rank, scope, marks=pytest.mark.slow)
            for rank, scope in (("l1", "global"), ("l2", "local"), ("l2", "global"), ("taylor", "local"))
        ),
    ],
)
def test_fewer_channels_of_the_same_model(make: Any, rank: str, scope: str) -> None:
    """`channels` itself refuses what computes something else."""
    options = {} if rank == "taylor" else {"rank": rank}
    module, before = make(), sum(p.numel() for p in make().parameters())
    if rank == "taylor":
        module = nn.Sequential(module, nn.AdaptiveAvgPool2d(1), nn.Flatten()) if make is Branches else module
        options = {"rank": "taylor"}
    made = removed(module, scope=scope, **options)
    after = sum(p.numel() for p in made.value.parameters())
    assert after < 0.6 * before
    assert made.value(torch.zeros(2, 3, 16, 16)).shape == module(torch.zeros(2, 3, 16, 16)).shape
    widths = [m.out_channels for m in made.value.modules() if isinstance(m, nn.Conv2d)]
    assert all(width % 8 == 0 for width in widths), widths
    assert any("channels removed" in note for note in made.notes)


def test_the_scales_of_normalization_rank_what_has_one() -> None:
    net = nn.Sequential(
        nn.Conv2d(3, 16, 3),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 4, 3),
        nn.Flatten(),
        nn.Linear(576, 5),
    )
    scales = torch.arange(1.0, 17.0)[torch.randperm(16, generator=torch.Generator().manual_seed(1))]
    net[1].weight.data = scales.clone()
    context = Context(Path(), Path(), 0, Data(splits={"test": (np.ones((4, 3, 16, 16), np.float32), None)}))
    made = channels(Model("torch", net.eval(), {}), ChannelOptions(rank="bn_scale"), context)
    assert made.value[1].weight.tolist() == scales[scales > 8].tolist()


def test_the_smaller_norm_goes() -> None:
    net = mlp(6, 16, 5)
    with torch.no_grad():
        net[0].weight[::2] *= 100
        net[2].weight[:, ::2] *= 100
    kept = net[0].weight[::2].clone()
    assert torch.equal(removed(net, (6,)).value[0].weight, kept)


def test_what_was_frozen_stays_frozen_and_no_gradient_is_left() -> None:
    net = images()
    net[0].weight.requires_grad_(False)
    made = removed(net, rank="taylor").value
    assert not made[0].weight.requires_grad
    assert made[0].bias.requires_grad
    assert all(parameter.grad is None for parameter in made.parameters())


def test_chosen_layers_only() -> None:
    made = removed(images(), exclude=["1.*", "2.*"])
    assert made.value[1].first.out_channels == 32
    assert made.value[9].out_features == 16
    only = removed(images(), layers=["9"]).value
    assert [only[0].out_channels, only[1].first.out_channels, only[9].out_features] == [16, 32, 16]


@pytest.mark.parametrize(
    "layer", [nn.LSTM(32, 16, batch_first=True), nn.TransformerEncoderLayer(32, 4, 64, batch_first=True)]
)
def test_what_feeds_a_recurrent_layer_or_attention_keeps_its_width(layer: nn.Module) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.read, self.inner, self.hidden = (
                nn.Linear(8, 32),
                layer,
                nn.Linear(16 if isinstance(layer, nn.LSTM) else 32, 32),
            )
            self.head = nn.Linear(32, 5)

        def forward(self, x: Any) -> Any:
            x = self.inner(self.read(x))
            return self.head(torch.relu(self.hidden((x[0] if isinstance(x, tuple) else x)[:, -1])))

    made = removed(Net(), (7, 8))
    assert made.value.read.out_features == 32
    assert made.value.hidden.out_features == 16


@pytest.mark.parametrize(
    ("module", "shape", "where", "why"),
    [
        (Turned(), (3, 16, 16), "two", "something else"),
        (Encoder(), (7, 8), "attention", "does not run"),
    ],
)
def test_what_cannot_be_followed_is_refused_by_name(module: Any, shape: Any, where: str, why: str) -> None:
    with pytest.raises(StageError, match=f"'{where}[^']*' .*{why}") as refused:
        removed(module, shape)
    assert "`exclude: [" in str(refused.value)


def test_the_rest_is_taken_where_what_cannot_be_followed_is_excluded() -> None:
    made = removed(Encoder(), (7, 8), exclude=["attention.*", "read", "down"])
    assert made.value.up.out_features == 32
    assert made.value.attention.qkv.out_features == 96


def test_reading_other_channels_than_those_that_stay_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: what reads a narrowed layer keeps the weights of channels that went."""
    real = torch_channels._narrow

    def shifted(module: Any, *rest: Any) -> Any:
        found = real(module, *rest)
        module[1].second.weight.data = module[1].second.weight.data.roll(1, 1)
        return found

    monkeypatch.setattr(torch_channels, "_narrow", shifted)
    with pytest.raises(StageError, match=r"'1.second' computes something else"):
        removed(images())


class LayerNormalized(nn.Module):
    """A residual stream that is normalized on the way, as in a transformer."""

    def __init__(self, turned: bool = False) -> None:
        super().__init__()
        self.read, self.norm, self.head = nn.Linear(8, 32), nn.LayerNorm(32), nn.Linear(32, 5)
        self.up, self.down = nn.Linear(32, 64), nn.Linear(64, 32)
        self.turned = turned

    def forward(self, x: Any) -> Any:
        x = self.read(x)
        y = self.norm(x)
        x = x + self.down(torch.nn.functional.gelu(self.up(y.flip(-1) if self.turned else y)))
        return self.head(x.mean(1))


class GroupNormalized(nn.Module):
    def __init__(self, turned: bool = False) -> None:
        super().__init__()
        self.read, self.norm, self.head = nn.Conv2d(3, 64, 3), nn.GroupNorm(2, 64), nn.Conv2d(64, 5, 1)
        self.turned = turned

    def forward(self, x: Any) -> Any:
        x = torch.relu(self.norm(self.read(x)))
        return self.head(x.flip(1) if self.turned else x)


@pytest.mark.parametrize(("kind", "shape"), [(LayerNormalized, (7, 8)), (GroupNormalized, (3, 8, 8))])
def test_what_normalizes_over_channels_is_held_against_the_original_too(kind: Any, shape: Any) -> None:
    net = kind()
    nn.init.uniform_(net.norm.weight, 0.5, 2)
    nn.init.uniform_(net.norm.bias, -1, 1)
    made = removed(net, shape)
    assert len(made.value.norm.weight) == len(net.norm.weight) // 2
    assert any("norm normalizes over what is left" in note for note in made.notes)
    with pytest.raises(StageError, match="computes something else"):
        removed(kind(turned=True), shape)


def test_answers_of_whole_numbers_beside_others(tmp_path: Path) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.hidden, self.head = nn.Linear(6, 32), nn.Linear(32, 5)

        def forward(self, x: Any) -> Any:
            found = self.head(torch.relu(self.hidden(x)))
            return found.argmax(1), found

    assert removed(Net(), (6,)).value.hidden.out_features == 16


def test_nothing_to_remove_is_an_error() -> None:
    with pytest.raises(StageError, match="round_to: 8"):
        removed(mlp(6, 8, 5), (6,))


def test_a_module_without_such_layers_is_an_error() -> None:
    with pytest.raises(StageError, match="finds none"):
        removed(nn.Sequential(nn.LSTM(6, 8)), (3, 6))


def test_a_norm_over_all_channels_is_said() -> None:
    net = nn.Sequential(nn.Linear(6, 32), nn.LayerNorm(32), nn.ReLU(), nn.Linear(32, 5))
    assert any("1 normalizes over what is left" in note for note in removed(net, (6,)).notes)


CODE = """
import numpy as np
import torch
from torch import nn

def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 32, 3), nn.BatchNorm2d(32), nn.ReLU(), nn.Conv2d(32, 32, 3), nn.ReLU(),
                         nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 2))

def splits():
    random = np.random.default_rng(0)
    def part(n):
        y = random.integers(0, 2, n)
        x = random.normal(0, 1, (n, 1, 8, 8)) + np.where(y, 0.7, -0.7)[:, None, None, None]
        return x.astype("float32"), y
    return {"train": part(512), "calibration": part(64), "test": part(256)}
"""


@pytest.mark.parametrize("step", ["channels", pytest.param("taylor_channels", marks=pytest.mark.slow)])
def test_it_is_trained_exported_quantized_and_opened_again(tmp_path: Path, step: str) -> None:
    (tmp_path / "model.py").write_text(CODE)
    found = weigh(
        tmp_path,
        "model: {torch: model.py:net}\ndata: model.py:splits\nallow_chance: true\nrecipe:\n  - finetune: {epochs: 3, lr: 1e-2}\n"
        f"  - prune: {step}\n  - finetune: {{epochs: 1}}\n  - quantize: static\n    engine: onnxruntime\n"
        "    operators: all\n    reduce_range: true\n"
        "thresholds: {accuracy: 0.9, parameters: {max: 4000}, fidelity: -100, size_ratio: 1.5}\n",
    )
    assert not found.failed, (found.message, found.failed)
    assert found.measurements["parameters"].candidate < 0.3 * found.measurements["parameters"].baseline


def test_the_saved_module_is_the_same_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model.py").write_text(CODE)
    format_ = TorchModule()
    model = format_.load("model.py:net", None, tmp_path)
    context = Context(tmp_path, tmp_path, 0, Data(splits={"test": (np.ones((4, 1, 8, 8), np.float32), None)}))
    made = torch_channels.channels(model, ChannelOptions(), context)
    opened = format_.open(format_.save(made, tmp_path, "model"))
    x = torch.randn(3, 1, 8, 8)
    assert torch.equal(made.value(x), opened.value(x))
    assert opened.value[3].in_channels == 16


def test_the_documented_cases_are_valid(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "prune.md").read_text(encoding="utf-8")
    found = []
    for block in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL):
        (tmp_path / "page.yaml").write_text(block)
        found.append([case.name for case in load_cases(tmp_path / "page.yaml")])
    assert found == [
        ["two-of-four", "blocks", "by-what-comes-in"],
        ["page"],
        ["page"],
        ["half", "by-the-loss"],
        ["by-the-loss", "by-their-weights"],
        ["page"],
    ]
