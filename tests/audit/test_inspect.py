"""`inspect` tells what is in a file; a truncated or hostile one is a clear error, never a crash or a leak."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from pathlib import Path

import networks
import numpy as np
import onnx
import pytest
from safetensors.numpy import save_file

from weighbridge.audit.inspect import describe, how, table
from weighbridge.cli.main import main
from weighbridge.core.errors import StageError, WeighbridgeError


def test_interface_operators_and_layers(tmp_path: Path) -> None:
    path = networks.write(tmp_path)
    found = describe(path)
    stored = [onnx.numpy_helper.to_array(one) for one in onnx.load(path).graph.initializer]
    nonzero = sum(int(np.count_nonzero(one)) for one in stored if one.dtype == np.int8 and one.ndim == 2)
    assert found["inputs"] == [{"name": "input", "dtype": "float", "shape": ["N", 32]}]
    assert found["outputs"] == [{"name": "output", "dtype": "float", "shape": ["N", 4]}]
    assert found["operators"]["DequantizeLinear"] == 3
    assert found["dtypes"]["int8"] == {"tensors": 3, "numbers": 32 * 68, "bytes": 32 * 68, "nonzero": nonzero}
    layers = {one["name"]: one for one in found["layers"]}
    assert how(layers["first.weight"]) == "8 bits, per_channel (axis 1), symmetric"
    assert how(layers["head.weight"]) == "no"
    assert layers["third.weight"]["shape"] == [32, 4]
    assert "per_channel (axis 1)" in table(found)


@pytest.mark.parametrize(
    ("spoil", "words"), [("granularity", "per_tensor, symmetric"), ("symmetric", "asymmetric")]
)
def test_how_a_weight_is_quantized(tmp_path: Path, spoil: str, words: str) -> None:
    layers = {one["name"]: one for one in describe(networks.write(tmp_path, spoil))["layers"]}
    assert words in how(layers["third.weight"])


def test_safetensors(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    codes = np.array([[1, 0], [0, -3], [2, 5]], np.int8)
    tensors = {
        "fc.weight": codes,
        "fc.weight_scale": np.ones((3, 1), np.float32),
        "fc.bias": np.zeros(3, np.float16),
    }
    save_file(tensors, path)
    layers = {one["name"]: one for one in describe(path)["layers"]}
    assert set(layers) == {"fc.weight", "fc.bias"}  # a scale is no weight
    assert (layers["fc.weight"]["nonzero"], how(layers["fc.weight"])) == (
        4,
        "8 bits, per_channel (axis 0), symmetric",
    )
    assert how(layers["fc.bias"]) == "float16"


def test_exported_program(tmp_path: Path) -> None:
    import torch

    path = tmp_path / "m.pt2"
    program = torch.export.export(torch.nn.Linear(3, 2), (torch.zeros(1, 3),))
    torch.export.save(program, path)
    found = describe(path)
    assert [(one["name"], one["shape"], one["dtype"]) for one in found["inputs"]] == [
        ("input", [1, 3], "float32")
    ]
    assert [one["shape"] for one in found["outputs"]] == [[1, 2]]
    assert found["dtypes"]["float32"]["numbers"] == 8


def test_as_json_and_of_many(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    networks.write(tmp_path, name="a.onnx")
    networks.write(tmp_path, name="b.onnx")
    assert main(["inspect", str(tmp_path), "--json"]) == 0
    assert [one["file"] for one in json.loads(capsys.readouterr().out)] == ["a.onnx", "b.onnx"]


def test_a_name_in_the_model_cannot_write_to_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = networks.Network().model()
    model.graph.initializer[0].name = "\x1b[2Jgone\n::error::x"
    model.graph.node[0].input[0] = "\x1b[2Jgone\n::error::x"
    onnx.save(model, tmp_path / "m.onnx")
    assert main(["inspect", str(tmp_path / "m.onnx")]) == 0
    shown = capsys.readouterr().out
    assert "\x1b" not in shown
    assert "\\x1b[2Jgone\\x0a::error::x" in shown


def damaged(folder: Path) -> list[Path]:
    """Truncated at many places, empty, noise, text, another format: under every suffix."""
    whole = networks.write(folder, name="whole.onnx").read_bytes()
    noise = np.random.default_rng(0).bytes(5000)
    header = struct.pack("<Q", 1 << 60) + b"{}"
    overlap = b'{"a":{"dtype":"F32","shape":[1000000],"data_offsets":[0,4000000]}}'
    contents = [whole[: len(whole) * part // 12] for part in range(12)]
    contents += [
        noise,
        b"TFL3",
        b"\x1c\x00\x00\x00TFL3" + noise,
        b"hello\n",
        header,
        struct.pack("<Q", len(overlap)) + overlap,
    ]
    paths = []
    for number, content in enumerate(contents):
        for suffix in (".onnx", ".safetensors", ".tflite", ".pt2"):
            paths.append(folder / f"{number}{suffix}")
            paths[-1].write_bytes(content)
    return paths


def test_a_damaged_file_is_a_clear_error(tmp_path: Path) -> None:
    for path in damaged(tmp_path):
        with pytest.raises(WeighbridgeError) as caught:
            describe(path)
        assert len(str(caught.value)) < 1000


@pytest.mark.parametrize(
    "number", [13, *(pytest.param(number, marks=pytest.mark.slow) for number in (0, 26, 39, 52, 65))]
)
def test_the_command_says_of_a_damaged_file_what_it_is(
    number: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It starts a process, and says what `describe` does: every suffix, and several contents."""
    assert main(["inspect", str(damaged(tmp_path)[number])]) == 2
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("way", ["parent", "absolute", "link"])
def test_external_data_is_followed_only_inside_the_folder(tmp_path: Path, way: str) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    path = folder / "m.onnx"
    onnx.save(
        networks.Network().model(), path, save_as_external_data=True, location="w.bin", size_threshold=0
    )
    assert describe(path)["files"]["w.bin"] > 0
    secret = tmp_path / "secret.bin"
    secret.write_bytes((folder / "w.bin").read_bytes())
    place = {"parent": "../secret.bin", "absolute": str(secret), "link": "link.bin"}[way]
    if way == "link":
        (folder / "link.bin").symlink_to(secret)
    model = onnx.load(path, load_external_data=False)
    for tensor in model.graph.initializer:
        next(entry for entry in tensor.external_data if entry.key == "location").value = place
    path.write_bytes(model.SerializeToString())
    with pytest.raises(StageError):
        describe(path)


def test_an_output_that_nobody_reads_to_its_end_is_no_traceback() -> None:
    """`weighbridge inspect model.onnx | head`; the status is no pass for a shell with `pipefail`."""
    code = "import sys; from weighbridge.cli.main import main; sys.exit(main(['schema']))"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        said = process.stderr.read()
    assert (process.returncode, said) == (141, "")
