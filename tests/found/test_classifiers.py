"""Classifiers as scikit-learn, LightGBM and graphs with an ArgMax inside export them: the answer itself, text, lists of maps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from tests.projects import samples, weigh

from weighbridge.core.results import Status

INPUTS, LABELS = samples(2, 200)
WEIGHTS = np.stack([INPUTS[label == LABELS].mean(0) for label in range(4)])


def classifier(path: Path, keys: str = "ints", zipped: bool = False, weights: Any = WEIGHTS) -> None:
    """A linear classifier of 16 numbers and 4 classes: `label` [n], then `scores` [n, 4] or a list of maps."""
    names: dict[str, Any] = {"ints": [0, 1, 2, 3], "strings": ["ant", "bee", "cow", "dog"]}
    key = TensorProto.STRING if keys == "strings" else TensorProto.INT64
    nodes = [
        helper.make_node(
            "LinearClassifier", ["x"], ["label", "scores"], domain="ai.onnx.ml", multi_class=1,
            coefficients=weights.ravel().tolist(), intercepts=(-(weights**2).sum(1) / 2).tolist(),
            **{f"classlabels_{keys}": names[keys]},
        )
    ]  # fmt: skip
    outputs = [helper.make_tensor_value_info("label", key, [None])]
    if zipped:
        map_keys = {"classlabels_int64s" if keys == "ints" else "classlabels_strings": names[keys]}
        nodes.append(helper.make_node("ZipMap", ["scores"], ["probability"], domain="ai.onnx.ml", **map_keys))
        element = helper.make_tensor_type_proto(TensorProto.FLOAT, None)
        kind = helper.make_sequence_type_proto(helper.make_map_type_proto(key, element))
        outputs.append(helper.make_value_info("probability", kind))
    else:
        outputs.append(helper.make_tensor_value_info("scores", TensorProto.FLOAT, [None, 4]))
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 16])]
    graph = helper.make_graph(nodes, "sk", inputs, outputs)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)


def judged(folder: Path, thresholds: str, **options: Any) -> Any:
    classifier(folder / "one.onnx", **options)
    np.savez(folder / "data.npz", x=INPUTS, y=LABELS)
    if not (folder / "two.onnx").exists():
        classifier(folder / "two.onnx", **options)
    return weigh(
        folder,
        "model: {onnx: one.onnx}\ncandidate: {onnx: two.onnx}\ndata: data.npz\n"
        f"thresholds: {{{thresholds}}}\n",
    )


def test_the_class_itself_is_an_answer(tmp_path: Path) -> None:
    found = judged(tmp_path, "accuracy_drop: 0.01, flip_rate: 0.01, accuracy: 0.8")
    assert found.result.status is Status.PASS
    scores = INPUTS @ WEIGHTS.T - (WEIGHTS**2).sum(1) / 2
    assert found.measurements["accuracy"].candidate == pytest.approx((scores.argmax(1) == LABELS).mean())


def test_a_ruined_one_fails(tmp_path: Path) -> None:
    classifier(tmp_path / "two.onnx", weights=WEIGHTS[[1, 0, 2, 3]])
    found = judged(tmp_path, "accuracy_drop: 0.01, flip_rate: 0.01")
    assert [verdict.status for verdict in found.result.verdicts] == [Status.FAIL, Status.FAIL]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            {"keys": "strings"},
            "the first output holds text, such as ['dog']; for names of classes or another of the outputs",
        ),
        ({"zipped": True}, "the model's output 'probability' is a list, not a tensor"),
    ],
)
def test_what_is_no_tensor_of_numbers_is_told(tmp_path: Path, options: dict[str, Any], sentence: str) -> None:
    found = judged(tmp_path, "accuracy_drop: 0.01", **options)
    assert sentence in found.failed.get("accuracy", found.message)
