"""Why is it slow: each known cause is planted, and the one line that names it is looked for."""

import json

import numpy as np
import pytest

from weighbridge.contracts import ENGINES
from weighbridge.core.results import Artifact
from weighbridge.engines import profile as profiles
from weighbridge.engines import profile_onnxruntime as ort_profile
from weighbridge.engines import profile_torch
from weighbridge.engines.profile import OperatorTime, Profile
from weighbridge.engines.torch_eager import TorchSession


def event(name, operator, micros, *types):
    shapes = [{kind: [1]} for kind in types]
    return {
        "cat": "Node",
        "name": f"{name}_kernel_time",
        "dur": micros,
        "args": {"op_name": operator, "input_type_shape": shapes},
    }


def test_events_become_operators_by_the_fastest_run_of_each_node():
    events = [
        {"cat": "Session", "name": "model_run", "dur": 9000},
        event("a", "Conv", 400, "float", "float"),
        event("b", "Conv", 100, "float", "float"),
        event("a", "Conv", 90, "float", "float"),
        event("c", "Cast", 10, "float"),
        {"cat": "Node", "name": "a_fence_before", "dur": 500, "args": {"op_name": "Conv"}},
    ]
    profile = ort_profile.parse(events)
    assert profile.rows() == [["Conv", 2, 0.19, 0.95], ["Cast", 1, 0.01, 0.05]]
    assert profile.ms == pytest.approx(0.2)


def profile(*rows, masks=0):
    return Profile(tuple(OperatorTime(name, count, ms, types) for name, count, ms, types in rows), masks)


FLOAT_CONV = profile(("Conv", 3, 1.0, ("float",)), ("Relu", 3, 0.1, ("float",)))
U8, S8 = ("uint8", "float", "uint8", "float", "int8"), ("int8", "float", "int8", "float", "int8")


@pytest.mark.parametrize(
    ("candidate", "words"),
    [
        (profile(("ConvInteger", 3, 7.0, ("uint8", "int8")), ("Mul", 6, 0.1, ("float",))), "use `quantize: static`"),
        (
            profile(("QLinearConv", 2, 0.4, U8), ("QuantizeLinear", 4, 0.1, ("float",)), ("DequantizeLinear", 4, 0.1, U8)),
            "not fused",
        ),
        (profile(("QLinearConv", 1, 0.2, U8), ("Conv", 2, 0.7, ("float",))), "2 Conv still run in float"),
        (profile(("DynamicQuantizeLinear", 4, 0.5, ("float",)), ("MatMulInteger", 4, 0.6, ("uint8",))), "ranges at run time"),
        (profile(("Conv", 3, 1.0, ("float",)), ("Cast", 6, 0.5, ("float16",))), "float16 saves only bytes"),
        (profile(("MatMulNBits", 4, 2.0, ("float", "uint8"))), "accuracy_level: 4"),
        (FLOAT_CONV, "zeros in dense weights"),
    ],
)  # fmt: skip
def test_each_known_cause_gets_its_line(candidate, words):
    assert any(words in line for line in ort_profile.advise(FLOAT_CONV, candidate))


def test_signed_activations_are_named_on_x86(monkeypatch):
    monkeypatch.setattr(ort_profile.platform, "machine", lambda: "x86_64")
    lines = ort_profile.advise(FLOAT_CONV, profile(("QLinearConv", 3, 1.0, S8)))
    assert any("activations QUInt8" in line for line in lines)
    assert not ort_profile.advise(FLOAT_CONV, profile(("QLinearConv", 3, 1.0, U8)))
    monkeypatch.setattr(ort_profile.platform, "machine", lambda: "aarch64")
    assert not ort_profile.advise(FLOAT_CONV, profile(("QLinearConv", 3, 1.0, S8)))


def test_a_clean_int8_model_gets_no_advice():
    clean = profile(
        ("QLinearConv", 3, 0.3, U8),
        ("QuantizeLinear", 1, 0.01, ("float",)),
        ("DequantizeLinear", 1, 0.01, U8),
    )
    assert ort_profile.advise(FLOAT_CONV, clean) == []


def test_int8_without_int8_instructions_is_said(monkeypatch):
    candidate = profile(("QLinearConv", 3, 1.0, U8))
    monkeypatch.setattr(profiles, "isa", lambda: frozenset({"avx2"}))
    assert profiles.no_int8_hardware(candidate)
    monkeypatch.setattr(profiles, "isa", lambda: frozenset({"avx2", "avx512_vnni"}))
    assert not profiles.no_int8_hardware(candidate)
    monkeypatch.setattr(profiles, "isa", lambda: frozenset({"avx2"}))
    assert not profiles.no_int8_hardware(FLOAT_CONV)


def test_masks_that_were_left_on_are_counted():
    base = profile(("aten::addmm", 3, 0.3, ()))
    masked = profile(("aten::addmm", 3, 0.3, ()), ("aten::mul", 3, 2.0, ()), masks=3)
    assert "3 pruning masks" in profile_torch.advise(base, masked)[0]
    assert "prune.remove" in profile_torch.advise(base, masked)[0]


def test_a_float_layer_among_quantized_ones_is_named():
    base = profile(("aten::addmm", 3, 0.3, ()))
    mixed = profile(("quantized::linear_dynamic", 1, 0.1, ("int8",)), ("aten::addmm", 2, 0.2, ()))
    assert any("2 aten::addmm still run in float" in line for line in profile_torch.advise(base, mixed))


def test_dynamic_quantization_of_conv_is_found_in_a_real_profile(tmp_path):
    onnx = pytest.importorskip("onnx")
    quantization = pytest.importorskip("onnxruntime.quantization")
    from onnx import TensorProto, helper, numpy_helper

    kernel = numpy_helper.from_array(np.full((16, 8, 3, 3), 0.01, "float32"), "w")
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w"], ["y"], pads=[1] * 4)],
        "conv",
        [value("x", TensorProto.FLOAT, [1, 8, 32, 32])],
        [value("y", TensorProto.FLOAT, [1, 16, 32, 32])],
        [kernel],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    onnx.save(model, tmp_path / "float.onnx")
    quantization.quantize_dynamic(tmp_path / "float.onnx", tmp_path / "int8.onnx")
    inputs = (np.ones((1, 8, 32, 32), "float32"),)
    options = ENGINES.get("onnxruntime").options()
    before, after = (
        ort_profile.run(Artifact("onnx", path, (path,)), options, inputs)
        for path in (tmp_path / "float.onnx", tmp_path / "int8.onnx")
    )
    assert before.count("Conv") == 1
    assert after.count("ConvInteger") == 1
    assert any("ConvInteger" in line for line in ort_profile.advise(before, after))
    json.dumps(after.rows())


def test_masks_are_found_in_a_real_module(tmp_path, monkeypatch):
    torch = pytest.importorskip("torch")
    from torch.nn.utils import prune

    module = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 8)).eval()
    prune.l1_unstructured(module[0], "weight", amount=0.5)
    engine = ENGINES.get("torch")

    monkeypatch.setattr(type(engine), "open", lambda self, artifact, options: TorchSession(module, options))
    artifact = Artifact("torch", tmp_path / "x", ())
    seen = profile_torch.run(artifact, engine.options(), (np.ones((1, 64), "float32"),))
    assert seen.masks == 1
    assert seen.count("aten::addmm") == 2
    assert "masks" in profile_torch.advise(profile(("aten::addmm", 2, 0.1, ())), seen)[0]
