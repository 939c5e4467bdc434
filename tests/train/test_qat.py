"""`finetune: qat`: what int8 codes can hold is trained for, and the quantize step after it loses nothing of it."""

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
from safetensors.torch import load_file, save_file
from tests.found.torch_modules import mlp
from tests.projects import report_of
from torch import nn

from weighbridge.contracts import CONVERTERS, FORMATS, STEPS, Context, Model
from weighbridge.core.data import Data
from weighbridge.core.errors import StageError
from weighbridge.steps.torch_rounding import Grid, Range

Project = Callable[..., Path]
STEP = STEPS.get("finetune:qat")
STATIC = STEPS.get("quantize:static@onnxruntime")


def context(folder: Path, shape: tuple[int, ...]) -> Context:
    x = np.random.default_rng(1).normal(0, 1, (200, *shape)).astype("f4")
    labelled = (x, (np.abs(x.reshape(200, -1)).argmax(1) % 3).astype("i8"))
    return Context(folder, folder, 0, Data({"train": labelled, "calibration": labelled, "test": labelled}))


def trained(module: nn.Module, folder: Path, shape: tuple[int, ...], **options: Any) -> Model:
    found = STEP.options.model_validate({"lr": 1e-3, "batch_size": 32, "reduce_range": False, **options})
    return STEP.apply(Model("torch", module, {}), found, context(folder, shape))


def convolutions() -> nn.Sequential:
    """Two convolutions whose channels differ by a factor of a thousand once the normalization is folded into them."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(2, 8, 3, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 3),
    )
    for part in net:
        if isinstance(part, nn.BatchNorm2d):
            with torch.no_grad():
                part.weight.copy_(torch.logspace(-1, 1, 8) * torch.tensor([1.0, -1.0] * 4))
                part.running_var.uniform_(0.5, 2.0)
                part.running_mean.uniform_(-0.1, 0.1)
    return net.eval()


# ---------------------------------------------------------------------------------------------- the rounding

shapes = st.sampled_from([(3, 4), (4, 2, 3), (2, 3, 3, 3), (1, 5), (5, 1)])


@settings(max_examples=100)
@given(st.integers(0, 2**31), shapes, st.sampled_from([1, 3, 7, 64, 127]), st.booleans(), st.booleans())
def test_a_grid_holds_the_weights_and_itself(
    seed: int, shape: tuple[int, ...], highest: int, per_channel: bool, normalized: bool
) -> None:
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(*shape, generator=generator) * 10 ** torch.randn(1, generator=generator)
    weight.flatten()[0] = 0
    normalization = nn.BatchNorm1d(shape[0]).eval() if normalized else None
    factor = torch.ones(shape[0])
    if normalization is not None:
        with torch.no_grad():
            normalization.weight.copy_(torch.randn(shape[0], generator=generator))
            normalization.weight[0] = 0 if seed % 3 == 0 else normalization.weight[0]
        factor = normalization.weight.detach() / (1 + normalization.eps) ** 0.5
        factor = torch.where(factor == 0, torch.ones(()), factor)
    grid = Grid(highest, per_channel, normalization)
    found = grid(weight)
    column = factor.reshape(-1, *[1] * (len(shape) - 1))
    folded, wanted = found * column, weight * column
    axes = tuple(range(1, len(shape)))
    largest = wanted.abs().amax(axes, keepdim=True) if per_channel else wanted.abs().max()
    step = (largest / highest).clamp_min(1e-30)
    codes = folded / step
    assert torch.allclose(codes, codes.round(), atol=1e-3)
    assert float(codes.abs().max()) <= highest + 1e-3
    assert bool(((folded - wanted).abs() <= 0.5001 * step).all()), "each at the nearest step"
    assert torch.allclose(grid(found), found, rtol=1e-5, atol=0), "whoever quantizes it again finds the same"
    assert float(found.flatten()[0]) == 0, "a zero stays one"


def test_gradients_pass_a_grid_and_stop_outside_a_range() -> None:
    weight = torch.randn(4, 3, requires_grad=True)
    Grid(7, True)(weight).sum().backward()
    assert torch.equal(weight.grad, torch.ones(4, 3))
    seen = Range(0.1)
    seen(torch.tensor([-1.0, 2.0]))
    seen.eval()
    x = torch.tensor([-3.0, 0.5, 3.0], requires_grad=True)
    seen(x).sum().backward()
    assert torch.equal(x.grad, torch.tensor([0.0, 1.0, 0.0]))


@settings(max_examples=100)
@given(st.integers(0, 2**31), st.floats(-50, 50), st.floats(0.01, 100))
def test_a_range_has_256_codes_and_zero_among_them(seed: int, middle: float, width: float) -> None:
    x = middle + width * torch.randn(500, generator=torch.Generator().manual_seed(seed))
    seen = Range(0.1)
    seen(x)
    seen.eval()
    found = seen(x)
    step = float(max(x.max(), torch.zeros(())) - min(x.min(), torch.zeros(()))) / 255
    assert float((found - x).abs().max()) <= 1.01 * step
    assert len(found.unique()) <= 256
    assert float(seen(torch.zeros(1))) == 0


# ---------------------------------------------------------------------------------------------- the step


def test_what_comes_back_is_a_plain_module(tmp_path: Path) -> None:
    net = convolutions()
    before = copy.deepcopy(net)
    model = trained(net, tmp_path, (2, 6, 6), epochs=2)
    assert [type(part) for part in model.value.modules()] == [type(part) for part in net.modules()]
    assert list(model.value.state_dict()) == list(net.state_dict())
    assert not any(part._forward_pre_hooks for part in model.value.modules())
    for (name, one), (_, two) in zip(before.state_dict().items(), net.state_dict().items(), strict=True):
        assert torch.equal(one, two), f"the model before the step: {name}"
    for place in (1, 4):
        assert torch.equal(model.value[place].running_mean, net[place].running_mean), "statistics stand still"


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("per_channel", [True, False])
def test_weights_are_numbers_of_few_codes(tmp_path: Path, bits: int, per_channel: bool) -> None:
    if bits < 8:
        found = STEP.options.model_validate({"bits": bits, "per_channel": per_channel, "lr": 1e-3})
        model = STEP.apply(Model("torch", convolutions(), {}), found, context(tmp_path, (2, 6, 6)))
    else:
        model = trained(convolutions(), tmp_path, (2, 6, 6), per_channel=per_channel)
    highest = 2 ** (bits - 1) - 1
    for convolution, normalization in ((model.value[0], model.value[1]), (model.value[3], model.value[4])):
        factor = normalization.weight * (normalization.running_var + normalization.eps).rsqrt()
        folded = (convolution.weight * factor.reshape(-1, 1, 1, 1)).detach()
        largest = folded.abs().amax((1, 2, 3), keepdim=True) if per_channel else folded.abs().max()
        codes = folded / largest * highest
        assert torch.allclose(codes, codes.round(), atol=2e-3)


def uneven(part: nn.Module) -> nn.Module:
    with torch.no_grad():
        part.weight.copy_(torch.logspace(-1, 1, 8))
        part.running_var.uniform_(0.5, 2.0)
    return part


@pytest.mark.parametrize("inplace", [True, False])
def test_what_an_activation_parts_is_not_folded(tmp_path: Path, inplace: bool) -> None:
    """ReLU in place gives the same object on: no engine folds a normalization over it."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(2, 8, 3), nn.ReLU(inplace), uneven(nn.BatchNorm2d(8)), nn.Flatten(), nn.Linear(128, 3)
    )
    found = STEP.options.model_validate({"bits": 2, "per_channel": False, "exclude": ["4"]})
    model = STEP.apply(Model("torch", net.eval(), {}), found, context(tmp_path, (2, 6, 6)))
    assert len(model.value[0].weight.unique()) == 3, "codes of the weight itself"
    assert not torch.equal(model.value[2].running_mean, net[2].running_mean), "and its statistics move"


