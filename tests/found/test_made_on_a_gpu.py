"""What was trained, saved or exported on a GPU, on a machine without one.

`gpu/` was written on one (torch 2.11, CUDA 13): a program, a checkpoint of the same module, and what it answered there.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tests.formats.test_exported_archives import plant

from weighbridge.contracts import ENGINES, FORMATS
from weighbridge.core.errors import StageError
from weighbridge.engines.torch_eager import run_module
from weighbridge.formats.torch_device import archive_on_cpu, module_on_cpu

torch = pytest.importorskip("torch")

HERE = Path(__file__).parent / "gpu"
MODULE = """
import torch


class Tiny(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(8, 3)
        self.register_buffer("shift", torch.ones(3))

    def forward(self, x):
        return self.linear(x) + self.shift


def tiny():
    return Tiny()
"""
no_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")


@pytest.fixture
def answered() -> Any:
    with np.load(HERE / "cuda.npz") as file:
        return file["x"], file["y"]


@no_gpu
def test_torch_by_itself_does_not_read_it() -> None:
    """Or else there would be nothing to mend."""
    with pytest.raises((AssertionError, RuntimeError)):
        torch.export.load(HERE / "cuda.pt2")


def test_a_program_answers_as_it_did_there(answered: Any, tmp_path: Path) -> None:
    """Its weights, its sample inputs and a call that makes a tensor were on the GPU."""
    x, y = answered
    format_ = FORMATS.get("exported")
    model = format_.load("cuda.pt2", None, HERE)
    artifact = format_.save(model, tmp_path, "saved")
    session = ENGINES.get("torch").open(artifact, ENGINES.get("torch").options())
    np.testing.assert_allclose(session.run((x,))[0], y, atol=1e-5)
    assert all(tensor.device.type == "cpu" for tensor in model.value.state_dict.values())


def test_a_checkpoint_answers_as_it_did_there(answered: Any, tmp_path: Path) -> None:
    x, y = answered
    (tmp_path / "model.py").write_text(MODULE)
    model = FORMATS.get("torch").load("model.py:tiny", HERE / "cuda.pt", tmp_path)
    np.testing.assert_allclose(run_module(model.value, (x,))[0], y, atol=1e-5)


def test_a_program_of_the_cpu_is_read_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "cpu.pt2"
    torch.export.save(torch.export.export(torch.nn.Linear(4, 2), (torch.zeros(1, 4),)), path)
    assert archive_on_cpu(path, trusted=False) == path


def test_no_code_of_such_a_program_is_run(tmp_path: Path) -> None:
    plant(HERE / "cuda.pt2", tmp_path / "bad.pt2", tmp_path / "ran")
    with pytest.raises(StageError, match="holds pickled code"):
        FORMATS.get("exported").load("bad.pt2", None, tmp_path)
    assert not (tmp_path / "ran").exists()


def test_a_module_that_its_own_code_puts_on_a_gpu_is_moved() -> None:
    """As `model.to(device)` does where there is a GPU; no GPU is here, so a stand-in says where its weights are."""

    def module(*places: str) -> Any:
        held = [SimpleNamespace(device=torch.device(place)) for place in places]
        return SimpleNamespace(
            parameters=lambda: held[:1], buffers=lambda: held[1:], to=lambda device: device
        )

    assert module_on_cpu(module("cuda:0", "cpu")) == "cpu"
    assert module_on_cpu(module("cpu", "cuda:1")) == "cpu"
    left = module("cpu", "meta")
    assert module_on_cpu(left) is left


class Raises(torch.nn.Module):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text

    def forward(self, x: Any) -> Any:
        raise RuntimeError(self.text)


def test_a_forward_that_makes_tensors_on_the_gpu_is_told_what_to_do() -> None:
    met = "Expected all tensors to be on the same device, but found at least two devices, cuda:0 and cpu!"
    with pytest.raises(StageError, match=r"device=x\.device.*CUDA_VISIBLE_DEVICES= pytest"):
        run_module(Raises(met).eval(), (np.zeros((1, 4), "float32"),))
    with pytest.raises(StageError) as other:
        run_module(Raises("mat1 and mat2 shapes cannot be multiplied").eval(), (np.zeros((1, 4), "float32"),))
    assert "CUDA" not in str(other.value)


@no_gpu
@pytest.mark.parametrize("device", ["cuda", "cuda:1", "gpu"])
def test_a_device_that_is_not_here_is_named(device: str, tmp_path: Path) -> None:
    format_, engine = FORMATS.get("exported"), ENGINES.get("torch")
    artifact = format_.save(format_.load("cuda.pt2", None, HERE), tmp_path, "saved")
    with pytest.raises(StageError, match=rf"no device '{device}' here.*leave `device` out.*nvidia-smi"):
        engine.open(artifact, engine.options(device=device))


def test_a_cut_one_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "cut.pt2").write_bytes((HERE / "cuda.pt2").read_bytes()[:-400])
    with pytest.raises(StageError, match=r"cut\.pt2"):
        FORMATS.get("exported").load("cut.pt2", None, tmp_path)
