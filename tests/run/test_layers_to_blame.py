"""A missed threshold names the layers that lost the output, and the `exclude` that it proposes is accepted and helps."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_dynamic, quantize_static
from safetensors.torch import load, save
from tests.projects import Weighed, trained, weigh, write_project

from weighbridge.core.results import read_result
from weighbridge.measure.layer_error import OutputError

HEAD = """
model: {torch: model.py:net, weights: net.safetensors}
data: model.py:splits
"""


RECIPES = {
    "torch": "  - quantize: dynamic\n    engine: torch\n",
    "dynamic": "  - quantize: dynamic\n    engine: onnxruntime\n    reduce_range: true\n",
    "static": "  - quantize: static\n    engine: onnxruntime\n    reduce_range: true\n",
    "litert": "  - quantize: litert\n    mode: weight_only\n    per_channel: false\n",
    "litert-static": "  - quantize: litert\n    mode: static\n    per_channel: false\n",
}


SCOPE = "torch.nn.modules.container.Sequential/torch.nn.modules.linear.Linear_"


FIDELITY = "thresholds: {fidelity: 60 dB}\n"


def plant(folder: Path) -> Path:
    """The trained net with an outlier of 300 times in layer 2, behind a channel that layer 0 makes as much smaller.

    The function is the same; a scale for the whole of layer 2 leaves one code to all its other weights.
    """
    cases = write_project(folder)
    state = load(trained())
    state["0.weight"][5] /= 300
    state["0.bias"][5] /= 300
    state["2.weight"][:, 5] *= 300
    (cases / "net.safetensors").write_bytes(save(state))
    return cases


def advice(done: Weighed, threshold: str = "fidelity") -> tuple[str, ...]:
    verdict = done.result.verdict(threshold)
    assert verdict is not None
    assert verdict.status == "fail", verdict
    return verdict.advice


@pytest.mark.parametrize(
    "way",
    [pytest.param(way, marks=() if way in ("torch", "dynamic") else pytest.mark.slow) for way in RECIPES],
)
def test_the_planted_layer_is_named_and_its_exclude_helps(way: str, tmp_path: Path) -> None:
    cases = plant(tmp_path)
    recipe = f"recipe:\n{RECIPES[way]}"
    limits = "thresholds: {fidelity: 60 dB, accuracy_drop: 1 point}\n"
    before = weigh(cases, HEAD + recipe + limits)
    first, second, *_ = advice(before)
    names = {
        name: f"{SCOPE}{name};{min(int(name), 1)}" if "litert" in way else name for name in ("0", "2", "4")
    }
    names["0"] = names["0"].removesuffix("0") if "litert" in way else "0"
    assert first.startswith(f"{names['2']} ("), first
    assert "loses the most of the output; the other 2 are at" in first
    assert second.startswith(f"exclude: ['{names['2']}']  # in quantize: "), second
    assert advice(before, "accuracy_drop")[:2] == (first, second)
    errors = before.result.layer_errors
    assert errors is not None
    assert (errors.samples, errors.inputs, errors.complete) == (64, "data", True)
    assert errors.layers[0].name == names["2"]
    assert read_result(before.result.row()).layer_errors == errors
    assert {layer.name for layer in errors.layers} == set(names.values())
    pasted = recipe + f"    {second}\n"
    after = weigh(cases, HEAD + pasted + limits)
    gained = after.measurements["fidelity"].candidate - before.measurements["fidelity"].candidate
    assert gained > 6
    assert after.measurements["accuracy"].candidate > before.measurements["accuracy"].candidate + 0.02
    verdict = after.result.verdict("accuracy_drop")
    assert verdict is not None
    assert verdict.status == "pass"


def test_a_layer_that_is_excluded_already_stays_so(tmp_path: Path) -> None:
    cases = plant(tmp_path)
    text = HEAD + f"recipe:\n{RECIPES['dynamic']}    exclude: ['4']\n" + FIDELITY
    assert advice(weigh(cases, text))[1].startswith("exclude: ['4', '2']  # in quantize: dynamic, line 5: ")


EVEN = """
import torch


def even():
    torch.manual_seed(0)
    layers = [torch.nn.Linear(64, 64, bias=False) for _ in range(8)]
    for layer in layers:
        torch.nn.init.orthogonal_(layer.weight)
    return torch.nn.Sequential(*layers)


def samples():
    return {"test": torch.randn(64, 64, generator=torch.Generator().manual_seed(1)).numpy()}
