"""`target:`: an artifact that its runtime cannot open, or that overflows on its processor, fails; one that fits does not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from tests.projects import weigh

from weighbridge.case.load import load_cases
from weighbridge.core.errors import CaseError
from weighbridge.measure.onnx_runtimes import LATEST

CASE = "model: {{onnx: net.onnx}}\ninputs: random\ntarget: {target}\nthresholds: {{size: 5 MB}}\n"


def stored(kind: str, codes: Any, activations: bool = True, **attributes: Any) -> Any:
    """One operator whose int8 weights are `codes`, with or without quantized activations."""
    shape = {"Conv": ["n", codes.shape[1] * attributes.get("group", 1), 5, 5]}.get(
        kind, ["n", codes.shape[0]]
    )
    numbers = {
        "w": codes,
        "one": np.float32(1),
        "none": np.int8(0),
        "zero": np.uint8(0),
        "big": np.float32(1024),
    }
    nodes = [helper.make_node("DequantizeLinear", ["w", "one", "none"], ["weight"])]
    if activations:
        nodes += [
            helper.make_node("QuantizeLinear", ["x", "one", "zero"], ["codes"]),
            helper.make_node("DequantizeLinear", ["codes", "one", "zero"], ["inside"]),
        ]
    taken, given = ("inside", "outside") if activations else ("x", "y")
    nodes += [helper.make_node(kind, [taken, "weight"], [given], name="product", **attributes)]
    if activations:
        nodes += [
            helper.make_node("QuantizeLinear", ["outside", "big", "zero"], ["sums"]),
            helper.make_node("DequantizeLinear", ["sums", "big", "zero"], ["y"]),
        ]
    return network(nodes, numbers, shape)


def network(nodes: list[Any], numbers: dict[str, Any], shape: list[Any], opset: int = 17, ir: int = 9) -> Any:
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in numbers.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir)


def simple(kind: str = "Relu", **versions: int) -> Any:
    return network([helper.make_node(kind, ["x"], ["y"], name="it")], {}, ["n", 4], **versions)


@pytest.fixture
def verdict(tmp_path: Path) -> Callable[[Any, str], Any]:
    def of(model: Any, target: str) -> Any:
        onnx.save(model, tmp_path / "net.onnx")
        found = weigh(tmp_path, CASE.format(target=target), also=())
        return {one.threshold: one for one in found.verdicts}["target"]

    return of


@pytest.mark.parametrize(
    ("versions", "target", "said"),
    [
        (
            {"opset": 21},
            "{runtime: onnxruntime 1.17}",
            "opset 21, and onnxruntime 1.17 goes to 20: no operator needs more",
        ),
        ({"opset": 21}, "{runtime: onnxruntime 1.18}", None),
        ({"opset": 20}, "{runtime: onnxruntime 1.17.3}", None),
        ({"ir": 10}, "{runtime: onnxruntime 1.17}", "IR version 10, and onnxruntime 1.17 goes to 9"),
        ({"opset": 17}, "{opset: 16}", "opset 17, and the target goes to 16"),
        ({"opset": 17, "ir": 9}, "{opset: 17, ir: 9}", None),
        ({"opset": 21}, "{runtime: onnxruntime 1.17, opset: 21}", None),
    ],
)
def test_opset_and_ir(
    verdict: Callable[[Any, str], Any], versions: dict[str, int], target: str, said: str | None
) -> None:
    found = verdict(simple(**versions), target)
    assert found.status == ("pass" if said is None else "fail")
    assert said is None or said in found.message
    assert bool(found.advice) == (said is not None)
    assert found.line == 3


def test_the_operators_that_need_the_opset_are_named(verdict: Callable[[Any, str], Any]) -> None:
    found = verdict(simple("Gelu", opset=20), "{runtime: onnxruntime 1.16}")
    assert "opset 20, and onnxruntime 1.16 goes to 19: Gelu came after it" in found.message
    assert "another runtime, or a model without" in found.advice[0]
    assert "Gelu" not in verdict(simple("Gelu", opset=21), "{opset: 20}").message


LARGE = np.array([[127], [127], [0], [0]], np.int8)
CONVOLUTION = {
    "channels": np.pad(np.full((1, 2, 1, 1), 127, np.int8), ((0, 0), (0, 2), (1, 1), (1, 1))),
    "places": np.pad(np.full((1, 1, 1, 2), 127, np.int8), ((0, 0), (0, 3), (1, 1), (0, 1))),
}


@pytest.mark.parametrize(
    ("kind", "codes", "overflows", "options"),
    [
        ("MatMul", LARGE, True, {}),
        ("MatMul", np.roll(LARGE, 1, axis=0), False, {}),  # the second and the third: never added in 16 bits
        ("MatMul", LARGE // 2, False, {}),
        ("MatMul", LARGE, False, {"activations": False}),  # weights only: the product is of floats
        ("Conv", CONVOLUTION["channels"], True, {}),
        ("Conv", CONVOLUTION["places"], False, {}),
        ("Conv", np.full((8, 1, 3, 3), 127, np.int8), False, {"group": 8}),  # depthwise
    ],
)
def test_pairs_are_those_that_the_kernels_add(
    verdict: Callable[[Any, str], Any], kind: str, codes: Any, overflows: bool, options: dict[str, Any]
) -> None:
    """Each as ONNX Runtime 1.31 answered on an emulated Haswell, with inputs of 255."""
    model = stored(kind, codes, **options)
    for isa in ("avx2", "avx512f", "avx512_vnni", "asimd"):
        found = verdict(model, f"{{isa: {isa}}}")
        assert found.status == ("fail" if overflows and isa in ("avx2", "avx512f") else "pass"), isa
        if found.status == "fail":
            assert f"could overflow with {isa}, in product" in found.message
            assert "reduce_range: true" in found.advice[0]


def test_several_faults_stand_in_one_verdict(verdict: Callable[[Any, str], Any]) -> None:
    found = verdict(simple(opset=21, ir=10), "{runtime: onnxruntime 1.15, isa: avx2}")
    assert found.measured == 2
    assert "opset 21" in found.message
    assert "IR version 10" in found.message


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (
            "target: {runtime: onnxruntime 0.9}\n",
            "3:19: thresholds.target.runtime: should be `onnxruntime VERSION`",
        ),
        ("target: {runtime: tensorrt 10}\n", "of another runtime state `opset` and `ir`"),
        ("target: {isa: avx3}\n", "3:15: "),
        ("target: {ips: avx2}\n", "3:10: unknown key 'ips'"),
        ("target: {}\n", "3:9: "),
        ("target: 17\n", "3:9: "),
    ],
)
def test_a_target_that_is_none_is_a_fault_of_the_file(tmp_path: Path, text: str, fault: str) -> None:
    path = tmp_path / "net.yaml"
    path.write_text(f"model: {{onnx: net.onnx}}\ninputs: random\n{text}thresholds: {{size: 5 MB}}\n")
    with pytest.raises(CaseError) as raised:
        load_cases(path)
    assert fault in str(raised.value)


def test_all_cases_of_a_file_share_it_and_each_has_an_item(tmp_path: Path, pytester: pytest.Pytester) -> None:
    onnx.save(simple(opset=21), pytester.path / "net.onnx")
    (pytester.path / "net.yaml").write_text(
        "model: {onnx: net.onnx}\ntarget: {runtime: onnxruntime 1.17}\n"
        "cases:\n  - {name: one, thresholds: {size: 5 MB}}\n  - {name: two, thresholds: {size: 5 MB}}\n"
    )
    result = pytester.runpytest_inprocess("net.yaml")
    result.assert_outcomes(passed=2, failed=2)
    result.stdout.fnmatch_lines(["*net.yaml::one::target*", "*net.yaml::two::target*"])


def test_another_format_has_no_target(tmp_path: Path) -> None:
    path = tmp_path / "net.yaml"
    path.write_text("model: {tflite: net.tflite}\ntarget: {opset: 17}\nthresholds: {size: 5 MB}\n")
    with pytest.raises(CaseError, match=r"2:1: 'target' is a quantity of onnx models; net\.tflite is tflite"):
        load_cases(path)


def test_the_table_holds_for_the_release_that_is_installed(tmp_path: Path) -> None:
    import onnxruntime

    release = ".".join(onnxruntime.__version__.split(".")[:2])
    if release not in LATEST:
        pytest.skip(f"no row for onnxruntime {release}")
    opset, ir = LATEST[release]

    def opens(**versions: int) -> bool:
        try:
            onnxruntime.InferenceSession(
                simple(**versions).SerializeToString(), providers=["CPUExecutionProvider"]
            )
        except Exception:
            return False
        return True

    assert opens(opset=opset, ir=ir)
    assert not opens(opset=opset + 1, ir=ir)
    assert not opens(opset=opset, ir=ir + 1)
