"""int8 layers of torch, by torch itself (Linear, LSTM, GRU) and by torchao (Linear): kept as codes, opened again, held to
their promise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.projects import report_of
from torch import nn

from weighbridge.contracts import FORMATS, STEPS, Array, Context, Model, StoredTensor
from weighbridge.core.data import Data
from weighbridge.core.errors import StageError
from weighbridge.formats import torch_packed
from weighbridge.numerics.round_trip import read_back
from weighbridge.run.census import take_census

Project = Callable[..., Path]
pytest.importorskip("torchao", reason="pip install 'weighbridge[torchao]'")

TORCH = "quantize:dynamic@torch"
TORCHAO = ("quantize:int8_dynamic@torch", "quantize:int8_weight_only@torch")
FORMAT = FORMATS.get("torch")
CODE = """
import json
from pathlib import Path

import torch
from torch import nn

SHAPE = json.loads((Path(__file__).parent / "shape.json").read_text())


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        width = SHAPE["width"]
        kind = {"lstm": nn.LSTM, "gru": nn.GRU}.get(SHAPE["kind"])
        self.first = nn.Linear(width, 6, bias=SHAPE["bias"])
        self.body, size = None, 6
        if kind is not None:
            self.body = kind(6, SHAPE["hidden"], SHAPE["layers"], bidirectional=SHAPE["both"], batch_first=True)
            size = SHAPE["hidden"] * (2 if SHAPE["both"] else 1)
        self.head = nn.Linear(size, 3)

    def forward(self, x):
        x = self.first(x)
        return self.head(x if self.body is None else self.body(x)[0])


def net():
    return Net()
"""


@dataclass(frozen=True)
class Made:
    floats: Model
    quantized: Model
    opened: Model

    @property
    def weights(self) -> dict[str, Array]:
        return {each.name: each.array for each in FORMAT.tensors(self.floats) if each.array.ndim > 1}


def made(folder: Path, key: str, shape: dict[str, Any], seed: int = 0, **options: Any) -> Made:
    """A network, the same quantized, and its artifact opened again by code that draws other weights."""
    import json

    (folder / "model.py").write_text(CODE)
    (folder / "shape.json").write_text(json.dumps(shape))
    torch.manual_seed(seed)
    floats = FORMAT.load("model.py:net", None, folder)
    step = STEPS.get(key)
    context = Context(folder, folder, 0, Data())
    quantized = step.apply(floats, step.options.model_validate(options), context)
    artifact = FORMAT.save(quantized, folder, "artifact")
    assert [path.suffix for path in artifact.files] == [".safetensors"]
    return Made(floats, quantized, FORMAT.open(artifact))


def shapes(kinds: tuple[str, ...]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(
        {
            "kind": st.sampled_from(kinds),
            "width": st.integers(2, 20),
            "hidden": st.integers(1, 9),
            "layers": st.integers(1, 3),
            "both": st.booleans(),
            "bias": st.booleans(),
        }
    )


def findings(tensors: Iterator[StoredTensor], found: Made, key: str, **options: Any) -> list[str]:
    step = STEPS.get(key)
    assert step.scheme is not None
    result = read_back(tensors, found.weights, step.scheme(step.options.model_validate(options)))
    return [str(each) for each in result.findings]


def holds(found: Made, key: str, width: int, **options: Any) -> None:
    """The artifact computes what the step's module does, has every matrix as codes, and is what was promised."""
    x = torch.randn(2, 5, width)
    with torch.inference_mode():
        assert torch.equal(found.opened.value(x), found.quantized.value(x))
    assert take_census(found.opened) == take_census(found.quantized)
    coded = [each for each in FORMAT.tensors(found.opened) if each.is_matrix]
    assert len(coded) == len(found.weights)
    assert all(each.quantization is not None and each.quantization.bits == 8 for each in coded)
    assert sum(each.stored_bytes for each in coded) == sum(weight.size for weight in found.weights.values())
    assert findings(FORMAT.tensors(found.opened), found, key, **options) == []


@settings(max_examples=25)
@given(shapes(("lstm", "gru", "none")), st.booleans(), st.integers(0, 99))
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.slow
def test_torchs_own_layers(shape: dict[str, Any], per_channel: bool, seed: int) -> None:
    with TemporaryDirectory() as folder:
        found = made(Path(folder), TORCH, shape, seed, per_channel=per_channel)
        holds(found, TORCH, shape["width"], per_channel=per_channel)


@settings(max_examples=25)
@given(shapes(("none",)), st.sampled_from(TORCHAO), st.booleans(), st.integers(0, 99))
def test_torchaos_layers(shape: dict[str, Any], key: str, reduced: bool, seed: int) -> None:
    options = {"reduce_range": reduced} if key == TORCHAO[0] else {}
    with TemporaryDirectory() as folder:
        found = made(Path(folder), key, shape, seed, **options)
        holds(found, key, shape["width"], **options)


