"""Weights of 4 or 8 bits in blocks as `weight_only` makes them, with the codes chosen by GPTQ on calibration samples."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from weighbridge.contracts import STEPS, Context, Model, Promise, Step
from weighbridge.core.codes import unpack_codes
from weighbridge.core.errors import StageError
from weighbridge.formats.onnx_file import write_onnx
from weighbridge.formats.onnx_weights import stored_tensors
from weighbridge.steps.onnx_answers import heard
from weighbridge.steps.quantize.gptq import rounded_together
from weighbridge.steps.quantize.onnx_preparation import DYNAMIC_WAYS, Prepared
from weighbridge.steps.quantize.onnx_steps import Mode, quantized
from weighbridge.steps.quantize.onnx_weight_only import KINDS, Blocks, WeightOnlyOptions
from weighbridge.steps.quantize.onnx_weight_only import scheme as block_scheme

if TYPE_CHECKING:
    from weighbridge.contracts import Array, Quantization

_ROOM = 2**30
"""Bytes of second moments that are gathered in one reading of the samples."""


class GptqOptions(WeightOnlyOptions):
    samples: int = Field(128, ge=1, description="At most so many samples of the calibration split.")
    damping: float = Field(
        0.01, gt=0, description="Added to the inputs' second moments, as a share of their mean."
    )


@dataclass(frozen=True)
class _Gptq:
    """What `weight_only` writes, with other codes."""

    options: GptqOptions
    context: Context

    def fit(self, prepared: Prepared) -> dict[str, str]:
        return Blocks(self.options).fit(prepared)

    def write(self, source: Path, target: Path, nodes: Sequence[str]) -> None:
        import onnx

        Blocks(self.options).write(source, target, nodes)
        floats, model = onnx.load(source), onnx.load(target)
        read = {node.name: node.input for node in floats.graph.node}
        readers: dict[str, list[str]] = {}
        for node in model.graph.node:
            if node.op_type == "MatMulNBits":
                value, weight = read[node.name]
                readers.setdefault(weight, []).append(value)
        weights = {
            tensor.name: onnx.numpy_helper.to_array(tensor)
            for tensor in floats.graph.initializer
            if tensor.name in readers
        }
        sizes = {name: len(weights[name]) for name in readers}
        made = {tensor.name: tensor.quantization for tensor in stored_tensors(model)}
        held = {tensor.name: tensor for tensor in model.graph.initializer}
        for some in _parts(sizes):
            for name, moments in self._moments(floats, {each: readers[each] for each in some}, sizes).items():
                codes = self._codes(weights[name], moments, made[name])
                _keep(held[f"{name}_quantized"], codes, self.options.bits)
        write_onnx(model, target)

    def _codes(self, weights: Array, moments: Array, grid: Quantization | None) -> Array:
        """Codes, [outputs, inputs], of weights, [inputs, outputs], on the grid of their blocks."""
        assert grid is not None
        scale, zero = (
            each.repeat(self.options.block_size, axis=1)[:, : len(weights)]
            for each in (grid.scale, grid.zero_point)
        )
        highest = 2**self.options.bits - 1
        return rounded_together(weights.T, moments, scale, zero, highest, self.options.damping)

    def _moments(
        self, floats: Any, values: Mapping[str, Sequence[str]], sizes: Mapping[str, int]
    ) -> dict[str, Array]:
        """The second moments of the inputs of each weight, [inputs, inputs], over all that read it."""
        import numpy as np

        total: dict[str, Array] = {name: np.zeros((sizes[name], sizes[name])) for name in values}
        names = list(dict.fromkeys(value for some in values.values() for value in some))
        for seen in heard(floats, names, self.context, self.options.samples):
            for name, some in values.items():
                for value in some:
                    rows = seen[value].reshape(-1, sizes[name]).astype(np.float64)
                    if not np.isfinite(rows).all():
                        raise StageError(
                            "quantize",
                            f"what {name} is multiplied with holds NaN or infinity on calibration samples; leave it to `exclude`",
                        )
                    total[name] += rows.T @ rows
        return total


def _parts(sizes: Mapping[str, int]) -> Iterator[list[str]]:
    """The weights, some at a time, whose moments take no more than `_ROOM`, or one."""
    part: list[str] = []
    taken = 0
    for name, size in sizes.items():
        if part and taken + 8 * size**2 > _ROOM:
            yield part
            part, taken = [], 0
        part.append(name)
        taken += 8 * size**2
    if part:
        yield part


def _keep(tensor: Any, codes: Array, bits: int) -> None:
    """Write codes, [outputs, inputs], over those of a MatMulNBits weight, [outputs, blocks, bytes], low bits first."""
    import numpy as np
    import onnx

    packed = onnx.numpy_helper.to_array(tensor)
    every = unpack_codes(packed.reshape(len(packed), -1), bits).astype(np.uint8)
    every[:, : codes.shape[1]] = codes
    each = 8 // bits
    shifts = (np.arange(each) * bits).astype(np.uint8)
    data = (every.reshape(-1, each) << shifts).sum(1, dtype=np.uint8)
    tensor.CopyFrom(onnx.numpy_helper.from_array(data.reshape(packed.shape), tensor.name))


def gptq(model: Model, options: GptqOptions, context: Context) -> Model:
    """Weights of 4 or 8 bits in blocks, activations in float. Raises `StageError`, see `onnx_steps.quantized`."""
    mode = Mode("gptq", DYNAMIC_WAYS, frozenset(KINDS), KINDS)
    return quantized(mode, model, options, context, _Gptq(options, context))


def scheme(options: GptqOptions) -> Promise:
    return replace(block_scheme(options), within=1.0)


STEPS.add(
    "quantize:gptq@onnxruntime",
    Step(
        "quantize",
        "gptq",
        ("onnx",),
        GptqOptions,
        gptq,
        engine="onnxruntime",
        must="quantize",
        opens=True,
        splits=("calibration",),
        scheme=scheme,
    ),
)
