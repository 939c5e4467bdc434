"""A `.tflite` with one operator at a time as its quantized twin has it: what that layer alone does to the outputs.

Operators are the same where they give tensors of the same names. Where the twin's operator takes or gives codes, they are
made of floats in front of it, and floats again behind.
"""

from __future__ import annotations

import copy
import math
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weighbridge.contracts import Mixed
from weighbridge.core.errors import StageError
from weighbridge.core.results import Artifact
from weighbridge.engines.litert import LiteRTSession
from weighbridge.environment.extras import LITERT, load

if TYPE_CHECKING:
    from weighbridge.engines.litert import LiteRTOptions

_QUANTIZE, _DEQUANTIZE, _VERSION = 114, 6, 3
"""Builtin codes, and a version of both that knows int16 and one scale a channel."""
_MOVES = (
    "RELU", "RELU6", "MAX_POOL_2D", "RESHAPE", "TRANSPOSE", "SQUEEZE", "EXPAND_DIMS", "SLICE", "STRIDED_SLICE", "SPLIT",
    "GATHER", "PAD", "PADV2", "PACK", "UNPACK", "CAST", "QUANTIZE", "DEQUANTIZE",
)  # fmt: skip
"""Operators without arithmetic of their own, where they hold no weights."""


def mixed(original: Artifact, candidate: Artifact, options: LiteRTOptions) -> Iterator[Mixed]:
    """See `contracts.Engine.mixed`. Operators that the two files do not name alike are left out."""
    content, twin = original.path.read_bytes(), _File(candidate.path.read_bytes())
    floats = _File(content)
    for at, here in enumerate(floats.operators):
        there = twin.made_by.get(floats.outputs(here))
        if there is None or not _quantized(floats, here, twin, there):
            continue
        weights = [floats.name(index) for index in here.inputs if floats.is_weight(index)]
        kind = floats.kind(here)
        if not weights and kind in _MOVES:
            continue
        changed = _transplanted(_File(content), at, twin, there)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "mixed.tflite"
            path.write_bytes(changed)
            try:
                session = LiteRTSession(Artifact("tflite", path, (path,), original.source), options)
            except StageError:  # no kernel takes this operator so
                continue
            yield Mixed(weights[0] if len(weights) == 1 else floats.outputs(here)[0], kind, session)


class _File:
    """The first graph of a file, which can be changed."""

    def __init__(self, content: bytes) -> None:
        self.schema = load(LITERT, "ai_edge_litert.schema_py_generated")
        self.model = self.schema.ModelT.InitFromObj(self.schema.Model.GetRootAs(content))
        self.graph = self.model.subgraphs[0]
        self.operators = list(self.graph.operators)
        self.made_by = {self.outputs(operator): operator for operator in self.operators}

    def name(self, index: int) -> str:
        name = self.graph.tensors[index].name
        return name.decode(errors="replace") if isinstance(name, bytes) else str(name)

    def outputs(self, operator: Any) -> tuple[str, ...]:
        return tuple(self.name(index) for index in operator.outputs)

    def kind(self, operator: Any) -> str:
        code = self.model.operatorCodes[operator.opcodeIndex]
        wanted = max(code.builtinCode, code.deprecatedBuiltinCode)
        builtin = vars(self.schema.BuiltinOperator)
        return next((name for name, value in builtin.items() if value == wanted), "CUSTOM")

    def data(self, index: int) -> Any:
        """The stored bytes of a tensor; None of an activation."""
        if index < 0:
            return None
        found = self.model.buffers[self.graph.tensors[index].buffer].data
        return found if found is not None and len(found) else None

    def scaled(self, index: int) -> Any:
        """The DEQUANTIZE that makes this tensor of stored codes, as weight-only files have it; None for any other."""
        return next(
            (
                operator
                for operator in self.operators
                if index in operator.outputs
                and self.kind(operator) == "DEQUANTIZE"
                and self.data(operator.inputs[0]) is not None
            ),
            None,
        )

    def is_weight(self, index: int) -> bool:
        if self.data(index) is None:
            return False
        shape = [int(size) for size in self.graph.tensors[index].shape]
        return len(shape) > 1 and math.prod(shape) > 1

    def add_code(self, code: Any) -> int:
        self.model.operatorCodes.append(code)
        return len(self.model.operatorCodes) - 1

    def add_tensor(self, tensor: Any, data: Any = None) -> int:
        added = copy.deepcopy(tensor)
        added.buffer = 0
        if data is not None:
            buffer = self.schema.BufferT()
            buffer.data = data
            self.model.buffers.append(buffer)
            added.buffer = len(self.model.buffers) - 1
        self.graph.tensors.append(added)
        return len(self.graph.tensors) - 1

    def content(self) -> bytes:
        import flatbuffers

        builder = flatbuffers.Builder(0)
        builder.Finish(self.model.Pack(builder), b"TFL3")
        return bytes(builder.Output())


