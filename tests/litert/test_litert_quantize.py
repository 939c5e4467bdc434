"""`quantize: litert`: what each mode promises is read back from the file it wrote."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from pydantic import ValidationError
from tests.projects import weigh
from tflite_builder import DEQUANTIZE, FLOAT16, FLOAT32, Operator, Tensor, floats, fully_connected, write

from weighbridge.contracts import ENGINES, FORMATS, STEPS, Context, Model, Promise
from weighbridge.core.data import Data
from weighbridge.core.errors import StageError
from weighbridge.core.results import Status
from weighbridge.numerics.round_trip import read_back
from weighbridge.run.census import check_changed, take_census

RANDOM = np.random.default_rng(3)
ROWS, COLUMNS = 64, 128
# Rows of very different size: one scale for all of them would drown the small ones.
WEIGHT = (RANDOM.standard_normal((ROWS, COLUMNS)) * np.geomspace(0.01, 1, ROWS)[:, None]).astype(np.float32)
SAMPLES = RANDOM.standard_normal((64, COLUMNS)).astype(np.float32)


def model(**options) -> Model:
    weight = Tensor("w", (ROWS, COLUMNS), FLOAT32, floats(WEIGHT))
    return Model("tflite", write(fully_connected(weight, ROWS, COLUMNS, **options)))


@pytest.fixture
def quantize(tmp_path: Path) -> Callable[..., Model]:
    data = Data(splits={"calibration": (SAMPLES, None), "test": (SAMPLES, None)})
    context = Context(tmp_path, tmp_path, 0, data)
    step = STEPS.get("quantize:litert")

    def apply(source: Model, **options) -> Model:
        result = step.apply(source, step.options(**options), context)
        check_changed(step, take_census(source), take_census(result))
        return result

    return apply


def weight_of(result: Model):
    (tensor,) = (tensor for tensor in FORMATS.get("tflite").tensors(result) if tensor.array.ndim == 2)
    return tensor


def run(result: Model, folder: Path) -> np.ndarray:
    engine = ENGINES.get("litert")
    return engine.open(FORMATS.get("tflite").save(result, folder, "m"), engine.options()).run((SAMPLES,))[0]


@pytest.mark.parametrize(("options", "dtype", "granularity"), [
    ({"mode": "weight_only"}, "int8", "channel"),
    ({"mode": "weight_only", "per_channel": False}, "int8", "tensor"),
    ({"mode": "weight_only", "bits": 4}, "int4", "channel"),
    ({"mode": "dynamic"}, "int8", "channel"),
    ({"mode": "dynamic", "bits": 4, "block_size": 32}, "int4", "block"),
    ({"mode": "static"}, "int8", "channel"),
    ({"mode": "static", "io": "integer"}, "int8", "channel"),
    ({"mode": "static", "activations": "int16"}, "int8", "channel"),
])  # fmt: skip
def test_each_mode_writes_what_it_promises(
    quantize: Callable[..., Model], tmp_path: Path, options: dict, dtype: str, granularity: str
) -> None:
    result = quantize(model(), **options)
    tensor = weight_of(result)
    assert tensor.dtype == dtype
    quantization = tensor.quantization
    assert quantization is not None
    assert not quantization.zero_point.any()
    shapes = {"channel": (ROWS,), "tensor": (), "block": (ROWS, COLUMNS // 32)}
    assert quantization.scale.shape == shapes[granularity]
    # Rounding to the nearest code: half a step, and the float16 scales of blocks are good to 2^-11.
    scale = quantization.scale if granularity != "block" else quantization.scale.repeat(32, axis=1)
    step = scale if scale.ndim != 1 else scale[:, None]
    assert (np.abs(tensor.values() - WEIGHT) <= step * (0.5 + 8 * 2.0**-11) + 1e-7).all()
    assert len(result.value) < len(model().value)
    step_ = STEPS.get("quantize:litert")
    assert step_.scheme is not None
    promise = step_.scheme(step_.options(**options))
    assert read_back([tensor], {"w": WEIGHT}, promise).findings == ()
    assert read_back([tensor], {"w": WEIGHT}, replace(promise, bits=2)).findings  # it can fail
    noise = run(result, tmp_path) - SAMPLES @ WEIGHT.T
    assert 10 * np.log10(np.square(SAMPLES @ WEIGHT.T).sum() / np.square(noise).sum()) > (
        15 if "4" in dtype else 30
    )


@pytest.mark.parametrize(("options", "dtype"), [
    ({}, np.float32), ({"io": "integer"}, np.int8), ({"io": "integer", "activations": "int16"}, np.int16),
])  # fmt: skip
def test_io_is_what_the_file_takes(quantize: Callable[..., Model], options: dict, dtype: type) -> None:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=quantize(model(), mode="static", **options).value)
    assert interpreter.get_input_details()[0]["dtype"] == dtype
    assert interpreter.get_output_details()[0]["dtype"] == dtype


def test_static_scales_come_from_the_calibration_split(
    quantize: Callable[..., Model], tmp_path: Path
) -> None:
    """Calibrated on a tenth of the range, larger samples are clamped; the test split never widens it."""
    narrow = Data(splits={"calibration": (SAMPLES / 10, None), "test": (SAMPLES, None)})
    step = STEPS.get("quantize:litert")
    context = Context(tmp_path, tmp_path, 0, narrow)
    result = step.apply(model(), step.options(mode="static"), context)
    assert np.abs(run(result, tmp_path)).max() < 0.5 * np.abs(SAMPLES @ WEIGHT.T).max()


def test_the_moving_average_clamps_what_minmax_keeps(quantize: Callable[..., Model], tmp_path: Path) -> None:
    """ai-edge-quantizer's own default averages the ranges of single samples, so the largest outputs are cut."""
    exact = SAMPLES @ WEIGHT.T
    kept = np.abs(run(quantize(model(), mode="static"), tmp_path)).max()
    cut = np.abs(run(quantize(model(), mode="static", calibration="moving_average"), tmp_path)).max()
    assert cut < 0.8 * np.abs(exact).max()
    assert kept > 0.98 * np.abs(exact).max()


