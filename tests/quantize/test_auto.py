"""`quantize: auto`: what it leaves in float, what it judges by, and what it says."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from tests.found.onnx_graphs import decibel, model, node, quantized
from tests.projects import CASE, report_of

from weighbridge.contracts import METRICS, STEPS, Context, Limit, Model
from weighbridge.core.data import Data
from weighbridge.engines.onnxruntime import OnnxRuntimeSession
from weighbridge.steps.quantize.onnx_auto import AutoOptions, auto
from weighbridge.steps.quantize.onnx_static import StaticOptions, static

WIDTHS = (16, 64, 64, 256, 10)
Project = Callable[..., Path]


def network(*ruined: int) -> Model:
    """Four products. The first channel between two of them is a thousand times the others behind each of `ruined`."""
    random = np.random.default_rng(0)
    pairs = itertools.pairwise(WIDTHS)
    weights = [(random.standard_normal(pair) / np.sqrt(pair[0])).astype(np.float32) for pair in pairs]
    for layer in ruined:
        weights[layer][:, 0] *= 1000
        weights[layer + 1][0] /= 1000
    nodes = []
    for layer in range(4):
        last = layer == 3
        made = "y" if last else f"h{layer}"
        nodes.append(
            node("Gemm", f"{'x' if not layer else f'a{layer - 1}'} fc{layer}.weight", made, f"fc{layer}")
        )
        if not last:
            nodes.append(node("Relu", made, f"a{layer}", f"act{layer}"))
    return model(nodes, {f"fc{i}.weight": array for i, array in enumerate(weights)}, ["n", WIDTHS[0]])


def labelled(made: Model, n: int, seed: int) -> tuple[Any, Any]:
    x = np.random.default_rng(seed).standard_normal((n, WIDTHS[0])).astype(np.float32)
    return x, answers(made, x)


def answers(made: Model, x: Any) -> Any:
    return OnnxRuntimeSession(made.value.SerializeToString()).run((x,))[0].argmax(1)


def context(folder: Path, made: Model, labels: bool = True, **limits: Limit) -> Context:
    x, y = labelled(made, 256, 3)
    data = Data(splits={"calibration": (x, y if labels else None)})
    return Context(folder, folder, 0, data, metric=METRICS.get("accuracy"), limits=limits)


def kept(after: Model) -> float:
    """The share of answers on other samples that are still the float model's."""
    x, y = labelled(KNOWN, 1000, 4)
    return float((answers(after, x) == y).mean())


KNOWN = network(0)
OPTIONS: dict[str, Any] = {"reduce_range": True}


def searched(folder: Path, made: Model, labels: bool = True, **limits: Limit) -> tuple[Model, str]:
    after = auto(made, AutoOptions(**OPTIONS), context(folder, made, labels, **limits))
    (said,) = [note for note in after.notes if note.startswith("auto:")]
    return after, said


def test_the_layers_that_cost_the_accuracy_stay_in_float(tmp_path: Path) -> None:
    plain = static(KNOWN, StaticOptions(**OPTIONS), context(tmp_path, KNOWN))
    assert kept(plain) < 0.9
    after, said = searched(tmp_path, KNOWN, accuracy_drop=Limit(max=0.04))
    assert kept(after) > 0.96
    assert quantized(after) == {"fc0": False, "fc1": False, "fc2": True, "fc3": True}
    assert "accuracy on 256 samples of the calibration split 1 before and " in said
    assert any("fc0 (Gemm), fc1 (Gemm) left in float: the search left it" in note for note in after.notes)


def test_the_recipe_it_names_gives_the_same_file(tmp_path: Path) -> None:
    after, said = searched(tmp_path, KNOWN, accuracy_drop=Limit(max=0.04))
    pasted = yaml.safe_load(said.partition("the same by hand: ")[2])
    assert pasted.pop("quantize") == "static"
    assert set(pasted["exclude"]) == {"fc0", "fc1"}
    again = static(KNOWN, StaticOptions.model_validate({**OPTIONS, **pasted}), context(tmp_path, KNOWN))
    assert again.value == after.value


