"""The engine `openvino`: it answers as ONNX Runtime does, float and int8, and says what it cannot load."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import load
from tests.found.onnx_graphs import model, node, weight
from tests.found.test_axes import AXES, X, cell, sequence
from tests.projects import as_onnx, report_of, statuses, trained

from weighbridge.contracts import ENGINES
from weighbridge.core.batches import NamedInputs
from weighbridge.core.errors import StageError
from weighbridge.core.results import Artifact
from weighbridge.engines.sequences import SteppedEngine
from weighbridge.environment.extras import OPENVINO
from weighbridge.environment.requirements import missing

Project = Callable[..., Path]
runs = pytest.mark.skipif(missing(OPENVINO) is not None, reason=missing(OPENVINO) or "")
CASE = """
model: {onnx: net.onnx}
data: model.py:splits
engine: openvino
"""
INT8 = f"""{CASE}
recipe:
  - quantize: static
    engine: onnxruntime
thresholds: {{accuracy_drop: 0.02, fidelity: 20, size_ratio: 2, speedup: {{min: 0.01, budget: 20}}}}
"""


def written(folder: Path, batch: int | str = "n") -> Artifact:
    """A convolution of `batch` images [2, 6, 6], and two outputs: one of them has the batch on its second axis."""
    random = np.random.default_rng(0)
    weight = numpy_helper.from_array(random.standard_normal((4, 2, 3, 3)).astype(np.float32), "w")
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["y"]),
        helper.make_node("ReduceMean", ["y"], ["m"], axes=[2, 3], keepdims=0),
    ]
    outputs = [
        helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, 4, 6, 6]),
        helper.make_tensor_value_info("m", TensorProto.FLOAT, [batch, 4]),
    ]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 2, 6, 6])]
    graph = helper.make_graph(nodes, "net", inputs, outputs, [weight])
    path = folder / f"{batch}.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return Artifact("onnx", path, (path,))


def answers(artifact: Artifact, x: Any, name: str = "openvino", **options: Any) -> Any:
    engine = ENGINES.get(name)
    return engine.open(artifact, engine.options(**options)).run((x,))


@runs
@pytest.mark.parametrize("batch", ["n", 4])
def test_it_answers_as_onnx_runtime_does_for_free_and_for_fixed_batches(
    tmp_path: Path, batch: int | str
) -> None:
    net = written(tmp_path, batch)
    for n in (1, 4, 6):
        x = np.random.default_rng(n).standard_normal((n, 2, 6, 6)).astype(np.float32)
        for ours, theirs in zip(answers(net, x), answers(net, x, "onnxruntime"), strict=True):
            np.testing.assert_allclose(ours, theirs, atol=1e-5)


@runs
def test_an_answer_stays_when_the_next_is_asked_for(tmp_path: Path) -> None:
    engine = ENGINES.get("openvino")
    session = engine.open(written(tmp_path), engine.options())
    x = np.ones((1, 2, 6, 6), np.float32)
    first = session.run((x,))[0]
    before = first.copy()
    session.run((-x,))
    np.testing.assert_array_equal(first, before)


@runs
def test_what_it_cannot_load_or_feed_is_told(tmp_path: Path) -> None:
    net = written(tmp_path)
    with pytest.raises(StageError, match=r"input 'x' float32 \[\?, 2, 6, 6\] does not take"):
        answers(net, np.ones((1, 3, 6, 6), np.float32))
    proto = onnx.load(net.path)
    proto.graph.node[1].op_type, proto.graph.node[1].domain = "Strange", "nobody"
    proto.opset_import.append(helper.make_opsetid("nobody", 1))
    onnx.save(proto, net.path)
    with pytest.raises(StageError, match=r"OpenVINO cannot load the model: .*Strange"):
        answers(net, np.ones((1, 2, 6, 6), np.float32))


@runs
def test_shapes_that_do_not_fit_are_no_answer(tmp_path: Path) -> None:
    """A bias of two rows fits batches of one and of two. Beyond, OpenVINO reads on behind its end."""
    made = model([node("Add", "x b", "y", "sum")], {"b": weight(2, 4)}, ["n", 4]).value
    path = tmp_path / "net.onnx"
    onnx.save(made, path)
    net = Artifact("onnx", path, (path,))
    for n in (1, 2):
        x = np.ones((n, 4), np.float32)
        np.testing.assert_allclose(answers(net, x)[0], answers(net, x, "onnxruntime")[0], atol=1e-6)
    with pytest.raises(StageError, match=r"OpenVINO cannot run the model on x \[3, 4\]: Argument shapes"):
        answers(net, np.ones((3, 4), np.float32))


@runs
def test_what_it_cannot_run_is_told_with_its_reason(tmp_path: Path) -> None:
    """Two inputs, each of a fixed batch of its own: no batch fits both."""
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [size, 3])
        for name, size in (("x", 4), ("z", 2))
    ]
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    joined = helper.make_graph([helper.make_node("Concat", ["x", "z"], ["y"], axis=0)], "net", ends, [output])
    path = tmp_path / "net.onnx"
    onnx.save(helper.make_model(joined, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    engine, x = ENGINES.get("openvino"), np.ones((3, 3), np.float32)
    with pytest.raises(StageError, match=r"OpenVINO says: Can't set the input .*shape=\[4,3\]"):
        engine.open(Artifact("onnx", path, (path,)), engine.options()).run((x, x))


def cast(folder: Path, source: int, target: int) -> Artifact:
    ends = [
        helper.make_tensor_value_info(name, kind, ["n", 4]) for name, kind in (("x", source), ("y", target))
    ]
    graph = helper.make_graph([helper.make_node("Cast", ["x"], ["y"], to=target)], "cast", ends[:1], ends[1:])
    path = folder / "cast.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), path)
    return Artifact("onnx", path, (path,))


@runs
@pytest.mark.parametrize(("kind", "called"), [(TensorProto.BFLOAT16, "bf16"), (TensorProto.INT4, "i4")])
def test_numbers_of_a_type_that_numpy_has_not_are_refused_at_both_ends(
    tmp_path: Path, kind: int, called: str
) -> None:
    for end, ends in (("x", (kind, TensorProto.FLOAT)), ("y", (TensorProto.FLOAT, kind))):
        with pytest.raises(StageError, match=f"'{end}' is {called}, which numpy has not"):
            answers(cast(tmp_path, *ends), np.ones((1, 4), np.float32))


@runs
@pytest.mark.parametrize(
    "kind", [TensorProto.FLOAT16, TensorProto.INT8, TensorProto.UINT16, TensorProto.DOUBLE]
)
def test_numbers_of_numpys_types_go_in_and_come_out(tmp_path: Path, kind: int) -> None:
    x = np.float32([[1, 2, 3, 4]])
    for ends in ((kind, TensorProto.FLOAT), (TensorProto.FLOAT, kind)):
        (y,) = answers(cast(tmp_path, *ends), x.astype(helper.tensor_dtype_to_np_dtype(ends[0])))
        assert y.dtype == helper.tensor_dtype_to_np_dtype(ends[1])
        assert (y == x).all()


@runs
def test_inputs_and_outputs_are_called_what_the_file_calls_them(tmp_path: Path) -> None:
    """Where a value only passes through, OpenVINO has its names too. `y` has no batch, so it is not put together."""
    nodes = [node("Identity", "x", "a"), node("MatMul", "a w", "z"), node("Identity", "z", "y")]
    path = tmp_path / "net.onnx"
    onnx.save(model(nodes, {"w": weight(4, 4)}, [4, 4]).value, path)
    net = Artifact("onnx", path, (path,))
    session: Any = ENGINES.get("openvino").open(net, ENGINES.get("openvino").options())
    assert (list(session.inputs), session.outputs) == (["x"], ["y"])
    x = np.random.default_rng(0).standard_normal((6, 4)).astype(np.float32)
    (y,) = session.run(NamedInputs({"x": x}, {"y": None}))
    np.testing.assert_allclose(y, answers(net, x[:4], "onnxruntime")[0], atol=1e-5)


@runs
def test_an_input_that_only_a_dropout_reads_is_fed_by_its_place(tmp_path: Path) -> None:
    """Of such a one OpenVINO keeps the node's name alone."""
    path = tmp_path / "net.onnx"
    nodes = [node("Dropout", "x", "a", "drop"), node("MatMul", "a w", "y")]
    onnx.save(model(nodes, {"w": weight(4, 4)}, ["n", 4]).value, path)
    net, x = Artifact("onnx", path, (path,)), np.eye(4, dtype=np.float32)
    np.testing.assert_allclose(answers(net, x)[0], answers(net, x, "onnxruntime")[0], atol=1e-5)


