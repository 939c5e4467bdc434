"""Models too large for one protobuf file, with the limit lowered: tests have no room for two gigabytes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from tests.found.onnx_graphs import model, node, quantize, samples, weight

from weighbridge.contracts import FORMATS, STEPS, Context, Model
from weighbridge.core.data import Data
from weighbridge.formats import onnx_file
from weighbridge.formats.onnx_weights import graphs

SIDE = 48


@pytest.fixture
def small_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_file, "LIMIT", SIDE * SIDE)


def network() -> Model:
    nodes = [
        node("MatMul", "x a.weight", "h", "a"),
        node("Relu", "h", "r"),
        node("MatMul", "r b.weight", "y", "b"),
    ]
    return model(nodes, {f"{name}.weight": weight(SIDE, SIDE) for name in "ab"}, ["n", SIDE])


def numbers(made: Any) -> dict[str, bytes]:
    return {tensor.name: onnx.numpy_helper.to_array(tensor).tobytes() for tensor in made.graph.initializer}


def every_number(proto: Any) -> list[Any]:
    """Of the initializers of each graph, those of bodies too."""
    stored = [tensor for graph in graphs(proto) for tensor in graph.initializer]
    return [(tensor.name, numpy_helper.to_array(tensor).tolist()) for tensor in stored]


@pytest.mark.usefixtures("small_limit")
def test_its_numbers_stand_in_a_file_of_their_own(tmp_path: Path) -> None:
    before = network()
    held = numbers(before.value)
    format_ = FORMATS.get("onnx")
    artifact = format_.save(before, tmp_path, "model")
    assert [path.name for path in artifact.files] == ["model.onnx", "model.onnx.data"]
    assert artifact.path.stat().st_size < SIDE * SIDE
    assert numbers(before.value) == held  # writing takes nothing away
    found = format_.open(artifact)
    assert {tensor.name: tensor.array.tobytes() for tensor in format_.tensors(found)} == held


@pytest.mark.usefixtures("small_limit")
def test_its_numbers_stay_outside_until_a_step_wants_them(tmp_path: Path) -> None:
    """Weighing it takes the memory of one tensor."""
    format_ = FORMATS.get("onnx")
    before = network()
    found = format_.open(format_.save(before, tmp_path, "model"))
    assert not any(tensor.raw_data for tensor in found.value.graph.initializer)
    whole = format_.whole(found)
    assert numbers(whole.value) == numbers(before.value)
    assert format_.whole(whole) is whole
    assert not any(tensor.raw_data for tensor in found.value.graph.initializer)


@pytest.mark.parametrize("mode", ["static", "dynamic"])
def test_it_is_quantized_like_a_small_one(tmp_path: Path, mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = network()
    small = quantize(tmp_path, before, mode)
    monkeypatch.setattr(onnx_file, "LIMIT", SIDE * SIDE)
    assert onnx_file.needs_data_file(before.value)
    large = quantize(tmp_path, before, mode)
    assert numbers(large.value) == numbers(small.value)
    assert [each.op_type for each in large.value.graph.node] == [
        each.op_type for each in small.value.graph.node
    ]


@pytest.mark.parametrize(
    ("step", "options"),
    [
        ("quantize:float16@onnxruntime", {}),
        ("quantize:float16@onnxruntime", {"compute": "float16"}),
        ("quantize:bfloat16@onnxruntime", {}),
        ("quantize:weight_only@onnxruntime", {}),
        ("quantize:gptq@onnxruntime", {}),
        ("equalize:smooth_quant", {"alpha": 0.5}),
        ("equalize:cross_layer", {}),
    ],
)
def test_every_step_makes_of_it_what_it_makes_of_a_small_one(
    tmp_path: Path, step: str, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    before, way = network(), STEPS.get(step)
    given = (samples(before), None)
    context = Context(tmp_path, tmp_path, 0, Data({"calibration": given, "test": given}))
    small = way.apply(before, way.options.model_validate(options), context)
    monkeypatch.setattr(onnx_file, "LIMIT", SIDE)
    assert onnx_file.needs_data_file(before.value)
    large = way.apply(before, way.options.model_validate(options), context)
    assert numbers(large.value) == numbers(small.value)
    if way.opens:
        format_ = FORMATS.get("onnx")
        outside = format_.open(format_.save(before, tmp_path, "outside"))
        opened = way.apply(outside, way.options.model_validate(options), context)
        assert numbers(opened.value) == numbers(small.value)
        assert not any(tensor.raw_data for tensor in outside.value.graph.initializer)


@pytest.mark.usefixtures("small_limit")
def test_what_a_file_of_numbers_holds_is_what_was_in_the_model(tmp_path: Path) -> None:
    """Numbers in protobuf's typed lists, two to a byte, words, few numbers, and those of the body of an If."""
    random, proto = np.random.default_rng(0), network().value
    big = random.standard_normal(SIDE * SIDE).astype(np.float32)
    then, otherwise = (
        helper.make_graph(
            [helper.make_node("Identity", [f"{name}.weight"], [f"{name}.out"])],
            name,
            [],
            [helper.make_tensor_value_info(f"{name}.out", TensorProto.FLOAT, [SIDE * SIDE])],
            [numpy_helper.from_array(big * factor, f"{name}.weight")],
        )
        for name, factor in (("then", 2), ("otherwise", 3))
    )
    proto.graph.node.append(
        helper.make_node("If", ["yes"], ["chosen"], then_branch=then, else_branch=otherwise)
    )
    four = numpy_helper.from_array(random.integers(-8, 8, 2 * SIDE * SIDE).astype(ml_dtypes.int4), "four")
    proto.graph.initializer.extend(
        [
            helper.make_tensor("typed", TensorProto.FLOAT, [SIDE * SIDE], big),
            helper.make_tensor("integers", TensorProto.INT64, [SIDE * SIDE], range(SIDE * SIDE)),
            helper.make_tensor("words", TensorProto.STRING, [2000], [b"word"] * 2000),
            helper.make_tensor("yes", TensorProto.BOOL, [], [True]),
            four,
        ]
    )
    proto.metadata_props.add(key="kept", value="too")
    before = every_number(proto)
    onnx_file.write_onnx(proto, tmp_path / "model.onnx")
    found = onnx.load(tmp_path / "model.onnx")
    assert every_number(found) == before
    assert len(before) == 9
    assert [node.op_type for node in found.graph.node] == [node.op_type for node in proto.graph.node]
    assert found.metadata_props == proto.metadata_props
    assert found.opset_import == proto.opset_import
    kept = onnx.load(tmp_path / "model.onnx", load_external_data=False)
    inside = {tensor.name for tensor in kept.graph.initializer if not tensor.external_data}
    assert inside == {"words", "yes"}


def test_a_small_one_is_one_file(tmp_path: Path) -> None:
    assert [path.name for path in FORMATS.get("onnx").save(network(), tmp_path, "model").files] == [
        "model.onnx"
    ]