def codes(model: Model, options: dict[str, Any], where: Context) -> list[int]:
    """How many different codes each matrix of the int8 artifact holds."""
    export = next(one for one in CONVERTERS if (one.source, one.target) == ("torch", "onnx"))
    found = STATIC.options.model_validate({**options, "float_share": 0})
    made = STATIC.apply(export.convert(model, where), found, where)
    held = [each for each in FORMATS.get("onnx").tensors(made) if each.quantization and each.is_matrix]
    return [len(np.unique(each.array)) for each in held]


def test_a_linear_layer_has_its_normalization_folded_in_as_the_export_has_it(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(12, 8), uneven(nn.BatchNorm1d(8)), nn.ReLU(), nn.Linear(8, 3)).eval()
    where, scales = context(tmp_path, (12,)), {"per_channel": False}
    found = STEP.options.model_validate({"bits": 2, **scales})
    assert codes(STEP.apply(Model("torch", net, {}), found, where), scales, where) == [3, 3]


def test_a_linear_layer_of_sequences_keeps_to_itself(tmp_path: Path) -> None:
    """Of [samples, 8, 8], axis 1 is none that the layer computes: nothing folds there."""
    net = nn.Sequential(nn.Linear(8, 8), uneven(nn.BatchNorm1d(8)), nn.Flatten(), nn.Linear(64, 3)).eval()
    found = STEP.options.model_validate({"bits": 2, "per_channel": False, "exclude": ["3"]})
    model = STEP.apply(Model("torch", net, {}), found, context(tmp_path, (8, 8)))
    assert len(model.value[0].weight.unique()) == 3