def test_a_model_that_loses_nothing_is_quantized_whole(tmp_path: Path) -> None:
    sound = network()
    after, said = searched(tmp_path, sound, accuracy_drop=Limit(max=0.1))
    assert all(quantized(after).values())
    assert said.startswith("auto: 1 artifact tried")
    assert "exclude" not in said


def test_a_limit_that_no_artifact_holds_is_said(tmp_path: Path) -> None:
    hopeless = network(0, 1, 2)
    after, said = searched(tmp_path, hopeless, accuracy_drop=Limit(max=0.02))
    assert "none with at most 50% of the weights in float holds accuracy_drop 0.01" in said
    assert any(quantized(after).values())


def test_a_file_that_is_too_large_for_what_it_keeps_is_said(tmp_path: Path) -> None:
    made = KNOWN.value.ByteSize()
    limits = {"accuracy_drop": Limit(max=0.04), "size": Limit(max=made / 4), "size_ratio": Limit(min=3)}
    _, said = searched(tmp_path, KNOWN, **limits)
    assert " kB, and `size` allows " in said
    assert "x smaller than what the step was given, and `size_ratio` asks for 3x" in said
    roomy = {"accuracy_drop": Limit(max=0.04), "size": Limit(max=2 * made), "size_ratio": Limit(min=0.5)}
    _, said = searched(tmp_path, KNOWN, **roomy)
    assert "`size" not in said


def test_without_labels_the_outputs_are_judged(tmp_path: Path) -> None:
    plain = static(KNOWN, StaticOptions(**OPTIONS), context(tmp_path, KNOWN))
    after, said = searched(tmp_path, KNOWN, labels=False, fidelity=Limit(min=25))
    assert decibel(KNOWN, plain) < 25 < decibel(KNOWN, after)
    assert "fidelity on 256 samples of the calibration split" in said


def test_a_channel_of_small_numbers_counts_as_much_as_one_of_large_ones() -> None:
    from weighbridge.steps.quantize.onnx_judge import noise_share

    random = np.random.default_rng(0)
    boxes, scores = random.normal(size=(50, 4)) * 500, random.normal(size=(50, 4))
    before = np.concatenate([boxes, scores], 1)
    ruined = np.concatenate([boxes, random.normal(size=(50, 4))], 1)
    assert noise_share([before], [before]) == 0
    assert noise_share([before], [ruined]) > 0.2
    assert noise_share([before], [before[:, :3]]) == 1
    assert noise_share([before], [np.full_like(before, np.nan)]) == 1


def test_the_test_split_is_out_of_its_reach() -> None:
    assert STEPS.get("quantize:auto@onnxruntime").splits == ("calibration",)


@pytest.mark.slow
def test_another_threshold_is_another_search_and_no_other_static_model(
    pytester: pytest.Pytester, project: Project
) -> None:
    pruned = "prune: l1_unstructured\n    amount: 0.5"
    recipes = {
        name: CASE.replace(pruned, f"quantize: {name}\n    engine: onnxruntime")
        for name in ("auto", "static")
    }

    def cached(limit: str) -> dict[str, bool]:
        project(
            **{
                name: text.replace("accuracy_drop: 0.02", f"accuracy_drop: {limit}")
                for name, text in recipes.items()
            }
        )
        pytester.runpytest_inprocess()
        return {row["name"]: row["steps"][-1]["cached"] for row in report_of(pytester.path)["rows"]}

    assert cached("0.02") == {"auto": False, "static": False}
    assert cached("0.02") == {"auto": True, "static": True}
    assert cached("0.05") == {"auto": False, "static": True}


def test_names_that_read_as_patterns_and_what_is_excluded_already(tmp_path: Path) -> None:
    made = network(0)
    for each in made.value.graph.node:
        each.name = each.name.replace("fc", "fc[") + "]"
    after = auto(
        made, AutoOptions(exclude=["fc3.weight"], **OPTIONS), context(tmp_path, made, fidelity=Limit(min=25))
    )
    (said,) = [note for note in after.notes if note.startswith("auto:")]
    pasted = yaml.safe_load(said.partition("the same by hand: ")[2])
    assert pasted["exclude"][0] == "fc3.weight"
    assert len(pasted["exclude"]) > 1
    assert "fc[[]3]" not in pasted["exclude"]
