"""What the report says of single layers, against numbers computed by hand."""

from __future__ import annotations

from pathlib import Path

import networks
import numpy as np
import onnx
import pytest

from weighbridge.contracts import ENGINES, FORMATS, MEASURES, Weighing
from weighbridge.core.data import Data
from weighbridge.core.results import Artifact, Measurement
from weighbridge.formats.finished import finished_file
from weighbridge.measure.layers import MOST, sqnr


def artifact(path: Path) -> Artifact:

    found = finished_file(FORMATS.get("onnx").load(path.name, None, path.parent), path)
    assert found is not None
    return found


def measure(name: str, candidate: Path, baseline: Path | None = None) -> Measurement:
    before = artifact(baseline) if baseline else None
    engine = ENGINES.get("onnxruntime")
    scales = Weighing(artifact(candidate), before, engine, engine.options(), Data(), None)
    return MEASURES.get(name).run(scales)


def test_zeros_bytes_and_noise_of_a_layer(tmp_path: Path) -> None:
    before, after = (
        networks.write(tmp_path, "quantized", "before.onnx"),
        networks.write(tmp_path, name="after.onnx"),
    )
    layers = {one["name"]: one for one in measure("layers", after, before).details["layers"]}
    third, head = layers["third.weight"], layers["head.weight"]
    assert (third["bytes"]["baseline"], third["bytes"]["candidate"]) == (4 * 128, 128)
    assert third["nonzero"]["baseline"] == 64
    assert not third["exact"]
    assert 30 < third["sqnr_db"] < 60
    assert head["exact"]
    assert head["sqnr_db"] is None
    assert sum(third["histogram"]["candidate"]) == sum(third["histogram"]["baseline"]) == 128


def test_noise_is_the_ratio_of_powers_in_decibels() -> None:
    assert sqnr(np.array([3.0, 4.0]), np.array([3.0, 4.5])) == pytest.approx(20.0)
    assert sqnr(np.array([1.0]), np.array([1.0])) is None
    assert sqnr(np.array([np.inf]), np.array([1.0])) is None


def test_a_weight_that_is_not_finite_has_no_histogram(tmp_path: Path) -> None:
    model = networks.Network().model()
    head = next(one for one in model.graph.initializer if one.name == "head.weight")
    array = onnx.numpy_helper.to_array(head).copy()
    array[0, 0] = np.nan
    head.CopyFrom(onnx.numpy_helper.from_array(array, "head.weight"))
    onnx.save(model, tmp_path / "m.onnx")
    layers = {one["name"]: one for one in measure("layers", tmp_path / "m.onnx").details["layers"]}
    assert layers["head.weight"]["histogram"] is None


def test_the_largest_layers_are_kept(tmp_path: Path) -> None:
    from onnx import TensorProto, helper

    shapes = [(number + 2, 3) for number in range(MOST + 5)]
    random = np.random.default_rng(0)
    stored = [
        onnx.numpy_helper.from_array(random.random(shape, np.float32), f"w{index}")
        for index, shape in enumerate(shapes)
    ]
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", [value],
                              [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])], stored)  # fmt: skip
    onnx.save(helper.make_model(graph, ir_version=9), tmp_path / "m.onnx")
    details = measure("layers", tmp_path / "m.onnx").details
    assert details["omitted"] == 5
    assert [one["name"] for one in details["layers"]] == [f"w{number}" for number in range(5, MOST + 5)]


def test_tables_of_integers_are_no_weights(tmp_path: Path) -> None:
    model = networks.Network().model()
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.ones((9, 9), np.int64), "indices"))
    onnx.save(model, tmp_path / "m.onnx")
    plain, more = measure("nonzero", networks.write(tmp_path)), measure("nonzero", tmp_path / "m.onnx")
    assert more.candidate == plain.candidate
    assert measure("parameters", tmp_path / "m.onnx").candidate == 32 * 68 + 68 * 4 + 4