def test_a_file_with_nothing_to_quantize_is_an_error(quantize: Callable[..., Model]) -> None:
    done = quantize(model(), mode="weight_only")
    with pytest.raises(StageError, match=r"the step changed nothing|ai-edge-quantizer"):
        quantize(done, mode="weight_only")


@pytest.mark.parametrize("mode", ["weight_only", "dynamic", "static"])
def test_a_file_of_before_2020_is_quantized_too(quantize: Callable[..., Model], mode: str) -> None:
    """Its operators' codes stand in the deprecated byte only."""
    old = schema.ModelT.InitFromObj(schema.Model.GetRootAs(model().value))
    for code in old.operatorCodes:
        code.builtinCode = 0
    builder = flatbuffers.Builder(0)
    builder.Finish(old.Pack(builder), b"TFL3")
    done = quantize(Model("tflite", bytes(builder.Output())), mode=mode)
    assert weight_of(done).dtype == "int8"


def test_weights_that_are_float16_already_are_said(quantize: Callable[..., Model]) -> None:
    graph = fully_connected(Tensor("w", (ROWS, COLUMNS)), ROWS, COLUMNS)
    graph.tensors.append(Tensor("half", (ROWS, COLUMNS), FLOAT16, WEIGHT.astype(np.float16).tobytes()))
    graph.operators.insert(0, Operator(DEQUANTIZE, (3,), (1,)))
    with pytest.raises(
        StageError, match=r"1 of the weights are stored in float16 behind DEQUANTIZE.*float32"
    ):
        quantize(Model("tflite", write(graph)), mode="dynamic")


@pytest.mark.parametrize(("mode", "status"), [
    ("weight_only", Status.PASS), ("dynamic", Status.PASS), ("static", Status.ERROR)
])  # fmt: skip
def test_only_static_asks_for_a_calibration_split(tmp_path: Path, mode: str, status: Status) -> None:
    (tmp_path / "float.tflite").write_bytes(model().value)
    np.savez(tmp_path / "data.npz", x=SAMPLES, y=np.zeros(len(SAMPLES), np.int64))
    recipe = f"recipe: [{{quantize: litert, mode: {mode}}}]"
    case = f"model: {{tflite: float.tflite}}\ndata: data.npz\n{recipe}\nthresholds: {{fidelity: 10}}\n"
    outcome = weigh(tmp_path, case)
    assert outcome.status is status, outcome.message
    if status is Status.ERROR:
        assert "no split 'calibration' (valid: test); give samples that are not judged" in outcome.message


def test_static_needs_a_signature(quantize: Callable[..., Model]) -> None:
    with pytest.raises(StageError, match="file has none; use dynamic or weight_only"):
        quantize(model(names=False), mode="static")


@pytest.mark.parametrize(("options", "reason"), [
    ({"mode": "weight_only", "io": "integer"}, "belong to mode: static"),
    ({"mode": "static", "bits": 4}, "8-bit weights without blocks"),
    ({"mode": "dynamic", "block_size": 32, "per_channel": False}, "finer than per_channel"),
    ({"mode": "dynamic", "per_channel": False}, "one scale a channel"),
    ({"mode": "float16"}, "Input should be"),
])  # fmt: skip
def test_options_that_contradict_each_other_are_refused(options: dict, reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        STEPS.get("quantize:litert").options(**options)


def test_the_promise_follows_the_options() -> None:
    step = STEPS.get("quantize:litert")
    assert step.scheme is not None
    promise = step.scheme(step.options(mode="dynamic", bits=4, block_size=32))
    assert promise == Promise(bits=4, granularity="group", group_size=32, symmetric=True, signed=True)


def test_quantizing_says_nothing(quantize: Callable[..., Model], capfd: pytest.CaptureFixture[str]) -> None:
    quantize(model(), mode="static")
    assert capfd.readouterr() == ("", "")
