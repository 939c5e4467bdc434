"""Pruning, clustering and quantization-aware training through tfmot, on both generations of Keras."""

from __future__ import annotations

import numpy as np
import pytest
from keras_bench import TEST, Bench, accuracy
from pydantic import ValidationError

from weighbridge.contracts import CONVERTERS, FORMATS, STEPS, Context, Model
from weighbridge.core.data import Data
from weighbridge.core.errors import StageError, Unavailable
from weighbridge.formats import tf_runtime
from weighbridge.formats.keras_generations import to_tf_keras
from weighbridge.formats.keras_inputs import generation
from weighbridge.formats.keras_model import named_weights, run_keras
from weighbridge.run.census import take_census


def kernels(model: Model) -> dict[str, np.ndarray]:
    return {
        name: variable.numpy() for name, variable in named_weights(model.value) if len(variable.shape) > 1
    }


def zeros(array: np.ndarray) -> float:
    return 1 - np.count_nonzero(array) / array.size


@pytest.mark.parametrize(("options", "amount"), [
    ({"amount": 0.5, "epochs": 1}, 0.5),
    ({"amount": 0.8, "schedule": "polynomial_decay", "initial": 0.2, "epochs": 3}, 0.8),
])  # fmt: skip
def test_each_layer_loses_the_amount(bench: Bench, trained: Model, options: dict, amount: float) -> None:
    before = take_census(trained).digest
    result = bench.step("prune:low_magnitude", trained, **options)
    assert generation(result.value) == "tf_keras"
    assert take_census(result).operators == take_census(trained).operators  # tfmot's wrappers are gone
    for name, kernel in kernels(result).items():
        assert zeros(kernel) == pytest.approx(amount, abs=1 / min(kernel.size, 400)), name
    assert take_census(trained).digest == before  # the model before the step is left alone
    tflite = CONVERTERS.get("keras->tflite").convert(result, bench.context)
    assert accuracy(bench.run(tflite, (TEST[0],))[0]) > 0.9


def test_two_of_four_holds_in_the_file_that_ships(bench: Bench, trained: Model) -> None:
    pruned = bench.step("prune:low_magnitude", trained, pattern="2:4", epochs=1)
    shipped = bench.step("quantize:tflite", pruned, mode="full_integer")
    checked = 0
    for tensor in FORMATS.get("tflite").tensors(shipped):
        if tensor.array.ndim > 1:  # TFLite's kernels end in input channels
            groups = (tensor.values() != 0).reshape(-1, 4)
            assert groups.sum(1).max() <= 2
            checked += 1
    assert checked == 3


def test_a_pattern_that_fits_no_kernel_is_noted(bench: Bench) -> None:
    result = bench.step("prune:low_magnitude", bench.load("residual"), pattern="2:4", epochs=1)
    assert not any("does not fit" in note for note in result.notes)
    narrow = bench.folder / "narrow.py"
    narrow.write_text(
        "import tf_keras as k\n"
        "def net():\n"
        "    return k.Sequential([k.Input((8, 8, 4)), k.layers.Conv2D(1, 3), k.layers.Conv2D(8, 3), k.layers.Flatten(),"
        " k.layers.Dense(4)])\n"
    )
    model = FORMATS.get("keras").load("narrow.py:net", None, bench.folder)
    result = bench.step("prune:low_magnitude", model, pattern="2:4", epochs=1)
    assert any("does not fit" in note and "left dense" in note for note in result.notes)


def test_preprocessing_inside_the_model_is_left_alone(bench: Bench) -> None:
    result = bench.step("prune:low_magnitude", bench.load("scaled"), amount=0.5, epochs=1)
    (kernel,) = kernels(result).values()
    assert zeros(kernel) == pytest.approx(0.5, abs=0.02)
    assert [type(layer).__name__ for layer in result.value.layers] == ["Rescaling", "Flatten", "Dense"]


def test_training_in_int8_says_what_to_do_with_preprocessing(bench: Bench) -> None:
    with pytest.raises(
        StageError, match=r"no Rescaling layer \('rescaling.*'\) in int8; leave preprocessing to"
    ):
        bench.step("quantize:qat@litert", bench.load("scaled"), epochs=1)


def test_several_outputs_by_name_are_carried_over_and_want_a_loss_of_their_own(bench: Bench) -> None:
    images = np.random.default_rng(0).random((32, 6), np.float32)
    train = (images, np.zeros(32, np.int64))
    context = Context(bench.folder, bench.folder, 0, Data(splits={"train": train, "test": train}))
    step, model = STEPS.get("prune:low_magnitude"), bench.load("two_by_name")
    copy = to_tf_keras(model.value, (images,), "prune")
    for have, want in zip(run_keras(copy, (images,)), run_keras(model.value, (images,)), strict=True):
        np.testing.assert_allclose(have, want, atol=1e-5)
    with pytest.raises(StageError, match=r"has 2 outputs .*`loss: cross_entropy` is of one; write your own"):
        step.apply(model, step.options(epochs=1), context)