def test_layers_that_are_called_by_keyword(tmp_path: Path) -> None:
    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.convolution, self.normalization = nn.Conv1d(2, 8, 3), uneven(nn.BatchNorm1d(8))
            self.last = nn.Linear(8, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            found = self.normalization(input=self.convolution(input=x))
            return self.last(input=found.mean(2))

    class Placed(Named):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.last(self.normalization(self.convolution(x)).mean(2))

    made = []
    for kind in (Named, Placed):
        torch.manual_seed(0)
        made.append(trained(kind().eval(), tmp_path, (2, 6)).value.state_dict())
    for name, value in made[0].items():
        assert torch.equal(value, made[1][name]), name


@pytest.mark.slow
@pytest.mark.parametrize("per_channel", [True, False])
@pytest.mark.parametrize("reduce_range", [True, False])
def test_static_int8_loses_nothing_of_what_was_trained(
    tmp_path: Path, per_channel: bool, reduce_range: bool
) -> None:
    """The codes of the artifact stand for the trained weights, normalization and all, to float32's last digits."""
    options = {"per_channel": per_channel, "reduce_range": reduce_range}
    model = trained(convolutions(), tmp_path, (2, 6, 6), **options)
    where = context(tmp_path, (2, 6, 6))
    export = next(one for one in CONVERTERS if (one.source, one.target) == ("torch", "onnx"))

    def largest_difference(module: Model) -> float:
        """In parts of a step."""
        found = STATIC.options.model_validate({**options, "float_share": 0})
        made = STATIC.apply(export.convert(module, where), found, where)
        held = [each for each in FORMATS.get("onnx").tensors(made) if each.quantization and each.is_matrix]
        convolved = [each for each in held if each.array.ndim == 4]
        assert len(convolved) == 2
        worst = 0.0
        for each in convolved:
            place = 0 if each.array.shape[1] == 2 else 3
            normalization = module.value[place + 1]
            factor = normalization.weight * (normalization.running_var + normalization.eps).rsqrt()
            wanted = (module.value[place].weight * factor.reshape(-1, 1, 1, 1)).detach().numpy()
            assert each.quantization is not None
            step = np.asarray(each.quantization.scale).reshape(-1, 1, 1, 1)
            worst = max(worst, float(np.abs((each.values() - wanted) / step).max()))
        return worst

    assert largest_difference(model) < 0.01
    plain = STEPS.get("finetune:supervised")
    unaware = plain.apply(
        Model("torch", convolutions(), {}), plain.options.model_validate({"lr": 1e-3}), where
    )
    assert largest_difference(unaware) > 0.3, "a training that knows nothing of it loses half a step"


def test_zeros_stay_and_layers_are_chosen(tmp_path: Path) -> None:
    prune = STEPS.get("prune:l1_unstructured")
    where = context(tmp_path, (12,))
    net = mlp(12, 32, 32, 3)
    pruned = prune.apply(Model("torch", net), prune.options.model_validate({"amount": 0.5}), where)
    zeros = pruned.value[2].weight == 0
    found = STEP.options.model_validate({"bits": 3, "exclude": ["4"], "lr": 1e-3})
    model = STEP.apply(Model("torch", pruned.value, {}), found, where)
    assert bool((model.value[2].weight[zeros] == 0).all())
    row = model.value[2].weight[0].detach().unique()
    assert len(row) <= 7
    assert len(model.value[4].weight[0].detach().unique()) > 7, "excluded"
    assert "2 layers" in model.notes[-1]


def test_a_tie_is_kept(tmp_path: Path) -> None:
    net = mlp(6, 6, 6, 3)
    net[2].weight = net[0].weight
    model = trained(net, tmp_path, (6,))
    assert model.value[0].weight is model.value[2].weight


def test_what_it_cannot_train_for_is_told(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="rounds Linear and convolution layers, and there is none"):
        trained(nn.Sequential(nn.LSTM(4, 4)), tmp_path, (5, 4))
    with pytest.raises(StageError, match="exclude"):
        trained(mlp(4, 3), tmp_path, (4,), exclude=["*"])
    with pytest.raises(ValidationError, match="`reduce_range` is for weights of 8 bits"):
        STEP.options.model_validate({"bits": 4, "reduce_range": True})


CASE = """
model: {torch: model.py:net, weights: uneven.safetensors}
data: model.py:splits
recipe:
  - finetune: qat
    bits: 4
    per_channel: false
    lr: LR
    epochs: EPOCHS
thresholds: {accuracy_drop: 0.06, gzip_ratio: 6}
"""


def test_four_bits_are_learned_and_not_had_for_nothing(pytester: pytest.Pytester, project: Project) -> None:
    """Of a network whose channels are of many sizes, one scale a matrix keeps the large ones: rounded alone, which a rate of
    next to nothing is, it fails its gate; trained for, it passes.
    """
    rounded = CASE.replace("LR", "1e-12").replace("EPOCHS", "1")
    folder = project(rounded=rounded, learned=CASE.replace("LR", "3e-3").replace("EPOCHS", "30"))
    weights = load_file(folder / "net.safetensors")
    sizes = torch.logspace(-1.5, 1.5, 96)
    weights["0.weight"] *= sizes[:, None]
    weights["0.bias"] *= sizes
    weights["2.weight"] /= sizes
    save_file(weights, folder / "uneven.safetensors")
    pytester.runpytest_inprocess()
    rows = {Path(row["path"]).stem: row for row in report_of(pytester.path)["rows"]}
    verdicts = {
        name: {one["threshold"]: one["status"] for one in row["verdicts"]} for name, row in rows.items()
    }
    assert verdicts["rounded"] == {"accuracy_drop": "fail", "gzip_ratio": "pass"}
    assert verdicts["learned"] == {"accuracy_drop": "pass", "gzip_ratio": "pass"}
