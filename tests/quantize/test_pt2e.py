"""`quantize: pt2e`: a `.pt2` whose weights are codes, written and opened without a pickle of code, held to its promise."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.projects import report_of
from torch import nn

from weighbridge.contracts import FORMATS, STEPS, Context, Model
from weighbridge.core.data import Data
from weighbridge.core.errors import StageError
from weighbridge.numerics.round_trip import read_back
from weighbridge.run.census import take_census

Project = Callable[..., Path]
pytest.importorskip("torchao", reason="pip install 'weighbridge[torchao]'")

STEP, FORMAT = STEPS.get("quantize:pt2e@torch"), FORMATS.get("exported")


class Own(nn.Sequential):
    """Its forward stands in this file."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for part in self:
            x = part(x)
        return x


def network(kind: str) -> tuple[nn.Module, tuple[int, ...]]:
    torch.manual_seed(0)
    if kind == "dense":
        return Own(nn.Linear(12, 32), nn.ReLU(), nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, 3)), (12,)
    body = [nn.Conv2d(2, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU()]
    if kind == "normalized":
        normalization = nn.BatchNorm2d(8)
        nn.init.uniform_(normalization.running_var, 0.2, 0.5)
        body.insert(1, normalization)
    return nn.Sequential(*body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3)), (2, 6, 6)


def samples(shape: tuple[int, ...], n: int = 64) -> np.ndarray[Any, Any]:
    return np.random.default_rng(1).normal(0, 1, (n, *shape)).astype("f4")


def quantized(module: nn.Module, shape: tuple[int, ...], **options: Any) -> Model:
    data = Data({"calibration": (samples(shape), None), "test": (samples(shape), None)})
    context = Context(Path(), Path(), 0, data)
    found = STEP.options.model_validate({"reduce_range": False, **options})
    return STEP.apply(Model("torch", module.eval(), {}), found, context)


@cache
def made(kind: str) -> Model:
    return quantized(*network(kind))


@pytest.mark.parametrize("kind", ["dense", "convolutions", "normalized"])
def test_the_artifact_holds_codes_and_computes_the_same(tmp_path: Path, kind: str) -> None:
    model, (net, shape) = made(kind), network(kind)
    opened = FORMAT.open(FORMAT.save(model, tmp_path, "artifact"))
    x = torch.from_numpy(samples(shape, 7))
    with torch.inference_mode():
        assert torch.equal(opened.value.module()(x), model.value.module()(x)), (
            "of another batch than it was made with"
        )
        error = (model.value.module()(x) - net.eval()(x)).square().mean() / net(x).square().mean()
    assert 0 < float(error) < 0.01
    assert take_census(opened) == take_census(model)
    matrices = [each for each in FORMAT.tensors(opened) if each.is_matrix]
    floats = [weight for weight in net.parameters() if weight.dim() > 1]
    assert len(matrices) == len(floats), "no float copies beside the codes"
    for each in matrices:
        assert each.quantization is not None
        assert (each.quantization.bits, each.quantization.axis, each.dtype) == (8, 0, "int8")
    folded = {each.name for each in matrices if each.name.endswith("folded_weight")}
    assert folded == ({"0.folded_weight"} if kind == "normalized" else set())
    assert sorted(each.layer for each in matrices) == sorted(
        name for name, part in net.named_modules() if isinstance(part, nn.Linear | nn.Conv2d)
    )


@pytest.mark.parametrize("kind", ["dense", "convolutions"])
def test_weights_keep_the_promise_and_a_fault_breaks_it(kind: str) -> None:
    assert STEP.scheme is not None
    promise = STEP.scheme(STEP.options())
    floats = {name: value.detach().numpy() for name, value in network(kind)[0].named_parameters()}
    tensors = list(FORMAT.tensors(made(kind)))
    assert read_back(tensors, floats, promise).findings == ()
    for fault in ("a row off by two codes", "one scale for all"):
        spoilt = []
        for each in tensors:
            if each.quantization is not None and fault == "a row off by two codes":
                codes = each.array.copy()
                codes[0] = np.where(codes[0] > 0, codes[0] - 2, codes[0] + 2)
                each = replace(each, array=codes)
            elif each.quantization is not None:
                one = replace(
                    each.quantization,
                    scale=each.quantization.scale.max(),
                    zero_point=np.zeros((), np.int64),
                    axis=None,
                )
                each = replace(each, quantization=one)
            spoilt.append(each)
        assert read_back(spoilt, floats, promise).findings, fault


@pytest.mark.slow
def test_a_fresh_process_opens_it(tmp_path: Path) -> None:
    """Its operators come with a part of torch that nothing has imported by then."""
    FORMAT.save(made("dense"), tmp_path, "artifact")
    code = (
        "import sys, torch, json; from weighbridge.formats.exported_program import _read; from pathlib import Path\n"
        "print(json.dumps(_read(Path(sys.argv[1]), False).module()(torch.ones(2, 12)).tolist()))"
    )
    path = str(tmp_path / "artifact.pt2")
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=True)
    with torch.inference_mode():
        expected = made("dense").value.module()(torch.ones(2, 12))
    assert json.loads(done.stdout) == expected.tolist()


