"""torch modules as they are found: each step does what it says, or names the layer and what to call."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tests.found.torch_modules import apply, mlp, written
from torch import nn
from torch.nn.utils import parametrizations, prune

from weighbridge.contracts import FORMATS, Model
from weighbridge.core.errors import StageError

# --------------------------------------------------------------------------------- weights that are computed


def weight_norm(net: nn.Sequential) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        nn.utils.weight_norm(net[0])
    net(torch.zeros(1, 16))


def spectral_norm(net: nn.Sequential) -> None:
    nn.utils.spectral_norm(net[2])
    net(torch.zeros(1, 16))


COMPUTED = {
    "weight_norm": (weight_norm, "layer '0': .*WeightNorm; call torch.nn.utils.remove_weight_norm"),
    "spectral_norm": (spectral_norm, "layer '2': .*SpectralNorm; call torch.nn.utils.remove_spectral_norm"),
    "parametrized": (
        lambda net: parametrizations.weight_norm(net[0]),
        "layer '0': .*WeightNorm; call torch.nn.utils.parametrize.remove_parametrizations",
    ),
    "orthogonal": (
        lambda net: parametrizations.orthogonal(net[2]),
        "layer '2': .*Orthogonal; call torch.nn.utils.parametrize.remove_parametrizations",
    ),
    "mask": (
        lambda net: prune.random_unstructured(net[0], "weight", amount=0.3),
        "layer '0': .*pruning mask; call torch.nn.utils.prune.remove",
    ),
}


@pytest.mark.parametrize("key", ["prune:l1_unstructured", "quantize:dynamic@torch"])
@pytest.mark.parametrize("how", COMPUTED)
def test_a_weight_that_is_computed_is_named_with_the_call_that_ends_it(
    tmp_path: Path, key: str, how: str
) -> None:
    change, sentence = COMPUTED[how]
    net = mlp(16, 32, 4)
    change(net)
    options = {"amount": 0.5} if key.startswith("prune") else {}
    with pytest.raises(StageError, match=sentence):
        apply(key, net, tmp_path, **options)


def test_masks_that_were_made_permanent_are_no_fault(tmp_path: Path) -> None:
    net = mlp(16, 32, 4)
    prune.random_unstructured(net[0], "weight", amount=0.3)
    prune.remove(net[0], "weight")
    apply("prune:l1_unstructured", net, tmp_path, amount=0.5)


def test_a_module_with_masks_is_not_what_ships(tmp_path: Path) -> None:
    written(
        tmp_path,
        "def masked():\n    net = nn.Sequential(nn.Linear(8, 8))\n"
        "    torch.nn.utils.prune.l1_unstructured(net[0], 'weight', 0.5)\n    return net\n",
    )
    format_ = FORMATS.get("torch")
    with pytest.raises(StageError, match=r"^load: layer '0': .*torch\.nn\.utils\.prune\.remove"):
        format_.load("model.py:masked", None, tmp_path)
    net = mlp(8, 8)
    prune.l1_unstructured(net[0], "weight", amount=0.5)
    with pytest.raises(StageError, match=r"^save: layer '0': "):
        format_.save(Model("torch", net), tmp_path, "candidate")


def test_a_checkpoint_with_masks_is_loaded_with_them_applied(tmp_path: Path) -> None:
    written(tmp_path, "def net(): return nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2))\n")
    masked = mlp(8, 8, 2)
    prune.l1_unstructured(masked[0], "weight", amount=0.5)
    save_file(masked.state_dict(), tmp_path / "masked.safetensors")
    model = FORMATS.get("torch").load("model.py:net", tmp_path / "masked.safetensors", tmp_path)
    torch.testing.assert_close(model.value[0].weight, masked[0].weight)
    assert int((model.value[0].weight == 0).sum()) == 32
    (note,) = model.notes
    assert "pruning masks beside the full weights of 0.weight: they were applied" in note
    prune.remove(masked[0], "weight")
    save_file(masked.state_dict(), tmp_path / "plain.safetensors")
    assert FORMATS.get("torch").load("model.py:net", tmp_path / "plain.safetensors", tmp_path).notes == ()


# ----------------------------------------------------------------------------------------- shared parameters


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.table, self.mix = nn.Embedding(80, 16), nn.Linear(16, 16)
        self.out = nn.Linear(16, 80, bias=False)
        self.out.weight = self.table.weight

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.out(torch.relu(self.mix(self.table(ids).mean(1))))


class Twins(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.one, self.two, self.last = nn.Linear(16, 16), nn.Linear(16, 16), nn.Linear(16, 4)
        self.two.weight = self.one.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.two(torch.relu(self.one(x))))


def test_a_tied_weight_is_pruned_once_and_stays_tied(tmp_path: Path) -> None:
    model = apply("prune:l1_unstructured", Tied(), tmp_path, amount=0.5, layers=["out"])
    assert model.value.out.weight is model.value.table.weight
    assert int(model.value.out.weight.count_nonzero()) == 640
    assert "out shares its weight with table, which changes along with it" in model.notes
    twins = apply("prune:l1_unstructured", Twins(), tmp_path, amount=0.5).value
    assert twins.one.weight is twins.two.weight
    assert int(twins.one.weight.count_nonzero()) == 128, "pruned once, not half of the half"


def test_a_weight_that_an_excluded_layer_shares_is_left_alone(tmp_path: Path) -> None:
    model = apply("prune:l1_unstructured", Twins(), tmp_path, amount=0.5, exclude=["two"])
    assert int(model.value.one.weight.count_nonzero()) == 256
    assert "one was left alone: it shares its weight with two, which is excluded" in model.notes
    with pytest.raises(StageError, match="every chosen layer shares its weight with an excluded one"):
        apply("prune:l1_unstructured", Twins(), tmp_path, amount=0.5, layers=["one", "two"], exclude=["two"])


def test_quantizing_a_tied_weight_says_that_it_is_stored_twice(tmp_path: Path) -> None:
    model = apply("quantize:dynamic@torch", Tied(), tmp_path)
    assert any(
        note.startswith("table and out share one weight; quantizing breaks the tie") for note in model.notes
    )
    assert not any("share" in note for note in apply("quantize:dynamic@torch", mlp(8, 8, 2), tmp_path).notes)


# --------------------------------------------------------------- attention, recurrent layers: touched or told


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(32, 4, batch_first=True)
        self.gru, self.head = nn.GRU(32, 32, batch_first=True), nn.Linear(32, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.gru(self.attention(x, x, x, need_weights=False)[0])[0].mean(1))


def test_what_prune_does_not_touch_is_told(tmp_path: Path) -> None:
    model = apply("prune:l1_unstructured", Attention(), tmp_path, amount=0.5)
    note, zeros = model.notes
    assert "are zeros" in zeros
    assert "attention.in_proj_weight (MultiheadAttention)" in note
    assert "gru.weight_ih_l0 (GRU), gru.weight_hh_l0 (GRU)" in note
    untouched = 3 * 32 * 32 + 2 * 96 * 32
    assert f"they hold {untouched / (untouched + 32 * 32 + 4 * 32):.1%} of the model's weights" in note
    assert len(apply("prune:l1_unstructured", mlp(8, 8, 2), tmp_path, amount=0.5).notes) == 1


def test_what_dynamic_quantization_leaves_in_float_is_told_by_layer(tmp_path: Path) -> None:
    model = apply("quantize:dynamic@torch", Attention(), tmp_path)
    assert model.coverage is not None
    told = {layer["name"]: layer for layer in model.coverage.to_json()["layers"]}
    assert {name: layer["converted"] for name, layer in told.items()} == {
        "attention": False, "attention.out_proj": False, "gru": True, "head": True,
    }  # fmt: skip
    assert "no in_proj_weight of a MultiheadAttention" in told["attention"]["reason"]
    assert all(layer["asked"] for layer in told.values())
    assert model.notes == model.coverage.sentences()
    assert model.value(torch.randn(2, 5, 32)).shape == (2, 4)


def test_layers_are_chosen_by_name_pattern_and_type(tmp_path: Path) -> None:
    net = mlp(16, 16, 16, 4)
    model = apply("quantize:dynamic@torch", net, tmp_path, exclude=["2"])
    assert [type(part).__module__.startswith("torch.ao") for part in model.value] == [
        True,
        False,
        False,
        False,
        True,
    ]
    assert model.notes == ("2 (Linear) left in float: `layers` and `exclude` leave it out",)
    mixed = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(144, 4))
    pruned = apply("prune:l1_unstructured", mixed, tmp_path, amount=0.5, layers=["Conv2d"]).value
    assert int(pruned[2].weight.count_nonzero()) == 144 * 4
    assert int(pruned[0].weight.count_nonzero()) == 54
    with pytest.raises(StageError, match=r"exclude: .*matches 'Conv3d'.*or a type: Conv2d, Linear"):
        apply("prune:l1_unstructured", mixed, tmp_path, amount=0.5, exclude=["Conv3d"])


def test_a_dead_channel_and_a_dead_layer_stay_zero(tmp_path: Path) -> None:
    net = mlp(16, 32, 32, 4)
    with torch.no_grad():
        net[0].weight[5:9] = 0
        net[2].weight[:] = 0
    for per_channel in (True, False):
        value = apply("quantize:dynamic@torch", net, tmp_path, per_channel=per_channel).value
        assert not value[0].weight().dequantize()[5:9].any()
        assert not value[2].weight().dequantize().any()
        torch.testing.assert_close(value(torch.ones(1, 16)), net(torch.ones(1, 16)), atol=0.05, rtol=0.05)
