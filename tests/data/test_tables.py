"""Tables: a data frame is a mapping of its columns, and text is fed to a model that reads text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from tests.projects import weigh

from weighbridge.core.data import Data
from weighbridge.core.errors import StageError
from weighbridge.core.results import Status


class Column:
    def __init__(self, values: Any) -> None:
        self.values = values

    def to_numpy(self) -> Any:
        return self.values


class Frame:
    """What pandas and polars have in common: columns by name, which become numpy; and, as pandas', it looks like a dataset."""

    def __init__(self, **columns: Any) -> None:
        self.columns, self._columns = list(columns), columns

    def __getitem__(self, name: str) -> Column:
        return Column(self._columns[name])

    def __len__(self) -> int:
        return len(next(iter(self._columns.values())))

    def to_numpy(self) -> Any:
        return np.stack(list(self._columns.values()), 1)


def as_objects(values: list[Any]) -> Any:
    column = np.empty(len(values), object)
    column[:] = values
    return column


def test_a_data_frame_is_its_columns() -> None:
    age, history = np.arange(5), as_objects([np.arange(3) + i for i in range(5)])
    frame = Frame(age=age, history=history, city=as_objects(["Rome", "Oslo"] * 2 + ["Lima"]), label=age % 2)
    inputs, targets = Data({"test": frame}).split("test").arrays()
    assert isinstance(inputs, dict)
    assert {name: (array.dtype.kind, array.shape) for name, array in inputs.items()} == {
        "age": ("i", (5,)),
        "history": ("i", (5, 3)),
        "city": ("U", (5,)),
    }
    np.testing.assert_array_equal(targets, age % 2)


def test_rows_of_unequal_length_are_named() -> None:
    frame = Frame(history=as_objects([[1, 2], [3]]), label=np.arange(2))
    with pytest.raises(StageError, match="input 'history' has rows of unequal length"):
        Data({"test": frame}).split("test").arrays()


def test_what_is_neither_text_nor_numbers_is_refused() -> None:
    with pytest.raises(StageError, match="input 'city' is a ndarray of Python objects"):
        Data({"test": {"city": as_objects(["Rome", None]), "y": np.arange(2)}}).split("test").arrays()


def by_city(names: tuple[str, ...] = ("a", "b", "c")) -> Any:
    """A name of three, and its scores, of the city as a number and the age: scikit-learn's pipelines become such files."""
    random = np.random.default_rng(0)
    weights = {"up": random.standard_normal((2, 64)), "down": random.standard_normal((64, 3))}
    nodes = [
        helper.make_node(
            "LabelEncoder",
            ["city"],
            ["n"],
            domain="ai.onnx.ml",
            keys_strings=["Lima", "Oslo", "Rome"],
            values_floats=[0.0, 1.0, 2.0],
        ),
        helper.make_node("Concat", ["n", "age"], ["x"], axis=1),
        helper.make_node("MatMul", ["x", "up"], ["a"]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("MatMul", ["b", "down"], ["y"]),
        helper.make_node("ArgMax", ["y"], ["best"], axis=1, keepdims=0),
        helper.make_node(
            "LabelEncoder",
            ["best"],
            ["label"],
            domain="ai.onnx.ml",
            keys_int64s=[0, 1, 2],
            values_strings=list(names),
        ),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [
            helper.make_tensor_value_info("city", TensorProto.STRING, ["n", 1]),
            helper.make_tensor_value_info("age", TensorProto.FLOAT, ["n", 1]),
        ],
        [
            helper.make_tensor_value_info("label", TensorProto.STRING, ["n"]),
            helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3]),
        ],
        [numpy_helper.from_array(array.astype("float32"), name) for name, array in weights.items()],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9)


CODE = """
import numpy as np


def splits():
    random = np.random.default_rng(0)
    cities = np.array(["Lima", "Oslo", "Rome"], object)
    def some(n):
        names = np.array(["a", "b", "c"])[random.integers(0, 3, n)]
        return {"city": cities[random.integers(0, 3, (n, 1))], "age": random.random((n, 1))}, names
    return {"test": some(100), "calibration": some(100)}


def columns():
    return {
        split: ({name: column[:, 0] for name, column in inputs.items()}, targets)
        for split, (inputs, targets) in splits().items()
    }


def right(outputs, targets):
    return outputs[0] == targets
"""


THRESHOLDS = "fidelity: 10, batch_invariance: 1, permutation_invariance: 1, determinism: 0"


@pytest.mark.parametrize("method", ["static", "dynamic"])
def test_a_model_that_reads_and_gives_text_is_judged(tmp_path: Path, method: str) -> None:
    onnx.save(by_city(), tmp_path / "net.onnx")
    (tmp_path / "data.py").write_text(CODE)
    found = weigh(
        tmp_path,
        "model: {onnx: net.onnx}\ndata: data.py:splits\nmetric: data.py:right\n"
        f"recipe: [{{quantize: {method}}}]\nthresholds: {{relative_accuracy_drop: 0.1, {THRESHOLDS}}}\n",
    )
    assert not found.failed, (found.message, found.failed)
    assert found.measurements["fidelity"].candidate > 10


def test_a_column_is_read_as_one(tmp_path: Path) -> None:
    """[N] where the model reads [N, 1], as a data frame gives its columns."""
    onnx.save(by_city(), tmp_path / "net.onnx")
    (tmp_path / "data.py").write_text(CODE)
    case = "model: {{onnx: net.onnx}}\ndata: data.py:{}\nrecipe: [{{quantize: dynamic}}]\nthresholds: {{fidelity: 10}}\n"
    found = [weigh(tmp_path, case.format(data)).measurements["fidelity"] for data in ("splits", "columns")]
    assert found[0].candidate == found[1].candidate


def test_other_names_are_noise(tmp_path: Path) -> None:
    """The scores are the same to the last bit."""
    onnx.save(by_city(), tmp_path / "net.onnx")
    onnx.save(by_city(("b", "c", "a")), tmp_path / "other.onnx")
    (tmp_path / "data.py").write_text(CODE)
    found = weigh(
        tmp_path,
        "model: {onnx: net.onnx}\ndata: data.py:splits\ncandidate: {onnx: other.onnx}\nthresholds: {fidelity: 10}\n",
    )
    assert found.measurements["fidelity"].candidate == 0
    assert found.verdict("fidelity").status is Status.FAIL


NETWORK = """
import numpy as np
import torch

x = np.random.default_rng(0).standard_normal((120, 6)).astype("float32")


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.out = torch.nn.Linear(6, 2)

    def forward(self, features):
        return self.out(features)


def splits():
    return {"test": {"features": x, EXTRA, "y": (x[:, 0] > 0).astype(int)}}
"""


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        (
            "'title': ['a', 'b'] * 60",
            "input 'title' is <U1 in the data, and torch takes numbers: turn it into some, or leave it out",
        ),
        (
            "'age': x[:, 1]",
            "takes (features), and not age: leave out what is no input, or say that it is a target, `targets: age`",
        ),
    ],
)
def test_a_column_that_is_no_input_says_what_to_do(tmp_path: Path, extra: str, said: str) -> None:
    (tmp_path / "model.py").write_text(NETWORK.replace("EXTRA", extra))
    found = weigh(
        tmp_path,
        "model: {torch: model.py:Net}\ndata: model.py:splits\nrecipe: [{prune: l1_unstructured, amount: 0.5}]\n"
        "thresholds: {accuracy_drop: 0.5}\n",
    )
    assert said in (found.message or str(found.failed))
