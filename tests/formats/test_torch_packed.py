"""Quantized layers of torch that keep their weights in packs: counted, stored without a pickle, opened again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from weighbridge.contracts import FORMATS, Model
from weighbridge.core.errors import StageError
from weighbridge.formats.torch_packed import flatten, pack
from weighbridge.measure import nonzero, parameters
from weighbridge.run.census import take_census

MODEL = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(8, 16, 2, bidirectional=True, batch_first=True)
        self.gru = nn.GRU(32, 12, batch_first=True)
        self.head = nn.Linear(12, 4)
    def forward(self, x):
        return self.head(self.gru(self.lstm(x)[0])[1][0])

def quantized():
    torch.manual_seed(SEED)
    return torch.ao.quantization.quantize_dynamic(Net().eval(), {nn.LSTM, nn.GRU, nn.Linear}, dtype=torch.qint8)
"""
LSTM = 4 * 16 * (2 * (8 + 16) + 2 * (32 + 16))
GRU = 3 * 12 * (32 + 12)
WEIGHTS = LSTM + GRU + 12 * 4
BIASES = 2 * 4 * 16 * 4 + 2 * 3 * 12 + 4


def written(folder: Path, seed: int = 1) -> Model:
    (folder / "model.py").write_text(MODEL.replace("SEED", str(seed)))
    return FORMATS.get("torch").load("model.py:quantized", None, folder)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_recurrent_weights_are_counted_and_come_back(tmp_path: Path) -> None:
    format_, model = FORMATS.get("torch"), written(tmp_path)
    artifact = format_.save(model, tmp_path, "artifact")
    census = take_census(model)
    assert nonzero.count(artifact) == (census.nonzero, census.parameters)
    assert census.parameters == WEIGHTS
    survey = parameters.survey(artifact)
    assert survey["parameters"] == WEIGHTS + BIASES
    assert survey["largest_bytes"] == 64 * 32
    inputs = torch.randn(3, 5, 8)
    expected = model.value(inputs)
    (tmp_path / "model.py").write_text(
        MODEL.replace("SEED", "2")
    )  # what the file holds, not what the code draws
    torch.testing.assert_close(format_.open(artifact).value(inputs), expected, rtol=0, atol=0)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_zeros_of_a_recurrent_layer_are_zeros(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.GRU(8, 12))
    with torch.no_grad():
        net[0].weight_ih_l0[:, :4] = 0
    quantized = torch.ao.quantization.quantize_dynamic(net, {nn.GRU}, dtype=torch.qint8)
    found = {one.name: one for one in FORMATS.get("torch").tensors(Model("torch", quantized))}
    (taken,) = (one for name, one in found.items() if name.endswith("weight_ih_l0"))
    np.testing.assert_array_equal(taken.values()[:, :4], 0)
    assert taken.nonzero() <= 36 * 4
    assert sum(one.array.size for one in found.values() if one.is_matrix) == 36 * (8 + 12)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_quantized_embedding(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Embedding(30, 8))
    net.qconfig = torch.ao.quantization.float_qparams_weight_only_qconfig  # type: ignore[assignment]
    quantized = torch.ao.quantization.quantize_dynamic(net, {nn.Embedding: net.qconfig})
    (table,) = (one for one in FORMATS.get("torch").tensors(Model("torch", quantized)) if one.is_matrix)
    assert (table.name, table.dtype, table.stored_bytes) == ("0.weight", "uint8", 240)
    restored = pack(flatten(quantized)[0], quantized)
    name = "0._packed_params._packed_weight"
    torch.testing.assert_close(restored[name].dequantize(), quantized.state_dict()[name].dequantize())


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("layer", [nn.LSTM(4, 4), nn.Linear(4, 4)])
def test_what_no_plain_file_holds_is_named(layer: Any) -> None:
    packed = torch.ao.quantization.quantize_dynamic(nn.Sequential(layer), {type(layer)}, dtype=torch.float16)
    with pytest.raises(StageError, match=r"'0\..*' is packed as .*float16|fp16"):
        flatten(packed)


def test_a_shared_parameter_is_given_once_and_half_precision_is_a_quantization() -> None:
    net = nn.Sequential(nn.Embedding(20, 8), nn.Linear(8, 20, bias=False))
    net[1].weight = net[0].weight
    (table,) = FORMATS.get("torch").tensors(Model("torch", net.half()))
    assert table.array.shape == (20, 8)
    assert table.quantization is not None
    assert (table.quantization.bits, table.dtype, table.stored_bytes) == (16, "float16", 320)


def test_integers_of_a_state_dict_are_no_weights() -> None:
    names = {one.name for one in FORMATS.get("torch").tensors(Model("torch", nn.BatchNorm1d(3)))}
    assert names == {"weight", "bias", "running_mean", "running_var"}


@pytest.mark.parametrize("dtype", ["uint4", "int4", "bits8"])
def test_integers_of_a_type_that_numpy_lacks_may_be_codes(dtype: str) -> None:
    net = nn.Linear(8, 8)
    net.register_buffer("packed", torch.arange(64, dtype=torch.uint8).view(8, 8).view(getattr(torch, dtype)))
    found = {one.name: one for one in FORMATS.get("torch").tensors(Model("torch", net))}
    assert "nothing says whether its integers are codes" in found["packed"].unread
    assert (found["packed"].dtype, found["packed"].array.shape) == (dtype, (8, 8))
    assert not found["weight"].unread