@runs
@pytest.mark.parametrize("batch", ["n", 3])
def test_sequences_are_fed_step_by_step(tmp_path: Path, batch: Any) -> None:
    path = tmp_path / "cell.onnx"
    onnx.save(cell(batch), path)
    engine = SteppedEngine(ENGINES.get("openvino"))
    session: Any = engine.open(Artifact("onnx", path, (path,)), engine.options())
    inputs = NamedInputs({"x": X[:7], "gain": np.asarray(2, np.float32)}, AXES)
    (y,) = session.run(inputs)
    np.testing.assert_allclose(y, sequence(X[:7]), atol=1e-4)
    step = session.bind(inputs)()
    np.testing.assert_allclose(step[0], sequence(X[: len(step[0])])[:, 0], atol=1e-4)


def test_an_engine_that_takes_no_sequences_is_told_with_those_that_do(tmp_path: Path) -> None:
    class Other:
        name = "other"

        def open(self, artifact: Artifact, options: Any) -> object:
            return object()

    engine: Any = SteppedEngine(Other())  # type: ignore[arg-type]
    path = tmp_path / "net.other"
    with pytest.raises(StageError, match=r"`engine: onnxruntime` or `openvino`; net\.other is strange"):
        engine.open(Artifact("strange", path, (path,)), None)


