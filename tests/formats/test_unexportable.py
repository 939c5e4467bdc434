"""What no ONNX file can hold: the error says which part of the module it is, and what to write instead."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.projects import weigh

from weighbridge.case.load import load_cases
from weighbridge.core.results import Status

MODELS = '''
import numpy as np
import torch
from torch import nn


class Cache:
    """As transformers' decoders give one beside their answer: it can be iterated, and is no tensor."""

    def __init__(self, keys):
        self.layers = [(keys, keys)]

    def __iter__(self):
        return iter(self.layers)


class Decoder(nn.Module):
    def __init__(self, cached):
        super().__init__()
        self.cached, self.key, self.up, self.head = cached, nn.Linear(8, 32), nn.Linear(32, 64), nn.Linear(64, 4)

    def forward(self, x):
        keys = self.key(x).relu()
        logits = self.head(self.up(keys).relu())
        return {"logits": logits, "past_key_values": Cache(keys) if self.cached else keys, "loss": None}


def decoder():
    return Decoder(True)


def without_cache():
    return Decoder(False)


class Biased(nn.Module):
    """As in T5: a bias that is learned for each distance is added to the scores, so that the mask has gradients."""

    def __init__(self):
        super().__init__()
        self.qkv, self.bias, self.head = nn.Linear(8, 192), nn.Embedding(8, 4), nn.Linear(64, 4)

    def forward(self, x):
        x = x.unsqueeze(1) * torch.arange(1, 13)[:, None]
        place = torch.arange(12)
        bias = self.bias((place[None] - place[:, None]).clamp(0, 7)).permute(2, 0, 1)[None]
        q, k, v = (part.unflatten(-1, (4, 16)).transpose(1, 2) for part in self.qkv(x).chunk(3, -1))
        mixed = nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        return self.head(mixed.transpose(1, 2).contiguous().view(x.shape[0], 12, 64).mean(1))


def biased():
    return Biased()


class Boxes(nn.Module):
    """As a detector: how many numbers there are depends on the input, and so does what is done."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(8, 64)

    def forward(self, x):
        y = self.head(x)
        kept = [y[:, place][y[:, place] > 0] for place in range(64)]
        if sum(each.numel() for each in kept) > 1000:
            y = y * 2
        return y


def boxes():
    return Boxes()


class Complex(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(8, 8)
        self.register_buffer("turns", torch.polar(torch.ones(4), torch.arange(4.0)))

    def forward(self, x):
        turned = torch.view_as_complex(x.reshape(-1, 4, 2)) * self.turns[None]
        return self.head(torch.view_as_real(turned).flatten(1))


def with_complex():
    return Complex()


def scripted():
    return torch.jit.script(nn.Linear(8, 4))


def halved():
    return nn.Sequential(nn.Conv1d(1, 16, 3), nn.ReLU(), nn.Flatten(), nn.Linear(96, 4)).bfloat16()


def pictures():
    splits_ = splits()
    return {name: (x[:, None], y) for name, (x, y) in splits_.items()}


def splits():
    x = np.random.default_rng(0).standard_normal((60, 8)).astype("float32")
    return {"test": (x[:40], None), "calibration": (x[40:], None)}
'''


def case(model: str, recipe: str, engine: str = "engine: onnxruntime") -> str:
    return (
        f"model: {{torch: model.py:{model}}}\ndata: model.py:splits\n{engine}\nrecipe:\n  - {{{recipe}}}\n"
        "thresholds: {fidelity: 1}\n"
    )


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "model.py").write_text(MODELS)
    return tmp_path


def test_an_output_that_is_no_tensor_is_named(project: Path) -> None:
    outcome = weigh(project, case("decoder", "quantize: static"))
    assert (outcome.status, outcome.stage) == (Status.ERROR, "export")
    assert "no tensor among the module's outputs: past_key_values (Cache)" in outcome.message
    assert "use_cache=False" in outcome.message


@pytest.mark.parametrize(
    ("model", "reasons"),
    [
        (
            "boxes",
            [
                "failed at model.py:",
                "`if sum(each.numel() for each in kept) > 1000:`",
                "cannot branch on what its inputs",
            ],
        ),
        ("with_complex", ["complex", "as turns holds: compute with their cosines and sines"]),
        ("scripted", ["takes no TorchScript module", "dynamo=False"]),
    ],
)
def test_why_a_forward_cannot_be_exported_and_what_to_do(
    project: Path, model: str, reasons: list[str]
) -> None:
    outcome = weigh(project, case(model, "quantize: static"))
    assert (outcome.status, outcome.stage) == (Status.ERROR, "export")
    assert [reason for reason in reasons if reason not in outcome.message] == [], outcome.message
    assert len(outcome.message) < 800


def test_weights_that_the_engine_has_no_kernels_for_are_to_be_float(project: Path) -> None:
    text = case("halved", "quantize: static").replace("model.py:splits", "model.py:pictures")
    outcome = weigh(project, text)
    assert (outcome.status, outcome.stage) == (Status.ERROR, "export")
    assert outcome.message.endswith(
        "its weights are bfloat16: let the function that builds the module return `module.float()`"
    )


def test_outputs_of_tensors_and_none_are_exported(project: Path) -> None:
    assert weigh(project, case("without_cache", "quantize: static")).status is Status.PASS


def test_attention_with_a_bias_that_is_learned_is_exported(project: Path) -> None:
    outcome = weigh(project, case("biased", "quantize: static"))
    assert outcome.status is Status.PASS, outcome.message


def test_channels_are_followed_past_an_output_that_is_no_tensor(project: Path) -> None:
    pytest.importorskip("torch_pruning")
    outcome = weigh(project, case("decoder", "prune: channels, amount: 0.25", ""))
    assert outcome.status is Status.PASS, outcome.message
    assert "up 64 → 48" in " ".join(outcome.steps[0].notes)


def test_layers_that_torch_quantized_are_not_written_to_onnx(project: Path) -> None:
    outcome = weigh(project, case("without_cache", "quantize: dynamic, engine: torch"))
    assert (outcome.status, outcome.stage) == (Status.ERROR, "export")
    assert (
        "layers that torch has quantized: key, up, head; quantize with `engine: onnxruntime`"
        in outcome.message
    )


@pytest.mark.parametrize(
    ("engine", "step"),
    [
        ("", "quantize:dynamic@torch"),
        ("engine: torch", "quantize:dynamic@torch"),
        ("engine: onnxruntime", "quantize:dynamic@onnxruntime"),
        ("engine: {name: openvino}", "quantize:dynamic@onnxruntime"),
    ],
)
def test_a_method_of_several_engines_is_one_whose_result_the_cases_engine_opens(
    project: Path, engine: str, step: str
) -> None:
    (project / "case.yaml").write_text(case("without_cache", "quantize: dynamic", engine))
    assert [ref.key for each in load_cases(project / "case.yaml") for ref in each.recipe] == [step]


def test_the_engine_that_a_step_names_goes_before_that_of_the_case(project: Path) -> None:
    (project / "case.yaml").write_text(case("without_cache", "quantize: dynamic, engine: torch"))
    (found,) = load_cases(project / "case.yaml")
    assert found.recipe[0].key == "quantize:dynamic@torch"
