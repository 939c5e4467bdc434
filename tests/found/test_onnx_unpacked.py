"""Weights that the graph itself makes of integers: palettes, and codes packed into words, as exports of GPTQ have them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import load
from tests.projects import as_onnx, samples, trained, weigh

from weighbridge.core.results import Status

CASE = """
model: {onnx: net.onnx}
candidate: {onnx: candidate.onnx}
data: data.npz
thresholds: {accuracy_drop: 0.05, nonzero_ratio: 0.3, parameters: 4000, weights_ratio: 5}
"""
COUNTS = {"nonzero_ratio", "parameters"}
LAYER = "2.weight"
"""Of [96, 96], most of the network."""
node = helper.make_node


class Made:
    """The network, with the matrix of `LAYER` made by `nodes` of what is stored instead."""

    def __init__(self) -> None:
        self.proto = onnx.load_from_string(as_onnx(load(trained())))
        self.stored = {tensor.name: tensor for tensor in self.proto.graph.initializer}
        self.matrix = numpy_helper.to_array(self.stored[LAYER])

    def by(self, nodes: list[Any], **arrays: Any) -> onnx.ModelProto:
        graph = self.proto.graph
        graph.initializer.remove(self.stored[LAYER])
        graph.initializer.extend(
            numpy_helper.from_array(np.asarray(each), name) for name, each in arrays.items()
        )
        for at, each in enumerate(nodes):
            graph.node.insert(at, each)
        self.proto.opset_import[0].version = 18
        return self.proto


def levels(matrix: Any, count: int) -> tuple[Any, Any]:
    """So many values, and for each number which of them is the nearest."""
    values = np.quantile(matrix, (np.arange(count) + 0.5) / count).astype(np.float32)
    return values, np.abs(matrix[..., None] - values).argmin(-1)


def a_palette(made: Made, dtype: Any) -> onnx.ModelProto:
    values, codes = levels(made.matrix, 16)
    nodes = [
        node("Cast", ["codes"], ["places"], to=TensorProto.INT64),
        node("Gather", ["values", "places"], [LAYER]),
    ]
    return made.by(nodes, values=values, codes=codes.astype(dtype))


def a_palette_a_row(made: Made) -> onnx.ModelProto:
    rows = [levels(row, 8) for row in made.matrix]
    values, codes = (np.stack(each) for each in zip(*rows, strict=True))
    return made.by([node("GatherElements", ["values", "codes"], [LAYER], axis=1)], values=values, codes=codes)


def a_palette_by_places(made: Made) -> onnx.ModelProto:
    """As torch's exporter writes it."""
    values, codes = levels(made.matrix, 16)
    nodes = [
        node("Cast", ["codes"], ["long"], to=TensorProto.INT64),
        node("Unsqueeze", ["long", "last"], ["places"]),
        node("GatherND", ["values", "places"], [LAYER]),
    ]
    return made.by(nodes, values=values, codes=codes.astype(np.uint8), last=np.array([-1]))


def a_palette_a_row_by_places(made: Made) -> onnx.ModelProto:
    rows = [levels(row, 8) for row in made.matrix]
    values, codes = (np.stack(each)[..., None] for each in zip(*rows, strict=True))
    nodes = [
        node("Expand", ["row", "square"], ["rows"]),
        node("Concat", ["rows", "codes"], ["places"], axis=2),
        node("GatherND", ["values", "places"], [LAYER]),
    ]
    row, square = np.arange(96).reshape(96, 1, 1), np.array([96, 96, 1])
    return made.by(nodes, values=values[..., 0], codes=codes, row=row, square=square)


def a_packed_palette(made: Made) -> onnx.ModelProto:
    """Two codes a byte, taken apart by a shift and by division."""
    values, codes = levels(made.matrix, 16)
    nodes = [
        node("BitShift", ["bytes", "four"], ["high"], direction="RIGHT"),
        node("Cast", ["bytes"], ["whole"], to=TensorProto.INT32),
        node("Mod", ["whole", "sixteen"], ["low"]),
        node("Cast", ["high"], ["upper"], to=TensorProto.INT32),
        node("Concat", ["low", "upper"], ["places"], axis=1),
        node("Gather", ["values", "places"], [LAYER]),
    ]
    packed = (codes[:, :48] | codes[:, 48:] << 4).astype(np.uint8)
    return made.by(nodes, values=values, bytes=packed, four=np.uint8(4), sixteen=np.int32(16))


def packed_words(made: Made) -> onnx.ModelProto:
    """Eight codes a word, as GPTQ stores them, scaled by the graph."""
    scale = np.float32(np.abs(made.matrix).max() / 7)
    codes = np.clip(np.round(made.matrix / scale) + 8, 0, 15).astype(np.uint32).reshape(96, 12, 8)
    shifts = np.arange(0, 32, 4, dtype=np.uint32)
    nodes = [
        node("Unsqueeze", ["words", "last"], ["deep"]),
        node("BitShift", ["deep", "shifts"], ["shifted"], direction="RIGHT"),
        node("BitwiseAnd", ["shifted", "fifteen"], ["codes"]),
        node("Reshape", ["codes", "square"], ["flat"]),
        node("Cast", ["flat"], ["numbers"], to=TensorProto.FLOAT),
        node("Sub", ["numbers", "eight"], ["centred"]),
        node("Mul", ["centred", "scale"], [LAYER]),
    ]
    return made.by(
        nodes, words=np.bitwise_or.reduce(codes << shifts, axis=2), last=np.array([2]), shifts=shifts,
        fifteen=np.uint32(15), square=np.array([96, 96]), eight=np.float32(8), scale=scale,
    )  # fmt: skip


