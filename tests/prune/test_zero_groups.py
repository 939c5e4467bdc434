"""2:4, blocks and Wanda: which weights become zeros, in torch modules and ONNX graphs, and what holds the steps to it."""

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
from tests.projects import weigh
from torch import nn

from weighbridge.contracts import STEPS, Context, Model, Options, Step, ZeroGroups
from weighbridge.core.data import Data
from weighbridge.core.errors import StageError
from weighbridge.core.results import Status
from weighbridge.run.zero_groups import check_made

CONVOLUTIONS = [
    nn.Conv2d(8, 12, 3),
    nn.Conv2d(16, 12, 3, groups=2),
    nn.Conv1d(8, 4, 5),
    nn.ConvTranspose2d(8, 12, 3),
    nn.ConvTranspose2d(16, 12, 2, groups=2),
]


def by_output(layer: Any) -> Any:
    """The weight as [outputs, inputs that each reads, positions], for every group of a convolution."""
    array = layer.weight.detach().double().numpy()
    if not getattr(layer, "transposed", False):
        return array.reshape(*array.shape[:2], -1)
    groups = np.split(array, layer.groups)
    return np.concatenate([part.swapaxes(0, 1) for part in groups]).reshape(
        layer.out_channels, layer.in_channels // layer.groups, -1
    )


def prune_onnx(made: Model, key: str, **options: Any) -> Model:
    step = STEPS.get(f"prune:{key}")
    context = Context(Path(), Path(), 0, Data(splits={}))
    return step.apply(made, step.options.model_validate(options), context)


def array(made: Model, name: str) -> Any:
    (tensor,) = (one for one in made.value.graph.initializer if one.name == name)
    return numpy_helper.to_array(tensor)


def assert_n_m(before: Any, after: Any, n: int, m: int) -> None:
    """Along the second axis the n largest of m stay, as they were."""
    for output in range(before.shape[0]):
        for place in range(before.shape[2]):
            for start in range(0, before.shape[1], m):
                old, new = before[output, start : start + m, place], after[output, start : start + m, place]
                kept = np.sort(np.argsort(-np.abs(old))[:n])
                assert np.flatnonzero(new).tolist() == kept.tolist()
                assert (new[kept] == old[kept]).all()


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


# ---------------------------------------------------------------------------------------------------- Wanda