@pytest.mark.slow
@runs
def test_an_int8_case_is_gated_and_a_wrong_scale_is_caught(
    project: Project, pytester: pytest.Pytester
) -> None:
    cases = project(net=INT8)
    (cases / "net.onnx").write_bytes(as_onnx(load(trained())))
    pytester.runpytest_inprocess("--bench").assert_outcomes(passed=5)
    (row,) = report_of(pytester.path)["rows"]
    assert row["engine"] == row["measurements"]["speed"]["details"]["against"] == "openvino"
    assert row["artifacts"]["candidate"]["runtime"].startswith("openvino 20")
    (made,) = pytester.path.glob("reports/artifacts/cases/net.yaml/net/candidate/*.onnx")
    for name, factor, status in (("right", 1.0, "pass"), ("wrong", 3.0, "fail")):
        proto = onnx.load(made)
        scale = next(
            one for one in proto.graph.initializer if one.name.endswith("_scale") and "weight" in one.name
        )
        scale.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(scale) * np.float32(factor), scale.name))
        onnx.save(proto, cases / f"{name}.onnx")
        text = f"{CASE}candidate: {{onnx: {name}.onnx}}\nthresholds: {{fidelity: 20}}\n"
        (cases / f"{name}.yaml").write_text(text)
        pytester.runpytest_inprocess(f"cases/{name}.yaml")
        assert statuses(pytester.path) == {f"{name}::fidelity": status}


@pytest.mark.slow
@runs
def test_the_profile_tells_operators_with_their_types(project: Project, pytester: pytest.Pytester) -> None:
    text = INT8.replace("min: 0.01", "min: 1000")
    cases = project(net=text)
    (cases / "net.onnx").write_bytes(as_onnx(load(trained())))
    pytester.runpytest_inprocess("--bench", "-k", "speedup").assert_outcomes(failed=1, deselected=4)
    (row,) = report_of(pytester.path)["rows"]
    why = row["measurements"]["speed"]["details"]["why_slow"]
    assert any(name.startswith("FullyConnected") and name.endswith(" f32") for name, *_ in why["baseline"])
    assert any(name.startswith("FullyConnected") and name.endswith(" i8") for name, *_ in why["candidate"])


def test_without_the_package_it_is_skipped_with_what_to_install(
    project: Project, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "openvino", raising=False)
    find = __import__("importlib.util").util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name, *rest: None if name == "openvino" else find(name, *rest)
    )
    cases = project(net=INT8)
    (cases / "net.onnx").write_bytes(as_onnx(load(trained())))
    pytester.runpytest_inprocess("-rs").stdout.fnmatch_lines(["*pip install 'weighbridge?openvino?'*"])
    assert set(statuses(pytester.path).values()) == {"skip"}
