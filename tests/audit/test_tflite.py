"""The same budget and the same look inside, on TFLite."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import networks
import numpy as np
import pytest

from weighbridge.audit.inspect import describe, how
from weighbridge.audit.run import OVER, WITHIN
from weighbridge.cli.main import main

pytest.importorskip("ai_edge_litert")

FULLY_CONNECTED = 9


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A dense layer of 3 x 4 int8 weights with a scale a row, four of them zero."""
    source = Path(__file__).parents[1] / "litert" / "tflite_builder.py"
    spec = importlib.util.spec_from_file_location("tflite_builder", source)
    assert spec is not None
    assert spec.loader is not None
    builder = sys.modules.setdefault(spec.name, importlib.util.module_from_spec(spec))
    spec.loader.exec_module(builder)
    codes = np.arange(-4, 8, dtype=np.int8).reshape(3, 4)
    codes[0] = 0
    graph = builder.Graph(
        tensors=[
            builder.Tensor("x", (1, 4)),
            builder.Tensor(
                "w", (3, 4), builder.INT8, codes.tobytes(), scale=(0.1, 0.2, 0.3), zero_point=(0, 0, 0)
            ),
            builder.Tensor("y", (1, 3)),
        ],
        operators=[builder.Operator(FULLY_CONNECTED, (0, 1, -1), (2,))],
        inputs=(0,),
        outputs=(2,),
    )
    path = tmp_path / "dense.tflite"
    path.write_bytes(builder.write(graph))
    return path


def test_inspect(model: Path) -> None:
    found = describe(model)
    assert [(one["name"], one["shape"]) for one in found["inputs"] + found["outputs"]] == [
        ("x", [1, 4]),
        ("y", [1, 3]),
    ]
    assert found["operators"] == {"FULLY_CONNECTED": 1}
    (weight,) = found["layers"]
    assert (weight["nonzero"], how(weight)) == (7, "8 bits, per_channel (axis 0), symmetric")


@pytest.mark.parametrize(
    ("name", "kept", "missed"),
    [
        ("nonzero", 7, 6),
        ("parameters", 12, 11),
        ("size", "2 kB", "100 b"),
        ("largest_tensor", 12, 11),
        ("operators", "{allowed: [FULLY_CONNECTED]}", "{denied: [FULLY_CONNECTED]}"),
        ("dtypes", "{allowed: [int8]}", "{allowed: [float32]}"),
        ("quantized", "{granularity: per_channel}", "{bits: 4}"),
    ],
)
def test_each_line_is_kept_and_missed(model: Path, name: str, kept: object, missed: object) -> None:
    for limit, code, status in ((kept, WITHIN, "pass"), (missed, OVER, "fail")):
        budget = networks.budget(model.parent, {name: limit})
        out = model.parent / "reports"
        assert main(["audit", str(model), "--budget", str(budget), "--out", str(out)]) == code
        (row,) = json.loads((out / "audit.json").read_text())["rows"]
        assert (row["artifacts"]["candidate"]["format"], row["status"]) == ("tflite", status)


def test_an_opset_is_no_quantity_of_tflite(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    budget = networks.budget(model.parent, {"opset": 18})
    assert main(["audit", str(model), "--budget", str(budget)]) == 2
    assert "'opset' is a quantity of onnx models; dense.tflite is tflite" in capsys.readouterr().err
