"""An original that was made large makes nothing smaller; an honest one is compared with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from candidates import after, float_model, put, quantized
from tests.projects import weigh

from weighbridge.core.results import Status

CASE = """
model: {onnx: net.onnx}
candidate: {onnx: candidate.onnx}
thresholds: {size: 100 kB, size_ratio: {min: 2PADDED}, weights_ratio: {min: 2PADDED}}
"""


def as_it_is(folder: Path) -> Any:
    return float_model()


def in_float64(folder: Path) -> Any:
    proto = float_model(np.float64)
    proto.graph.node.insert(0, onnx.helper.make_node("Cast", ["x"], ["x64"], to=11))
    proto.graph.node[1].input[0] = "x64"
    proto.graph.node[-1].output[0] = "y64"
    proto.graph.node.append(onnx.helper.make_node("Cast", ["y64"], ["y"], to=1))
    return proto


def with_a_leftover_mask(folder: Path) -> Any:
    proto = float_model()
    put(proto, "mask", np.ones((64, 64), np.float32))
    return proto


def with_metadata(folder: Path) -> Any:
    proto = float_model()
    proto.metadata_props.add(key="notes", value="x" * 100_000)
    return proto


def with_an_exporters_metadata(folder: Path) -> Any:
    proto = float_model()
    for node in proto.graph.node:
        node.metadata_props.add(
            key="pkg.torch.onnx.stack_trace", value="File net.py, line 7, in forward\n" * 60
        )
    return proto


def with_dead_bytes(folder: Path) -> Any:
    onnx.save(
        float_model(), folder / "net.onnx", save_as_external_data=True, location="net.bin", size_threshold=0
    )
    with (folder / "net.bin").open("ab") as file:
        file.write(bytes(50_000))
    return None


def outcome(folder: Path, make: Callable[[Path], Any], padded: bool = False) -> dict[str, Any]:
    proto = make(folder)
    if proto is not None:
        onnx.save(proto, folder / "net.onnx")
    (folder / "candidate.onnx").write_bytes(quantized())
    found = weigh(folder, CASE.replace("PADDED", ", padded_baseline: true" if padded else ""), also=())
    return {verdict.threshold: verdict for verdict in found.result.verdicts}


PADDED = {
    in_float64: "float64 numbers",
    with_a_leftover_mask: "tensors that no operator reads",
    with_metadata: "metadata that no exporter writes",
    with_dead_bytes: "dead bytes of a data file",
}


@pytest.mark.parametrize("make", PADDED)
def test_a_padded_original_is_no_original(tmp_path: Path, make: Callable[[Path], Any]) -> None:
    found = outcome(tmp_path, make)
    for name in ("size_ratio", "weights_ratio"):
        assert found[name].status is Status.ERROR
        assert PADDED[make] in found[name].message
    assert found["size"].status is Status.PASS  # it is about the candidate alone
    assert outcome(tmp_path, make, padded=True)["size_ratio"].status is Status.PASS


@pytest.mark.parametrize("make", [as_it_is, with_an_exporters_metadata])
def test_an_honest_original_is_compared_with(tmp_path: Path, make: Callable[[Path], Any]) -> None:
    found = outcome(tmp_path, make)
    assert {name: verdict.status for name, verdict in found.items()} == dict.fromkeys(
        ("size", "size_ratio", "weights_ratio"), Status.PASS
    )


SMALL = """
model: {onnx: net.onnx}
candidate: {onnx: candidate.onnx}
thresholds: {size_ratio: 2}
"""


def constant(scale: float) -> onnx.ModelProto:
    """The right model with its answers times `scale`: 0 is one answer for all samples."""
    proto = after(onnx.load_from_string(quantized()), onnx.helper.make_node("Mul", ["raw", "scale"], ["y"]))
    put(proto, "scale", np.float32(scale))
    return proto


@pytest.mark.parametrize(("scale", "status"), [(0, Status.ERROR), (1e-6, Status.PASS)])
def test_one_answer_for_all_samples_is_no_model(tmp_path: Path, scale: float, status: Status) -> None:
    onnx.save(float_model(), tmp_path / "net.onnx")
    onnx.save(constant(scale), tmp_path / "candidate.onnx")
    found = weigh(tmp_path, SMALL, also=()).result
    assert found.status is status
    assert ("the same output for 4 different samples" in found.message) == (scale == 0)


def test_where_there_is_no_original_it_is_told(tmp_path: Path) -> None:
    onnx.save(constant(0), tmp_path / "net.onnx")
    found = weigh(tmp_path, "model: {onnx: net.onnx}\nthresholds: {size: 1 MB}\n", also=()).result
    assert found.status is Status.PASS
    assert "the model gives the same output for 4 different samples" in found.notes
