"""How much of a torch module `prune` removes, and along which axis."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from tests.found.torch_modules import apply, mlp
from torch import nn
from torch.nn.utils import prune

from weighbridge.contracts import STEPS
from weighbridge.core.errors import StageError

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
