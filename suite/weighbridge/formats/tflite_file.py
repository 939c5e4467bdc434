"""Reading a `.tflite` flatbuffer without running it: weights as stored, operators, custom operators by name.

The schema is TensorFlow Lite's own (`schema.fbs`), in the Python classes that ai-edge-litert generates from
it. Flatbuffers does not verify what it reads, so every length is checked here and a damaged file is a
`StageError`.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from weighbridge.contracts import Quantization, StoredTensor
from weighbridge.core.codes import is_reduced_float
from weighbridge.core.errors import StageError
from weighbridge.environment.extras import LITERT, load
from weighbridge.formats.reduced_floats import reduced_float
from weighbridge.formats.tflite_sparse import densify
from weighbridge.formats.tflite_types import TYPES, product, unpack
from weighbridge.formats.tflite_use import layer_of, use_of

if TYPE_CHECKING:
    from weighbridge.contracts import Array

IDENTIFIER = b"TFL3"

_CUSTOM = 32
_BLOCKWISE = 2


@dataclass(frozen=True)
class Signature:
    """The names by which the graph that is run is called: of its tensors, in the order of the graph."""

    key: str
    inputs: dict[int, str]
    outputs: dict[int, str]


class TFLiteFile:
    """A parsed `.tflite`. Raises `StageError` where the bytes are not one, `Unavailable` without
    ai-edge-litert.
    """

    def __init__(self, content: bytes, name: str = "the model") -> None:
        self.content, self.name = content, name
        self._schema = _schema()
        if content[4:8] != IDENTIFIER:
            raise StageError(
                "load", f"{name} is not a .tflite file: it lacks the identifier {IDENTIFIER.decode()}"
            )
        try:
            self._model = self._schema.Model.GetRootAs(content, 0)
            self._graphs = [self._model.Subgraphs(i) for i in range(self._model.SubgraphsLength())]
            self._codes = [self._code(i) for i in range(self._model.OperatorCodesLength())]
        except _DAMAGE as error:
            raise self._damaged(error) from error

    def operators(self) -> dict[str, int]:
        """Operator name -> how often it occurs, over all subgraphs; a custom one is `CUSTOM:name`."""
        try:
            return dict(Counter(name for graph in self._graphs for name, _ in self._operators(graph)))
        except _DAMAGE as error:
            raise self._damaged(error) from error

    def inputs(self) -> dict[str, tuple[tuple[int, ...], str]]:
        """Name -> shape (-1 for an open size) and dtype of each input of the graph that is run.

        The names are the signature's where there is one.
        """
        signature = self.signature()
        return self._ends("Inputs", signature.inputs if signature else {})

    def outputs(self) -> dict[str, tuple[tuple[int, ...], str]]:
        """Name -> shape (-1 for an open size) and dtype of each output, as of `inputs`."""
        signature = self.signature()
        return self._ends("Outputs", signature.outputs if signature else {})

    def signature(self, stated: str | None = None) -> Signature | None:
        """Of the graph that is run, the `stated` one or the first; None where it has none."""
        try:
            for index in range(self._model.SignatureDefsLength()):
                entry = self._model.SignatureDefs(index)
                if entry.SubgraphIndex() == 0:
                    key = (entry.SignatureKey() or b"").decode(errors="replace")
                    if stated not in (None, key):
                        continue
                    return Signature(key, self._named(entry, "Inputs"), self._named(entry, "Outputs"))
        except _DAMAGE as error:
            raise self._damaged(error) from error
        return None

    def signatures(self) -> dict[str, int]:
        """The graph that each signature runs, by the signature's name."""
        try:
            found = [self._model.SignatureDefs(i) for i in range(self._model.SignatureDefsLength())]
            return {
                (one.SignatureKey() or b"").decode(errors="replace"): one.SubgraphIndex() for one in found
            }
        except _DAMAGE as error:
            raise self._damaged(error) from error

    def takes_codes(self) -> bool:
        """Whether an input is quantized."""
        graph = self._graphs[0]
        try:
            tensors = [graph.Tensors(graph.Inputs(position)) for position in range(graph.InputsLength())]
            return any(self._is_quantized(graph, tensor) for tensor in tensors)
        except _DAMAGE as error:
            raise self._damaged(error) from error

    def as_fed(self) -> dict[str, str]:
        """Name -> dtype of what each input is given: a quantized one takes float32, which the engine scales."""
        try:
            graph = self._graphs[0]
            found = {}
            for position, (name, (_, dtype)) in enumerate(self.inputs().items()):
                quantized = self._is_quantized(graph, graph.Tensors(graph.Inputs(position)))
                found[name] = "float32" if quantized else dtype
            return found
        except _DAMAGE as error:
            raise self._damaged(error) from error

    def _ends(self, side: str, names: dict[int, str]) -> dict[str, tuple[tuple[int, ...], str]]:
        try:
            graph = self._graphs[0]
            found = {}
            for position in range(getattr(graph, f"{side}Length")()):
                index = getattr(graph, side)(position)
                tensor = graph.Tensors(index)
                name = names.get(index) or tensor.Name().decode(errors="replace")
                found[name] = (_signature(tensor), TYPES[tensor.Type()][0])
            return found
        except _DAMAGE as error:
            raise self._damaged(error) from error

    def _named(self, entry: Any, side: str) -> dict[int, str]:
        """Tensor -> name, in the order of the graph."""
        entries = [getattr(entry, side)(position) for position in range(getattr(entry, f"{side}Length")())]
        names = {one.TensorIndex(): one.Name().decode(errors="replace") for one in entries}
        graph = self._graphs[0]
        tensors = [getattr(graph, side)(position) for position in range(getattr(graph, f"{side}Length")())]
        return {index: names[index] for index in tensors if index in names}

    def _is_quantized(self, graph: Any, tensor: Any) -> bool:
        dtype, _, bits = TYPES[tensor.Type()]
        return self._quantization(graph, tensor, bits, dtype, "input") is not None

    def tensors(self) -> Iterator[StoredTensor]:
        """Every constant that an operator computes with: floats and quantized integers.

        Shapes, axes and permutations (unquantized integers) are no weights. A buffer that several tensors
        share is given once.
        """
        seen: set[int] = set()
        for graph in self._graphs:
            try:
                consumers = self._consumers(graph)
                scales = self._scale_tensors(graph)
                for index in range(graph.TensorsLength()):
                    tensor = graph.Tensors(index)
                    if index in scales or tensor.Buffer() in seen:
                        continue
                    stored = self._stored(graph, tensor, consumers.get(index, ("", 0)))
                    if stored is not None:
                        seen.add(tensor.Buffer())
                        yield stored
            except _DAMAGE as error:
                raise self._damaged(error) from error

    def other_buffers(self) -> tuple[int, int, int]:
        """Bytes of metadata, of buffers that nothing refers to, and of all that tensors refer to."""
        metadata = {self._model.Metadata(i).Buffer() for i in range(self._model.MetadataLength())}
        used = {graph.Tensors(i).Buffer() for graph in self._graphs for i in range(graph.TensorsLength())}
        idle = set(range(self._model.BuffersLength())) - metadata - used
        told, spare, tensors = (
            sum(int(self._buffer(i).nbytes) for i in part) for part in (metadata, idle, used)
        )
        return told, spare, tensors

    def _stored(self, graph: Any, tensor: Any, reader: tuple[str, int]) -> StoredTensor | None:
        data = self._buffer(tensor.Buffer())
        kind = TYPES.get(tensor.Type())
        if data.size == 0 or kind is None:
            return None
        dtype, storage, bits = kind
        name = tensor.Name().decode(errors="replace")
        shape = tuple(int(tensor.Shape(axis)) for axis in range(tensor.ShapeLength()))
        sparsity = tensor.Sparsity()
        quantization = self._quantization(graph, tensor, bits, dtype, name)
        if quantization is None and not dtype.startswith(("float", "bfloat")):
            return None
        spent = int(data.nbytes)
        if sparsity is None:
            numbers = unpack(data, storage, bits, product(shape), name).reshape(shape)
        else:
            zero = 0 if quantization is None else int(quantization.zero_point.reshape(-1)[0])
            numbers, index_bytes = densify(
                self._schema, sparsity, unpack(data, storage, bits, None, name), shape, zero
            )
            spent += index_bytes
        return StoredTensor(
            name=name, array=numbers, dtype=dtype, stored_bytes=spent, quantization=quantization, layer=layer_of(name),
            operator=reader[0], use=use_of(*reader),
        )  # fmt: skip

    def _quantization(self, graph: Any, tensor: Any, bits: int, dtype: str, name: str) -> Quantization | None:
        import numpy as np

        if is_reduced_float(dtype):
            return reduced_float(dtype, bits)
        parameters = tensor.Quantization()
        if parameters is None:
            return None
        if parameters.DetailsType() == _BLOCKWISE:
            return self._blockwise(graph, parameters, bits, tensor)
        if parameters.DetailsType():
            raise StageError(
                "load",
                f"{self.name}: tensor '{name}' has a quantization scheme that this reader does not know",
            )
        if not parameters.ScaleLength():
            return None
        scale = np.array(parameters.ScaleAsNumpy(), dtype=np.float32)
        zero_point = np.zeros(len(scale), np.int64)
        if parameters.ZeroPointLength():
            zero_point = zero_point + np.asarray(parameters.ZeroPointAsNumpy(), dtype=np.int64)
        if len(scale) == 1:
            return Quantization(bits, scale.reshape(()), zero_point.reshape(()))
        axis = int(parameters.QuantizedDimension())
        if axis >= tensor.ShapeLength() or tensor.Shape(axis) != len(scale):
            raise ValueError(f"tensor '{name}' has {len(scale)} scales along axis {axis}")
        return Quantization(bits, scale, zero_point, axis=axis)

    def _blockwise(self, graph: Any, parameters: Any, bits: int, tensor: Any) -> Quantization:
        """Scales of shape [rows, groups], kept in a tensor of their own; groups run along the last axis."""
        import numpy as np

        block = self._block(parameters)
        columns = int(tensor.Shape(tensor.ShapeLength() - 1))
        scale = self._parameter(graph, block.Scales()).astype(np.float32)
        groups = columns // max(block.BlockSize(), 1)
        shape = (*(int(tensor.Shape(axis)) for axis in range(tensor.ShapeLength() - 1)), groups)
        scale = scale.reshape(shape)
        zero_point = np.zeros(shape, np.int64)
        if block.ZeroPoints() > 0:
            zero_point = self._parameter(graph, block.ZeroPoints()).astype(np.int64).reshape(shape)
        return Quantization(
            bits, scale, zero_point, axis=tensor.ShapeLength() - 1, group_size=block.BlockSize()
        )

    def _block(self, parameters: Any) -> Any:
        block = self._schema.BlockwiseQuantization()
        block.Init(parameters.Details().Bytes, parameters.Details().Pos)
        return block

    def _parameter(self, graph: Any, index: int) -> Array:
        tensor = graph.Tensors(index)
        _, storage, bits = TYPES[tensor.Type()]
        return unpack(self._buffer(tensor.Buffer()), storage, bits, None, "scales")

    def _scale_tensors(self, graph: Any) -> set[int]:
        """Tensors that hold the scales and zero points of blockwise quantized ones: overhead, not weights."""
        found: set[int] = set()
        for index in range(graph.TensorsLength()):
            parameters = graph.Tensors(index).Quantization()
            if parameters is not None and parameters.DetailsType() == _BLOCKWISE:
                block = self._block(parameters)
                found |= {position for position in (block.Scales(), block.ZeroPoints()) if position > 0}
        return found

    def _consumers(self, graph: Any) -> dict[int, tuple[str, int]]:
        """Tensor -> the operator that reads it and as which input, seen through the DEQUANTIZE that stands before a float
        kernel.
        """
        consumers: dict[int, tuple[str, int]] = {}
        through: dict[int, int] = {}
        for name, operator in self._operators(graph):
            for position in range(operator.InputsLength()):
                consumers.setdefault(operator.Inputs(position), (name, position))
            if name == "DEQUANTIZE" and operator.OutputsLength():
                through[operator.Inputs(0)] = operator.Outputs(0)
        seen = {source: consumers.get(target, ("DEQUANTIZE", 0)) for source, target in through.items()}
        return consumers | seen

    def _operators(self, graph: Any) -> Iterator[tuple[str, Any]]:
        for index in range(graph.OperatorsLength()):
            operator = graph.Operators(index)
            yield self._codes[operator.OpcodeIndex()], operator

    def _code(self, index: int) -> str:
        entry = self._model.OperatorCodes(index)
        # Files written before 2020 have the code in the deprecated byte only.
        code = max(entry.BuiltinCode(), entry.DeprecatedBuiltinCode())
        if code == _CUSTOM:
            return f"CUSTOM:{(entry.CustomCode() or b'').decode(errors='replace')}"
        return _names(self._schema).get(code, f"operator {code}")

    def _buffer(self, index: int) -> Array:
        """The bytes of a buffer: inside the flatbuffer, or behind it (as in files above 2 GB)."""
        import numpy as np

        if not 0 <= index < self._model.BuffersLength():
            raise IndexError(f"buffer {index} of {self._model.BuffersLength()}")
        buffer = self._model.Buffers(index)
        if buffer.Offset() > 1:
            if buffer.Offset() + buffer.Size() > len(self.content):
                raise IndexError(f"buffer {index} ends behind the file")
            return np.frombuffer(self.content, np.uint8, buffer.Size(), buffer.Offset())
        return np.zeros(0, np.uint8) if buffer.DataIsNone() else np.asarray(buffer.DataAsNumpy())

    def _damaged(self, error: Exception) -> StageError:
        return StageError("load", f"{self.name} is damaged or cut short: {error}")


# What reading outside a buffer raises; flatbuffers itself raises TypeError for an offset that is no table's, and
# a table that the schema demands is None where it is absent.
_DAMAGE = (
    AttributeError,
    struct.error,
    IndexError,
    ValueError,
    TypeError,
    KeyError,
    OverflowError,
    UnicodeError,
    MemoryError,
)


def _signature(tensor: Any) -> tuple[int, ...]:
    count = tensor.ShapeSignatureLength()
    sizes = tensor.ShapeSignature if count else tensor.Shape
    return tuple(int(sizes(axis)) for axis in range(count or tensor.ShapeLength()))


def operator_names() -> Collection[str]:
    """Of every operator that the schema has; raises `Unavailable` without LiteRT."""
    return _names(_schema()).values()


def _names(schema: Any) -> dict[int, str]:
    return {code: name for name, code in vars(schema.BuiltinOperator).items() if not name.startswith("_")}


def _schema() -> Any:
    return load(LITERT, "ai_edge_litert.schema_py_generated")