SHAPE = {"kind": "lstm", "width": 16, "hidden": 8, "layers": 2, "both": True, "bias": True}
LINEAR = {**SHAPE, "kind": "none"}


def spoilt(tensors: Iterator[StoredTensor], fault: str) -> Iterator[StoredTensor]:
    """The tensors of an artifact, of which the largest matrix has a fault."""
    every = list(tensors)
    largest = max((each for each in every if each.is_matrix), key=lambda each: each.array.size)
    for each in every:
        if each is not largest:
            yield each
            continue
        assert each.quantization is not None
        codes, held = each.array.copy(), each.quantization
        if fault == "one row is off by two codes":
            codes[3] = np.where(codes[3] > 0, codes[3] - 2, codes[3] + 2)
        if fault == "rows in another order":
            codes = codes[::-1]
        if fault == "scales of half the size":
            held = replace(held, scale=held.scale / 2)
        if fault == "four bits":
            codes, held = codes // 16, replace(held, scale=held.scale * 16, bits=4)
        yield replace(each, array=codes, quantization=held)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    "fault",
    ["one row is off by two codes", "rows in another order", "scales of half the size", "four bits"],
)
@pytest.mark.parametrize(("key", "shape"), [(TORCH, SHAPE), *((key, LINEAR) for key in TORCHAO)])
def test_an_artifact_with_a_fault_is_not_what_was_asked_for(
    tmp_path: Path, key: str, shape: dict[str, Any], fault: str
) -> None:
    found = made(tmp_path, key, shape)
    assert findings(spoilt(FORMAT.tensors(found.opened), fault), found, key)


def test_seven_bits_are_held_to_it(tmp_path: Path) -> None:
    found = made(tmp_path, TORCHAO[0], LINEAR, reduce_range=False)
    said = findings(FORMAT.tensors(found.opened), found, TORCHAO[0], reduce_range=True)
    assert any("where its weights need" in each for each in said)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    ("key", "shape", "left"), [(TORCH, SHAPE, "body"), *((key, LINEAR, "first") for key in TORCHAO)]
)
def test_what_is_excluded_stays_as_it_was(tmp_path: Path, key: str, shape: dict[str, Any], left: str) -> None:
    found = made(tmp_path, key, shape, exclude=[left])
    floats = dict(found.floats.value.get_submodule(left).named_parameters())
    opened = dict(found.opened.value.get_submodule(left).named_parameters())
    assert floats.keys() == opened.keys()
    assert all(torch.equal(floats[name], opened[name]) for name in floats)
    assert any(f"{left} (" in note and "leave it out" in note for note in found.quantized.notes)


def test_torchao_takes_a_root_and_a_layer_at_two_places(tmp_path: Path) -> None:
    step = STEPS.get(TORCHAO[1])
    context = Context(tmp_path, tmp_path, 0, Data())

    def codes(module: nn.Module) -> list[str]:
        model = step.apply(Model("torch", module, {}), step.options(), context)
        return [each.name for each in FORMAT.tensors(model) if each.quantization is not None]

    assert codes(nn.Linear(4, 3)) == ["weight"]
    layer = nn.Linear(4, 4)
    assert codes(nn.Sequential(layer, nn.ReLU(), layer)) == ["0.weight"]


def test_torchao_leaves_what_it_would_spoil(tmp_path: Path) -> None:
    """Of one input, torchao takes one scale for all rows: a look-alike of the layers that it quantizes."""
    step = STEPS.get(TORCHAO[1])
    module = nn.Sequential(nn.Linear(1, 4), nn.Linear(4, 1))
    model = step.apply(Model("torch", module, {}), step.options(), Context(tmp_path, tmp_path, 0, Data()))
    assert "0 (Linear) left in float" in model.notes[0]
    assert "layer of a single input" in model.notes[0]
    with pytest.raises(StageError, match=r"none among LSTM \(weight_ih_l0, .* of a LSTM\)"):
        step.apply(Model("torch", nn.LSTM(3, 4), {}), step.options(), Context(tmp_path, tmp_path, 0, Data()))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    ("key", "types"), [(TORCH, [torch.float64, torch.bfloat16]), *((key, [torch.float64]) for key in TORCHAO)]
)
def test_weights_of_other_types_stay_float_by_name(
    tmp_path: Path, key: str, types: list[torch.dtype]
) -> None:
    step = STEPS.get(key)
    for dtype in types:
        module = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4).to(dtype))
        model = step.apply(Model("torch", module, {}), step.options(), Context(tmp_path, tmp_path, 0, Data()))
        assert type(model.value[1]) is nn.Linear
        assert torch.equal(model.value[1].weight, module[1].weight)
        (note,) = model.notes
        assert note.startswith("1 (Linear) left in float")
        assert note.endswith(f"no weights of {str(dtype).removeprefix('torch.')}")


