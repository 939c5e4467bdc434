"""A small ONNX network, built by hand, whose every property a test can spoil by itself.

Two int8 matrices side by side, a smaller third, and a float head; 32 inputs, 4 outputs.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Array = NDArray[Any]

DATA = """
import numpy as np

def splits():
    kept = np.load(__file__.replace("data.py", "data.npz"))
    return {"test": (kept["inputs"], kept["targets"])}
"""


class Network:
    """`spoil` names one property to get wrong."""

    def __init__(self, spoil: str = "") -> None:
        self.spoil = spoil
        self.nodes: list[onnx.NodeProto] = []
        self.stored: list[onnx.TensorProto] = []

    def model(self) -> onnx.ModelProto:
        widths = (4, 60) if self.spoil == "largest_tensor" else (32, 32)
        parts = [
            self._quantized("first", 0, widths[0]),
            self._quantized("second", widths[0], widths[1]),
            self._quantized("third", 64, 4, "" if self.spoil == "quantized" else self.spoil),
        ]
        self._node("Concat", parts, "wide", axis=1)
        if self.spoil == "operators":
            self._node("LeakyRelu", ["wide"], "hidden", alpha=0.0)
        else:
            self._node("Relu", ["wide"], "hidden")
        head = weights("head", (68, 4)) * (-1 if self.spoil == "accuracy" else 1)
        bias = np.zeros(4, np.float64 if self.spoil == "dtypes" else np.float32)
        self._node("Gemm", ["hidden", self._store("head.weight", head)], "scores")
        if self.spoil == "dtypes":
            self._node("Cast", [self._store("head.bias", bias)], "bias", to=TensorProto.FLOAT)
        else:
            self._store("bias", bias)
        self._node("Add", ["scores", "bias"], "output")
        if self.spoil == "parameters":
            self._store("unused", np.zeros(64, np.float32))
        if self.spoil == "domains":
            next(node for node in self.nodes if node.op_type == "DequantizeLinear").domain = "com.microsoft"
        graph = helper.make_graph(
            self.nodes,
            "net",
            [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["N", 32])],
            [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["N", 4])],
            self.stored,
        )
        opsets = [helper.make_opsetid("", 19 if self.spoil == "opset" else 17)]
        opsets += [helper.make_opsetid("com.microsoft", 1)] if self.spoil == "domains" else []
        note = "a" * (20_000 if self.spoil == "size" else 8_000)
        if self.spoil == "gzip_size":
            note = "".join(map(chr, np.random.default_rng(1).integers(33, 127, 8_000)))
        return helper.make_model(graph, opset_imports=opsets, ir_version=9, doc_string=note)

    def _node(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def _store(self, name: str, array: Array) -> str:
        self.stored.append(numpy_helper.from_array(array, name))
        return name

    def _quantized(self, name: str, start: int, width: int, spoil: str = "") -> str:
        """x @ codes * scale: int8 with a scale a column, symmetric, half of them zero."""
        matrix = weights("body", (32, 68))[:, start : start + width]
        gap = 0.03 if self.spoil == "nonzero" else 0
        matrix = np.where(np.indices(matrix.shape).sum(0) % 2, matrix, gap).astype(np.float32)
        if self.spoil == "quantized" and name == "third":
            return self._node("MatMul", ["input", self._store(f"{name}.weight", matrix)], f"{name}.out")
        each = None if spoil == "granularity" else 0
        scale = np.asarray(np.abs(matrix).max(axis=each) / 100 + 1e-6, np.float32)
        zero = np.full(scale.shape, 5 if spoil == "symmetric" else 0, np.int8)
        codes = np.clip(np.round(matrix / scale) + zero, -128, 127).astype(np.int8)
        inputs = [
            self._store(f"{name}.weight_quantized", codes),
            self._store(f"{name}.scale", scale),
            self._store(f"{name}.zero", zero),
        ]
        attributes = {} if spoil == "granularity" else {"axis": 1}
        self._node("DequantizeLinear", inputs, f"{name}.weight", **attributes)
        return self._node("MatMul", ["input", f"{name}.weight"], f"{name}.out")


def weights(name: str, shape: tuple[int, ...]) -> Array:
    """The same normal numbers for a name each time, none of them zero."""
    drawn = np.random.default_rng(len(name)).standard_normal(shape)
    return np.where(drawn == 0, 1, drawn).astype(np.float32)


def write(folder: Path, spoil: str = "", name: str = "net.onnx") -> Path:
    """The network as a file, spoiled in one way."""
    path = folder / name
    onnx.save(Network(spoil).model(), path)
    return path


def write_data(folder: Path) -> None:
    """`data.py:splits`: 200 samples with the unspoiled network's answers as their targets."""
    import onnxruntime

    session = onnxruntime.InferenceSession(Network().model().SerializeToString())
    inputs = np.random.default_rng(0).standard_normal((200, 32)).astype(np.float32)
    targets = session.run(None, {"input": inputs})[0].argmax(1)
    np.savez(folder / "data.npz", inputs=inputs, targets=targets)
    (folder / "data.py").write_text(DATA)


def budget(folder: Path, lines: Mapping[str, object], extra: str = "", name: str = "budget.yaml") -> Path:
    """A budget with these thresholds."""
    path = folder / name
    path.write_text(extra + "thresholds:\n" + "".join(f"  {key}: {value}\n" for key, value in lines.items()))
    return path
