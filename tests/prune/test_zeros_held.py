"""Zeros in groups are held to the end of a recipe, and spoilt ones are an error."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.projects import weigh
from torch import nn

from weighbridge.contracts import STEPS, Context, Model, Options, Step, ZeroGroups
from weighbridge.core.errors import StageError
from weighbridge.core.results import Status
from weighbridge.run.zero_groups import check_made

CODE = """
import numpy as np
import torch
from torch import nn

def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(4, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.ConvTranspose2d(16, 8, 3), nn.ReLU(),
                         nn.Conv2d(8, 8, 3, groups=2), nn.Flatten(), nn.Linear(288, 32), nn.ReLU(), nn.Linear(32, 4)).eval()

def splits():
    x = np.random.default_rng(0).standard_normal((64, 4, 8, 8)).astype("float32")
    return {name: (x, np.arange(64) % 4) for name in ("train", "calibration", "test")}
"""
STATIC = "  - quantize: static\n    engine: onnxruntime\n"
ONWARD = {
    "as it is": "",
    "fine-tuned": "  - finetune: {epochs: 1}\n",
    "torch dynamic": "  - quantize: dynamic\n    engine: torch\n",
    "static": STATIC,
    "static, unsigned": STATIC + "    weights: uint8\n",
    "dynamic": "  - quantize: dynamic\n    engine: onnxruntime\n",
    "litert": "  - quantize: litert\n    mode: static\n",
}
METHODS = {
    "2:4": "  - prune: n_m\n",
    "4x2 blocks": "  - prune: block\n    amount: 0.5\n    size: [4, 2]\n",
    "wanda": "  - prune: wanda\n    pattern: '2:4'\n",
}


def run(folder: Path, recipe: str) -> Any:
    (folder / "model.py").write_text(CODE)
    return weigh(
        folder,
        f"model: {{torch: model.py:net}}\ndata: model.py:splits\nallow_chance: true\nrecipe:\n{recipe}"
        "thresholds: {nonzero_ratio: {max: 0.9}}\n",
    )


@pytest.mark.parametrize(
    ("method", "onward"),
    [
        ("wanda", "static"),
        ("4x2 blocks", "torch dynamic"),
        ("2:4", "as it is"),
        *(
            pytest.param(method, onward, marks=pytest.mark.slow)
            for method in ("2:4", "4x2 blocks")
            for onward in ONWARD
            if (method, onward) not in (("4x2 blocks", "torch dynamic"), ("2:4", "as it is"))
        ),
    ],
)
def test_what_keeps_its_groups_is_not_accused(tmp_path: Path, method: str, onward: str) -> None:
    if onward == "litert":
        pytest.importorskip("ai_edge_quantizer")
        pytest.importorskip("litert_torch")
    found = run(tmp_path, METHODS[method] + ONWARD[onward])
    assert found.result.status is Status.PASS, found.message


def one_filled(module: Any) -> None:
    weight = module[7].weight.view(-1)
    weight[(weight == 0).nonzero()[5]] = 1.0


def turned(module: Any) -> None:
    """As many zeros, in another order of the inputs."""
    module[7].weight.copy_(module[7].weight[:, torch.randperm(288)])


def of_outputs(module: Any) -> None:
    """The pattern along the outputs: as many zeros in as regular an order, along the other axis."""
    weight = module[9].weight
    weight.copy_(torch.where(torch.tensor([1, 1, 0, 0]).bool()[:, None], weight + (weight == 0), 0))


class _None(Options):
    pass


@pytest.fixture
def planted(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """`finetune: planted`: a step after pruning that spoils the zeros in one layer."""
    monkeypatch.setattr(STEPS, "_entries", {name: STEPS.get(name) for name in STEPS.names()})

    def spoil(source: Model, options: _None, context: Context) -> Model:
        from weighbridge.steps.torch_layers import working_copy

        module = working_copy(source, "finetune")
        with torch.no_grad():
            request.param(module)
        return Model("torch", module, source.source)

    STEPS.add("finetune:planted", Step("finetune", "planted", ("torch",), _None, spoil))


@pytest.mark.parametrize(
    ("planted", "layer", "broken", "onward"),
    [
        (one_filled, "7.weight", ("2:4", "4x2 blocks", "wanda"), ""),
        (turned, "7.weight", ("2:4", "4x2 blocks", "wanda"), ""),
        (of_outputs, "9.weight", ("2:4", "wanda"), ""),
        (of_outputs, "9.weight", ("2:4", "wanda"), STATIC),
        pytest.param(one_filled, "7.weight", ("2:4", "4x2 blocks", "wanda"), STATIC, marks=pytest.mark.slow),
        pytest.param(turned, "7.weight", ("2:4", "4x2 blocks", "wanda"), STATIC, marks=pytest.mark.slow),
    ],
    indirect=["planted"],
)
@pytest.mark.usefixtures("planted")
def test_zeros_that_a_later_step_spoils_are_an_error(
    tmp_path: Path, layer: str, broken: tuple[str, ...], onward: str
) -> None:
    for method in broken:
        folder = tmp_path / method[:2]
        folder.mkdir()
        found = run(folder, METHODS[method] + "  - finetune: planted\n" + onward)
        assert found.result.status is Status.ERROR
        assert (
            f"the artifact has not kept {'2:4' if method == 'wanda' else method}: {layer} " in found.message
        )


def test_channels_taken_out_afterwards_take_the_groups_along(tmp_path: Path) -> None:
    pytest.importorskip("torch_pruning")
    found = run(tmp_path, METHODS["2:4"] + "  - prune: channels\n    layers: ['7']\n")
    assert "no weight of 32 x 288 x 1 is left of 7.weight" in found.message


def test_a_step_that_takes_a_layer_away_is_held_to_the_others() -> None:
    """A normalization that is folded into its neighbour, say."""
    torch.manual_seed(0)
    layer = nn.Linear(8, 8)
    before = Model("torch", nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8)))
    before.value[0].load_state_dict(layer.state_dict())
    two_of_four = ZeroGroups(rows=1, columns=4, nonzero=2, every=True)
    step = STEPS.get("prune:n_m")
    with torch.no_grad():
        layer.weight[:, ::2] = 0
    check_made(step, two_of_four, before, Model("torch", nn.Sequential(layer)))
    with torch.no_grad():
        layer.weight[3, :] = 1
        layer.weight[3, 0] = 0
    with pytest.raises(StageError, match=r"left other zeros in 0\.weight"):
        check_made(step, two_of_four, before, Model("torch", nn.Sequential(layer)))


@pytest.mark.parametrize("method", METHODS)
def test_a_step_that_leaves_other_zeros_than_it_promised_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    """Planted: the layer called 7 keeps a weight that was to go."""
    from weighbridge.steps.prune import weights

    honest = weights.pruned

    def sloppy(opened: Any, kept: Any, notes: Any = ()) -> Model:
        for each, mask in kept:
            if each.label == "7":
                first = np.flatnonzero(~mask.reshape(-1))[0]
                mask.reshape(-1)[first] = True
        return honest(opened, kept, notes)

    for module in ("n_m", "block", "wanda"):
        monkeypatch.setattr(f"weighbridge.steps.prune.{module}.pruned", sloppy)
    found = run(tmp_path, METHODS[method])
    assert found.result.status is Status.ERROR
    assert "left other zeros in 7.weight" in found.message
