"""One fault for each step: what returns its input is an error that says so, and what a step promises is kept."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.projects import CASE, report_of, statuses

from weighbridge.contracts import STEPS, Context, Model, Options, Step
from weighbridge.core.data import Data

Project = Callable[..., Path]


def returns_its_input(model: Model, options: Any, context: Context) -> Model:
    return model


def returns_a_copy(model: Model, options: Any, context: Context) -> Model:
    return Model(model.format, copy.deepcopy(model.value), model.source)


def dequantizes(model: Model, options: Any, context: Context) -> Model:
    """Rounds the weights to 8 bits and keeps them in float: quantized in name only."""
    value = copy.deepcopy(model.value)
    with torch.no_grad():
        for weight in value.parameters():
            scale = weight.abs().max() / 127
            weight.copy_((weight / scale).round() * scale)
    return Model(model.format, value, model.source)


@pytest.fixture
def register(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Registers a step as an extension would; it is gone after the test."""
    monkeypatch.setattr(STEPS, "_entries", {name: STEPS.get(name) for name in STEPS.names()})

    def add(kind: str, method: str, apply: Any, must: Any = "change") -> None:
        STEPS.add(f"{kind}:{method}", Step(kind, method, ("torch",), Options, apply, must=must))

    return add


@pytest.fixture
def lazy_steps(register: Callable[..., None]) -> None:
    """Steps that do nothing, and one that only pretends."""
    for kind, must in (("prune", "sparsify"), ("quantize", "quantize"), ("finetune", "change")):
        for method, apply in (
            ("lazy", returns_its_input),
            ("copies", returns_a_copy),
            ("rounds", dequantizes),
        ):
            register(kind, method, apply, must)


def case(*steps: str) -> str:
    recipe = "".join(f"  - {{{step}}}\n" for step in steps)
    return f"""
model: {{torch: model.py:net, weights: net.safetensors}}
data: model.py:splits
recipe:
{recipe}
thresholds: {{accuracy_drop: 0.5, size: 1 GB}}
"""


@pytest.mark.usefixtures("lazy_steps")
@pytest.mark.parametrize("kind", ["prune", "quantize", "finetune"])
@pytest.mark.parametrize("method", ["lazy", "copies"])
def test_a_step_that_returns_its_input(
    pytester: pytest.Pytester, project: Project, kind: str, method: str
) -> None:
    project(lazy=case("prune: l1_unstructured, amount: 0.5", f"{kind}: {method}"), net=CASE)
    result = pytester.runpytest_inprocess()
    result.assert_outcomes(passed=2, errors=2)
    result.stdout.fnmatch_lines(f"*cases/lazy.yaml:6: {kind} ({kind}: {method}): the step changed nothing: *")
    assert report_of(pytester.path)["rows"][0]["stage"] == kind


@pytest.mark.usefixtures("lazy_steps")
def test_a_quantizer_in_name_only(pytester: pytest.Pytester, project: Project) -> None:
    """Rounded weights in float are not quantized."""
    project(pretends=case("quantize: rounds"))
    result = pytester.runpytest_inprocess()
    result.assert_outcomes(errors=2)
    result.stdout.fnmatch_lines("*pretends.yaml:5: quantize (quantize: rounds): the step changed nothing: *")


def test_a_recipe_that_undoes_itself_is_seen_in_the_bytes(
    pytester: pytest.Pytester, project: Project, register: Callable[..., None]
) -> None:
    def negate(model: Model, options: Any, context: Context) -> Model:
        value = copy.deepcopy(model.value)
        with torch.no_grad():
            for weight in value.parameters():
                weight.neg_()
        return Model(model.format, value, model.source)

    register("finetune", "negate", negate)
    project(undone=case("finetune: negate", "finetune: negate"))
    result = pytester.runpytest_inprocess()
    result.assert_outcomes(errors=2)
    result.stdout.fnmatch_lines(
        "*save: the recipe changed nothing: the artifact is the original, byte for byte*"
    )


