"""What is right is not accused, however it looks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from candidates import float_model, quantized, right
from lookalikes import LOOKALIKES
from outcomes import CASE, failing, outcome
from tests.projects import samples, weigh

from weighbridge.core.results import Status


@pytest.mark.parametrize("name", LOOKALIKES)
def test_a_right_file(tmp_path: Path, name: str) -> None:
    found = outcome(tmp_path, LOOKALIKES[name](right()).SerializeToString())
    assert failing(found) == set()
    assert found.result.status is Status.PASS


def test_weights_in_a_second_file(tmp_path: Path) -> None:
    onnx.save(
        right(), tmp_path / "apart.onnx", save_as_external_data=True, location="apart.bin", size_threshold=0
    )
    found = outcome(tmp_path, (tmp_path / "apart.onnx").read_bytes())
    assert failing(found) == set()
    size = found.result.verdict("size")
    assert size is not None
    assert (size.measured or 0) > (tmp_path / "apart.bin").stat().st_size


DATA = """
import numpy as np
import torch

data = np.load("{folder}/samples.npz")
x, y = data["test_x"], data["test_y"]


def shuffled():
    pairs = torch.utils.data.TensorDataset(torch.tensor(x), torch.tensor(y))
    return {{"test": torch.utils.data.DataLoader(pairs, batch_size=32, shuffle=True)}}


def generated():
    return {{"test": ((x[at : at + 50], y[at : at + 50]) for at in range(0, 400, 50))}}


def doubles():
    return {{"test": (x.astype("float64"), y)}}


def one_hot():
    return {{"test": (x, np.eye(4)[y])}}


def floats_for_labels():
    return {{"test": (x, y.astype("float32")[:, None])}}


def dictionaries():
    return {{"test": [{{"x": x[i], "label": int(y[i])}} for i in range(400)]}}
"""


@pytest.mark.parametrize(
    "form", ["shuffled", "generated", "doubles", "one_hot", "floats_for_labels", "dictionaries"]
)
def test_right_data(tmp_path: Path, form: str) -> None:
    onnx.save(float_model(), tmp_path / "net.onnx")
    (tmp_path / "candidate.onnx").write_bytes(quantized())
    test_x, test_y = samples(2, 400)
    np.savez(tmp_path / "samples.npz", test_x=test_x, test_y=test_y)
    (tmp_path / "forms.py").write_text(DATA.format(folder=tmp_path.as_posix()))
    found = weigh(tmp_path, CASE.replace("data: samples.npz", f"data: forms.py:{form}"), also=())
    assert failing(found) == set()
    assert found.result.status is Status.PASS
