"""Files made to run code, to crash or fill their reader, or to lead it elsewhere: each with the sentence that it gets."""

from __future__ import annotations

import json
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from onnx import helper, numpy_helper
from safetensors.numpy import save

Make = Callable[[Path], None]
MARK = "WEIGHBRIDGE_HOSTILE_MARK"
"""The variable that names the file which planted code would write."""
CODE = f"open(__import__('os').environ['{MARK}'], 'w').close()"


class Runs:
    """A pickle that runs code when it is read."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return exec, (CODE,)


# ---------------------------------------------------------------------------------------------------- ONNX


def net() -> Any:
    weight = numpy_helper.from_array(np.ones((16, 8), np.float32), "w")
    ports = [helper.make_tensor_value_info(name, 1, ["n", size]) for name, size in (("x", 16), ("y", 8))]
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])], "net", ports[:1], ports[1:], [weight]
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def proto(change: Callable[[Any], object]) -> Make:
    def make(path: Path) -> None:
        model = net()
        change(model)
        path.write_bytes(model.SerializeToString())

    return make


def tensor(**values: Any) -> Make:
    """The weight with other fields."""

    def change(model: Any) -> None:
        weight = model.graph.initializer[0]
        for name, value in values.items():
            if isinstance(value, list):
                getattr(weight, name)[:] = value
            else:
                setattr(weight, name, value)

    return proto(change)


def outside(**where: str) -> Make:
    """The weight in another file: `location`, `offset` and `length` as given."""

    def make(path: Path) -> None:
        (path.parent / "w.bin").write_bytes(bytes(512))
        (path.parent / "link.bin").symlink_to("/etc/passwd")
        os.mkfifo(path.parent / "pipe.bin")
        model = net()
        weight = model.graph.initializer[0]
        weight.ClearField("raw_data")
        weight.data_location = 1
        for key, value in where.items():
            weight.external_data.add(key=key, value=value)
        path.write_bytes(model.SerializeToString())

    return make


def sparse_claim(model: Any) -> None:
    one = model.graph.sparse_initializer.add(dims=[10**6, 10**6])
    one.values.CopyFrom(numpy_helper.from_array(np.ones(1, np.float32), "s"))
    one.indices.CopyFrom(numpy_helper.from_array(np.zeros(1, np.int64), "i"))
    model.graph.node.append(helper.make_node("MatMul", ["y", "s"], ["z"]))


def everywhere(model: Any) -> None:
    """Right, with numbers in every place that can hold them: a sparse tensor, a function, a body, lists of an attribute."""
    sparse = model.graph.sparse_initializer.add(dims=[8, 8])
    sparse.values.CopyFrom(numpy_helper.from_array(np.ones(3, np.float32), "s"))
    sparse.indices.CopyFrom(numpy_helper.from_array(np.array([0, 9, 18]), ""))
    body = [
        helper.make_node("Constant", [], ["c"], value_floats=[1.0] * 8),
        helper.make_node("Add", ["a", "c"], ["b"]),
    ]
    own = [helper.make_opsetid("", 17)]
    model.functions.append(helper.make_function("own", "F", ["a"], ["b"], body, own))
    model.opset_import.append(helper.make_opsetid("own", 1))
    branch = helper.make_graph(
        [helper.make_node("Mul", ["h", "d"], ["e"])],
        "branch",
        [],
        [helper.make_tensor_value_info("e", 1, ["n", 8])],
        [numpy_helper.from_array(np.ones(8, np.float32), "d")],
    )
    model.graph.initializer.append(numpy_helper.from_array(np.array(True), "always"))
    model.graph.node[0].output[0] = "g"
    model.graph.node.extend(
        [
            helper.make_node("F", ["g"], ["f"], domain="own"),
            helper.make_node("MatMul", ["f", "s"], ["h"]),
            helper.make_node("If", ["always"], ["y"], then_branch=branch, else_branch=branch),
        ]
    )


def sparse_outside(model: Any) -> None:
    sparse_claim(model)
    values = model.graph.sparse_initializer[0].values
    values.ClearField("raw_data")
    values.data_location = 1
    values.external_data.add(key="location", value="../../../etc/passwd")


def other_domain(model: Any) -> None:
    model.graph.node[0].domain = "evil.custom"
    model.opset_import.append(helper.make_opsetid("evil.custom", 1))


def recursive(model: Any) -> None:
    own = [helper.make_opsetid("", 17), helper.make_opsetid("my", 1)]
    body = [helper.make_node("F", ["a"], ["b"], domain="my")]
    model.functions.append(helper.make_function("my", "F", ["a"], ["b"], body, own))
    model.opset_import.append(own[1])
    model.graph.node[0].output[0] = "z"
    model.graph.node.append(helper.make_node("F", ["z"], ["y"], domain="my"))


def circular(model: Any) -> None:
    model.graph.node[0].input[0] = "q"
    model.graph.node.append(helper.make_node("Relu", ["y"], ["q"]))


def changed_bytes(change: Callable[[bytes], bytes]) -> Make:
    return lambda path: void(path.write_bytes(change(net().SerializeToString())))


def void(value: object) -> None:
    pass


def link_to(target: str) -> Make:
    return lambda path: path.symlink_to(target)


ONNX: dict[str, tuple[Make, str]] = {
    "empty": (changed_bytes(lambda raw: b""), "no graph"),
    "cut": (changed_bytes(lambda raw: raw[:300]), "cannot be read, it is truncated or no ONNX file"),
    "noise": (changed_bytes(lambda raw: np.random.default_rng(0).bytes(4000)), "no ONNX file"),
    "zeros": (changed_bytes(lambda raw: bytes(4000)), "no ONNX file"),
    "no_utf8": (changed_bytes(lambda raw: raw.replace(b"MatMul", b"Mat\xff\xfel")), "is not UTF-8"),
    "unknown_type": (tensor(data_type=99), "99|data type"),
    "huge_shape": (tensor(dims=[10**9, 10**9]), "damaged|cannot load"),
    "negative_shape": (tensor(dims=[-1, 8]), "Out of bounds|cannot load"),
    "short_data": (tensor(raw_data=b"abc"), "cannot load|damaged"),
    "sparse_terabytes": (proto(sparse_claim), "claims the shape|cannot load"),
    "sparse_in_passwd": (proto(sparse_outside), "outside the directory"),
    "custom_operator": (proto(other_domain), "evil.custom"),
    "recursive_function": (proto(recursive), "cannot load"),
    "circular_graph": (proto(circular), "cannot load"),
    "future_version": (proto(lambda model: setattr(model, "ir_version", 10**9)), "cannot load"),
    "unknown_input_type": (
        proto(lambda model: setattr(model.graph.input[0].type.tensor_type, "elem_type", 77)),
        "77",
    ),
    "no_input_type": (proto(lambda model: model.graph.input[0].ClearField("type")), "cannot load"),
    "data_in_passwd": (outside(location="../../../etc/passwd"), "outside the directory"),
    "data_at_root": (outside(location="/etc/passwd"), "should be a relative path"),
    "data_by_link": (outside(location="link.bin"), "symbolic link"),
    "data_in_a_pipe": (outside(location="pipe.bin"), "not regular file"),
    "data_missing": (outside(location="gone.bin"), "gone.bin"),
    "data_past_its_file": (outside(location="w.bin", offset="99999999999"), "exceeds file size"),
    "data_before_its_file": (outside(location="w.bin", offset="-5"), "non-negative"),
    "data_nowhere": (outside(location="w.bin", offset="x"), "invalid literal"),
}
NO_FILES: dict[str, Make] = {
    "endless": link_to("/dev/zero"),
    "to_itself": link_to("to_itself.onnx"),
    "pipe": os.mkfifo,
    "folder": Path.mkdir,
}


# --------------------------------------------------------------------------------------------- safetensors


def headed(header: bytes, data: bytes = b"", length: int | None = None) -> Make:
    return lambda path: void(
        path.write_bytes(struct.pack("<Q", len(header) if length is None else length) + header + data)
    )


def entry(dtype: str, shape: list[int], stop: int) -> Make:
    header = json.dumps({"a": {"dtype": dtype, "shape": shape, "data_offsets": [0, stop]}}).encode()
    return headed(header, bytes(stop))


def arrays(**held: Any) -> Make:
    named = {name.replace("__", "."): np.asarray(value) for name, value in held.items()}
    return lambda path: void(path.write_bytes(save(named)))


CODES = np.ones((4, 4), np.int8)
SAFETENSORS: dict[str, tuple[Make, str]] = {
    "empty": (lambda path: path.touch(), "header too small|HeaderTooSmall"),
    "endless_header": (headed(b"{}", length=2**63), "header too large|HeaderTooLarge"),
    "deep_header": (headed(b"[" * 100_000), "JSON|InvalidHeader"),
    "huge_shape": (entry("F32", [2**40, 2**40], 4), "overflow|Overflow"),
    "unknown_type": (entry("F8_E8M0", [4], 4), "cannot be counted|InvalidHeader"),
    "other_scales": (arrays(a__weight=CODES, a__weight_scale=np.ones((3, 2), np.float32)), "do not fit"),
    "no_scales": (arrays(a__weight=CODES, a__weight_scale=np.ones(0, np.float32)), "do not fit"),
    "many_axes": (
        arrays(a__codes=CODES, a__scale=np.ones(4, np.float32), a__axis=np.ones(3, np.float32)),
        "damaged",
    ),
}
SAFETENSORS["cut"] = (
    lambda path: void(path.write_bytes(save({"a": np.ones(4)})[:40])),
    "header|InvalidHeader",
)


# ------------------------------------------------------------------------------------------------ archives


@cache
def exported() -> dict[str, bytes]:
    """The entries of a right `.pt2`, its batch open."""
    import torch

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(4, 2)

        def forward(self, x: Any) -> Any:
            return self.layer(x).reshape(x.shape[0] * 2)

    batch = torch.export.Dim("batch", min=2, max=64)
    program = torch.export.export(Net(), (torch.ones(4, 4),), dynamic_shapes=({0: batch},))
    with TemporaryDirectory() as folder:
        torch.export.save(program, Path(folder) / "net.pt2")
        with zipfile.ZipFile(Path(folder) / "net.pt2") as archive:
            return {name: archive.read(name) for name in archive.namelist()}


def program(change: Callable[[dict[str, bytes]], object] = void, **written: Any) -> Make:
    def make(path: Path) -> None:
        entries = dict(exported())
        change(entries)
        with zipfile.ZipFile(path, "w", **written) as archive:
            for name, content in entries.items():
                archive.writestr(name, content)

    return make


GRAPH, CONSTANTS, SAMPLES = (
    "models/model.json",
    "constants/model_constants_config.json",
    "sample_inputs/model.pt",
)


def found(entries: dict[str, bytes], end: str) -> str:
    return next(name for name in entries if name.endswith(end))


def text(old: str, new: str, end: str = GRAPH) -> Make:
    def change(entries: dict[str, bytes]) -> None:
        name = found(entries, end)
        assert old.encode() in entries[name]
        entries[name] = entries[name].replace(old.encode(), new.encode())

    return program(change)


def entry_of(end: str, content: bytes) -> Make:
    return program(lambda entries: entries.update({found(entries, end): content}))


def also(name: str, content: bytes) -> Make:
    return program(lambda entries: entries.update({name: content}))


def opaque(entries: dict[str, bytes]) -> None:
    """A constant that torch would read with `pickle.loads`."""
    name = found(entries, CONSTANTS)
    entries[name] = json.dumps(
        {
            "config": {
                "c": {"path_name": "opaque_obj_0", "is_param": False, "use_pickle": True, "tensor_meta": None}
            }
        }
    ).encode()
    entries[name.replace("model_constants_config.json", "opaque_obj_0")] = pickle.dumps(Runs())


def compiled(path: Path) -> None:
    """A library beside the program, which torch would load to run the program with; written by torch's own writer."""
    import torch

    entries = {name.partition("/")[2]: content for name, content in exported().items()}
    entries["data/aotinductor/model/code.wrapper.so"] = b"\x7fELF"
    entries["data/aotinductor/model/code.wrapper_metadata.json"] = b'{"AOTI_DEVICE_KEY": "cpu"}'
    writer = torch._C.PyTorchFileWriter(str(path))
    for name, content in entries.items():
        if name not in ("version", "byteorder") and not name.startswith(".data/"):  # it writes these itself
            writer.write_record(name, content, len(content))
    writer.write_end_of_file()