def test_a_step_that_raises_names_itself(
    pytester: pytest.Pytester, project: Project, register: Callable[..., None]
) -> None:
    def explode(model: Model, options: Any, context: Context) -> Model:
        raise ZeroDivisionError("division by zero")

    register("prune", "explode", explode)
    project(explodes=case("prune: explode"), net=CASE)
    result = pytester.runpytest_inprocess()
    result.assert_outcomes(passed=2, errors=2)
    result.stdout.fnmatch_lines(
        "*explodes.yaml:5: prune (prune: explode): ZeroDivisionError: division by zero"
    )


def context(tmp_path: Path, seed: int = 0, **splits: Any) -> Context:
    return Context(tmp_path, tmp_path, seed, Data(splits=splits))


def step(key: str, module: torch.nn.Module, tmp_path: Path, seed: int = 0, **options: Any) -> Any:
    found = STEPS.get(key)
    return found.apply(
        Model("torch", module), found.options.model_validate(options), context(tmp_path, seed)
    ).value


def nonzero(module: torch.nn.Module) -> int:
    return sum(int(weight.count_nonzero()) for weight in module.parameters() if weight.dim() > 1)


@pytest.mark.parametrize("method", ["l1_unstructured", "random_unstructured"])
@pytest.mark.parametrize("scope", ["local", "global"])
def test_4000_of_5000(tmp_path: Path, method: str, scope: str) -> None:
    model = torch.nn.Sequential(torch.nn.Linear(100, 50))
    pruned = step(f"prune:{method}", model, tmp_path, amount=0.2, scope=scope)
    assert (nonzero(pruned), nonzero(model)) == (4000, 5000)
    assert pruned[0].weight.shape == (50, 100)


def test_l1_removes_the_smallest(tmp_path: Path) -> None:
    model = torch.nn.Linear(100, 50)
    pruned = step("prune:l1_unstructured", model, tmp_path, amount=0.2)
    removed = model.weight[pruned.weight == 0].abs().max()
    assert removed <= model.weight[pruned.weight != 0].abs().min()
    assert torch.equal(pruned.weight[pruned.weight != 0], model.weight[pruned.weight != 0])


@pytest.mark.parametrize("key", ["l1_unstructured", "random_unstructured", "ln_structured"])
def test_masks_are_permanent(tmp_path: Path, key: str) -> None:
    pruned = step(f"prune:{key}", torch.nn.Sequential(torch.nn.Linear(20, 10)), tmp_path, amount=0.3)
    assert set(pruned.state_dict()) == {"0.weight", "0.bias"}
    assert isinstance(pruned[0].weight, torch.nn.Parameter)
    assert not pruned[0]._forward_pre_hooks
    copy.deepcopy(pruned)


@pytest.mark.parametrize("scope", ["local", "global"])
@pytest.mark.parametrize("dim", [0, 1])
def test_structured_pruning_removes_whole_slices_and_keeps_shapes(
    tmp_path: Path, scope: str, dim: int
) -> None:
    model = torch.nn.Sequential(torch.nn.Conv2d(4, 8, 3), torch.nn.Conv2d(8, 12, 3))
    pruned = step("prune:ln_structured", model, tmp_path, amount=0.5, scope=scope, dim=dim)
    assert [layer.weight.shape for layer in pruned] == [layer.weight.shape for layer in model]
    slices = [layer.weight.movedim(dim, 0).flatten(1).abs().sum(1) for layer in pruned]
    total = sum(len(sizes) for sizes in slices)
    assert sum(int((sizes == 0).sum()) for sizes in slices) == total // 2
    assert nonzero(pruned) == sum(
        int((sizes != 0).sum()) * layer.weight.numel() // len(sizes)
        for sizes, layer in zip(slices, model, strict=True)
    )


def test_global_pruning_leaves_no_layer_without_channels(tmp_path: Path) -> None:
    model = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.Linear(8, 2))
    with torch.no_grad():
        model[0].weight *= 1e-3
    pruned = step("prune:ln_structured", model, tmp_path, amount=0.7, scope="global")
    assert all(int(layer.weight.abs().sum(1).count_nonzero()) >= 1 for layer in pruned)


