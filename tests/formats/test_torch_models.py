"""torch models unlike the shipped ones: each gives a right result or a clear error."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from tests.projects import Weighed, weigh, write_samples

from weighbridge.contracts import ENGINES, FORMATS, STEPS, Context
from weighbridge.core.data import Data
from weighbridge.core.errors import StageError
from weighbridge.core.results import Status
from weighbridge.engines.torch_eager import run_module
from weighbridge.formats.torch_module import read_checkpoint

MODELS = '''
import torch
from torch import nn


class TwoInputs(nn.Module):
    def __init__(self):
        super().__init__()
        self.left, self.right, self.head = nn.Linear(8, 32), nn.Linear(4, 32), nn.Linear(32, 3)

    def forward(self, left, right):
        return self.head(torch.relu(self.left(left) + self.right(right)))


class DictOutput(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Linear(8, 32), nn.Linear(32, 3)

    def forward(self, x):
        hidden = torch.tanh(self.body(x))
        return {"logits": self.head(hidden), "hidden": [hidden, (hidden * 2,)]}


class Tied(nn.Module):
    """The output layer is the embedding, as in language models."""

    def __init__(self):
        super().__init__()
        self.embed, self.mix, self.head = nn.Embedding(50, 32), nn.Linear(32, 32), nn.Linear(32, 50, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, tokens):
        return self.head(torch.relu(self.mix(self.embed(tokens).mean(1))))


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm, self.head = nn.LSTM(8, 16, batch_first=True), nn.Linear(16, 3)

    def forward(self, x):
        hidden, (h, c) = self.lstm(x)
        return self.head(hidden[:, -1]), h


class Transformer(nn.Module):
    def __init__(self):
        super().__init__()
        layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True)
        self.lift, self.encoder, self.head = nn.Linear(8, 32), nn.TransformerEncoder(layer, 2), nn.Linear(32, 3)

    def forward(self, x):
        return self.head(self.encoder(self.lift(x)).mean(1))


class Branches(nn.Module):
    """What is computed depends on the values."""

    def __init__(self):
        super().__init__()
        self.small, self.large = nn.Linear(8, 16), nn.Linear(8, 16)
        self.head = nn.Linear(16, 3)

    def forward(self, x):
        hidden = self.small(x) if x.abs().mean() < 100 else self.large(x)
        return self.head(torch.relu(hidden))


def _seeded(build):
    def make():
        torch.manual_seed(0)
        return build()
    return make


two_inputs, dict_output, tied, recurrent, transformer, branches = map(
    _seeded, (TwoInputs, DictOutput, Tied, Recurrent, Transformer, Branches)
)


@_seeded
def normalized():
    """Statistics, a frozen layer, a half-precision buffer, and an empty tensor in the checkpoint."""
    net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(512, 3))
    net.register_buffer("halves", torch.ones(4, dtype=torch.float16))
    net.register_buffer("empty", torch.empty(0))
    net.register_buffer("temporary", torch.ones(3), persistent=False)
    net[0].weight.requires_grad_(False)
    net[1].running_mean += 0.3
    return net


@_seeded
def shared_layer():
    layer = nn.Linear(8, 8)
    return nn.Sequential(layer, nn.ReLU(), layer, nn.Linear(8, 3))


@_seeded
def half():
    return nn.Sequential(nn.Linear(8, 32), nn.Linear(32, 3)).bfloat16()


@_seeded
def script():
    return torch.jit.script(nn.Linear(8, 3))


@_seeded
def training_mode():
    """Dropout that is left on would make every run another."""
    return nn.Sequential(nn.Linear(8, 32), nn.Dropout(0.5), nn.Linear(32, 3)).train()
'''

INPUTS = {
    "two_inputs": "[[8], [4]]",
    "dict_output": "[[8]]",
    "tied": "{tokens: [6]}",
    "recurrent": "[[5, 8]]",
    "transformer": "[[5, 8]]",
    "branches": "[[8]]",
    "normalized": "[[3, 8, 8]]",
    "shared_layer": "[[8]]",
    "training_mode": "[[8]]",
}


def run(folder: Path, name: str, *steps: str, inputs: str = "", rest: str = "") -> Weighed:
    (folder / "model.py").write_text(MODELS)
    if any("static" in step for step in steps):  # nothing is calibrated on invented samples
        shapes = yaml.safe_load(INPUTS[name])
        rest += write_samples(folder, {f"x{index}": shape for index, shape in enumerate(shapes)})
    recipe = "".join(f"  - {{{step}}}\n" for step in steps)
    drawn = "" if "data:" in rest else f"inputs: {inputs or INPUTS[name]}\n"
    return weigh(
        folder,
        f"model: {{torch: model.py:{name}}}\n{drawn}recipe:\n{recipe}"
        f"thresholds: {{fidelity: 10, size_ratio: 1}}\n{rest}",
    )


DYNAMIC = "quantize: dynamic, engine: torch"
FLOAT_INPUTS = [name for name in INPUTS if name != "tied"]


@pytest.mark.parametrize("name", FLOAT_INPUTS)
def test_int8_survives_its_file(tmp_path: Path, name: str) -> None:
    outcome = run(tmp_path, name, DYNAMIC)
    assert outcome.status is Status.PASS, outcome.message
    fidelity = outcome.measurements["fidelity"]
    assert 15 < fidelity.candidate < 80, "quantized, and close to the original"
    assert outcome.steps[0].after.quantized > outcome.steps[0].before.quantized


@pytest.mark.parametrize("name", FLOAT_INPUTS)
def test_pruning_survives_its_file(tmp_path: Path, name: str) -> None:
    outcome = run(tmp_path, name, "prune: l1_unstructured, amount: 0.5")
    assert outcome.status is Status.PASS, outcome.message
    nonzero = outcome.measurements["nonzero"]
    assert nonzero.candidate < (nonzero.baseline or 0)
    assert outcome.measurements["fidelity"].candidate < 60


def test_token_inputs_need_data(tmp_path: Path) -> None:
    """Shapes alone say nothing of integers; the case's own data does."""
    outcome = run(tmp_path, "tied", DYNAMIC)
    assert "fidelity" in outcome.failed
    (tmp_path / "data.py").write_text(
        "import numpy as np\n"
        "def splits():\n"
        "    return {'test': ({'tokens': np.random.default_rng(0).integers(0, 50, (40, 6))}, np.arange(40) % 50)}\n"
    )
    outcome = run(tmp_path, "tied", DYNAMIC, rest="data: data.py:splits\nallow_chance: true")
    assert outcome.status is Status.PASS, outcome.message
    assert 15 < outcome.measurements["fidelity"].candidate < 80


