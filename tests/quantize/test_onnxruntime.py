"""ONNX Runtime's quantizers: which nodes stay in float, and calibration sets of any length."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from weighbridge.contracts import FORMATS, Context, Model
from weighbridge.core.data import Data
from weighbridge.core.errors import StageError
from weighbridge.numerics.round_trip import read_back
from weighbridge.steps.quantize.onnx_dynamic import DynamicOptions, dynamic
from weighbridge.steps.quantize.onnx_static import StaticOptions, static
from weighbridge.steps.quantize.onnx_steps import scheme


def two_layers(kind: str = "MatMul") -> Model:
    """Two products; nodes numbered as an exporter does, weights named after layers."""
    random = np.random.default_rng(0)
    weights = [
        onnx.numpy_helper.from_array(random.standard_normal((8, 8)).astype(np.float32), f"{name}.weight")
        for name in ("body.fc1", "head")
    ]
    nodes = [
        onnx.helper.make_node(kind, ["x", "body.fc1.weight"], ["h"], name=f"node_{kind}_17"),
        onnx.helper.make_node(kind, ["h", "head.weight"], ["y"], name=f"node_{kind}_18"),
    ]
    value = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["N", 8]) for name in "xy"]
    graph = onnx.helper.make_graph(nodes, "two_layers", value[:1], value[1:], weights)
    return Model(
        "onnx", onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=10)
    )


def quantized_weights(folder: Path, samples: int = 7, **options: object) -> set[str]:
    """The layers whose weights the static quantizer makes int8."""
    inputs = np.random.default_rng(1).standard_normal((samples, 8)).astype(np.float32)
    data = Data(splits={"calibration": (inputs, np.zeros(samples))})
    model = static(two_layers(), StaticOptions.model_validate(options), Context(folder, folder, 0, data))
    return int8_layers(model)


def int8_layers(model: Model) -> set[str]:
    """The layers whose weights are int8."""
    stored = {
        tensor.name for tensor in model.value.graph.initializer if tensor.data_type == onnx.TensorProto.INT8
    }
    return {
        layer
        for layer in ("body.fc1", "head")
        if any(name.startswith(f"{layer}.weight") and not name.endswith("zero_point") for name in stored)
    }


def test_everything_is_quantized_where_nothing_is_excluded(tmp_path: Path) -> None:
    assert quantized_weights(tmp_path) == {"body.fc1", "head"}


@pytest.mark.parametrize("pattern", ["node_MatMul_17", "body.*", "body.fc1", "body.fc1.weight", "*17"])
def test_excluded_by_node_weight_or_layer(tmp_path: Path, pattern: str) -> None:
    assert quantized_weights(tmp_path, exclude=[pattern]) == {"head"}


@pytest.mark.parametrize("kind", ["MatMul", "Gemm"])
@pytest.mark.parametrize("pattern", ["*17", "body.fc1"])
@pytest.mark.parametrize("quantize", [dynamic, static])
def test_excluded_from_either_quantizer_whatever_the_product(
    tmp_path: Path, quantize: Callable[..., Model], pattern: str, kind: str
) -> None:
    """ONNX Runtime's dynamic quantizer renames a Gemm before it looks at the names to leave out."""
    inputs = np.random.default_rng(1).standard_normal((7, 8)).astype(np.float32)
    context = Context(tmp_path, tmp_path, 0, Data(splits={"calibration": (inputs, np.zeros(7))}))
    options = (DynamicOptions if quantize is dynamic else StaticOptions).model_validate(
        {"exclude": [pattern]}
    )
    assert int8_layers(quantize(two_layers(kind), options, context)) == {"head"}


def test_a_pattern_without_a_match_names_what_there_is(tmp_path: Path) -> None:
    with pytest.raises(StageError, match=r"'body.fc2'; did you mean 'body.fc1'"):
        quantized_weights(tmp_path, exclude=["body.fc2"])


@pytest.mark.parametrize("method", ["minmax", "entropy", "percentile", "mse"])
@pytest.mark.parametrize("samples", [1, 24, 37, 180])
def test_any_number_of_calibration_samples_serves(tmp_path: Path, method: str, samples: int) -> None:
    assert quantized_weights(tmp_path, samples, calibration=method) == {"body.fc1", "head"}


def test_seven_bits_are_promised_and_kept(tmp_path: Path) -> None:
    model = two_layers()
    floats = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.value.graph.initializer}
    data = Data(splits={"calibration": (floats["head.weight"], np.zeros(8))})
    reduced = StaticOptions(reduce_range=True)
    quantized = static(model, reduced, Context(tmp_path, tmp_path, 0, data))
    stored = list(FORMATS.get("onnx").tensors(quantized))
    assert not read_back(stored, floats, scheme(reduced)).findings
    assert "codes are left unused" in str(read_back(stored, floats, scheme(StaticOptions())).findings[0])


@pytest.mark.parametrize(
    ("flags", "options", "told"),
    [({"avx2"}, {}, True), ({"avx2", "avx512_vnni"}, {}, False), ({"avx2"}, {"reduce_range": True}, False)],
)
def test_a_processor_that_sums_in_16_bits_is_told_of(
    flags: set[str], options: dict[str, object], told: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from weighbridge.contracts import ENGINES, Weighing
    from weighbridge.measure import accuracy
    from weighbridge.measure.metrics import find_metric

    monkeypatch.setattr(accuracy, "isa", lambda: frozenset(flags))
    random = np.random.default_rng(1)
    inputs = random.standard_normal((64, 8)).astype(np.float32)
    data = Data(splits={"calibration": (inputs, np.zeros(64)), "test": (inputs, random.integers(0, 8, 64))})
    context = Context(tmp_path, tmp_path, 0, data)
    model = static(two_layers(), StaticOptions.model_validate(options), context)
    engine = ENGINES.get("onnxruntime")
    scales = Weighing(
        candidate=FORMATS.get("onnx").save(model, tmp_path, "candidate"),
        baseline=FORMATS.get("onnx").save(two_layers(), tmp_path, "baseline"),
        engine=engine,
        engine_options=engine.options(),
        data=data,
        metric=find_metric(None, tmp_path),
        allow_chance=True,
    )
    assert accuracy.measure(scales).details["overflows"] == told
