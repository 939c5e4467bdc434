"""SavedModels whose graph leads out of itself or is no graph: each with the sentence that it gets. Written without TensorFlow."""

from __future__ import annotations

import json
from pathlib import Path

from hostile import Make, layer, void


def field(number: int, *parts: bytes) -> bytes:
    """A field of a protobuf message, which holds the parts one after the other."""

    def varint(value: int) -> bytes:
        low = value & 0x7F
        return bytes([low | 0x80]) + varint(value >> 7) if value > 0x7F else bytes([low])

    content = b"".join(parts)
    return varint(number << 3 | 2) + varint(len(content)) + content


def node(operator: str, *more: bytes) -> bytes:
    return field(1, b"n") + field(2, operator.encode()) + b"".join(more)


def function(name: str, *nodes: bytes) -> bytes:
    return signed(field(1, name.encode()), *nodes)


def signed(signature: bytes, *nodes: bytes) -> bytes:
    """A function whose signature, with its name, is these bytes."""
    return field(1, field(1, signature), *(field(3, one) for one in nodes))


SAVER = function("traced_save", node("ShardedFilename"), node("SaveV2"), node("MergeV2Checkpoints"))
CALL = function("call", node("MatMul"), node("StatefulPartitionedCall"))


def saved_model(
    *functions: bytes,
    nodes: tuple[bytes, ...] = (),
    objects: bytes = b"call",
    layers: str = "",
    gradients: tuple[bytes, ...] = (),
) -> Make:
    """A folder with the graph of a right SavedModel and what is added to it; `layers` is its Keras metadata."""

    def make(folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        library = field(2, CALL, SAVER, *functions, *gradients)
        main = (field(1, one) for one in (node("VarHandleOp"), *nodes))
        graph = field(2, field(2, *main, library), field(7, objects) if objects else b"")
        (folder / "saved_model.pb").write_bytes(graph)
        if layers:
            (folder / "keras_metadata.pb").write_bytes(field(1, field(5, layers.encode())))

    return make


SAVED_MODELS: dict[str, tuple[Make, str]] = {
    "writes_in_the_graph": (saved_model(nodes=(node("WriteFile"),)), "the operator WriteFile"),
    "reads_in_a_function": (saved_model(function("f", node("ReadFile"))), "the operator ReadFile"),
    "loads_a_library": (saved_model(function("f", node("LoadLibrary"))), "the operator LoadLibrary"),
    "calls_python": (saved_model(function("f", node("PyFuncStateless"))), "the operator PyFuncStateless"),
    "saves_when_called": (saved_model(function("f", node("SaveV2"))), "the operator SaveV2"),
    "calls_its_saver": (
        saved_model(function("f", node("PartitionedCall", field(5, b"traced_save")))),
        "the operator ShardedFilename",
    ),
    "saves_as_a_gradient": (
        saved_model(
            function("f", node("SymbolicGradient", field(5, b"call"))),
            gradients=(field(2, field(1, b"call"), field(2, b"traced_save")),),
        ),
        "the operator ShardedFilename",
    ),
    "registers_its_saver": (
        saved_model(gradients=(field(3, field(1, b"traced_save"), field(2, b"MatMul")),)),
        "the operator ShardedFilename",
    ),
    "offers_its_saver": (saved_model(objects=b"call traced_save"), "the operator ShardedFilename"),
    "of_tensorflow_1": (saved_model(objects=b""), "the operator ShardedFilename"),
    "a_saver_by_its_last_name": (
        saved_model(
            signed(field(1, b"zz") + field(1, b"evil"), node("SaveV2")),
            function("f", node("PartitionedCall", field(5, b"evil"))),
        ),
        "has 2 names instead of one",
    ),
    "a_saver_in_two_signatures": (
        saved_model(
            field(1, field(1, field(1, b"zz")), field(1, field(1, b"evil")), field(3, node("SaveV2"))),
            function("f", node("PartitionedCall", field(5, b"evil"))),
        ),
        "has 2 names instead of one",
    ),
    "no_name": (saved_model(signed(b"", node("SaveV2"))), "has 0 names instead of one"),
    "a_number_as_name": (saved_model(signed(b"\x0dzzzz", node("SaveV2"))), "has 0 names instead of one"),
    "one_name_twice": (
        saved_model(function("f", node("ReadFile")), function("f", node("MatMul"))),
        "two functions of its graph have one name",
    ),
    "its_last_operator": (
        saved_model(nodes=(node("MatMul", field(2, b"ReadFile")),)),
        "the operator ReadFile",
    ),
    "a_field_beyond_32_bits": (
        lambda folder: void(
            (folder.mkdir(), (folder / "saved_model.pb").write_bytes(b"\x92\x80\x80\x80\x10\0"))
        ),
        "a field's number is too large",
    ),
    "restores_in_the_graph": (saved_model(nodes=(node("RestoreV2"),)), "the operator RestoreV2"),
    "a_lambda": (
        saved_model(layers=json.dumps(layer("Lambda"))),
        "keras_metadata.pb is not opened: .*a Lambda",
    ),
    "no_layers": (saved_model(layers="{"), "a configuration is no JSON"),
    "cut": (
        lambda folder: void(
            (folder.mkdir(), (folder / "saved_model.pb").write_bytes(b"\x12\xff\xff\xff\xff\x0f\x0a"))
        ),
        "truncated",
    ),
    "noise": (
        lambda folder: void((folder.mkdir(), (folder / "saved_model.pb").write_bytes(b"\x17" * 99))),
        "no protobuf message",
    ),
}
