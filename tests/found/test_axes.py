"""Recurrent state on another axis, scalars, models of batch 1, and sequences that are fed step by step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from tests.found.onnx_graphs import model, node
from tests.projects import weigh

from weighbridge.core.batches import NamedInputs
from weighbridge.core.errors import CaseError, StageError
from weighbridge.core.results import Status
from weighbridge.engines.onnxruntime import OnnxRuntimeSession
from weighbridge.engines.sequences import SteppedSession

N, T = 120, 9
RANDOM = np.random.default_rng(3)
UP, DOWN = RANDOM.normal(0, 0.5, (8, 16)).astype(np.float32), RANDOM.normal(0, 1, (16, 2)).astype(np.float32)
X = RANDOM.normal(0, 1, (N, T, 8)).astype(np.float32)
STATE = RANDOM.normal(0, 1, (1, N, 16)).astype(np.float32)
AXES = {"state": 1, "gain": None, "stateN": 1}


def cell(batch: Any = "n", ruined: bool = False, noise: float = 0.0) -> Any:
    """`y` [n, 2] of `x` [n, 8] and `state` [1, n, 16]; the next state is half the last plus `gain` times x through a layer."""
    nodes = [
        helper.make_node("MatMul", ["x", "up"], ["u"], name="up"),
        helper.make_node("Mul", ["u", "gain"], ["v"], name="gain"),
        helper.make_node("Mul", ["state", "half"], ["old"], name="decay"),
        helper.make_node("Add", ["old", "v"], ["stateN"], name="next"),
        helper.make_node("Squeeze", ["stateN", "first"], ["h"], name="h"),
        helper.make_node("MatMul", ["h", "down"], ["y"], name="down"),
    ]
    tensors = {"up": UP * (1 + noise), "down": DOWN[:, ::-1] if ruined else DOWN, "half": np.float32(0.5)}
    graph = helper.make_graph(
        nodes,
        "cell",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 8]),
            helper.make_tensor_value_info("state", TensorProto.FLOAT, [1, batch, 16]),
            helper.make_tensor_value_info("gain", TensorProto.FLOAT, []),
        ],
        [
            helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, 2]),
            helper.make_tensor_value_info("stateN", TensorProto.FLOAT, [1, batch, 16]),
        ],
        [
            *(
                numpy_helper.from_array(np.ascontiguousarray(a, np.float32), name)
                for name, a in tensors.items()
            ),
            numpy_helper.from_array(np.array([0]), "first"),
        ],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    onnx.checker.check_model(made, full_check=True)
    return made


def one_step(x: Any, state: Any) -> tuple[Any, Any]:
    following = 0.5 * state + 2 * (x @ UP)
    return following @ DOWN, following


def sequence(x: Any) -> Any:
    """The answers for `x` [n, T, 8] from a state of zeros, shape [n, T, 2]."""
    state, answers = np.zeros((len(x), 16), np.float32), []
    for step in range(x.shape[1]):
        answer, state = one_step(x[:, step], state)
        answers.append(answer)
    return np.stack(answers, 1)


CODE = """
import numpy as np
from pathlib import Path
import torch

held = np.load(Path(__file__).parent / "held.npz")
x, state, y, yy = (held[name] for name in ("x", "state", "y", "yy"))
gain = np.float32(2)


class Rows(torch.utils.data.Dataset):
    def __len__(self): return len(x)
    def __getitem__(self, i):
        return {"x": x[i, 0], "state": state[:, i], "gain": gain, "label": y[i]}


def right(outputs, targets):
    first = outputs[0] if isinstance(outputs, tuple) else outputs
    return (first.argmax(2) == targets).mean(1)


