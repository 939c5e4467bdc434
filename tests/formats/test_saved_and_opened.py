"""A model that a stage hands over through the store counts as it did in memory: the census of `open(save(model))`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from tests.projects import trained

from weighbridge.contracts import CONVERTERS, FORMATS, STEPS, Context, Model
from weighbridge.core.data import Data
from weighbridge.run.census import take_census

torch = pytest.importorskip("torch")

NET = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(11, 6)
        self.memory = nn.LSTM(6, 8, batch_first=True)
        self.first, self.second = nn.Linear(8, 8), nn.Linear(8, 8)
        self.second.weight = self.first.weight
        self.register_buffer("offset", torch.arange(8.0))

    def forward(self, tokens):
        found, _ = self.memory(self.table(tokens))
        return self.second(self.first(found[:, -1]) + self.offset)


def net():
    torch.manual_seed(0)
    return Net()


def layers():
    return nn.Sequential(nn.Linear(16, 96), nn.ReLU(), nn.Linear(96, 96), nn.ReLU(), nn.Linear(96, 4))
"""


def context(folder: Path) -> Context:
    x = np.random.default_rng(0).standard_normal((32, 16)).astype(np.float32)
    return Context(folder, folder, 0, Data({"test": (x, None), "calibration": (x, None)}))


def step(key: str, model: Model, folder: Path, **options: object) -> Model:
    found = STEPS.get(key)
    return found.apply(model, found.options.model_validate(options), context(folder))


def recurrent(folder: Path) -> Model:
    return FORMATS.get("torch").load("net.py:net", None, folder)


def layered(folder: Path) -> Model:
    (folder / "net.safetensors").write_bytes(trained())
    return FORMATS.get("torch").load("net.py:layers", folder / "net.safetensors", folder)


def converted(target: str) -> Callable[[Path], Model]:
    return lambda folder: CONVERTERS.get(f"torch->{target}").convert(layered(folder), context(folder))


def exported(folder: Path) -> Model:
    module = layered(folder).value
    return Model("exported", torch.export.export(module, (torch.zeros(2, 16),)))


def branching(folder: Path) -> Model:
    """Weights in an initializer, a Constant node and both branches of an If; half precision in one of them."""
    random = np.random.default_rng(3)

    def branch(name: str) -> onnx.GraphProto:
        weight = numpy_helper.from_array(random.standard_normal((4, 4)).astype(np.float32), f"{name}.weight")
        node = helper.make_node("MatMul", ["h", weight.name], [name])
        return helper.make_graph([node], name, [], [helper.make_tensor_value_info(name, 1, None)], [weight])

    half = numpy_helper.from_array(random.standard_normal((4, 4)).astype(np.float16), "half")
    nodes = [
        helper.make_node("Constant", [], ["small"], value=half),
        helper.make_node("Cast", ["small"], ["wide"], to=TensorProto.FLOAT),
        helper.make_node("MatMul", ["x", "wide"], ["h"]),
        helper.make_node("If", ["c"], ["y"], then_branch=branch("a"), else_branch=branch("b")),
    ]
    graph = helper.make_graph(
        nodes,
        "branching",
        [helper.make_tensor_value_info("x", 1, ["n", 4]), helper.make_tensor_value_info("c", 9, [])],
        [helper.make_tensor_value_info("y", 1, None)],
    )
    return Model("onnx", helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9))


MODELS: dict[str, Callable[[Path], Model]] = {
    "torch": recurrent,
    "torch pruned": lambda folder: step("prune:l1_unstructured", layered(folder), folder, amount=0.5),
    "torch quantized": lambda folder: step("quantize:dynamic@torch", layered(folder), folder),
    "torch quantized recurrent": lambda folder: step("quantize:dynamic@torch", recurrent(folder), folder),
    "torch quantized by channel": lambda folder: step(
        "quantize:dynamic@torch", layered(folder), folder, per_channel=True
    ),
    "onnx": converted("onnx"),
    "onnx dynamic": lambda folder: step("quantize:dynamic@onnxruntime", converted("onnx")(folder), folder),
    "onnx static": lambda folder: step(
        "quantize:static@onnxruntime", converted("onnx")(folder), folder, per_channel=True
    ),
    "onnx branching": branching,
    "exported": exported,
    "tflite": converted("tflite"),
}
ELSEWHERE = {
    "keras": "tests/with_tensorflow/test_keras_models.py",
    "safetensors": "it is weighed as it is, and saving one is refused",
}


@pytest.mark.parametrize("name", MODELS)
def test_it_is_counted_as_before(name: str, tmp_path: Path) -> None:
    if name == "tflite":
        pytest.importorskip("litert_torch", reason="pip install 'weighbridge[litert-torch]'")
    (tmp_path / "net.py").write_text(NET)
    model = MODELS[name](tmp_path)
    format_ = FORMATS.get(model.format)
    folder = tmp_path / "saved"
    folder.mkdir()
    opened = format_.open(format_.save(model, folder, "model"))
    assert take_census(opened) == take_census(model)
    assert take_census(model).parameters > 0


def test_no_format_is_left_out() -> None:
    assert {entry.name for entry in FORMATS} == {name.partition(" ")[0] for name in MODELS} | set(ELSEWHERE)
