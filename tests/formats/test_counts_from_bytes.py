"""What is counted in the artifacts of the shipped cases, counted a second way: from the bytes of protobuf and flatbuffer."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from weighbridge.case.load import load_cases
from weighbridge.case.model import Case
from weighbridge.case.steps import path_between
from weighbridge.contracts import CONVERTERS, ENGINES, FORMATS, STEPS, Context
from weighbridge.core.data import Data, load_data
from weighbridge.core.results import Artifact
from weighbridge.environment.requirements import missing
from weighbridge.measure import nonzero, parameters

CASES = Path(__file__).parents[2] / "cases"
FILES = (
    pytest.param("digits/cnn", marks=pytest.mark.slow),
    "digits/mlp",
    pytest.param("three-engines/cnn", marks=pytest.mark.slow),
    pytest.param("orientation/network", marks=pytest.mark.slow),
    pytest.param("efficientnet/lite0", marks=pytest.mark.slow),
    pytest.param("mobile/torch", marks=pytest.mark.slow),
)
TRAINING = ("finetune", "prune")
"""Steps that take long, or change no place where a weight is kept."""


def fields(message: bytes) -> Iterator[tuple[int, Any]]:
    """(number, value) of each field of a protobuf message, by its wire format."""
    at = 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(message):
        tag = varint()
        number, kind = tag >> 3, tag & 7
        if kind == 0:
            yield number, varint()
        elif kind == 2:
            length = varint()
            yield number, message[at : at + length]
            at += length
        else:
            length = {1: 8, 5: 4}[kind]
            yield number, message[at : at + length]
            at += length


def every(message: bytes, *path: int) -> Iterator[bytes]:
    """The parts of a message that lie at a path of field numbers."""
    if not path:
        yield message
        return
    for number, value in fields(message):
        if number == path[0]:
            yield from every(value, *path[1:])


TYPES = {1: np.float32, 2: np.uint8, 3: np.int8, 6: np.int32, 10: np.float16, 11: np.float64}
"""TensorProto.DataType -> numpy, of what a weight can be; 64-bit integers are shapes and indices."""


def onnx_numbers(file: bytes) -> dict[str, Any]:
    """Name -> numbers of every initializer and Constant of the main graph that can be a weight."""
    found: dict[str, Any] = {}
    constants = [
        (next(every(node, 2)).decode(), tensor)
        for node in every(file, 7, 1)
        for tensor in every(node, 5, 5)
        if any(every(node, 2))
    ]
    for name, tensor in [(None, tensor) for tensor in every(file, 7, 5)] + constants:
        parts = list(fields(tensor))
        kind = TYPES.get(next(value for number, value in parts if number == 2))
        if kind is None:
            continue
        shape = [
            size
            for number, value in parts
            if number == 1
            for size in ([value] if isinstance(value, int) else value)
        ]
        raw = b"".join(value for number, value in parts if number == 9)
        floats = b"".join(value for number, value in parts if number == 4)
        integers = [value for number, value in parts if number == 5]
        small = (
            integers[0]
            if integers and isinstance(integers[0], bytes)
            else bytes(np.array(integers, np.uint8))
        )
        if kind == np.int32 and not raw:  # of a zero point, typed: not counted
            continue
        data = np.frombuffer(raw or floats or small, kind)
        label = name or next(value for number, value in parts if number == 8).decode()
        found[label] = data.reshape(shape) if data.size == np.prod(shape, dtype=int) else data
    return found


INT4 = 17


def is_scale(name: str) -> bool:
    """As ONNX Runtime's quantizers name them."""
    return name.endswith(("_scale", "_zero_point"))


def tflite_numbers(content: bytes) -> dict[str, Any]:
    """Name -> numbers of every buffer that a tensor of floats, or one with a scale, refers to."""
    schema = pytest.importorskip("ai_edge_litert.schema_py_generated")
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
    kinds = {0: np.float32, 1: np.float16, 2: np.int32, 4: np.int64, 9: np.int8}
    found = {}
    for graph in model.subgraphs:
        for tensor in graph.tensors:
            data = model.buffers[tensor.buffer].data
            scaled = tensor.quantization is not None and tensor.quantization.scale is not None
            if data is not None and len(data) and (tensor.type in (0, 1) or scaled):
                shape = () if tensor.shape is None else tuple(tensor.shape)
                if tensor.type == INT4:  # two a byte
                    numbers = np.stack([np.asarray(data) & 15, np.asarray(data) >> 4], axis=-1).reshape(-1)
                    numbers = numbers[: np.prod(shape, dtype=int)].astype(np.int8)
                else:
                    numbers = np.frombuffer(bytes(data), kinds[tensor.type])
                found[str(tensor.buffer)] = numbers.reshape(shape)
    return found


