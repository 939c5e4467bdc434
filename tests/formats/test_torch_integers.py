"""Integers that a torch module of the user's own keeps: codes that nobody explains, torchao's weights, tables, places, masks."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.projects import Weighed, weigh, write_project

from weighbridge.core.results import Status

OWN = """

def trained():
    from safetensors.torch import load_file

    made = net()
    made.load_state_dict(load_file(str(HERE / "net.safetensors")))
    return made.eval()


class Coded(nn.Module):
    \"\"\"A Linear whose weights are places in a list of sixteen values.\"\"\"

    def __init__(self, layer):
        super().__init__()
        weight = layer.weight.detach()
        values = torch.linspace(weight.min(), weight.max(), 16)
        self.register_buffer("codes", (weight[..., None] - values).abs().argmin(-1).to(torch.uint8))
        self.register_buffer("values", values)
        self.bias = layer.bias

    def forward(self, x):
        return nn.functional.linear(x, self.values[self.codes.long()], self.bias)


def coded():
    return nn.Sequential(*[Coded(each) if isinstance(each, nn.Linear) else each for each in trained()])


class WithTables(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = trained()
        self.register_buffer("places", torch.arange(6400).reshape(80, 80))
        self.register_buffer("mask", torch.ones(80, 80, dtype=torch.uint8).tril())
        self.register_buffer("codes", torch.arange(48, dtype=torch.uint8).reshape(16, 3))

    def forward(self, x):
        return self.inner(x)


def torchao_int8():
    from torchao.quantization import Int8WeightOnlyConfig, quantize_

    made = trained()
    quantize_(made, Int8WeightOnlyConfig(set_inductor_config=False))
    return made
"""
COUNTS = ("nonzero_ratio", "parameters", "largest_tensor", "quantized")


def judged(folder: Path, candidate: str) -> Weighed:
    cases = write_project(folder)
    (cases / "model.py").write_text((cases / "model.py").read_text() + OWN)
    thresholds = (
        "{accuracy_drop: 0.02, weights_ratio: 1, nonzero_ratio: 1, parameters: 12000, "
        "largest_tensor: 40 kB, quantized: {min: 0, max: 1}}"
    )
    text = f"model: {{torch: model.py:net, weights: net.safetensors}}\ncandidate: {{torch: 'model.py:{candidate}'}}\n"
    return weigh(cases, f"{text}data: model.py:splits\nthresholds: {thresholds}\n")


def test_codes_that_nobody_explains_are_no_count_of_zero(tmp_path: Path) -> None:
    """They had been passed over: 46 times smaller, said `weights_ratio`, and without one weight."""
    found = judged(tmp_path, "coded")
    verdicts = {verdict.threshold: verdict for verdict in found.result.verdicts}
    assert {name for name, verdict in verdicts.items() if verdict.status is Status.ERROR} == set(COUNTS)
    for name in COUNTS:
        assert "of '0.codes', nothing says whether its integers are codes" in verdicts[name].message
    assert verdicts["accuracy_drop"].status is Status.PASS
    assert verdicts["weights_ratio"].measured == pytest.approx(3.74, abs=0.1)


@pytest.mark.parametrize("candidate", ["WithTables", "torchao_int8"])
def test_tables_and_explained_codes_are_not_accused(tmp_path: Path, candidate: str) -> None:
    if candidate == "torchao_int8":
        pytest.importorskip("torchao")
    found = judged(tmp_path, candidate)
    assert {verdict.threshold: verdict.message for verdict in found.result.verdicts
            if verdict.status is not Status.PASS} == {}  # fmt: skip
    quantized = found.result.verdict("quantized")
    assert quantized is not None
    assert quantized.measured == (1 if candidate == "torchao_int8" else 0)