@pytest.mark.parametrize("key", TORCHAO)
def test_torchao_takes_bfloat16(tmp_path: Path, key: str) -> None:
    step = STEPS.get(key)
    module = nn.Sequential(nn.Linear(4, 4, bias=False).bfloat16())
    model = step.apply(Model("torch", module, {}), step.options(), Context(tmp_path, tmp_path, 0, Data()))
    assert [each.name for each in FORMAT.tensors(model) if each.quantization is not None] == ["0.weight"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_a_recurrent_layer_without_biases_is_left_in_float(tmp_path: Path, kind: Any) -> None:
    step = STEPS.get(TORCH)
    module = nn.ModuleList([kind(4, 8, bias=False), kind(4, 8)])
    model = step.apply(Model("torch", module, {}), step.options(), Context(tmp_path, tmp_path, 0, Data()))
    assert [type(part) is kind for part in model.value] == [True, False]
    (note,) = model.notes
    assert note.startswith("0 (")
    assert note.endswith("plain Linear, LSTM and GRU layers, no recurrent layer without biases")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_recurrent_layer_with_a_projection_is_told(tmp_path: Path) -> None:
    step = STEPS.get(TORCH)
    module = nn.Sequential(nn.LSTM(4, 8, proj_size=2))
    with pytest.raises(
        StageError, match=r"none among LSTM, Sequential \(recurrent layer with a projection\)"
    ):
        step.apply(Model("torch", module, {}), step.options(), Context(tmp_path, tmp_path, 0, Data()))


def test_other_tensors_of_torchaos_are_named_on_saving(tmp_path: Path) -> None:
    """A scale an output and another for groups of inputs is what no part of ours reads."""
    from torchao.quantization import Int8WeightOnlyConfig, PerTensor, quantize_

    module = nn.Sequential(nn.Linear(16, 4))
    quantize_(module, Int8WeightOnlyConfig(granularity=PerTensor(), set_inductor_config=False))
    with pytest.raises(StageError, match=r"'0\.weight' is packed as Int8Tensor"):
        FORMAT.save(Model("torch", module, {}), tmp_path, "artifact")


AO = """
model: {torch: model.py:net, weights: net.safetensors}
data: model.py:splits
recipe:
  - quantize: METHOD
    engine: torch
    exclude: ["4"]
thresholds:
  accuracy_drop: 0.02
  size_ratio: 3
  fidelity: 20
  quantized: {min: 0.9, bits: 8, granularity: per_channel}
"""


def judged(folder: Path) -> dict[str, str]:
    (row,) = report_of(folder)["rows"]
    return {verdict["threshold"]: verdict["status"] for verdict in row["verdicts"]}


@pytest.mark.parametrize("method", ["int8_dynamic", "int8_weight_only"])
def test_a_case_is_weighed_whole(pytester: pytest.Pytester, project: Project, method: str) -> None:
    project(net=AO.replace("METHOD", method))
    pytester.runpytest_inprocess()
    found = judged(pytester.path)
    assert set(found.values()) == {"pass"}, found
    assert {"round_trip", "quantized", "fidelity"} < found.keys()


def test_a_missed_case_names_the_layer(pytester: pytest.Pytester, project: Project) -> None:
    """torch's layers are exchanged one by one, whose weights torchao keeps in a type of its own."""
    text = AO.replace("METHOD", "int8_dynamic")
    project(net=text.replace("fidelity: 20", "fidelity: 120"))
    pytester.runpytest_inprocess()
    (row,) = report_of(pytester.path)["rows"]
    assert {layer["name"] for layer in row["layer_errors"]["layers"]} == {"0", "2"}


def test_a_quantizer_that_leaves_the_scales_is_caught(
    pytester: pytest.Pytester, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The step's own module is right; what is written is not."""

    real = torch_packed._torchao

    def wrong(name: str, value: Any) -> Iterator[tuple[str, Any]]:
        for part, tensor in real(name, value):
            yield part, tensor * 1.2 if part.endswith(".scale") else tensor

    monkeypatch.setattr(torch_packed, "_torchao", wrong)
    project(net=AO.replace("METHOD", "int8_weight_only"))
    pytester.runpytest_inprocess("--executor=inline")
    assert judged(pytester.path)["round_trip"] == "fail"


def test_a_module_in_half_precision_is_sent_to_its_float32_original(tmp_path: Path) -> None:
    """ONNX Runtime, to which others are sent, does not run what is exported of bfloat16."""
    step = STEPS.get(TORCH)
    half = Model("torch", nn.Sequential(nn.Linear(4, 4)).to(torch.bfloat16))
    with pytest.raises(StageError, match=r"weights of bfloat16\); start from the model in float32"):
        step.apply(half, step.options.model_validate({}), Context(tmp_path, tmp_path, 0, Data()))
