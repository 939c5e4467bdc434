"""Several codes in one integer, in files that have no ONNX graph: exported programs, and safetensors of public quantizers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from tests.projects import Weighed, samples, trained, weigh

from weighbridge.core.results import Status

LIMITS = "{nonzero: 10000, parameters: 10000, nonzero_ratio: 0.9}"
COUNTS = {"nonzero", "parameters", "nonzero_ratio"}


class Packed(torch.nn.Module):
    """A Linear whose weights are eight codes a word, or two a byte."""

    def __init__(self, layer: torch.nn.Linear, words: bool) -> None:
        super().__init__()
        weight = layer.weight.detach()
        self.scale = weight.abs().amax() / 7
        codes = (torch.round(weight / self.scale) + 8).long().reshape(len(weight), -1, 8 if words else 2)
        shifts = torch.arange(0, 4 * codes.shape[-1], 4)
        packed = (codes << shifts).sum(-1).to(torch.int32 if words else torch.uint8)
        self.register_buffer("packed", packed)
        self.register_buffer("shifts", shifts.to(torch.int32))
        self.bias = layer.bias

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        deep = self.packed.unsqueeze(-1).to(torch.int32)
        codes = torch.bitwise_and(torch.bitwise_right_shift(deep, self.shifts), 15)
        weight = (codes.reshape(len(self.packed), -1).float() - 8) * self.scale
        return torch.nn.functional.linear(x, weight, self.bias)


class Coded(torch.nn.Module):
    """The same with a code a number, beside tables that are shifted or looked up."""

    def __init__(self, layer: torch.nn.Linear) -> None:
        super().__init__()
        weight = layer.weight.detach()
        self.scale = weight.abs().amax() / 127
        self.register_buffer("codes", torch.round(weight / self.scale).to(torch.int8))
        self.register_buffer("places", torch.randperm(64).reshape(8, 8))
        self.bias = layer.bias

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        nothing = self.places.float().sum() * 0
        return torch.nn.functional.linear(x, self.codes.float() * self.scale, self.bias) + nothing


def network() -> torch.nn.Sequential:
    from safetensors.torch import load

    made = torch.nn.Sequential(
        torch.nn.Linear(16, 96),
        torch.nn.ReLU(),
        torch.nn.Linear(96, 96),
        torch.nn.ReLU(),
        torch.nn.Linear(96, 4),
    )
    made.load_state_dict(load(trained()))
    return made.eval()


def exported(folder: Path, name: str, module: torch.nn.Module) -> None:
    batch = torch.export.Dim("batch", min=1, max=1024)
    program = torch.export.export(module.eval(), (torch.zeros(2, 16),), dynamic_shapes=({0: batch},))
    torch.export.save(program, folder / name)


def judged(folder: Path, kind: str, candidate: str, original: str, data: str = "") -> Weighed:
    text = f"model: {{{kind}: {original}}}\ncandidate: {{{kind}: {candidate}}}\n{data}thresholds: {LIMITS}\n"
    return weigh(folder, text, also=())


def statuses(found: Weighed) -> set[Status]:
    assert found.result.stage == "done", found.result.message
    return {verdict.status for verdict in found.result.verdicts if verdict.threshold in COUNTS}


@pytest.mark.parametrize(("how", "wrong"), [("words", True), ("bytes", True), ("codes", False)])
def test_an_exported_program_that_takes_its_integers_apart(tmp_path: Path, how: str, wrong: bool) -> None:
    """A word of eight codes was counted as one weight."""
    net = network()
    exported(tmp_path, "net.pt2", net)
    layers = [
        layer
        if not isinstance(layer, torch.nn.Linear)
        else Coded(layer)
        if how == "codes"
        else Packed(layer, how == "words")
        for layer in net
    ]
    exported(tmp_path, "candidate.pt2", torch.nn.Sequential(*layers))
    inputs, labels = samples(2, 400)
    np.savez(tmp_path / "data.npz", test_x=inputs, test_y=labels)
    found = judged(tmp_path, "exported", "candidate.pt2", "net.pt2", "data: data.npz\n")
    assert statuses(found) == ({Status.ERROR} if wrong else {Status.FAIL})
    assert not wrong or all("taken apart by shifts" in verdict.message for verdict in found.result.verdicts)


RANDOM = np.random.default_rng(0)
FILES = {
    "GPTQ": {
        "0.qweight": RANDOM.integers(-(2**31), 2**31, (12, 96), dtype=np.int64).astype(np.int32),
        "0.scales": np.ones((1, 96), np.float16),
        "0.bias": np.ones(96, np.float32),
    },
    "bitsandbytes": {
        "0.weight": RANDOM.integers(0, 256, (4608, 1), dtype=np.uint8),
        "0.weight.absmax": np.ones(144, np.float32),
        "0.weight.quant_map": np.linspace(-1, 1, 16, dtype=np.float32),
    },
}
RIGHT = {
    "0.weight": RANDOM.integers(-127, 128, (96, 96)).astype(np.int8),
    "0.weight_scale": np.ones(96, np.float32),
    "0.position_ids": np.arange(4096).reshape(1, 4096),
    "0.relative_position_index": RANDOM.integers(0, 169, (49, 49)),
    "0.num_batches_tracked": np.array(2**40),
}


@pytest.mark.parametrize("quantizer", FILES)
def test_packed_integers_of_a_bare_file_are_an_error_of_the_counts(tmp_path: Path, quantizer: str) -> None:
    save_file({"0.weight": np.ones((96, 96), np.float32)}, tmp_path / "net.safetensors")
    save_file(FILES[quantizer], tmp_path / "candidate.safetensors")
    assert statuses(judged(tmp_path, "safetensors", "candidate.safetensors", "net.safetensors")) == {
        Status.ERROR
    }


def test_codes_and_indices_of_a_bare_file_are_counted(tmp_path: Path) -> None:
    save_file({"0.weight": np.ones((96, 96), np.float32)}, tmp_path / "net.safetensors")
    save_file(RIGHT, tmp_path / "candidate.safetensors")
    found = judged(tmp_path, "safetensors", "candidate.safetensors", "net.safetensors")
    assert Status.ERROR not in statuses(found)