def both(split): return {"test": split, "calibration": split}
def steps(): return both({"x": x[:, 0], "state": state, "gain": gain, "label": y})
def rows(): return both(Rows())
def sequences(): return both(({"x": x, "gain": gain}, yy))
def unnamed(): return both((x, yy))
"""


def outcome(
    folder: Path,
    data: str,
    rest: str,
    batch: Any = "n",
    thresholds: str = "accuracy_drop: 0.05, fidelity: 15",
) -> Any:
    onnx.save(cell(batch), folder / "cell.onnx")
    onnx.save(cell("n", noise=1e-6), folder / "same.onnx")
    onnx.save(cell("n", ruined=True), folder / "ruined.onnx")
    y = one_step(X[:, 0], STATE[0])[0].argmax(1)
    np.savez(folder / "held.npz", x=X, state=STATE, y=y, yy=sequence(X).argmax(2))
    (folder / "data.py").write_text(CODE)
    return weigh(
        folder, f"model: {{onnx: cell.onnx}}\ndata: data.py:{data}\nthresholds: {{{thresholds}}}\n{rest}\n"
    )


BATCH = "batch: {state: 1, gain: null, stateN: 1}\n"
STATIC = "recipe: [{quantize: static, reduce_range: true}]"


@pytest.mark.parametrize("data", ["steps", "rows"])
@pytest.mark.parametrize("batch", ["n", 1, 7])
def test_state_on_another_axis_and_a_scalar(tmp_path: Path, data: str, batch: Any) -> None:
    found = outcome(tmp_path, data, BATCH + STATIC, batch)
    assert not found.failed, (found.message, found.failed)
    assert found.measurements["accuracy"].baseline == 1.0
    assert (
        found.measurements["accuracy"].details["n"] == found.measurements["fidelity"].details["samples"] == N
    )


@pytest.mark.parametrize(("candidate", "drop"), [("same", 0.0), ("ruined", 1.0)])
def test_a_fixed_batch_against_a_free_one(tmp_path: Path, candidate: str, drop: float) -> None:
    found = outcome(tmp_path, "steps", f"{BATCH}candidate: {{onnx: {candidate}.onnx}}", 1)
    assert found.measurements["accuracy"].details["drop"] == drop
    assert (found.measurements["fidelity"].candidate > 80) is (candidate == "same")


def test_without_axes_the_sentence_says_which(tmp_path: Path) -> None:
    found = outcome(tmp_path, "steps", STATIC)
    assert "input 'gain' has shape [], without a batch axis" in found.message
    found = outcome(tmp_path, "unnamed", BATCH + STATIC)
    assert (
        "`batch` speaks of inputs by name (state, gain, stateN), and the data gives them without names"
        in found.message
    )


@pytest.mark.parametrize("batch", ["n", 1, 7])
def test_a_sequence_is_fed_step_by_step_and_the_state_reset(tmp_path: Path, batch: Any) -> None:
    onnx.save(cell(batch), tmp_path / "cell.onnx")
    session = SteppedSession(OnnxRuntimeSession(str(tmp_path / "cell.onnx")))
    inputs = NamedInputs({"x": X, "gain": np.float32(2)}, AXES)
    for _ in range(2):  # nothing of the first run is left in the second
        (answers,) = session.run(inputs)
        np.testing.assert_allclose(answers, sequence(X), rtol=1e-4, atol=1e-4)


def test_a_state_that_the_outputs_do_not_continue(tmp_path: Path) -> None:
    made = cell()
    del made.graph.output[1]
    onnx.save(made, tmp_path / "cell.onnx")
    session = SteppedSession(OnnxRuntimeSession(str(tmp_path / "cell.onnx")))
    with pytest.raises(
        StageError, match="so state would be state; but the model's last outputs have the shapes"
    ):
        session.run(NamedInputs({"x": X, "gain": np.float32(2)}, AXES))


@pytest.mark.parametrize("batch", ["n", 1])
def test_sequences_are_calibrated_and_measured(tmp_path: Path, batch: Any) -> None:
    found = outcome(tmp_path, "sequences", f"{BATCH}sequence: true\nmetric: data.py:right\n{STATIC}", batch)
    assert not found.failed, (found.message, found.failed)
    assert found.measurements["accuracy"].baseline == 1.0
    assert found.measurements["accuracy"].candidate > 0.9
    assert found.measurements["fidelity"].candidate > 15


def test_a_ruined_sequence_model_fails(tmp_path: Path) -> None:
    rest = f"{BATCH}sequence: true\nmetric: data.py:right\ncandidate: {{onnx: ruined.onnx}}"
    assert outcome(tmp_path, "sequences", rest).measurements["accuracy"].details["drop"] == 1.0


def test_answers_of_several_steps_need_a_metric_of_ones_own(tmp_path: Path) -> None:
    found = outcome(tmp_path, "sequences", f"{BATCH}sequence: true\n{STATIC}")
    assert (
        "wants one class a sample, a number or one-hot; a sample's target has shape [9]"
        in found.failed["accuracy"]
    )


def test_what_is_timed_knows_no_sequences(tmp_path: Path) -> None:
    with pytest.raises(CaseError, match="'speedup' is not measured with `sequence: true`"):
        outcome(tmp_path, "sequences", f"sequence: true\n{STATIC}", thresholds="speedup: 1.2")


RECORDINGS = """
import numpy as np

