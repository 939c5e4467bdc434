"""torch modules as they are found: each step does what it says, or names the layer and what to call."""

from __future__ import annotations

import copy
import itertools
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import save_file
from torch import nn
from torch.nn.utils import parametrizations, prune

from weighbridge.contracts import FORMATS, STEPS, Context, Model
from weighbridge.core.data import Data
from weighbridge.core.errors import StageError


def apply(
    key: str, module: nn.Module, folder: Path, splits: Any = None, source: Any = None, **options: Any
) -> Model:
    step = STEPS.get(key)
    context = Context(folder, folder, 0, Data(splits=splits or {}))
    return step.apply(Model("torch", module, source or {}), step.options.model_validate(options), context)


def mlp(*sizes: int) -> nn.Sequential:
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(sizes):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def written(folder: Path, code: str) -> None:
    (folder / "model.py").write_text(f"import torch\nfrom torch import nn\n\n{code}")


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


# ------------------------------------------------------------------------------------------------- channels


@pytest.mark.parametrize("scope", ["local", "global"])
@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("transposed", [True, False])
def test_dim_0_is_output_channels_whatever_the_layer(
    tmp_path: Path, scope: str, groups: int, transposed: bool
) -> None:
    kind = nn.ConvTranspose2d if transposed else nn.Conv2d
    torch.manual_seed(0)
    net = nn.Sequential(kind(6, 10, 3, groups=groups, bias=False))
    pruned = apply("prune:ln_structured", net, tmp_path, amount=2, scope=scope).value
    outputs = pruned(torch.randn(16, 6, 8, 8))
    assert int((outputs.abs().amax((0, 2, 3)) == 0).sum()) == 2
    assert int((pruned[0].weight == 0).sum()) == net[0].weight.numel() // 5


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("transposed", [True, False])
def test_dim_1_is_input_channels(tmp_path: Path, groups: int, transposed: bool) -> None:
    kind = nn.ConvTranspose2d if transposed else nn.Conv2d
    torch.manual_seed(0)
    net = nn.Sequential(kind(6, 10, 3, groups=groups, bias=False))
    pruned = apply("prune:ln_structured", net, tmp_path, amount=2, dim=1).value
    heard = [
        bool(pruned(torch.eye(6)[channel].view(1, 6, 1, 1).expand(1, 6, 8, 8)).any()) for channel in range(6)
    ]
    assert heard.count(False) == 2


def test_linear_layers_and_convolutions_are_ranked_as_torch_does(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 12, 3))
    for n in (1, 2, "inf"):
        ours = apply("prune:ln_structured", net, tmp_path, amount=0.25, n=n).value
        theirs = copy.deepcopy(net)
        for layer in theirs:
            prune.ln_structured(layer, "weight", 0.25, n=float(n), dim=0)
        for one, other in zip(ours, theirs, strict=True):
            torch.testing.assert_close(one.weight, other.weight)


# --------------------------------------------------------------------------------------------------- amount


@pytest.mark.parametrize(
    ("amount", "hint"),
    [
        (0, "fraction between 0 and 1"),
        (-3, "fraction between 0 and 1"),
        (1.0, "one weight is written 1"),
        (50.0, "write 0.5 for 50 %, or 50 for so many weights"),
        (200.0, r"\(write 200 for so many weights\)"),
        (float("inf"), "fraction between 0 and 1"),
        ("50%", "write a percentage as a fraction"),
        (True, "fraction between 0 and 1"),
    ],
)
def test_an_impossible_amount_is_a_fault_of_the_file(amount: Any, hint: str) -> None:
    with pytest.raises(ValidationError, match=hint):
        STEPS.get("prune:l1_unstructured").options.model_validate({"amount": amount})


@pytest.mark.parametrize(("amount", "left"), [(1, 127), (50, 78), (0.5, 64), (0.999, 1)])
def test_whole_numbers_count_and_fractions_are_shares(tmp_path: Path, amount: float, left: int) -> None:
    model = apply("prune:l1_unstructured", nn.Sequential(nn.Linear(16, 8)), tmp_path, amount=amount)
    assert int(model.value[0].weight.count_nonzero()) == left
    told = [note for note in model.notes if note.startswith("amount")]
    assert told == ([f"amount {amount} counts weights in each layer: {amount} of 128 ({amount / 128:.1%})"]
                    if isinstance(amount, int) else [])  # fmt: skip


@pytest.mark.parametrize(
    ("key", "options", "sentence"),
    [
        ("l1_unstructured", {"amount": 500}, "layer '2': amount 500 is a number of weights, and it has 128"),
        (
            "random_unstructured",
            {"amount": 128},
            "layer '2': amount 128 is a number of weights, and it has 128",
        ),
        ("ln_structured", {"amount": 4}, "layer '2': amount 4 is a number of channels, and it has 2"),
        ("ln_structured", {"amount": 1, "dim": 2}, "layer '0': `dim: 2`.*the axes 0 to 1"),
        ("l1_unstructured", {"amount": 3000, "scope": "global"}, "0, 2 have 2,176 weights"),
    ],
)
def test_an_amount_that_a_layer_has_not_names_it(
    tmp_path: Path, key: str, options: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(StageError, match=sentence):
        apply(f"prune:{key}", mlp(32, 64, 2), tmp_path, **options)


def test_the_same_amount_across_all_layers_is_no_fault(tmp_path: Path) -> None:
    model = apply("prune:l1_unstructured", mlp(32, 64, 2), tmp_path, amount=500, scope="global")
    assert sum(int(weight.count_nonzero()) for weight in model.value.parameters() if weight.dim() > 1) == 1676


def test_no_layer_loses_all_its_channels(tmp_path: Path) -> None:
    model = apply("prune:ln_structured", mlp(32, 64, 2), tmp_path, amount=0.9)
    assert int(model.value[2].weight.abs().sum(1).count_nonzero()) == 1
    assert any(note.startswith("2: 0.9 of 2 channels are all of them; one was kept") for note in model.notes)


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
    assert "out shares its weight with table, which is pruned along with it" in model.notes
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
    (note,) = model.notes
    assert "attention.in_proj_weight (MultiheadAttention)" in note
    assert "gru.weight_ih_l0 (GRU), gru.weight_hh_l0 (GRU)" in note
    untouched = 3 * 32 * 32 + 2 * 96 * 32
    assert f"they hold {untouched / (untouched + 32 * 32 + 4 * 32):.1%} of the model's weights" in note
    assert apply("prune:l1_unstructured", mlp(8, 8, 2), tmp_path, amount=0.5).notes == ()


def test_what_dynamic_quantization_leaves_in_float_is_told_by_layer(tmp_path: Path) -> None:
    model = apply("quantize:dynamic@torch", Attention(), tmp_path)
    assert model.coverage is not None
    told = {layer["name"]: layer for layer in model.coverage.to_json()["layers"]}
    assert {name: layer["converted"] for name, layer in told.items()} == {
        "attention": False, "attention.out_proj": False, "gru": False, "head": True,
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


# ------------------------------------------------------------------------------------------ saving and opening

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
    from weighbridge.contracts import Options, Step
    from weighbridge.steps.torch_layers import rebuilt_by

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


# ------------------------------------------------------------------------------------------------- training


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