def artifacts(folder: Path, cases: list[Case]) -> Iterator[tuple[str, Artifact]]:
    """The original and what each recipe of quantization makes of it, in ONNX or TFLite."""
    for case in cases:
        target = FORMATS.get("tflite" if case.engine == "litert" else "onnx")
        needed = (*case.requires, *FORMATS.get(case.model.format).requires, *target.requires)
        steps = [ref for ref in case.recipe if ref.kind not in TRAINING]
        needed += tuple(one for ref in steps for one in STEPS.get(ref.key).requires)
        stays = (step.rebuild or step.returns == "exported" for step in (STEPS.get(ref.key) for ref in steps))
        if missing(*needed) or any(stays):
            continue  # a quantized torch module stays one, or a program of torch's
        weights = case.folder / case.model.weights if case.model.weights else None
        model = FORMATS.get(case.model.format).load(case.model.reference, weights, case.folder)
        data = load_data(case.data, case.folder, case.seed) if case.data else Data(shapes=case.inputs, seed=0)
        context = Context(case.folder, folder, case.seed, data)
        formats = [
            *(STEPS.get(ref.key).accepts for ref in steps),
            ENGINES.get(case.engine or target.engine).formats,
        ]
        for ref, accepted in zip([*steps, None], formats, strict=True):
            source = model.format
            for step in path_between(source, accepted) or ():
                model = CONVERTERS.get(f"{source}->{step}").convert(model, context)
                source = step
            if ref is not None:
                options = (
                    ref.options.model_copy(update={"samples": 8})
                    if hasattr(ref.options, "samples")
                    else ref.options
                )
                model = STEPS.get(ref.key).apply(model, options, context)
        if model.format in ("onnx", "tflite"):
            yield case.name, FORMATS.get(model.format).save(model, folder, f"{case.name}-artifact")


@pytest.mark.parametrize("file", FILES)
def test_the_counts_are_those_of_the_bytes(tmp_path: Path, file: str) -> None:
    cases = load_cases(CASES / f"{file}.yaml")
    different = {
        str([(ref.key, ref.options) for ref in case.recipe if ref.kind not in TRAINING]): case
        for case in cases
    }
    checked = 0
    for name, artifact in artifacts(tmp_path, list(different.values())):
        content = artifact.path.read_bytes()
        numbers = onnx_numbers(content) if artifact.format == "onnx" else tflite_numbers(content)
        held = {label: array for label, array in numbers.items() if not is_scale(label)}
        survey = parameters.survey(artifact)
        assert survey["parameters"] == sum(array.size for array in held.values()), name
        assert survey["tensors"] == len(held), name
        if not any(tensor.dtype == "int4" for tensor in parameters.weights(artifact)):
            assert survey["largest_bytes"] == max(array.nbytes for array in held.values()), name
        matrices = [array for array in held.values() if array.ndim >= 2]
        counted, total = nonzero.count(artifact)
        assert total == sum(array.size for array in matrices), name
        if all(array.dtype != np.uint8 for array in matrices):
            assert counted == sum(int(np.count_nonzero(array)) for array in matrices), name
        checked += 1
    if not checked:
        pytest.skip("nothing that these cases need is installed")


def test_the_reader_of_protobuf_reads() -> None:
    """The second way itself: a field of each wire type."""
    message = (
        b"\x08\x96\x01" + b"\x12\x02hi" + b"\x1d" + struct.pack("<f", 1.5) + b"\x21" + struct.pack("<d", 2.5)
    )
    assert list(fields(message)) == [
        (1, 150),
        (2, b"hi"),
        (3, struct.pack("<f", 1.5)),
        (4, struct.pack("<d", 2.5)),
    ]
