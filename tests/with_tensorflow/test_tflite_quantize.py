"""`quantize: tflite`: what each mode promises is read back from the file that TensorFlow's converter wrote."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from keras_bench import CALIBRATION, TEST, Bench, accuracy
from pydantic import ValidationError

from weighbridge.contracts import CONVERTERS, FORMATS, STEPS, Context, Model
from weighbridge.convert import keras_to_tflite
from weighbridge.core.data import Data
from weighbridge.core.errors import StageError, Unavailable
from weighbridge.formats import tf_runtime
from weighbridge.formats.keras_model import run_keras


@pytest.mark.parametrize(("options", "dtypes", "io", "decibels"), [
    ({"mode": "dynamic_range"}, {"int8", "float32"}, np.float32, 25),
    ({"mode": "float16"}, {"float16"}, np.float32, 50),
    ({"mode": "full_integer"}, {"int8"}, np.float32, 20),
    ({"mode": "full_integer", "io": "int8"}, {"int8"}, np.int8, 20),
    ({"mode": "full_integer", "io": "uint8"}, {"int8"}, np.uint8, 20),
    ({"mode": "int16x8"}, {"int8"}, np.float32, 30),
])  # fmt: skip
def test_each_mode_writes_what_it_promises(
    bench: Bench, trained: Model, options: dict, dtypes: set[str], io: type, decibels: float,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    from ai_edge_litert.interpreter import Interpreter

    result = bench.step("quantize:tflite", trained, **options)
    exact = bench.run(CONVERTERS.get("keras->tflite").convert(trained, bench.context), (TEST[0],))[0]
    outputs = bench.run(result, (TEST[0],))[0]
    assert capfd.readouterr() == ("", "")
    weights = [tensor for tensor in FORMATS.get("tflite").tensors(result) if tensor.array.ndim > 1]
    assert {tensor.dtype for tensor in weights} == dtypes
    for tensor in weights:
        if tensor.dtype == "int8":
            assert tensor.quantization is not None
            assert tensor.quantization.scale.shape == (tensor.array.shape[0],)
            assert not tensor.quantization.zero_point.any()
    details = Interpreter(model_content=result.value).get_input_details()
    assert details[0]["dtype"] == io
    noise = np.square(exact - outputs).sum()
    assert 10 * np.log10(np.square(exact).sum() / noise) > decibels
    assert accuracy(outputs) >= accuracy(exact) - 0.02


def test_calibration_reads_the_calibration_split(bench: Bench, trained: Model) -> None:
    """Calibrated on samples a hundred times too small, every activation is clamped."""
    narrow = Data(splits={"calibration": (CALIBRATION[0] / 100, None), "test": TEST})
    step = STEPS.get("quantize:tflite")
    result = step.apply(
        trained, step.options(mode="full_integer"), Context(bench.folder, bench.folder, 0, narrow)
    )
    honest = bench.step("quantize:tflite", trained, mode="full_integer")
    spread = np.ptp(bench.run(result, (TEST[0],))[0])
    assert spread < 0.5 * np.ptp(bench.run(honest, (TEST[0],))[0])


def test_calibration_gives_the_model_the_type_that_it_takes(bench: Bench, trained: Model) -> None:
    """Images are often stored as uint8, where a model with its scaling inside takes them as float32."""
    whole = np.random.default_rng(0).integers(0, 9, (40, 8, 8, 4)).astype(np.uint8)

    def quantized(images: np.ndarray) -> np.ndarray:
        data = Data(splits={"calibration": (images, None), "test": (images, None)})
        context = replace(bench.context, data=data)
        step = STEPS.get("quantize:tflite")
        result = step.apply(trained, step.options(mode="full_integer"), context)
        return bench.run(result, (whole.astype(np.float32),))[0]

    np.testing.assert_array_equal(quantized(whole), quantized(whole.astype(np.float32)))


def test_inputs_by_position_calibrate_the_input_that_they_are_of(bench: Bench) -> None:
    random = np.random.default_rng(0)
    left, right = random.random((64, 4), np.float32), 50 * random.random((64, 4), np.float32)
    data = Data(splits={"calibration": ((left, right), None), "test": ((left, right), None)})
    step, model = STEPS.get("quantize:tflite"), bench.load("alike")
    context = replace(bench.context, data=data)
    result = step.apply(model, step.options(mode="full_integer"), context)
    (have,), (want,) = bench.run(result, (left, right)), run_keras(model.value, (left, right))
    assert np.abs(have - want).max() < 0.05 * np.abs(want).max()


def test_a_converter_that_fails_gives_its_reason(
    bench: Bench, trained: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    converters = tf_runtime.tensorflow().lite.TFLiteConverter
    honest = converters.from_keras_model

    class Failing:
        def __init__(self, inner: object) -> None:
            self.__dict__.update(
                optimizations=[], target_spec=type("Spec", (), {}), representative_dataset=None
            )

        def convert(self) -> bytes:
            raise RuntimeError("no kernel for tf.Bessel\nand much more")

    monkeypatch.setattr(converters, "from_keras_model", lambda model: Failing(honest(model)))
    with pytest.raises(StageError, match=r"TensorFlow's converter failed: no kernel for tf\.Bessel$"):
        bench.step("quantize:tflite", trained, mode="dynamic_range")


def test_a_converter_without_optimizations_names_the_versions(
    bench: Bench, trained: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    converters = tf_runtime.tensorflow().lite.TFLiteConverter
    monkeypatch.setattr(converters, "from_keras_model", lambda model: object())
    with pytest.raises(
        Unavailable,
        match=r"no 'optimizations': the package 'tensorflow' is 2\.\d+\.\d+ here, and 2\.16 or later",
    ):
        keras_to_tflite.make_converter(trained, bench.context.data.sample(1))


@pytest.mark.parametrize("options", [
    {"mode": "dynamic_range", "io": "int8"}, {"mode": "float16", "samples": 3}, {"mode": "int4"}, {},
])  # fmt: skip
def test_options_that_contradict_each_other_are_refused(options: dict) -> None:
    with pytest.raises(ValidationError):
        STEPS.get("quantize:tflite").options(**options)