def test_what_torch_leaves_in_float_is_said(tmp_path: Path) -> None:
    said = "embed (Embedding) left in float: torch's dynamic quantization converts plain Linear"
    assert any(note.startswith(said) for note in run(tmp_path, "tied", DYNAMIC).notes)
    for name in ("two_inputs", "recurrent"):
        assert not any("left in float" in note for note in run(tmp_path, name, DYNAMIC).notes)


def test_a_layer_at_two_places_is_quantized_at_both(tmp_path: Path) -> None:
    """torch itself swaps it at one of them."""
    outcome = run(tmp_path, "shared_layer", DYNAMIC)
    assert not any("left in float" in note for note in outcome.notes)
    assert "Linear" not in outcome.steps[0].after.operators


def test_tied_weights_are_stored_once(tmp_path: Path) -> None:
    outcome = run(tmp_path, "tied", "prune: l1_unstructured, amount: 0.5, layers: [mix]")
    assert outcome.status is Status.PASS, outcome.message
    assert outcome.measurements["size"].details["baseline"]["weights"] == 4 * (50 * 32 + 32 * 32 + 32)


@pytest.mark.parametrize("name", ["two_inputs", "transformer"])
def test_outputs_are_compared_with_the_model_in_memory(tmp_path: Path, name: str) -> None:
    """The artifact, opened afresh, computes what the quantized module did before it was saved."""

    (tmp_path / "model.py").write_text(MODELS)
    format_, step = FORMATS.get("torch"), STEPS.get("quantize:dynamic@torch")
    model = format_.load(f"model.py:{name}", None, tmp_path)
    quantized = step.apply(model, step.options(), Context(tmp_path, tmp_path, 0, Data()))
    samples = Data(shapes=((8,), (4,)) if name == "two_inputs" else ((5, 8),)).sample(7)
    engine = ENGINES.get("torch")
    session = engine.open(format_.save(quantized, tmp_path, "candidate"), engine.options())
    expected = run_module(quantized.value, samples)
    for ours, theirs in zip(session.run(samples), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


def test_reduced_floats_are_kept(tmp_path: Path) -> None:
    outcome = run(tmp_path, "half", "prune: l1_unstructured, amount: 0.5", inputs="[[8]]")
    assert outcome.measurements["size"].details["baseline"]["weights"] == 2 * (8 * 32 + 32 + 32 * 3 + 3)
    assert outcome.measurements["fidelity"].candidate > 0, (
        "float32 samples are cast to what the model computes in"
    )


def test_a_scripted_module_is_pruned_or_refused(tmp_path: Path) -> None:
    outcome = run(tmp_path, "script", DYNAMIC, inputs="[[8]]")
    assert outcome.status is Status.ERROR
    assert "quantize" in outcome.message


def test_a_wrong_number_of_inputs_is_said(tmp_path: Path) -> None:
    outcome = run(tmp_path, "two_inputs", DYNAMIC, inputs="[[8]]")
    assert "right" in outcome.failed["fidelity"]


def test_outputs_that_are_no_batch_are_left_out_of_the_metric(tmp_path: Path) -> None:
    """An LSTM gives its state beside its answer, shape [layers, N, hidden]; 40 samples are no whole batch."""
    (tmp_path / "data.py").write_text(
        "import numpy as np\n"
        "def splits():\n"
        "    x = np.random.default_rng(0).standard_normal((100, 5, 8)).astype('float32')\n"
        "    return {'test': (x, np.arange(100) % 3)}\n"
    )
    outcome = run(tmp_path, "recurrent", DYNAMIC, rest="data: data.py:splits\nallow_chance: true")
    assert outcome.measurements["accuracy"].details["n"] == 100


@pytest.mark.slow
@pytest.mark.parametrize("name", ["two_inputs", "dict_output", "recurrent", "transformer", "normalized"])
def test_export_to_onnx(tmp_path: Path, name: str) -> None:
    outcome = run(tmp_path, name, "quantize: static, engine: onnxruntime, per_channel: true")
    assert outcome.status is Status.PASS, outcome.message
    assert 10 < outcome.measurements["fidelity"].candidate < 80
    assert outcome.baseline is not None
    assert outcome.baseline.format == "onnx"


def test_dynamic_control_flow_is_refused_by_the_exporter(tmp_path: Path) -> None:
    outcome = run(tmp_path, "branches", "quantize: dynamic, engine: onnxruntime")
    assert (outcome.status, outcome.stage) == (Status.ERROR, "export")
    assert "torch.onnx.export failed" in outcome.message


def test_weights_in_a_torchscript_archive_are_to_be_kept_by_themselves(tmp_path: Path) -> None:
    torch.jit.save(torch.jit.trace(torch.nn.Linear(8, 3), torch.zeros(1, 8)), tmp_path / "traced.pt")
    with pytest.raises(StageError, match=r"TorchScript archive.*torch.jit.load\('traced.pt'\).state_dict"):
        read_checkpoint(tmp_path / "traced.pt")
    torch.save(torch.jit.load(tmp_path / "traced.pt").state_dict(), tmp_path / "weights.pt")
    assert set(read_checkpoint(tmp_path / "weights.pt")) == {"weight", "bias"}