QUOTED = json.dumps(CODE)[1:-1]
PT2: dict[str, tuple[Make, str]] = {
    "empty": (lambda path: path.touch(), "no archive"),
    "text": (lambda path: void(path.write_text("hello")), "no archive"),
    "code_as_size": (text('"expr_str": "Mul(', f'"expr_str": "[{QUOTED}] and Mul('), "is no arithmetic"),
    "code_as_symbol": (text("Symbol('", f'Add(\\"{QUOTED}\\") + Symbol(\''), "is no arithmetic"),
    "code_as_guard": (text('"guards_code": []', f'"guards_code": ["{QUOTED}"]'), "is no comparison of sizes"),
    "code_as_name": (text('"name": "x"', f'"name": "x={QUOTED}"'), "is no name"),
    "code_as_key": (text('"tensor_values": {', f'"tensor_values": {{"{QUOTED}": {{}}, '), "is no name"),
    "code_as_target": (text("torch.ops.aten.reshape.default", "builtins.exec(x)"), "is no name"),
    "a_library": (text("torch.ops.aten.reshape.default", "torch.ops.load_library"), "opens a file"),
    "a_file": (text("torch.ops.aten.reshape.default", "torch.ops.aten.from_file.default"), "opens a file"),
    "a_getter": (text("_operator.mul", "_operator.attrgetter"), "is no arithmetic"),
    "an_import": (text('\\"builtins.tuple\\"', '\\"__enum__\\"'), "names a module to import"),
    "samples_as_pickle": (entry_of(SAMPLES, pickle.dumps(Runs())), "it holds pickled code"),
    "constant_as_pickle": (program(opaque), "is a pickle, which can hold code"),
    "deep_graph": (entry_of(GRAPH, b"[" * 100_000), "no JSON"),
    "graph_of_nothing": (entry_of(GRAPH, b"{}"), "cannot be read"),
    "out_of_the_archive": (also("../../evil", b""), "leads out of the archive"),
    "a_compiled_library": (compiled, "torch may load it as compiled code"),
    "at_root": (also("/etc/evil", b""), "leads out of the archive"),
    "name_twice": (
        program(lambda entries: entries.update({found(entries, GRAPH).upper(): b"{}"})),
        "two of its entries have the same name",
    ),
    "bomb": (
        program(
            lambda entries: entries.update({"net/bomb": bytes(80 << 20)}), compression=zipfile.ZIP_DEFLATED
        ),
        "unpack to",
    ),
}


