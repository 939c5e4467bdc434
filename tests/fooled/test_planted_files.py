"""Each planted fault fails the items that exist for it, and no other."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import onnx
import pytest
from candidates import after, float_model, put, quantized, right
from faults import ANSWERS, BYTES, FAULTS
from onnx import helper
from outcomes import CASE, failing, outcome
from subtle_faults import SUBTLE
from tests.projects import Weighed

from weighbridge.core.results import Status


def test_the_right_one_passes(tmp_path: Path) -> None:
    found = outcome(tmp_path, quantized())
    assert failing(found) == set()
    assert found.result.status is Status.PASS


@pytest.mark.parametrize("fault", FAULTS | SUBTLE)
def test_a_fault_in_the_file(tmp_path: Path, fault: str) -> None:
    make, caught = (FAULTS | SUBTLE)[fault]
    assert failing(outcome(tmp_path, make(right()).SerializeToString())) == caught


def truncated(folder: Path) -> bytes:
    return quantized()[:9000]


def without_its_second_file(folder: Path) -> bytes:
    onnx.save(
        right(), folder / "apart.onnx", save_as_external_data=True, location="apart.bin", size_threshold=0
    )
    (folder / "apart.bin").unlink()
    return (folder / "apart.onnx").read_bytes()


def of_an_unknown_operator(folder: Path) -> bytes:
    proto = right()
    next(node for node in proto.graph.node if node.op_type == "QuantizeLinear").op_type = "Quantise"
    return proto.SerializeToString()


def for_other_inputs(folder: Path) -> bytes:
    proto = right()
    proto.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 15
    return proto.SerializeToString()


def of_three_classes(folder: Path) -> bytes:
    proto = right()
    put(proto, "three", np.arange(3))
    made = after(proto, helper.make_node("Gather", ["raw", "three"], ["y"], axis=1))
    made.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 3
    return made.SerializeToString()


def lying_on_its_side(folder: Path) -> bytes:
    made = after(right(), helper.make_node("Transpose", ["raw"], ["y"], perm=[1, 0]))
    made.graph.output[0].type.tensor_type.shape.Clear()
    return made.SerializeToString()


NOT_SERVED = {
    "truncated": (truncated, "truncated"),
    "without its second file": (without_its_second_file, "apart.bin"),
    "of an unknown operator": (of_an_unknown_operator, "Quantise"),
    "for other inputs": (for_other_inputs, "15"),
    "of three classes": (of_three_classes, "3"),
    "lying on its side": (lying_on_its_side, "[4, "),
}


@pytest.mark.parametrize("fault", NOT_SERVED)
def test_a_file_that_cannot_serve(tmp_path: Path, fault: str) -> None:
    make, named = NOT_SERVED[fault]
    found = outcome(tmp_path, make(tmp_path))
    assert found.result.status in (Status.ERROR, Status.FAIL)
    answers = [found.result.verdict(name) for name in ("accuracy_drop", "fidelity")]
    assert all(verdict is None or verdict.status is not Status.PASS for verdict in answers)
    assert named in " ".join([found.result.message, *(each.message for each in found.result.verdicts)])


DATA = '''
import re

import numpy as np
import torch

data = np.load("{folder}/samples.npz")
x, y = data["test_x"], data["test_y"]


def misaligned():
    """The labels of another order of the samples."""
    return {{"test": (x, np.random.default_rng(0).permutation(y))}}


def one_class():
    return {{"test": (x[y == 1], y[y == 1])}}


def no_targets():
    return {{"test": (x, None)}}


def empty():
    return {{"test": (x[:0], y[:0])}}


def not_numbers():
    return {{"test": (np.full_like(x, np.nan), y)}}


def classes_from_one():
    return {{"test": (x, y + 1)}}


def of_another_width():
    return {{"test": (x[:, :15], y)}}


def raises():
    raise OSError("the disk with the images is not there")


def shuffled():
    pairs = torch.utils.data.TensorDataset(torch.tensor(x), torch.tensor(y))
    return {{"test": torch.utils.data.DataLoader(pairs, batch_size=32, shuffle=True)}}
'''
UNSOUND = {
    "misaligned": "no better than guessing",
    "one_class": "all [0-9]+ targets of the test split are the same",
    "no_targets": "no targets",
    "empty": "empty|no sample",
    "not_numbers": "NaN or infinity themselves",
    "classes_from_one": "4",
    "of_another_width": "15",
    "raises": "the disk with the images is not there",
}


def on(folder: Path, form: str, candidate: bytes) -> Weighed:
    (folder / "forms.py").write_text(DATA.format(folder=folder.as_posix()))
    return outcome(folder, candidate, CASE.replace("data: samples.npz", f"data: forms.py:{form}"))


@pytest.mark.parametrize("form", UNSOUND)
def test_data_that_says_nothing_of_the_model(tmp_path: Path, form: str) -> None:
    found = on(tmp_path, form, quantized())
    assert found.result.status is Status.ERROR
    drop = found.result.verdict("accuracy_drop")
    assert drop is None or drop.status is Status.ERROR
    assert re.search(UNSOUND[form], found.result.message or (drop.message if drop else ""))


def test_a_ruined_file_on_a_loader_that_shuffles(tmp_path: Path) -> None:
    found = on(tmp_path, "shuffled", FAULTS["a layer is shuffled"][0](right()).SerializeToString())
    assert failing(found) == ANSWERS


def test_the_original_under_another_name(tmp_path: Path) -> None:
    found = outcome(tmp_path, float_model().SerializeToString())
    assert failing(found) == BYTES | {"quantized", "largest_tensor"}