def test_layers_are_chosen_by_name(tmp_path: Path) -> None:
    model = torch.nn.Sequential()
    for name in ("conv1", "conv2", "head"):
        model.add_module(name, torch.nn.Linear(10, 10))
    pruned = step("prune:l1_unstructured", model, tmp_path, amount=0.5, layers=["conv*"], exclude=["conv1"])
    assert [int(layer.weight.count_nonzero()) for layer in pruned] == [100, 50, 100]
    from weighbridge.core.errors import StageError

    with pytest.raises(StageError, match=r"matches 'covn2'; did you mean 'conv2'\?"):
        step("prune:l1_unstructured", model, tmp_path, amount=0.5, layers=["covn2"])


def test_random_pruning_follows_the_seed(tmp_path: Path) -> None:
    model = torch.nn.Linear(50, 50)
    one, same, other = (
        step("prune:random_unstructured", model, tmp_path, seed=seed, amount=0.5).weight != 0
        for seed in (1, 1, 2)
    )
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_sparsity_is_kept_through_fine_tuning(pytester: pytest.Pytester, project: Project) -> None:
    project(
        sparse="""
model: {torch: model.py:net, weights: net.safetensors}
data: model.py:splits
recipe:
  - prune: l1_unstructured
    amount: 0.5
  - finetune: {epochs: 2, lr: 1e-3, optimizer: adamw, weight_decay: 0.1}
thresholds: {nonzero: {equals: 5568}, accuracy_drop: 0.02}
"""
    )
    pytester.runpytest_inprocess().assert_outcomes(passed=2)


def test_a_root_linear_is_really_quantized(pytester: pytest.Pytester, project: Project) -> None:
    folder = project(
        root="""
model: {torch: root.py:linear}
inputs: [[10]]
recipe: [{quantize: dynamic, engine: torch}]
thresholds: {weights_ratio: 2, fidelity: {min: 25, max: 90}}
"""
    )
    (folder / "root.py").write_text("import torch\ndef linear(): return torch.nn.Linear(10, 5)\n")
    pytester.runpytest_inprocess()
    assert set(statuses(pytester.path).values()) == {"pass"}
    (quantize,) = report_of(pytester.path)["rows"][0]["steps"]
    assert (quantize["before"]["quantized"], quantize["after"]["quantized"]) == (0, 1)


def test_quantizing_a_model_without_linear_layers_says_so(
    pytester: pytest.Pytester, project: Project
) -> None:
    folder = project(
        conv="""
model: {torch: conv.py:net}
inputs: [[3, 8, 8]]
recipe: [{quantize: dynamic, engine: torch}]
thresholds: {size_ratio: 1}
"""
    )
    (folder / "conv.py").write_text("import torch\ndef net(): return torch.nn.Conv2d(3, 4, 3)\n")
    result = pytester.runpytest_inprocess()
    result.stdout.fnmatch_lines(
        "*conv.yaml:4: quantize*: torch's dynamic quantization converts Linear, LSTM and GRU layers*"
    )


def test_an_export_that_disagrees_is_refused(
    pytester: pytest.Pytester, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    from onnx import numpy_helper

    honest = torch.onnx.export

    def off_by_a_little(*args: Any, **kwargs: Any) -> Any:
        exported = honest(*args, **kwargs)
        proto = exported.model_proto
        for tensor in proto.graph.initializer:
            array = numpy_helper.to_array(tensor)
            if array.ndim == 2:
                tensor.CopyFrom(numpy_helper.from_array(array * 1.01, tensor.name))
        return type("Exported", (), {"model_proto": proto})()

    monkeypatch.setattr(torch.onnx, "export", off_by_a_little)
    project(
        onnx="""
model: {torch: model.py:net, weights: net.safetensors}
data: model.py:splits
recipe: [{quantize: dynamic, engine: onnxruntime}]
thresholds: {accuracy_drop: 0.5}
"""
    )
    result = pytester.runpytest_inprocess()
    result.stdout.fnmatch_lines(
        "*onnx.yaml:2: export: output 0 of the exported model differs from torch's by up to *, over 16 samples*"
    )
    assert statuses(pytester.path) == {"onnx::accuracy_drop": "error"}
