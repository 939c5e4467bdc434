"""torch to LiteRT through litert-torch: same outputs, on real samples, or an error that says so."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from weighbridge.contracts import CONVERTERS, ENGINES, FORMATS, Context, Model
from weighbridge.core.data import Data
from weighbridge.core.errors import StageError, Unavailable

pytest.importorskip("litert_torch", reason="pip install 'weighbridge[litert-torch]'")

IMAGES = np.random.default_rng(0).random((20, 1, 8, 8)).astype(np.float32)


class TwoInputs(nn.Module):
    """Two inputs of unlike shape and two outputs, so that a wrong order shows."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(6, 3), nn.Linear(4, 2)

    def forward(self, z: torch.Tensor, a: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.right(a), self.left(z)


def convert(module: nn.Module, data: Data, folder: Path) -> Model:
    return CONVERTERS.get("torch->tflite").convert(
        Model("torch", module.eval()), Context(folder, folder, 0, data)
    )


def small_cnn() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 5)
    )


def test_a_cnn_computes_the_same(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    module = small_cnn().eval()
    result = convert(module, Data(splits={"test": (IMAGES, None)}), tmp_path)
    assert "agrees with torch within" in result.notes[-1]
    engine = ENGINES.get("litert")
    session = engine.open(FORMATS.get("tflite").save(result, tmp_path, "m"), engine.options())
    with torch.no_grad():
        expected = module(torch.from_numpy(IMAGES)).numpy()
    np.testing.assert_allclose(session.run((IMAGES,))[0], expected, atol=1e-5)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("named", [False, True])
def test_inputs_and_outputs_keep_their_order(tmp_path: Path, named: bool) -> None:
    torch.manual_seed(0)
    module = TwoInputs().eval()
    z, a = IMAGES[:9, 0, 0, :6], IMAGES[:9, 0, 1, :4]
    inputs = {"a": a, "z": z} if named else (z, a)
    result = convert(module, Data(splits={"test": (inputs, None)}), tmp_path)
    engine = ENGINES.get("litert")
    outputs = engine.open(FORMATS.get("tflite").save(result, tmp_path, "m"), engine.options()).run(inputs)
    with torch.no_grad():
        expected = module(torch.from_numpy(z), torch.from_numpy(a))
    for have, want in zip(outputs, expected, strict=True):
        np.testing.assert_allclose(have, want.numpy(), atol=1e-5)


def test_a_file_that_computes_something_else_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import litert_torch

    honest = litert_torch.convert

    def wrong(module: nn.Module, *arguments: object) -> object:
        return honest(nn.Sequential(module, nn.ReLU()).eval(), *arguments)

    monkeypatch.setattr(litert_torch, "convert", wrong)
    with pytest.raises(StageError, match=r"output 0 of the \.tflite differs from torch's by up to"):
        convert(small_cnn(), Data(splits={"test": (IMAGES, None)}), tmp_path)


def test_a_module_that_cannot_be_traced_is_a_stage_error(tmp_path: Path) -> None:
    class Branching(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x if float(x.sum()) > 0 else -x

    with pytest.raises(StageError, match="litert-torch cannot convert the module"):
        convert(Branching(), Data(splits={"test": (IMAGES, None)}), tmp_path)


def test_a_missing_converter_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("weighbridge.environment.requirements._package", lambda name: name != "litert_torch")
    with pytest.raises(
        Unavailable, match=r"'litert_torch' 0.10 or later.*pip install 'weighbridge\[litert-torch\]'"
    ):
        convert(small_cnn(), Data(splits={"test": (IMAGES, None)}), tmp_path)