@pytest.mark.parametrize(("options", "reason"), [
    ({"epochs": 1, "begin_step": 10**6}, "begin_step 1000000 lies behind the training's 4 steps"),
    ({"epochs": 1, "schedule": "polynomial_decay", "end_step": 99}, "end_step 99 lies behind"),
    ({"epochs": 2, "lr": 1e30, "optimizer": "sgd"}, "the loss became"),
])  # fmt: skip
def test_training_that_cannot_work_is_an_error(
    bench: Bench, trained: Model, options: dict, reason: str
) -> None:
    with pytest.raises(StageError, match=reason):
        bench.step("prune:low_magnitude", trained, **options)


def test_pruning_that_prunes_nothing_is_an_error(
    bench: Bench, trained: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    never = tf_runtime.tfmot().sparsity.keras.ConstantSparsity(0.5, begin_step=10**6)
    monkeypatch.setattr("weighbridge.steps.prune.low_magnitude._schedule", lambda *arguments: never)
    with pytest.raises(StageError, match="the step changed nothing"):
        bench.step("prune:low_magnitude", trained, epochs=1)


def test_clustering_leaves_few_values_and_keeps_the_zeros(bench: Bench, trained: Model) -> None:
    pruned = bench.step("prune:low_magnitude", trained, amount=0.5, epochs=1)
    clustered = bench.step("cluster:weights", pruned, clusters=8, epochs=1)
    for (name, before), after in zip(kernels(pruned).items(), kernels(clustered).values(), strict=True):
        assert len(np.unique(after)) <= 8, name
        assert (after[before == 0] == 0).all(), name


def test_quantization_aware_training_gives_integers(bench: Bench, trained: Model) -> None:
    result = bench.step("quantize:qat@litert", trained, epochs=1, batch_size=32)
    weights = [tensor for tensor in FORMATS.get("tflite").tensors(result) if tensor.array.ndim > 1]
    assert [tensor.dtype for tensor in weights] == ["int8"] * 3
    assert accuracy(bench.run(result, (TEST[0],))[0]) > 0.9


@pytest.mark.parametrize("name", ["cnn", "residual"])
def test_a_keras_3_model_is_carried_over(bench: Bench, name: str) -> None:
    model = bench.load(name)
    for layer in model.value.layers:  # moving statistics that are not those of a new layer
        if "batch" in layer.name:
            layer.set_weights([weight + 0.5 for weight in layer.get_weights()])
    copy = to_tf_keras(model.value, (TEST[0][:8],), "prune")
    assert generation(copy) == "tf_keras"
    np.testing.assert_allclose(
        run_keras(copy, (TEST[0],))[0], run_keras(model.value, (TEST[0],))[0], atol=1e-5
    )


@pytest.mark.parametrize(("name", "reason"), [
    ("subclassed", "subclass of keras.Model"),
    ("unknown_layer", "tf_keras has no layer 'RMSNormalization'"),
])  # fmt: skip
def test_what_cannot_be_carried_over_is_refused_with_the_reason(bench: Bench, name: str, reason: str) -> None:
    with pytest.raises(StageError, match=reason):
        bench.step("prune:low_magnitude", bench.load(name))


def test_a_layer_that_changed_its_meaning_is_refused(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    from weighbridge.formats import keras_generations

    honest = keras_generations._layer

    def wrong(entry, *arguments):
        if entry["class_name"] == "BatchNormalization":
            entry = {**entry, "config": {**entry["config"], "epsilon": 0.5}}
        return honest(entry, *arguments)

    monkeypatch.setattr(keras_generations, "_layer", wrong)
    with pytest.raises(StageError, match="computes something else in tf_keras"):
        to_tf_keras(bench.load("cnn").value, (TEST[0][:8],), "prune")


@pytest.mark.parametrize("options", [
    {"pattern": "2:4", "amount": 0.7}, {"initial": 0.1}, {"amount": 0.5, "initial": 0.6, "schedule": "polynomial_decay"},
    {"amount": 1.0}, {"pattern": "1:4"},
])  # fmt: skip
def test_options_that_contradict_each_other_are_refused(options: dict) -> None:
    with pytest.raises(ValidationError):
        STEPS.get("prune:low_magnitude").options(**options)


def test_a_tfmot_without_sparsity_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sheets' error "module 'tensorflow_model_optimization' has no attribute 'sparsity'", made useful."""
    monkeypatch.delattr(tf_runtime.tfmot(), "sparsity")
    needed = r"has no 'sparsity': the package 'tensorflow_model_optimization' is 0\.\d+\.\d+ here, and 0\.8 or later"
    with pytest.raises(Unavailable, match=needed):
        tf_runtime.tfmot()
