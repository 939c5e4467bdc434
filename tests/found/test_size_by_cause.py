"""What the bytes of a file are spent on: the exporter's metadata, dead bytes, tensors that nobody reads.

Dead bytes of external data: microsoft/onnxruntime#17944. Metadata: an encoder that a user exported, whose size depended on
where the checkout lay.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from tests.projects import Weighed, report_of, weigh, write_samples

from weighbridge.core.results import Artifact
from weighbridge.formats.causes import causes
from weighbridge.formats.onnx_metadata import metadata_bytes, strip
from weighbridge.measure.size import weigh as weigh_file

ENCODER = """
import torch
from torch import nn


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.place = nn.Linear(8, 32), nn.Parameter(torch.randn(1, 8, 32) * 0.3)
        self.encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(32, 2, 64, batch_first=True), 2)
        self.head = nn.Linear(32, 10)

    def forward(self, x):
        return self.head(self.encoder(self.embed(x) + self.place).mean(1))


def network():
    torch.manual_seed(0)
    return Encoder()
"""


def encoder(folder: Path, step: str, thresholds: str) -> str:
    folder.mkdir(parents=True)
    (folder / "model.py").write_text(ENCODER)
    data = write_samples(folder, {"x": [8, 8]})
    return f"model: {{torch: model.py:network}}\n{data}recipe: [{{{step}}}]\nthresholds: {{{thresholds}}}\n"


STATIC = "quantize: static, engine: onnxruntime, per_channel: true"


@pytest.mark.slow
def test_an_export_does_not_depend_on_where_the_checkout_lies(tmp_path: Path) -> None:
    digests = set()
    for place in ("a", "a/much/longer/path/to/the/same/checkout"):
        folder = tmp_path / place / "cases"
        outcome = weigh(folder, encoder(folder, STATIC, "size_ratio: 1"))
        assert outcome.candidate is not None, outcome.message
        assert outcome.baseline is not None
        for artifact in (outcome.candidate, outcome.baseline):
            content = artifact.path.read_bytes()
            assert b"model.py" not in content
            assert str(tmp_path).encode() not in content
            assert metadata_bytes(onnx.load(artifact.path)) < 100  # ONNX Runtime's quantizer signs its files
        digests.add(
            tuple(
                hashlib.sha256(a.path.read_bytes()).hexdigest() for a in (outcome.candidate, outcome.baseline)
            )
        )
    assert len(digests) == 1


@pytest.mark.slow
def test_an_encoder_of_torch_is_not_accused(pytester: pytest.Pytester) -> None:
    """Its positions are an operand of Add, quantized as activations are."""
    folder = pytester.path / "cases"
    (folder.parent / "conftest.py").touch()
    text = encoder(folder, STATIC, "size_ratio: 1, fidelity: 5")
    (folder / "net.yaml").write_text(text)
    pytester.runpytest_inprocess()
    (row,) = report_of(pytester.path)["rows"]
    assert {verdict["threshold"]: verdict["status"] for verdict in row["verdicts"]} == {
        "size_ratio": "pass", "fidelity": "pass", "round_trip": "pass",
    }  # fmt: skip


def product(int8: bool, notes: int = 0, unused: int = 0) -> Any:
    """One matrix; `notes` characters of documentation; a tensor of `unused` floats that nobody reads."""
    weights = np.random.default_rng(3).normal(0, 0.2, (128, 64)).astype(np.float32)
    scale = np.float32(np.abs(weights).max() / 127)
    stored = (
        {"w": weights}
        if not int8
        else {"c": np.round(weights / scale).astype(np.int8), "s": scale, "z": np.int8(0)}
    )
    if unused:
        stored["spare"] = np.ones(unused, np.float32)
    nodes = [helper.make_node("DequantizeLinear", ["c", "s", "z"], ["w"])] if int8 else []
    nodes.append(helper.make_node("MatMul", ["x", "w"], ["y"], doc_string="#" * notes))
    ports = [
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", size])]
        for name, size in (("x", 128), ("y", 64))
    ]
    tensors = [numpy_helper.from_array(np.asarray(array), name) for name, array in stored.items()]
    graph = helper.make_graph(nodes, "g", *ports, tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)


def judge(
    folder: Path, write: Callable[[Path], object], limits: str = "size_ratio: 3.5"
) -> tuple[Weighed, list[str]]:
    """The outcome, and the advice of the size that was missed."""
    from weighbridge.contracts import THRESHOLDS

    onnx.save(product(False), folder / "float.onnx")
    write(folder / "int8.onnx")
    outcome = weigh(
        folder, f"model: {{onnx: float.onnx}}\ncandidate: {{onnx: int8.onnx}}\nthresholds: {{{limits}}}\n"
    )
    advise = THRESHOLDS.get("size_ratio").advise
    assert advise is not None
    return outcome, list(advise(outcome.measurements["size"]))


def with_dead_bytes(path: Path) -> None:
    """What an earlier save left behind in the data file."""
    onnx.save(product(True), path, save_as_external_data=True, location="int8.bin", size_threshold=0)
    with (path.parent / "int8.bin").open("ab") as file:
        file.write(bytes(32768))


def in_a_constant_outside(path: Path) -> None:
    """The same, with the codes in a Constant node."""
    proto = product(True)
    tensor = next(one for one in proto.graph.initializer if one.name == "c")
    constant = helper.make_node("Constant", [], ["c"], value=tensor)
    proto.graph.initializer.remove(tensor)
    nodes = [constant, *(onnx.NodeProto.FromString(one.SerializeToString()) for one in proto.graph.node)]
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
    onnx.save(
        proto, path, save_as_external_data=True, location="int8.bin", size_threshold=0, convert_attribute=True
    )
    with (path.parent / "int8.bin").open("ab") as file:
        file.write(bytes(32768))


@pytest.mark.parametrize("write", [with_dead_bytes, in_a_constant_outside])
def test_dead_bytes_are_named(tmp_path: Path, write: Callable[[Path], None]) -> None:
    outcome, advice = judge(tmp_path, write)
    assert outcome.measurements["size"].details["candidate"]["causes"]["dead"] == 32768
    assert any("32.8 kB" in line and "dead bytes" in line and "without it 3.8" in line for line in advice), (
        advice
    )


def test_metadata_is_named(tmp_path: Path) -> None:
    outcome, advice = judge(tmp_path, lambda path: onnx.save(product(True, notes=4000), path))
    assert 4000 < outcome.measurements["size"].details["candidate"]["causes"]["metadata"] < 4010
    assert any(
        "32% of the file, are the exporter's metadata" in line and "without it 3.9" in line for line in advice
    ), advice


def test_tensors_that_nobody_reads_are_named(tmp_path: Path) -> None:
    outcome, advice = judge(tmp_path, lambda path: onnx.save(product(True, unused=3000), path))
    assert outcome.measurements["size"].details["candidate"]["causes"]["unused"] == 12000
    assert any("tensors that no operator reads" in line for line in advice), advice


def test_a_file_that_is_all_weights_is_told_no_other_cause(tmp_path: Path) -> None:
    _, advice = judge(tmp_path, lambda path: onnx.save(product(True), path), "size_ratio: 9")
    assert not any("of the file" in line for line in advice), advice


def test_what_is_read_in_a_body_is_not_unused(tmp_path: Path) -> None:
    inner = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["out"])],
        "b",
        [],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, ["n", 64])],
    )
    choice = helper.make_node("If", ["yes"], ["y"], then_branch=inner, else_branch=inner)
    proto = product(False)
    del proto.graph.node[:]
    proto.graph.node.append(choice)
    proto.graph.initializer.append(numpy_helper.from_array(np.array(True), "yes"))
    path = tmp_path / "m.onnx"
    onnx.save(proto, path)
    found = weigh_file(Artifact("onnx", path, (path,)))[0]["causes"]
    assert (found["unused"], found["weights"], found["constants"]) == (0, 4 * 128 * 64, 1)


@pytest.mark.parametrize("notes", [0, 5000])
@pytest.mark.parametrize("outside", [False, True])
def test_the_causes_add_up_to_the_files(tmp_path: Path, notes: int, outside: bool) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(
        product(True, notes, 7), path, save_as_external_data=outside, location="m.bin", size_threshold=0
    )
    files = (path, tmp_path / "m.bin") if outside else (path,)
    artifact = Artifact("onnx", path, files)
    found, _ = weigh_file(artifact)
    assert sum(found["causes"].values()) == found["file"] == sum(file.stat().st_size for file in files)
    assert found["causes"]["graph"] < 600
    assert causes(artifact, found["weights"]) == found["causes"]


def test_stripping_removes_what_is_counted() -> None:
    proto = product(True, notes=300)
    proto.metadata_props.add(key="a", value="b" * 200)
    proto.graph.node[0].metadata_props.add(
        key="pkg.torch.onnx.stack_trace", value="File '/home/me/model.py'" * 20
    )
    proto.graph.initializer[0].doc_string = "c" * 50
    before, told = proto.ByteSize(), metadata_bytes(proto)
    strip(proto)
    assert metadata_bytes(proto) == 0
    assert told <= before - proto.ByteSize() <= told + 16  # the lengths of what is around it are shorter too
    onnx.checker.check_model(proto)


def test_gzip_is_measured_where_it_is_asked_for(tmp_path: Path) -> None:
    outcome, _ = judge(tmp_path, lambda path: onnx.save(product(True), path))
    assert "gzip" not in outcome.measurements
    outcome, _ = judge(
        tmp_path, lambda path: onnx.save(product(True), path), "gzip_ratio: 2, gzip_size: 9 kB"
    )
    gzip = outcome.measurements["gzip"]
    assert 0 < gzip.candidate < (gzip.baseline or 0)


TIED = """
import torch
from torch import nn


class Words(nn.Module):
    def __init__(self):
        super().__init__()
        self.table, self.out = nn.Embedding(300, 32), nn.Linear(32, 300, bias=False)
        self.out.weight = self.table.weight

    def forward(self, ids):
        return self.out(self.table(ids).mean(1))


def network():
    torch.manual_seed(0)
    return Words()


def data():
    return {"test": (torch.arange(320).reshape(64, 5) % 300, None)}
"""


def test_a_tie_that_quantizing_broke_is_not_told_to_quantize(tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text(TIED)
    text = (
        "model: {torch: model.py:network}\ndata: model.py:data\n"
        "recipe: [{quantize: dynamic, engine: torch}]\nthresholds: {size_ratio: 3}\n"
    )
    (verdict,) = (one for one in weigh(tmp_path, text).result.verdicts if one.threshold == "size_ratio")
    assert any("'table.weight' is stored twice" in line for line in verdict.advice)
    assert any("weights left in float: 'table.weight'" in line for line in verdict.advice)
    assert not any("zeros take as much room" in line for line in verdict.advice)
