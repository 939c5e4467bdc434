"""No mutation of a right file crashes a reader, hangs it, fills the memory, or ends in an exception of another's."""

from __future__ import annotations

import json
import os
import shutil
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import saved_models
from settings import LOOK_ALIKES, RIGHT
from tests.fooled.candidates import quantized
from tests.hostile.fuzz import READERS, findings
from tests.report import made_reports

import hostile
from weighbridge.audit.budget import read_budget
from weighbridge.audit.record import make_statement
from weighbridge.audit.run import audit

COUNT = int(os.environ.get("WEIGHBRIDGE_FUZZ", "400"))
"""Attempts in all; `make fuzz` makes 100,000."""
FIRST = int(os.environ.get("WEIGHBRIDGE_FUZZ_FIRST", "0"))
"""Another number, other attempts."""


@pytest.fixture(scope="module")
def rights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with right files of every kind."""
    folder = tmp_path_factory.mktemp("right")
    for index, text in enumerate([RIGHT, *LOOK_ALIKES.values()]):
        (folder / f"{index}.yaml").write_text(text)
    hostile.proto(hostile.void)(folder / "net.onnx")
    hostile.proto(hostile.everywhere)(folder / "everywhere.onnx")
    (folder / "int8.onnx").write_bytes(quantized())
    hostile.arrays(a__weight=hostile.CODES, a__weight_scale=np.ones(4, np.float32))(
        folder / "net.safetensors"
    )
    hostile.program()(folder / "net.pt2")
    hostile.keras(hostile.layer("Dense"))(folder / "net.keras")
    shutil.copy(Path(__file__).with_name("unwritten_input.tflite"), folder / "net.tflite")
    if find_spec("ai_edge_litert"):
        _write_tflites(folder)
    saved_models.saved_model()(folder)
    return folder


def _write_tflites(folder: Path) -> None:
    from tests.litert.tflite_builder import INT4, INT8, Tensor, fully_connected, write

    scales = {"scale": (0.5, 0.25), "zero_point": (0, 0)}
    int8 = Tensor("w", (2, 4), INT8, bytes(range(8)), **scales)
    int4 = Tensor("w", (2, 4), INT4, bytes(range(4)), **scales)
    for name, weight in (("int8", int8), ("int4", int4)):
        (folder / f"{name}.tflite").write_bytes(write(fully_connected(weight, 2, 4)))


@pytest.fixture(scope="module")
def reports(rights: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A folder with a report, and one with a record."""
    folders = {name: tmp_path_factory.mktemp(name) for name in ("report", "record")}
    budget = folders["record"] / "budget.yaml"
    budget.write_text("thresholds: {size: 1 MB, nonzero: 10}\n")
    cases = read_budget(budget, [rights / "net.onnx", rights / "net.safetensors"])
    report = audit(cases, tmp_path_factory.mktemp("work"), executor="inline")
    for name, one in (("a", report), ("b", made_reports.report(2)), ("c", made_reports.odd())):
        (folders["report"] / f"{name}.json").write_text(json.dumps(one))
    (folders["record"] / "a.json").write_text(json.dumps(make_statement(report, cases, budget)))
    return folders


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name == "pt2" else ()) for name in READERS]
)
def test_a_mutation_is_read_or_refused(
    name: str, rights: Path, reports: dict[str, Path], tmp_path: Path
) -> None:
    source = reports.get(name, rights)
    assert list(findings(name, COUNT // len(READERS), source, tmp_path, FIRST)) == []


@pytest.mark.parametrize(
    ("name", "said"), [("crashes", "status -6"), ("raises", "ZeroDivisionError: 'planted")]
)
def test_a_crash_and_a_foreign_exception_are_found(tmp_path: Path, name: str, said: str) -> None:
    (tmp_path / "a.txt").write_bytes(b"0123456789")
    (found,) = findings(name, 200, tmp_path, tmp_path)
    assert said in found
    assert len((tmp_path / f"{name}-0.txt").read_bytes()) < 5


def test_a_right_file_that_is_not_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.onnx").write_bytes(b"")
    (found,) = findings("onnx", 3, tmp_path, tmp_path)
    assert "the right file is not read" in found
