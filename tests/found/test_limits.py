"""Limits that cannot fail, cases in which nothing was decided, outputs that hide each other, files nobody can open."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from tests.projects import CASE, report_of, statuses, weigh

from weighbridge.case.load import load_cases
from weighbridge.cli.main import main
from weighbridge.core.errors import CaseError

Project = Callable[..., Path]


def faults(folder: Path, thresholds: str, rest: str = "") -> str:
    """What is said of a case with these thresholds; empty where nothing is."""
    path = folder / "case.yaml"
    path.write_text(
        "model: {torch: model.py:net}\ndata: model.py:data\nrecipe: [{prune: l1_unstructured, amount: 0.5}]\n"
        f"thresholds: {{{thresholds}}}\n{rest}"
    )
    try:
        load_cases(path)
    except CaseError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    ("threshold", "meant"),
    [
        ("accuracy_drop: 2", "did you mean 0.02 (2 %)?"),
        ("accuracy_drop: 1", "cannot be missed"),
        ("relative_accuracy_drop: 5", "did you mean 0.05 (5 %)?"),
        ("nonzero_ratio: 50", "did you mean 0.5 (50 %)?"),
        ("nonzero_ratio: 2", "lets them become 2 times as many"),
        ("nonzero_ratio: {max: 200}", "lets them become 200 times as many"),
        ("size_ratio: 0", "never below 0"),
        ("size_ratio: 0.25", "did you mean 4 (0.25 of the bytes)?"),
        ("gzip_ratio: 0.5", "did you mean 2 (0.5 of the bytes)?"),
        ("weights_ratio: 0.1", "did you mean 10 (0.1 of the bytes)?"),
        ("accuracy: 97", "did you mean 0.97 (97 %)?"),
        ("accuracy: 0", "cannot be missed"),
        ("speedup: 0", "speedup is never below 0"),
        ("throughput: -1", "throughput is never below 0"),
        ("accuracy_drop: {min: 0.01}", "did you mean {max: 0.01}?"),
        ("worst_class_drop: {min: 0.1}", "did you mean {max: 0.1}?"),
        ("fidelity: 0.99", "0.99 dB lets the noise have 80% of the signal's power; did you mean 20"),
        ("quantized: 90", "did you mean 0.9 (90 %)?"),
    ],
)
def test_a_limit_that_only_a_mistake_explains_is_a_fault(tmp_path: Path, threshold: str, meant: str) -> None:
    said = faults(tmp_path, threshold)
    assert "case.yaml:4:" in said
    assert meant in said


@pytest.mark.parametrize(
    "thresholds",
    [
        "accuracy_drop: 0.99",
        "accuracy_drop: -0.01",
        "accuracy_drop: {min: -0.01}",  # no gain beyond belief
        "flip_rate: {min: 0.001, max: 0.1}",
        "speedup: {min: 0, max: 1}",
        "throughput: 0.5",
        "nonzero_ratio: 1",
        "weights_ratio: {min: 0.5, max: 2}",
        "nonzero_ratio: {equals: 0.8}",
        "size_ratio: 0.9",
        "size_ratio: {max: 0.3}",
        "accuracy: 1",
        "speedup: 0.5",
        "nonzero: 50",
        "fidelity: 1",
        "fidelity: -3",
        "fidelity: {max: 0.5}",
        "quantized: 0.9",
        "quantized: {min: 0, max: 0.1}",
    ],
)
def test_a_limit_that_can_be_missed_is_none(tmp_path: Path, thresholds: str) -> None:
    assert faults(tmp_path, thresholds) == ""


def test_a_metric_that_is_no_fraction_may_drop_by_any_number(tmp_path: Path) -> None:
    assert faults(tmp_path, "accuracy_drop: 2, accuracy: {max: 40}", "metric: mse\n") == ""
    assert faults(tmp_path, "accuracy_drop: 2", "metric: model.py:wer\n") == ""
    assert "cannot be missed" in faults(tmp_path, "accuracy_drop: 2", "metric: top5\n")


def test_a_case_in_which_nothing_was_decided_is_no_pass(pytester: pytest.Pytester, project: Project) -> None:
    speed = CASE[: CASE.index("thresholds")] + "thresholds: {speedup: 1.1}\n"
    project(net=speed)
    result = pytester.runpytest_inprocess()
    result.assert_outcomes(skipped=1)
    assert report_of(pytester.path)["rows"][0]["status"] == "unmeasured"
    result.stdout.fnmatch_lines("1 case: 1 unmeasured")
    result = pytester.runpytest_inprocess("--strict-requirements")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines("*nothing of the case was decided*--bench*")


def test_a_kept_promise_is_no_verdict_on_what_was_asked(pytester: pytest.Pytester, project: Project) -> None:
    text = (
        CASE[: CASE.index("recipe")]
        + "recipe: [{quantize: dynamic, engine: torch}]\nthresholds: {speedup: 1.1}\n"
    )
    project(net=text)
    pytester.runpytest_inprocess().assert_outcomes(skipped=1, passed=1)
    assert report_of(pytester.path)["rows"][0]["status"] == "unmeasured"
    pytester.runpytest_inprocess("--strict-requirements").assert_outcomes(errors=1, passed=1)
    pytester.runpytest_inprocess("-k", "round_trip").assert_outcomes(passed=1, deselected=1)
    assert report_of(pytester.path)["rows"][0]["status"] == "pass"


def test_what_is_decided_beside_what_is_not_passes_strictly_too(
    pytester: pytest.Pytester, project: Project
) -> None:
    project(net=CASE.replace("thresholds:", "thresholds:\n  speedup: 1.1"))
    pytester.runpytest_inprocess("--strict-requirements").assert_outcomes(passed=2, skipped=1)


def test_an_xfail_expects_no_missing_file(pytester: pytest.Pytester, project: Project) -> None:
    project(net="model: {onnx: no-such-file.onnx}\nthresholds: {size: 1 MB}\nxfail: too large\n")
    pytester.runpytest_inprocess().assert_outcomes(errors=1)
    assert statuses(pytester.path) == {"net::size": "error"}


def two_outputs(path: Path, small: float) -> None:
    """`boxes` has numbers of a thousand, `scores` of one, scaled by `small`."""
    random = np.random.default_rng(0)
    stored = {
        "w": (random.standard_normal((8, 4)) * 1000).astype("float32"),
        "v": (random.standard_normal((8, 4)) * small).astype("float32"),
    }
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["x", "w"], ["boxes"]),
            helper.make_node("MatMul", ["x", "v"], ["scores"]),
        ],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 8])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 4]) for name in ("boxes", "scores")],
        [numpy_helper.from_array(array, name) for name, array in stored.items()],
    )
    onnx.save(helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 17)]), path)


@pytest.mark.parametrize(
    ("small", "status", "least"), [(0.0, "fail", -1), (1.001, "pass", 55), (1.0, "pass", 199)]
)
def test_the_worst_output_is_judged(tmp_path: Path, small: float, status: str, least: float) -> None:
    two_outputs(tmp_path / "ok.onnx", 1.0)
    two_outputs(tmp_path / "other.onnx", small)
    found = weigh(
        tmp_path, "model: {onnx: ok.onnx}\ncandidate: {onnx: other.onnx}\nthresholds: {fidelity: 20}\n"
    )
    assert found.result.status == status
    assert found.measurements["fidelity"].candidate > least
    boxes, scores = found.measurements["fidelity"].details["outputs"]
    assert boxes == 200
    assert scores <= boxes
    if status == "fail":
        assert "output 1 is ruined" in found.verdicts[0].advice[0]


def test_an_output_that_is_zero_in_both_hides_nothing(tmp_path: Path) -> None:
    two_outputs(tmp_path / "ok.onnx", 0.0)
    two_outputs(tmp_path / "other.onnx", 0.0)
    found = weigh(
        tmp_path, "model: {onnx: ok.onnx}\ncandidate: {onnx: other.onnx}\nthresholds: {fidelity: 20}\n"
    )
    assert found.result.status == "pass"


def test_a_finished_file_that_no_engine_opens_is_unreadable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    two_outputs(tmp_path / "good.onnx", 1.0)
    bad = onnx.load(tmp_path / "good.onnx")
    bad.graph.node[0].op_type = "NoSuchOperator"
    onnx.save(bad, tmp_path / "bad.onnx")
    (tmp_path / "budget.yaml").write_text("thresholds: {size: 5 MB}\n")
    assert main(["audit", "good.onnx", "--budget", "budget.yaml"]) == 0
    assert main(["audit", "bad.onnx", "--budget", "budget.yaml"]) == 2
    assert "NoSuchOperator" in capsys.readouterr().out
