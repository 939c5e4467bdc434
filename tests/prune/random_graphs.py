"""Random small networks as ONNX graphs: convolutions with everything between them that channels are followed through."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from tests.found.onnx_graphs import model, node

from weighbridge.contracts import Model

Value = tuple[str, int, int]
"""Name, channels, and the side of the image."""
SIDE = 8


class Network:
    """A graph of input [n, 3, 8, 8] and output [n, 4], drawn by `seed`."""

    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        self.nodes: list[Any] = []
        self.stored: dict[str, Any] = {}
        self.values: list[Value] = [("x", 3, SIDE)]
        parts: list[Callable[[Value], Value]] = [
            self.convolution, self.convolution, self.transposed, self.in_groups, self.activation, self.normalization,
            self.pooling, self.pair, self.pair, self.depthwise, self.excitation, self.operand, self.concat, self.channels_last,
        ]  # fmt: skip
        for part in self.random.choice(np.array(parts, object), int(self.random.integers(3, 12))):
            self.values.append(part(self.values[-1]))
        self.head(self.values[-1])

    def graph(self) -> Model:
        return model(self.nodes, self.stored, ["n", 3, SIDE, SIDE])

    def add(self, kind: str, *inputs: str, **attributes: Any) -> str:
        output = f"v{len(self.nodes)}"
        self.nodes.append(node(kind, " ".join(inputs), output, f"{kind}_{output}", **attributes))
        return output

    def store(self, array: Any) -> str:
        name = f"w{len(self.stored)}"
        self.stored[name] = array
        return name

    def weight(self, *shape: int) -> str:
        scale = 1 / np.sqrt(max(1, np.prod(shape[1:])))
        return self.store((self.random.standard_normal(shape) * scale).astype(np.float32))

    def pick(self, *choices: Any) -> Any:
        return choices[self.random.integers(len(choices))]

    def convolution(self, last: Value) -> Value:
        name, channels, side = last
        outputs, kernel = self.pick(8, 16, 24, 32), self.pick(1, 3)
        bias = self.pick([], [self.weight(outputs)])
        weight = self.weight(outputs, channels, kernel, kernel)
        return self.add("Conv", name, weight, *bias, pads=[kernel // 2] * 4), outputs, side

    def transposed(self, last: Value) -> Value:
        name, channels, side = last
        outputs = self.pick(8, 16)
        return (
            self.add("ConvTranspose", name, self.weight(channels, outputs, 3, 3), pads=[1] * 4),
            outputs,
            side,
        )

    def in_groups(self, last: Value) -> Value:
        name, channels, side = last
        if channels % 4:
            return last
        return self.add("Conv", name, self.weight(channels, channels // 4, 1, 1), group=4), channels, side

    def depthwise(self, last: Value) -> Value:
        name, channels, side = last
        return (
            self.add("Conv", name, self.weight(channels, 1, 3, 3), group=channels, pads=[1] * 4),
            channels,
            side,
        )

    def activation(self, last: Value) -> Value:
        kind = self.pick("Relu", "Sigmoid", "Tanh", "HardSwish", "LeakyRelu", "Softplus", "Identity")
        return self.add(kind, last[0]), *last[1:]

    def normalization(self, last: Value) -> Value:
        kind, vectors = self.pick(("BatchNormalization", 4), ("InstanceNormalization", 2))
        if kind == "InstanceNormalization" and last[2] == 1:
            return last
        stored = [self.store(self.random.uniform(0.5, 2, last[1]).astype(np.float32)) for _ in range(vectors)]
        return self.add(kind, last[0], *stored), *last[1:]

    def pooling(self, last: Value) -> Value:
        if last[2] < 4:
            return last
        pooled = self.add(self.pick("MaxPool", "AveragePool"), last[0], kernel_shape=[2, 2], strides=[2, 2])
        return pooled, last[1], last[2] // 2

    def pair(self, last: Value) -> Value:
        other = self.pick(*(value for value in self.values if value[1:] == last[1:]))
        return self.add(
            self.pick("Add", "Mul", "Sub"), *self.pick((last[0], other[0]), (other[0], last[0]))
        ), *last[1:]

    def concat(self, last: Value) -> Value:
        other = self.pick(*(value for value in self.values if value[2] == last[2]))
        return self.add("Concat", last[0], other[0], axis=1), last[1] + other[1], last[2]

    def excitation(self, last: Value) -> Value:
        name, channels, side = last
        down = self.add("Conv", self.add("GlobalAveragePool", name), self.weight(8, channels, 1, 1))
        up = self.add("Conv", self.add("Relu", down), self.weight(channels, 8, 1, 1))
        return self.add("Mul", name, self.add("Sigmoid", up)), channels, side

    def operand(self, last: Value) -> Value:
        name, channels, side = last
        stored = self.weight(*self.pick((1, channels, 1, 1), (channels, 1, 1), (1,), (1, 1, side, side)))
        return (
            self.add(self.pick("Add", "Mul", "Sub"), *self.pick((name, stored), (stored, name))),
            channels,
            side,
        )

    def channels_last(self, last: Value) -> Value:
        name, channels, side = last
        outputs = self.pick(8, 16)
        product = self.add(
            "MatMul", self.add("Transpose", name, perm=[0, 2, 3, 1]), self.weight(channels, outputs)
        )
        biased = self.add("Add", self.weight(outputs), product)
        return self.add("Transpose", biased, perm=[0, 3, 1, 2]), outputs, side

    def head(self, last: Value) -> None:
        name, channels, side = last
        flat, inputs = self.pick(
            lambda: (self.add("Flatten", name), channels * side**2),
            lambda: (
                self.add("Reshape", name, self.store(np.array([self.pick(-1, 0), channels * side**2]))),
                channels * side**2,
            ),
            lambda: (self.add("ReduceMean", name, axes=[2, 3], keepdims=0), channels),
            lambda: (self.add("Flatten", self.add("GlobalMaxPool", name)), channels),
        )()
        for outputs in self.pick([], [16], [32, 16]):
            flat = self.add(
                "Relu", self.add("Gemm", flat, self.weight(outputs, inputs), self.weight(outputs), transB=1)
            )
            inputs = outputs
        self.nodes.append(node("MatMul", f"{flat} {self.weight(inputs, 4)}", "y", "head"))