"""


@pytest.mark.slow
def test_nobody_is_blamed_where_all_layers_lose_alike(tmp_path: Path) -> None:
    (tmp_path / "even.py").write_text(EVEN)
    text = "model: {torch: even.py:even}\ndata: even.py:samples\nrecipe:\n" + RECIPES["torch"] + FIDELITY
    first, *others = advice(weigh(tmp_path, text))
    assert first.startswith("no layer stands out: alone, each of 8 layers leaves the output at "), first
    assert not any("exclude" in line for line in others)
    assert others[-1] == "in quantize: dynamic, line 4: `per_channel: true`"


@pytest.mark.parametrize("way", ["torch", "dynamic"])
def test_a_recipe_is_not_told_what_it_does_already(way: str, tmp_path: Path) -> None:
    cases = plant(tmp_path)
    text = HEAD + f"recipe:\n{RECIPES[way]}    per_channel: true\n" + "thresholds: {fidelity: 90 dB}\n"
    assert not any("per_channel" in line for line in advice(weigh(cases, text)))


@pytest.mark.parametrize(
    ("thresholds", "status"),
    [
        ("thresholds: {fidelity: 10 dB}\n", "pass"),
        ("thresholds: {size_ratio: 99x, fidelity: 10 dB}\n", "fail"),
        ("thresholds: {fidelity: 90 dB}\nxfail: known\n", "xfail"),
        ("thresholds: {fidelity: 10 dB}\nxfail: {fidelity: known}\n", "fail"),
    ],
)
def test_it_is_looked_for_only_where_outputs_missed_a_limit(
    thresholds: str, status: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    monkeypatch.setattr(OutputError, "__init__", lambda *arguments: asked.append(arguments))
    cases = write_project(tmp_path)
    done = weigh(cases, HEAD + "recipe:\n" + RECIPES["torch"] + thresholds)
    assert done.result.status == status
    assert done.result.layer_errors is None
    assert asked == []


def test_what_goes_wrong_with_the_search_is_a_note_and_changes_no_verdict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object) -> None:
        raise RuntimeError("no such luck")

    monkeypatch.setattr(OutputError, "by_layer", fail)
    cases = plant(tmp_path)
    done = weigh(cases, HEAD + "recipe:\n" + RECIPES["torch"] + FIDELITY)
    assert advice(done) == ("in quantize: dynamic, line 5: `per_channel: true`",)
    note = "the output error by layer was not measured: layers: RuntimeError: no such luck"
    assert note in done.result.notes


def test_the_search_ends_when_its_time_is_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("weighbridge.run.pipeline.PATIENCE_S", -1.0)
    cases = plant(tmp_path)
    errors = weigh(cases, HEAD + "recipe:\n" + RECIPES["torch"] + FIDELITY).result.layer_errors
    assert errors is not None
    assert (errors.layers, errors.exclude, errors.complete) == ((), (), False)


def test_pruning_is_blamed_for_what_it_lost_and_not_the_quantizer_behind_it(tmp_path: Path) -> None:
    cases = write_project(tmp_path)
    recipe = "recipe:\n  - prune: l1_unstructured\n    amount: 0.9\n" + RECIPES["torch"]
    done = weigh(cases, HEAD + recipe + "thresholds: {accuracy_drop: 1 point}\n")
    errors = done.result.layer_errors
    assert errors is not None
    assert (errors.step, errors.line) == ("prune: l1_unstructured", 5)
    assert {layer.name for layer in errors.layers} == {"0", "2", "4"}
    assert advice(done, "accuracy_drop")[0].startswith("prune: l1_unstructured: ")
    assert "`finetune` after prune: l1_unstructured, line 5" in advice(done, "accuracy_drop")


def test_a_quantizer_behind_training_is_not_blamed_for_what_was_lost_before(tmp_path: Path) -> None:
    """Layers are not compared across training, so of what happened before it nothing is said by layer."""
    cases = write_project(tmp_path)
    before = "recipe:\n  - prune: l1_unstructured\n    amount: 0.9\n  - finetune: {epochs: 1, lr: 1e-3}\n"
    done = weigh(cases, HEAD + before + RECIPES["torch"] + "thresholds: {accuracy: 0.99}\n")
    first, *others = advice(done, "accuracy")
    assert re.fullmatch(
        r"quantize: dynamic, line 8, leaves the output at \d\d dB of .*: look at the steps before it", first
    )
    assert not any("stands out" in line or "exclude" in line for line in others)


def test_a_layer_that_lost_channels_is_not_compared(tmp_path: Path) -> None:
    cases = write_project(tmp_path)
    with (cases / "model.py").open("a") as file:
        file.write(
            "\n\ndef narrow():\n    return nn.Sequential(nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 4))\n"
        )
        file.write(
            "\n\ndef wide():\n    return nn.Sequential(nn.Linear(16, 96), nn.ReLU(), nn.Linear(96, 4))\n"
        )
    models = "model: {torch: model.py:wide}\ncandidate: {torch: model.py:narrow}\ndata: model.py:splits\n"
    done = weigh(cases, models + "allow_chance: true\n" + FIDELITY)
    errors = done.result.layer_errors
    assert errors is not None
    assert errors.layers == ()
    assert not any("lose" in line for line in advice(done))


@pytest.mark.slow
def test_drawn_inputs_are_told_beside_the_numbers(tmp_path: Path) -> None:
    (tmp_path / "even.py").write_text(EVEN)
    text = "model: {torch: even.py:even}\ninputs: [[64]]\nrecipe:\n" + RECIPES["torch"] + FIDELITY
    assert "leaves the output on random inputs at" in advice(weigh(tmp_path, text))[0]


def finished(folder: Path, form: str) -> Path:
    """A convolution, one with an outlier, and a head: `float.onnx`, and `int8.onnx` as ONNX Runtime's tools make it."""
    random = np.random.default_rng(0)
    stored = {
        "stem.weight": random.standard_normal((8, 3, 3, 3)) * 0.3,
        "mid.weight": random.standard_normal((8, 8, 3, 3)) * 0.2,
        "head.weight": random.standard_normal((8, 4)) * 0.5,
    }
    stored["mid.weight"][0, 0, 0, 0] = 90.0
    stored["stem.weight"][0] = 0.0
    make = helper.make_node
    nodes = [
        make("Conv", ["x", "stem.weight"], ["a"], "stem"),
        make("Relu", ["a"], ["b"], "relu"),
        make("Conv", ["b", "mid.weight"], ["c"], "mid"),
        make("GlobalAveragePool", ["c"], ["d"], "pool"),
        make("Flatten", ["d"], ["e"], "flat"),
        make("MatMul", ["e", "head.weight"], ["y"], "head"),
    ]
    tensors = [numpy_helper.from_array(array.astype(np.float32), name) for name, array in stored.items()]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 12, 12])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4])
    graph = helper.make_graph(nodes, "g", [x], [y], tensors)
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=10), folder / "float.onnx")
    inputs = random.standard_normal((64, 3, 12, 12)).astype(np.float32)
    np.savez(folder / "samples.npz", test_x=inputs)

    class Reader(CalibrationDataReader):
        left = iter([{"x": inputs}])

        def get_next(self) -> dict[str, object] | None:
            return next(self.left, None)

    quantize_static(
        folder / "float.onnx",
        folder / "int8.onnx",
        Reader(),
        quant_format=QuantFormat[form],
        reduce_range=True,
    )
    return folder


