"""Pairs of calls to compare: synthetic ones whose true ratio is known, real float and int8 sessions."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from common import open_session

Call = Callable[[], object]


def products(size: int, baseline: int, candidate: int) -> tuple[Call, Call]:
    """The same product of two [size, size] matrices, `baseline` times against `candidate` times.

    Nothing but the count differs, so the true ratio is baseline / candidate whatever the machine does.
    """
    matrix = np.random.default_rng(0).random((size, size), dtype=np.float32)
    out = np.empty_like(matrix)
    return repeated(lambda: np.matmul(matrix, matrix, out=out), baseline, candidate)


def repeated(call: Call, baseline: int, candidate: int) -> tuple[Call, Call]:
    """The same call `baseline` times against `candidate` times: a real session whose true ratio is known."""

    def repeat(count: int) -> Call:
        def several() -> None:
            for _ in range(count):
                call()

        return several

    return repeat(baseline), repeat(candidate)


def mlp(path: Path, width: int = 256, layers: int = 3) -> tuple[int, ...]:
    """Write a float MLP; the shape of one sample."""
    from onnx import helper, numpy_helper

    random, nodes, weights, flow = np.random.default_rng(0), [], [], "x"
    for i in range(layers):
        weights.append(
            numpy_helper.from_array(
                (random.standard_normal((width, width)) / np.sqrt(width)).astype("float32"), f"w{i}"
            )
        )
        weights.append(numpy_helper.from_array(np.zeros(width, "float32"), f"b{i}"))
        nodes.append(helper.make_node("Gemm", [flow, f"w{i}", f"b{i}"], [f"h{i}"]))
        nodes.append(helper.make_node("Relu", [f"h{i}"], [f"r{i}"]))
        flow = f"r{i}"
    _write(path, nodes, weights, [width], flow, [width])
    return (width,)


def convnet(path: Path, channels: tuple[int, ...] = (3, 32, 64, 64), size: int = 32) -> tuple[int, ...]:
    """Write a float convolutional net with a global average at its end; the shape of one sample."""
    from onnx import helper, numpy_helper

    random, nodes, weights, flow = np.random.default_rng(0), [], [], "x"
    for i, (a, b) in enumerate(pairwise(channels)):
        kernel = random.standard_normal((b, a, 3, 3)) / np.sqrt(9 * a)
        weights.append(numpy_helper.from_array(kernel.astype("float32"), f"w{i}"))
        weights.append(numpy_helper.from_array(np.zeros(b, "float32"), f"b{i}"))
        stride = 1 if i == 0 else 2
        nodes.append(
            helper.make_node(
                "Conv", [flow, f"w{i}", f"b{i}"], [f"c{i}"], pads=[1] * 4, strides=[stride, stride]
            )
        )
        nodes.append(helper.make_node("Relu", [f"c{i}"], [f"r{i}"]))
        flow = f"r{i}"
    nodes.append(helper.make_node("GlobalAveragePool", [flow], ["p"]))
    nodes.append(helper.make_node("Flatten", ["p"], ["y"]))
    _write(path, nodes, weights, [channels[0], size, size], "y", [channels[-1]])
    return channels[0], size, size


def _write(
    path: Path, nodes: list[Any], weights: list[Any], shape: list[int], output: str, out_shape: list[int]
) -> None:
    import onnx
    from onnx import TensorProto, helper

    graph = helper.make_graph(
        nodes,
        path.stem,
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", *shape])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["n", *out_shape])],
        weights,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10), path)


def sessions(name: str, folder: Path) -> tuple[Call, Call]:
    """ONNX Runtime on one thread, batch 1: float against int8 (static, activations u8, weights s8)."""
    source, target, shape = files(name, folder)
    sample = np.random.default_rng(1).standard_normal((1, *shape)).astype("float32")
    return bind(source, sample), bind(target, sample)


def bind(path: Path, sample: Any) -> Call:
    """A call of a fresh session on its first input."""
    session = open_session(path)
    feed = {session.get_inputs()[0].name: sample}
    return lambda: session.run(None, feed)


def files(name: str, folder: Path) -> tuple[Path, Path, tuple[int, ...]]:
    """A float model, its int8 one (static, activations u8, weights s8), and the shape of a sample."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    source, target = folder / f"{name}.onnx", folder / f"{name}-int8.onnx"
    shape = {"mlp": mlp, "convnet": convnet}[name](source)
    samples = np.random.default_rng(1).standard_normal((8, 1, *shape)).astype("float32")

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.batches = iter([{"x": sample} for sample in samples])

        def get_next(self) -> dict[str, Any] | None:
            return next(self.batches, None)

    quantize_static(
        source,
        target,
        Reader(),
        quant_format=QuantFormat.QDQ,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        per_channel=True,
    )
    return source, target, shape