def keras(config: Any, metadata: bytes = b'{"keras_version": "3.4.1"}', **more: bytes) -> Make:
    def make(path: Path) -> None:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("metadata.json", metadata)
            archive.writestr("config.json", config if isinstance(config, bytes) else json.dumps(config))
            for name, content in more.items():
                archive.writestr(name, content)

    return make


def layer(kind: str, module: str = "keras.layers") -> dict[str, Any]:
    return {
        "class_name": "Sequential",
        "module": "keras",
        "config": {"layers": [{"class_name": kind, "module": module}]},
    }


KERAS: dict[str, tuple[Make, str]] = {
    "no_archive": (lambda path: void(path.write_bytes(b"PK not really")), r"no archive"),
    "lambda": (keras(layer("Lambda")), "it holds a Lambda, which is code"),
    "lambda_by_name": (keras(layer("My>Lambda")), "which is code"),
    "function_code": (keras({"function": {"class_name": "__lambda__"}}), "which is code"),
    "saved_model_layer": (keras(layer("TFSMLayer")), "which is code"),
    "own_class": (keras(layer("Popen", "subprocess")), "would be imported from subprocess"),
    "download": (keras(layer("get_file", "keras.utils")), "would be imported from keras.utils"),
    "deep": (keras(b'{"a": ' * 900 + b"1" + b"}" * 900), "nested more|no JSON"),
    "no_version": (keras(layer("Dense"), b"[]"), "does not say its version"),
    "bomb": (keras(layer("Dense"), bytes(80 << 20)), "unpack to"),
}
