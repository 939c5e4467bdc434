"""2:4 and blocks: which weights become zeros, in torch modules and ONNX graphs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from onnx import numpy_helper
from pydantic import ValidationError
from tests.found.onnx_graphs import model, node, weight
from tests.found.torch_modules import apply, mlp
from tests.prune.by_output import CONVOLUTIONS, assert_n_m, by_output
from torch import nn

from weighbridge.contracts import STEPS, Context, Model
from weighbridge.core.data import Data
from weighbridge.core.errors import StageError


def prune_onnx(made: Model, key: str, **options: Any) -> Model:
    step = STEPS.get(f"prune:{key}")
    context = Context(Path(), Path(), 0, Data(splits={}))
    return step.apply(made, step.options.model_validate(options), context)


def array(made: Model, name: str) -> Any:
    (tensor,) = (one for one in made.value.graph.initializer if one.name == name)
    return numpy_helper.to_array(tensor)


@pytest.mark.parametrize("pattern", ["2:4", "4:8", "1:2"])
@pytest.mark.parametrize("layer", [nn.Linear(16, 6), *CONVOLUTIONS])
def test_n_of_m_along_the_inputs(tmp_path: Path, layer: Any, pattern: str) -> None:
    n, m = map(int, pattern.split(":"))
    made = apply("prune:n_m", nn.Sequential(layer), tmp_path, pattern=pattern)
    assert_n_m(by_output(layer), by_output(made.value[0]), n, m)


@pytest.mark.parametrize("transposed", [0, 1])
def test_the_inputs_of_a_gemm_are_where_it_reads_them(transposed: int) -> None:
    w = weight(6, 16) if transposed else weight(16, 6)
    graph = model([node("Gemm", "x w", "y", transB=transposed)], {"w": w}, ["n", 16])
    pruned = array(prune_onnx(graph, "n_m", pattern="2:4"), "w")
    rows, left = (w, pruned) if transposed else (w.T, pruned.T)
    assert_n_m(rows[..., None], left[..., None], 2, 4)


def test_the_inputs_of_an_onnx_convolution() -> None:
    graph = model([node("Conv", "x w", "y", group=2)], {"w": weight(6, 8, 3, 3)}, ["n", 16, 8, 8])
    pruned = prune_onnx(graph, "n_m")
    assert_n_m(*(array(one, "w").reshape(6, 8, 9) for one in (graph, pruned)), 2, 4)


def test_what_the_pattern_does_not_fit_is_left_and_named(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(8, 4, 3))
    made = apply("prune:n_m", net, tmp_path)
    assert [int((layer.weight == 0).sum()) for layer in made.value] == [0, 0, 4 * 8 * 9 // 2]
    said = "0 (8 outputs, 3 inputs), 1 (1 outputs, 1 inputs) cannot take 2:4: left as it was"
    assert said in made.notes
    with pytest.raises(StageError, match="no chosen layer can take 2:4: 0 "):
        apply("prune:n_m", net, tmp_path, layers=["0"])


def test_a_matrix_on_the_left_has_inputs_that_nobody_knows() -> None:
    graph = model(
        [node("MatMul", "w x", "a"), node("MatMul", "a v", "y")],
        {"w": weight(8, 8), "v": weight(4, 4)},
        ["n", 8, 4],
    )
    pruned = prune_onnx(graph, "n_m")
    assert (array(pruned, "w") != 0).all()
    assert any(note.startswith("w: left as it was") for note in pruned.notes)


def test_a_weight_that_is_read_both_ways_has_no_one_axis_of_inputs() -> None:
    nodes = [node("MatMul", "x w", "a"), node("Gemm", "a w", "y", transB=1)]
    with pytest.raises(StageError, match=r"w: left as it was, .* not the same for all that read it"):
        prune_onnx(model(nodes, {"w": weight(8, 8)}, ["n", 8]), "n_m")


@pytest.mark.parametrize("pattern", ["4:4", "5:4", "2-4", "0:4", "2:4:8"])
def test_an_impossible_pattern_is_a_fault_of_the_file(pattern: str) -> None:
    for method in ("n_m", "wanda"):
        with pytest.raises(ValidationError):
            STEPS.get(f"prune:{method}").options.model_validate({"pattern": pattern})


# --------------------------------------------------------------------------------------------------- blocks


@pytest.mark.parametrize("norm", ["l1", "l2", "max"])
@pytest.mark.parametrize("size", [(1, 4), (4, 4), (2, 8)])
@pytest.mark.parametrize("layer", [nn.Linear(16, 8), nn.Conv2d(16, 8, 3), nn.ConvTranspose2d(16, 8, 3)])
def test_the_smallest_blocks_go_whole(tmp_path: Path, layer: Any, size: Any, norm: str) -> None:
    made = apply("prune:block", nn.Sequential(layer), tmp_path, amount=0.25, size=list(size), norm=norm)
    of = {"l1": np.sum, "l2": lambda block: np.sum(block**2), "max": np.max}[norm]
    worth, gone = [], []
    before, after = by_output(layer), by_output(made.value[0])
    for row in range(0, 8, size[0]):
        for column in range(0, 16, size[1]):
            for place in range(before.shape[2]):
                where = (slice(row, row + size[0]), slice(column, column + size[1]), place)
                worth.append(of(np.abs(before[where])))
                assert (after[where] == 0).all() or (after[where] == before[where]).all()
                gone.append(bool((after[where] == 0).all()))
    assert np.array(gone)[np.argsort(worth)].tolist() == sorted(gone, reverse=True)
    assert sum(gone) == len(gone) // 4


def test_blocks_of_all_layers_together(tmp_path: Path) -> None:
    net = mlp(16, 16, 16)
    with torch.no_grad():
        net[0].weight *= 10
    made = apply("prune:block", net, tmp_path, amount=16, scope="global", size=[4, 4])
    assert [int((made.value[at].weight == 0).sum()) for at in (0, 2)] == [0, 240]
    assert "2 ranks lowest as a whole; one of its 16 blocks was kept" in made.notes
    assert "amount 16 counts blocks of all layers together: 16 of 32 (50.0%)" in made.notes