random = np.random.default_rng(0)
recordings = [{"x": random.standard_normal((t, 4)).astype("float32")} for t in (5, 9, 5, 7) * 4]
split = [(each, each["x"].sum().astype("float32")[None]) for each in recordings]


def both(): return {"test": split, "calibration": split}
def error(outputs, targets): return -np.abs(outputs.sum(-1) - targets)
"""


@pytest.mark.parametrize("method", ["static", "auto", "dynamic"])
def test_a_model_without_any_batch_axis_takes_one_recording_a_call(tmp_path: Path, method: str) -> None:
    weights = {"w": np.ones((4, 64), np.float32), "v": np.full((64, 1), 1 / 64, np.float32)}
    nodes = [
        node("MatMul", "x w", "a", "up"),
        node("MatMul", "a v", "b", "down"),
        node("Squeeze", "b axes", "y", "squeeze"),
    ]
    stored = {**weights, "axes": np.array([1], np.int64)}
    onnx.save(model(nodes, stored, ["t", 4]).value, tmp_path / "net.onnx")
    (tmp_path / "data.py").write_text(RECORDINGS)
    found = weigh(
        tmp_path,
        "model: {onnx: net.onnx}\ndata: data.py:both\nmetric: data.py:error\nbatch: {x: null, y: null}\n"
        f"recipe: [{{quantize: {method}, engine: onnxruntime, reduce_range: true}}]\n"
        "thresholds: {accuracy_drop: 0.5, fidelity: 20}\n",
    )
    assert not found.failed, (found.message, found.failed)
    assert found.measurements["accuracy"].details["n"] == 16
    assert found.measurements["accuracy"].baseline == pytest.approx(0, abs=1e-5)


NETWORK = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.up, self.down = nn.Linear(4, 64), nn.Linear(64, 1)

    def forward(self, x): return self.down(torch.relu(self.up(x))).squeeze(1)


def net():
    torch.manual_seed(0)
    return Net().eval()
"""


def test_a_torch_module_without_any_batch_axis_is_exported(tmp_path: Path) -> None:
    (tmp_path / "data.py").write_text(RECORDINGS.replace("(5, 9, 5, 7)", "(5, 5, 5, 5)"))
    (tmp_path / "model.py").write_text(NETWORK)
    found = weigh(
        tmp_path,
        "model: {torch: model.py:net}\ndata: data.py:both\nmetric: data.py:error\nbatch: {x: null, squeeze: null}\n"
        "recipe: [{quantize: static, engine: onnxruntime, reduce_range: true}]\n"
        "thresholds: {accuracy_drop: 0.5, fidelity: 20}\n",
    )
    assert found.status is Status.PASS, found.message