FINISHED = "model: {onnx: float.onnx}\ncandidate: {onnx: int8.onnx}\ndata: samples.npz\nthresholds: {fidelity: 40 dB}\n"


@pytest.mark.parametrize("form", ["QDQ", "QOperator"])
def test_of_a_finished_candidate_the_layers_are_named_and_no_step_is_advised(
    form: str, tmp_path: Path
) -> None:
    done = weigh(finished(tmp_path, form), FINISHED)
    first, *others = advice(done)
    assert first.startswith("mid ("), first
    errors = done.result.layer_errors
    assert errors is not None
    assert {"stem", "mid", "head"} <= {layer.name for layer in errors.layers}
    assert errors.layers[-1].sqnr_db > errors.layers[0].sqnr_db + 6
    text = " ".join(others)
    assert not any(word in text for word in ("exclude", "per_channel", "calibrat", "finetune", "samples"))


def test_tensors_that_only_happen_to_have_one_name_are_not_compared(tmp_path: Path) -> None:
    """Two exports of one network may number their tensors unlike."""
    random = np.random.default_rng(0)
    weights = [(random.standard_normal((16, 16)) * 0.4).astype(np.float32) for _ in range(6)]

    def chain(first: int) -> onnx.ModelProto:
        names = ["x", *(f"t{first + at}" for at in range(5)), "y"]
        nodes = [
            helper.make_node("MatMul", [names[at], f"l{at}.weight"], [names[at + 1]], f"n{at}")
            for at in range(6)
        ]
        stored = [numpy_helper.from_array(array, f"l{at}.weight") for at, array in enumerate(weights)]
        ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 16]) for name in "xy"]
        graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], stored)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)

    def compared(first: int) -> set[str]:
        onnx.save(chain(first), tmp_path / "float.onnx")
        errors = weigh(tmp_path, FINISHED).result.layer_errors
        assert errors is not None
        return {layer.name for layer in errors.layers}

    np.savez(tmp_path / "samples.npz", test_x=random.standard_normal((64, 16)).astype(np.float32))
    onnx.save(chain(0), tmp_path / "source.onnx")
    quantize_dynamic(tmp_path / "source.onnx", tmp_path / "int8.onnx")
    assert compared(0) == {f"l{at}" for at in range(6)}
    assert compared(1) == set()