def scores(layer: Any, x: Any) -> Any:
    """|W| times the norm of what each input was, [outputs, inputs, positions], one output channel at a time."""
    groups = getattr(layer, "groups", 1)
    loud = np.sqrt((np.moveaxis(x, 1, 0).reshape(x.shape[1], -1).astype(np.float64) ** 2).sum(1))
    rows = np.abs(by_output(layer))
    own = np.split(loud, groups)
    return np.stack([row * own[at * groups // len(rows)][:, None] for at, row in enumerate(rows)])


def heard(layer: Any) -> Any:
    channels = getattr(layer, "in_features", None) or layer.in_channels
    shape = (32, channels, *[9] * (layer.weight.dim() - 2))
    loudness = np.geomspace(1, 100, channels).reshape(-1, *[1] * (layer.weight.dim() - 2))
    return (np.random.default_rng(0).standard_normal(shape) * loudness).astype(np.float32)


@pytest.mark.parametrize("layer", [nn.Linear(16, 6), *CONVOLUTIONS])
def test_wanda_removes_what_matters_least_to_each_output(tmp_path: Path, layer: Any) -> None:
    x = heard(layer)
    made = apply("prune:wanda", nn.Sequential(layer), tmp_path, {"calibration": (x, None)}, amount=0.5)
    worth, after = scores(layer, x), by_output(made.value[0])
    for row, left in zip(worth.reshape(len(worth), -1), after.reshape(len(after), -1), strict=True):
        assert sorted(np.flatnonzero(left == 0)) == sorted(np.argsort(row, kind="stable")[: len(row) // 2])


@pytest.mark.parametrize(
    "layer", [nn.Linear(16, 6), nn.Conv2d(16, 12, 3, groups=2), nn.ConvTranspose2d(8, 4, 3)]
)
def test_wanda_in_a_pattern(tmp_path: Path, layer: Any) -> None:
    x = heard(layer)
    made = apply("prune:wanda", nn.Sequential(layer), tmp_path, {"calibration": (x, None)}, pattern="2:4")
    assert_n_m(scores(layer, x), np.where(by_output(made.value[0]) != 0, scores(layer, x), 0), 2, 4)


def test_a_loud_input_keeps_its_small_weights(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Linear(2, 3, bias=False))
    with torch.no_grad():
        net[0].weight[:] = torch.tensor([0.1, 1.0])
    x = np.array([[100.0, 1.0], [-100.0, 1.0]], np.float32)
    made = apply("prune:wanda", net, tmp_path, {"calibration": (x, None)})
    assert made.value[0].weight.tolist() == [[pytest.approx(0.1), 0.0]] * 3


def test_a_weight_that_two_layers_share_hears_both(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False))
    with torch.no_grad():
        net[0].weight[:] = torch.tensor([[1.0, 1.1], [1.0, 1.1]])
    net[1].weight = net[0].weight
    # The first layer hears nothing of its first input, the second the same of both.
    x = np.array([[0.0, 1.0]], np.float32)
    made = apply("prune:wanda", net, tmp_path, {"calibration": (x, None)})
    assert made.value[1].weight is made.value[0].weight
    assert made.value[0].weight.count_nonzero() == 2
    assert (made.value[0].weight[:, 0] == 0).all()


class ReadsItself(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner, self.head = nn.Linear(8, 8), nn.Linear(8, 4)

    def forward(self, x: Any) -> Any:
        return self.head(torch.relu(x @ self.inner.weight.T))


def test_a_layer_that_is_never_called_is_left_and_named(tmp_path: Path) -> None:
    x = {"calibration": (np.ones((4, 8), np.float32), None)}
    made = apply("prune:wanda", ReadsItself(), tmp_path, x)
    assert (made.value.inner.weight != 0).all()
    assert "inner: left as it was, since its weight is read without calling it" in made.notes
    with pytest.raises(StageError, match="no chosen layer is called: inner"):
        apply("prune:wanda", ReadsItself(), tmp_path, x, layers=["inner"])


class TakesAVector(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gate, self.head = nn.Linear(8, 8), nn.Linear(8, 4)
        self.base = nn.Parameter(torch.ones(8))

    def forward(self, x: Any) -> Any:
        return self.head(x * self.gate(self.base))


def test_a_layer_that_takes_one_vector_is_heard(tmp_path: Path) -> None:
    x = {"calibration": (np.ones((4, 8), np.float32), None)}
    made = apply("prune:wanda", TakesAVector(), tmp_path, x)
    assert made.value.gate.weight.count_nonzero() == 32


def test_wanda_has_an_amount_or_a_pattern() -> None:
    with pytest.raises(ValidationError, match="leave `amount` out"):
        STEPS.get("prune:wanda").options.model_validate({"amount": 0.5, "pattern": "2:4"})


# ------------------------------------------------------------------------------------------ held to the end

CODE = """
import numpy as np
import torch
from torch import nn

def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(4, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.ConvTranspose2d(16, 8, 3), nn.ReLU(),
                         nn.Conv2d(8, 8, 3, groups=2), nn.Flatten(), nn.Linear(288, 32), nn.ReLU(), nn.Linear(32, 4)).eval()

def splits():
    x = np.random.default_rng(0).standard_normal((64, 4, 8, 8)).astype("float32")
    return {name: (x, np.arange(64) % 4) for name in ("train", "calibration", "test")}
"""
STATIC = "  - quantize: static\n    engine: onnxruntime\n"
ONWARD = {
    "as it is": "",
    "fine-tuned": "  - finetune: {epochs: 1}\n",
    "torch dynamic": "  - quantize: dynamic\n    engine: torch\n",
    "static": STATIC,
    "static, unsigned": STATIC + "    weights: uint8\n",
    "dynamic": "  - quantize: dynamic\n    engine: onnxruntime\n",
    "litert": "  - quantize: litert\n    mode: static\n",
}
METHODS = {
    "2:4": "  - prune: n_m\n",
    "4x2 blocks": "  - prune: block\n    amount: 0.5\n    size: [4, 2]\n",
    "wanda": "  - prune: wanda\n    pattern: '2:4'\n",
}


def run(folder: Path, recipe: str) -> Any:
    (folder / "model.py").write_text(CODE)
    return weigh(
        folder,
        f"model: {{torch: model.py:net}}\ndata: model.py:splits\nallow_chance: true\nrecipe:\n{recipe}"
        "thresholds: {nonzero_ratio: {max: 0.9}}\n",
    )


@pytest.mark.parametrize(
    ("method", "onward"),
    [
        ("wanda", "static"),
        ("4x2 blocks", "torch dynamic"),
        ("2:4", "as it is"),
        *(
            pytest.param(method, onward, marks=pytest.mark.slow)
            for method in ("2:4", "4x2 blocks")
            for onward in ONWARD
            if (method, onward) not in (("4x2 blocks", "torch dynamic"), ("2:4", "as it is"))
        ),
    ],
)
def test_what_keeps_its_groups_is_not_accused(tmp_path: Path, method: str, onward: str) -> None:
    if onward == "litert":
        pytest.importorskip("ai_edge_quantizer")
        pytest.importorskip("litert_torch")
    found = run(tmp_path, METHODS[method] + ONWARD[onward])
    assert found.result.status is Status.PASS, found.message


def one_filled(module: Any) -> None:
    weight = module[7].weight.view(-1)
    weight[(weight == 0).nonzero()[5]] = 1.0


def turned(module: Any) -> None:
    """As many zeros, in another order of the inputs."""
    module[7].weight.copy_(module[7].weight[:, torch.randperm(288)])


def of_outputs(module: Any) -> None:
    """The pattern along the outputs: as many zeros in as regular an order, along the other axis."""
    weight = module[9].weight
    weight.copy_(torch.where(torch.tensor([1, 1, 0, 0]).bool()[:, None], weight + (weight == 0), 0))


class _None(Options):
    pass


@pytest.fixture
def planted(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """`finetune: planted`: a step after pruning that spoils the zeros in one layer."""
    monkeypatch.setattr(STEPS, "_entries", {name: STEPS.get(name) for name in STEPS.names()})

    def spoil(source: Model, options: _None, context: Context) -> Model:
        from weighbridge.steps.torch_layers import working_copy

        module = working_copy(source, "finetune")
        with torch.no_grad():
            request.param(module)
        return Model("torch", module, source.source)

    STEPS.add("finetune:planted", Step("finetune", "planted", ("torch",), _None, spoil))


@pytest.mark.parametrize("onward", ["", STATIC], ids=["torch", "static"])
@pytest.mark.parametrize(
    ("planted", "layer", "broken"),
    [
        (one_filled, "7.weight", ("2:4", "4x2 blocks", "wanda")),
        (turned, "7.weight", ("2:4", "4x2 blocks", "wanda")),
        (of_outputs, "9.weight", ("2:4", "wanda")),
    ],
    indirect=["planted"],
)
@pytest.mark.usefixtures("planted")
def test_zeros_that_a_later_step_spoils_are_an_error(
    tmp_path: Path, layer: str, broken: tuple[str, ...], onward: str
) -> None:
    for method in broken:
        folder = tmp_path / method[:2]
        folder.mkdir()
        found = run(folder, METHODS[method] + "  - finetune: planted\n" + onward)
        assert found.result.status is Status.ERROR
        assert (
            f"the artifact has not kept {'2:4' if method == 'wanda' else method}: {layer} " in found.message
        )


def test_channels_taken_out_afterwards_take_the_groups_along(tmp_path: Path) -> None:
    pytest.importorskip("torch_pruning")
    found = run(tmp_path, METHODS["2:4"] + "  - prune: channels\n    layers: ['7']\n")
    assert "no weight of 32 x 288 x 1 is left of 7.weight" in found.message


def test_a_step_that_takes_a_layer_away_is_held_to_the_others() -> None:
    """A normalization that is folded into its neighbour, say."""
    torch.manual_seed(0)
    layer = nn.Linear(8, 8)
    before = Model("torch", nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8)))
    before.value[0].load_state_dict(layer.state_dict())
    two_of_four = ZeroGroups(rows=1, columns=4, nonzero=2, every=True)
    step = STEPS.get("prune:n_m")
    with torch.no_grad():
        layer.weight[:, ::2] = 0
    check_made(step, two_of_four, before, Model("torch", nn.Sequential(layer)))
    with torch.no_grad():
        layer.weight[3, :] = 1
        layer.weight[3, 0] = 0
    with pytest.raises(StageError, match=r"left other zeros in 0\.weight"):
        check_made(step, two_of_four, before, Model("torch", nn.Sequential(layer)))


@pytest.mark.parametrize("method", METHODS)
def test_a_step_that_leaves_other_zeros_than_it_promised_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    """Planted: the layer called 7 keeps a weight that was to go."""
    from weighbridge.steps.prune import weights

    honest = weights.pruned

    def sloppy(opened: Any, kept: Any, notes: Any = ()) -> Model:
        for each, mask in kept:
            if each.label == "7":
                first = np.flatnonzero(~mask.reshape(-1))[0]
                mask.reshape(-1)[first] = True
        return honest(opened, kept, notes)

    for module in ("n_m", "block", "wanda"):
        monkeypatch.setattr(f"weighbridge.steps.prune.{module}.pruned", sloppy)
    found = run(tmp_path, METHODS[method])
    assert found.result.status is Status.ERROR
    assert "left other zeros in 7.weight" in found.message