FAULTS: dict[str, Callable[[Made], onnx.ModelProto]] = {
    "a palette": lambda made: a_palette(made, np.uint8),
    "a palette of long codes": lambda made: a_palette(made, np.int32),
    "a palette a row": a_palette_a_row,
    "a palette by places": a_palette_by_places,
    "a palette a row by places": a_palette_a_row_by_places,
    "a packed palette": a_packed_palette,
    "packed words": packed_words,
}


def outcome(folder: Path, proto: onnx.ModelProto) -> Any:
    (folder / "net.onnx").write_bytes(as_onnx(load(trained())))
    onnx.save(proto, folder / "candidate.onnx")
    inputs, labels = samples(2, 400)
    np.savez(folder / "data.npz", test_x=inputs, test_y=labels)
    found = weigh(folder, CASE, also=()).result
    assert found.stage == "done", found.message
    return {verdict.threshold: verdict for verdict in found.verdicts}


@pytest.mark.parametrize("fault", FAULTS)
def test_codes_that_the_graph_turns_into_weights_are_an_error_of_the_counts(
    tmp_path: Path, fault: str
) -> None:
    found = outcome(tmp_path, FAULTS[fault](Made()))
    assert found["accuracy_drop"].status is Status.PASS
    assert {found[name].status for name in COUNTS} == {Status.ERROR}
    assert found["weights_ratio"].status is Status.FAIL, "the bytes of the codes are known"
    assert all("codes that Gemm ('2.out') reads" in found[name].message for name in COUNTS)


def a_matrix_in_another_order(made: Made) -> onnx.ModelProto:
    """Rows, and then single numbers, that are looked up each once: the matrix itself is stored, and counted."""
    order = np.random.default_rng(0).permutation(96)
    flat = np.random.default_rng(1).permutation(96 * 96)
    nodes = [
        node("Gather", ["stored", "places"], ["turned"]),
        node("Gather", ["turned", "rows"], [LAYER]),
    ]
    stored = np.empty(96 * 96, np.float32)
    stored[flat] = made.matrix[order].ravel()
    return made.by(nodes, stored=stored, places=flat.reshape(96, 96), rows=np.argsort(order))


def vectors_of_places(made: Made) -> onnx.ModelProto:
    """As relative positions have one each: rows of a short table, looked up many times over and multiplied with."""
    rows = np.abs(np.arange(96)[:, None] - np.arange(96)).ravel() % 7
    nodes = [
        node("Gather", ["table", "distances"], ["vectors"]),
        node("ReduceSum", ["vectors", "first"], ["summed"], keepdims=1),
        node("Mul", ["summed", "nothing"], ["none"]),
        node("Add", ["stored", "none"], [LAYER]),
    ]
    table = np.ones((7, 96), np.float32)
    return made.by(
        nodes, table=table, distances=rows, first=np.array([0]), nothing=np.float32(0), stored=made.matrix
    )


def rows_of_a_short_table(made: Made) -> onnx.ModelProto:
    """The same straight into the product."""
    table, at = np.unique(made.matrix[np.arange(96) % 48], axis=0, return_inverse=True)
    return made.by([node("Gather", ["table", "distances"], [LAYER])], table=table, distances=at)


def rows_by_places(made: Made) -> onnx.ModelProto:
    """As torch's exporter writes rows that are looked up."""
    table, at = np.unique(made.matrix[np.arange(96) % 48], axis=0, return_inverse=True)
    nodes = [
        node("Unsqueeze", ["distances", "last"], ["places"]),
        node("GatherND", ["table", "places"], [LAYER]),
    ]
    return made.by(nodes, table=table, distances=at, last=np.array([-1]))


def a_ramp(made: Made) -> onnx.ModelProto:
    """Of positions, counted by the exporter: no codes, however many."""
    nodes = [
        node("Cast", ["positions"], ["ramp"], to=TensorProto.FLOAT),
        node("Min", ["ramp", "nothing"], ["none"]),
        node("Add", ["stored", "none"], [LAYER]),
    ]
    return made.by(nodes, positions=np.arange(96), nothing=np.float32(0), stored=made.matrix)


LOOKALIKES = {
    "a matrix in another order": a_matrix_in_another_order,
    "vectors of places": vectors_of_places,
    "rows of a short table": rows_of_a_short_table,
    "rows by places": rows_by_places,
    "a ramp": a_ramp,
}


@pytest.mark.parametrize("right", LOOKALIKES)
def test_places_and_ramps_are_no_codes(tmp_path: Path, right: str) -> None:
    found = outcome(tmp_path, LOOKALIKES[right](Made()))
    assert Status.ERROR not in {found[name].status for name in COUNTS}