def test_no_sample_and_no_place_in_the_users_code_ships(tmp_path: Path) -> None:
    x = samples(network("dense")[1])
    path = FORMAT.save(made("dense"), tmp_path, "artifact").path
    content = path.read_bytes()
    assert x[0].tobytes() not in content
    assert __file__.encode() not in content


@pytest.mark.parametrize("place", [1, 2, 3, 4])
@pytest.mark.parametrize("value", ["gone", None, 7, "0.bias"])
def test_a_graph_that_no_quantizer_wrote_is_counted_as_it_is(place: int, value: Any) -> None:
    """A stranger's program may call the operators as it likes: its integers are then no codes, and nothing breaks."""
    program = copy.deepcopy(made("dense").value)
    calls = [node for node in program.graph.nodes if "dequantize_per_channel" in str(node.target)]
    for node in calls:
        arguments = list(node.args)
        if value == "gone":
            del arguments[place:]
        elif value == "0.bias":
            arguments[place] = next(one for one in program.graph.nodes if "0_bias" in one.name)
        else:
            arguments[place] = value
        node.args = tuple(arguments)
    tensors = list(FORMAT.tensors(Model("exported", program)))
    matrices = [each for each in tensors if each.is_matrix]
    assert {each.dtype for each in matrices} == {"int8"}
    if (place, value) not in (
        (4, 7),
        (1, "0.bias"),
    ):  # fewer codes, and another vector of floats, say something
        assert all(each.quantization is None for each in matrices)


def test_what_is_excluded_stays_float() -> None:
    net, shape = network("dense")
    model = quantized(net, shape, exclude=["2"])
    left = [each for each in FORMAT.tensors(model) if each.is_matrix and each.quantization is None]
    assert [each.layer for each in left] == ["2"]
    np.testing.assert_array_equal(left[0].array, net[2].weight.detach().numpy())
    assert "2 (Linear) left in float: `layers` and `exclude` leave it out" in model.notes


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.table, self.out = nn.Embedding(12, 12), nn.Linear(12, 12, bias=False)
        self.again = nn.Linear(12, 12)
        self.out.weight = self.again.weight = self.table.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        words = self.table((x > 0).long().argmax(1))
        return self.again(torch.relu(self.out(words)))


@pytest.mark.parametrize(("exclude", "left"), [([], ["table"]), (["out"], ["table", "out"])])
def test_a_tied_weight_that_one_layer_reads_still_makes_way_for_the_codes(
    tmp_path: Path, exclude: list[str], left: list[str]
) -> None:
    net = Tied()
    model = quantized(net, (12,), exclude=exclude)
    opened = FORMAT.open(FORMAT.save(model, tmp_path, "artifact"))
    matrices = {each.layer: each for each in FORMAT.tensors(opened) if each.is_matrix}
    codes = {name for name, each in matrices.items() if each.quantization is not None}
    assert codes
    assert codes == {"out", "again"} - set(left) & matrices.keys()
    assert [each.name for each in model.coverage.layers if not each.converted] == left
    x = torch.from_numpy(samples((12,), 7))
    with torch.inference_mode():
        error = (opened.value.module()(x) - net(x)).square().mean() / net(x).square().mean()
    assert float(error) < 0.01


def test_layers_of_64_bits_stay_float() -> None:
    class Fine(nn.Sequential):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self[1](self[0](x).double())

    model = quantized(Fine(nn.Linear(12, 8), nn.Linear(8, 3).double()), (12,))
    assert {each.layer: each.dtype for each in FORMAT.tensors(model) if each.is_matrix} == {
        "0": "int8",
        "1": "float64",
    }
    (note,) = model.notes
    assert note.startswith("1 (Linear) left in float")
    assert note.endswith("no weights of float64")


def test_what_it_cannot_take_is_told() -> None:
    class Fixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.layer(x) + torch.ones(int(x.shape[0]) * 1 if x.shape[0] == 2 else 2, 1)

    with pytest.raises(
        StageError, match=r"^quantize: torch\.export cannot take the module with a free batch"
    ):
        quantized(Fixed(), (4,))
    with pytest.raises(StageError, match=r"none among LSTM"):
        quantized(nn.Sequential(nn.LSTM(4, 4)), (5, 4))


CASE = """
model: {torch: model.py:net, weights: net.safetensors}
data: model.py:splits
recipe: [{quantize: pt2e, engine: torch}]
thresholds:
  accuracy_drop: 0.02
  fidelity: 20
  weights_ratio: 3.5
  quantized: {min: 1, bits: 8, granularity: per_channel}
"""
SPLITS = """

def splits():
    data = np.load(HERE / "data.npz")
    part = lambda name: (data[name + "_x"], data[name + "_y"])
    return {"test": part("test"), "calibration": part("train")}
"""


@pytest.mark.slow
def test_a_case_is_weighed_whole(pytester: pytest.Pytester, project: Project) -> None:
    folder = project(net=CASE)
    with (folder / "model.py").open("a") as code:
        code.write(SPLITS)
    pytester.runpytest_inprocess()
    (row,) = report_of(pytester.path)["rows"]
    found = {verdict["threshold"]: verdict["status"] for verdict in row["verdicts"]}
    assert set(found.values()) == {"pass"}, found
    assert {"round_trip", "quantized", "fidelity"} < found.keys()