def _quantized(floats: _File, here: Any, twin: _File, there: Any) -> bool:
    """Whether both are the same operator, in the twin with codes or other weights."""
    if floats.kind(here) != twin.kind(there) or len(here.inputs) != len(there.inputs):
        return False
    changed = False
    for one, other in zip((*here.inputs, *here.outputs), (*there.inputs, *there.outputs), strict=True):
        if one >= 0 and floats.data(one) is not None and twin.scaled(other):
            changed = True
            continue
        if (one < 0) != (other < 0) or (floats.data(one) is None) != (twin.data(other) is None):
            return False
        if one < 0:
            continue
        mine, theirs = floats.graph.tensors[one], twin.graph.tensors[other]
        if list(mine.shape) != list(theirs.shape) or (theirs.quantization and theirs.quantization.details):
            return False  # blockwise scales are a tensor of their own
        stored = floats.data(one)
        changed |= mine.type != theirs.type
        changed |= stored is not None and bytes(stored) != bytes(twin.data(other))
    return changed


def _transplanted(file: _File, at: int, twin: _File, there: Any) -> bytes:
    """`file` with its operator number `at` as the twin has it."""
    here = file.operators[at]
    operator = copy.deepcopy(there)
    operator.opcodeIndex = file.add_code(copy.deepcopy(twin.model.operatorCodes[there.opcodeIndex]))
    before, behind = [], []
    inputs, outputs = [], []
    for mine, theirs in zip(here.inputs, there.inputs, strict=True):
        if theirs < 0:
            inputs.append(-1)
            continue
        tensor, data, scaled = twin.graph.tensors[theirs], twin.data(theirs), twin.scaled(theirs)
        if scaled:
            codes = scaled.inputs[0]
            inputs.append(file.add_tensor(tensor))
            stored = file.add_tensor(twin.graph.tensors[codes], twin.data(codes))
            before.append(_scaling(file, _DEQUANTIZE, stored, inputs[-1]))
        elif data is not None:
            inputs.append(file.add_tensor(tensor, data))
        elif tensor.type == file.graph.tensors[mine].type:
            inputs.append(mine)
        else:
            inputs.append(file.add_tensor(tensor))
            before.append(_scaling(file, _QUANTIZE, mine, inputs[-1]))
    for mine, theirs in zip(here.outputs, there.outputs, strict=True):
        tensor = twin.graph.tensors[theirs]
        if tensor.type == file.graph.tensors[mine].type:
            outputs.append(mine)
        else:
            outputs.append(file.add_tensor(tensor))
            behind.append(_scaling(file, _DEQUANTIZE, outputs[-1], mine))
    operator.inputs, operator.outputs = inputs, outputs
    file.graph.operators[at : at + 1] = [*before, operator, *behind]
    return file.content()


def _scaling(file: _File, builtin: int, source: int, target: int) -> Any:
    code = file.schema.OperatorCodeT()
    code.builtinCode, code.deprecatedBuiltinCode, code.version = builtin, builtin, _VERSION
    operator = file.schema.OperatorT()
    operator.opcodeIndex, operator.inputs, operator.outputs = file.add_code(code), [source], [target]
    return operator
