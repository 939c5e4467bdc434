"""Heads taken out of attention: which go, what is left, and what cannot do with fewer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.projects import weigh
from torch import nn

from weighbridge.contracts import FORMATS, STEPS, Context, Model
from weighbridge.core.data import Data
from weighbridge.core.errors import StageError

NETWORKS = '''
import torch
from torch import nn

WIDTH, SIZE = 32, 8


def attended(query, key, value, heads=-1):
    """Each [N, steps, heads * SIZE]; the same of what is attended to."""
    query, key, value = (part.unflatten(-1, (heads, SIZE)).transpose(1, 2) for part in (query, key, value))
    weights = torch.softmax(query @ key.transpose(-1, -2) / SIZE**0.5, -1)
    return (weights @ value).transpose(1, 2).flatten(2)


class Apart(nn.Module):
    """Query, key and value are layers of their own."""

    def __init__(self, heads=-1):
        super().__init__()
        self.num_heads, self.stated = WIDTH // SIZE, heads
        self.query, self.key, self.value, self.out = (nn.Linear(WIDTH, WIDTH) for _ in range(4))

    def forward(self, x):
        return self.out(attended(self.query(x), self.key(x), self.value(x), self.stated))


class Together(nn.Module):
    """One layer of all three: query of all heads, then key, then value; or by head."""

    def __init__(self, by_head):
        super().__init__()
        self.n_head, self.by_head = WIDTH // SIZE, by_head
        self.qkv, self.proj = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x):
        shape = (self.n_head, 3, SIZE) if self.by_head else (3, self.n_head, SIZE)
        axis = -2 if self.by_head else -3
        parts = self.qkv(x).unflatten(-1, shape).unbind(axis)
        return self.proj(attended(*(part.flatten(2) for part in parts)))


class Grouped(Apart):
    """Key and value have half of the query's heads."""

    def __init__(self):
        super().__init__()
        self.key, self.value = nn.Linear(WIDTH, WIDTH // 2), nn.Linear(WIDTH, WIDTH // 2)

    def forward(self, x):
        key, value = (part.unflatten(-1, (-1, SIZE)).repeat_interleave(2, 2).flatten(2) for part in (self.key(x), self.value(x)))
        return self.out(attended(self.query(x), key, value))


class Turned(Apart):
    """Heads alternate: head 0 has every fourth row, which no shape tells."""

    def forward(self, x):
        turned = (part(x).unflatten(-1, (SIZE, -1)).transpose(-1, -2).flatten(2) for part in (self.query, self.key, self.value))
        return self.out(attended(*turned).unflatten(-1, (-1, SIZE)).transpose(-1, -2).flatten(2))


class Unsaid(Apart):
    def __init__(self):
        super().__init__()
        del self.num_heads


class Torchs(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(WIDTH, 4, batch_first=True)

    def forward(self, x):
        return self.attention(x, x, x, need_weights=False)[0]


class Net(nn.Module):
    def __init__(self, *layers):
        super().__init__()
        self.embed, self.layers, self.head = nn.Linear(6, WIDTH), nn.ModuleList(layers), nn.Linear(WIDTH, 3)

    def forward(self, x):
        x = self.embed(x)
        for layer in self.layers:
            x = x + layer(x)
        return self.head(x.mean(1))


def of(*layers):
    torch.manual_seed(5)
    return Net(*(layer() for layer in layers)).eval()


def apart(): return of(Apart, Apart)
def together(): return of(lambda: Together(False), lambda: Together(False))
def by_head(): return of(lambda: Together(True), lambda: Together(True))
def stated(): return of(lambda: Apart(4))
def grouped(): return of(Grouped)
def both(): return of(Grouped, Apart)
def turned(): return of(Turned)
def unsaid(): return of(Unsaid)
def torchs(): return of(Torchs)
'''
X = np.random.default_rng(2).standard_normal((24, 5, 6)).astype(np.float32)
Y = np.random.default_rng(3).integers(0, 3, 24)
Load = Callable[[str], Model]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    (tmp_path / "nets.py").write_text(NETWORKS)
    return lambda name: FORMATS.get("torch").load(f"nets.py:{name}", None, tmp_path)


def pruned(model: Model, folder: Path, method: str = "heads", **options: Any) -> Model:
    step = STEPS.get(f"prune:{method}")
    context = Context(folder, folder, 0, Data({"test": (X, Y), "train": (X, Y)}))
    return step.apply(model, step.options.model_validate({"amount": 0.5, **options}), context)


def widths(module: nn.Module) -> dict[str, tuple[int, int]]:
    return {
        name: (layer.in_features, layer.out_features)
        for name, layer in module.named_modules()
        if isinstance(layer, nn.Linear)
    }


def answers(module: nn.Module) -> Any:
    with torch.inference_mode():
        return module(torch.as_tensor(X)).numpy()


@pytest.mark.parametrize("method", ["heads", "taylor_heads"])
@pytest.mark.parametrize("name", ["apart", "together", "by_head"])
def test_half_of_the_heads_are_gone_and_the_checkpoint_opens(
    load: Load, tmp_path: Path, name: str, method: str
) -> None:
    before = load(name)
    after = pruned(before, tmp_path, method, scope="local")
    own = widths(after.value)
    parts = ["query", "key", "value"] if name == "apart" else ["qkv"]
    out = "out" if name == "apart" else "proj"
    for layer in ("layers.0", "layers.1"):
        assert {own[f"{layer}.{part}"] for part in parts} == {(32, 16 if name == "apart" else 48)}
        assert own[f"{layer}.{out}"] == (16, 32)
    assert own["embed"] == widths(before.value)["embed"]
    assert any("heads removed: layers.0 4 → 2, layers.1 4 → 2" in note for note in after.notes)
    artifact = FORMATS.get("torch").save(after, tmp_path, "smaller")
    opened = FORMATS.get("torch").open(artifact)
    np.testing.assert_array_equal(answers(opened.value), answers(after.value))


def test_the_heads_that_are_worth_least_go(load: Load, tmp_path: Path) -> None:
    """Two heads that give nothing: without them the answers stay."""
    model = load("apart")
    with torch.no_grad():
        for layer in model.value.layers:
            for head in (1, 2):
                rows = slice(8 * head, 8 * head + 8)
                for part in (layer.query, layer.key, layer.value):
                    part.weight[rows] *= 1e-4
                    part.bias[rows] = 0
    after = pruned(model, tmp_path, scope="local")
    np.testing.assert_allclose(answers(after.value), answers(model.value), atol=1e-4)
    kept = [*range(8), *range(24, 32)]
    np.testing.assert_array_equal(
        after.value.layers[0].query.weight.detach(), model.value.layers[0].query.weight.detach()[kept]
    )


def test_across_all_attention_one_head_stays_in_each(load: Load, tmp_path: Path) -> None:
    """The first attention gives next to nothing, by its weights and by the loss alike."""
    for method in ("heads", "taylor_heads"):
        model = load("apart")
        with torch.no_grad():
            for part in (layer := model.value.layers[0]).children():
                part.weight *= 1e-3
            layer.out.bias.zero_()
        after = pruned(model, tmp_path, method)
        assert [layer.query.out_features for layer in after.value.layers] == [8, 24]


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("stated", {}, "'layers.0' does not run with fewer channels"),
        ("turned", {}, "computes something else than the original"),
        ("unsaid", {}, "no attention is found whose number of heads is known: .*or the step in `heads:`"),
        ("grouped", {}, "layers.0 keeps its 4 heads: no query, key and value of one width"),
        ("torchs", {}, "layers.0.attention keeps its heads: torch.nn.MultiheadAttention"),
        ("apart", {"amount": 0.1}, "`amount: 0.1` removes no head: layers.0 has 4"),
        ("apart", {"layers": ["layer.0"]}, "no attention matches 'layer.0'; did you mean 'layers.0'"),
    ],
)
def test_what_cannot_do_with_fewer_is_told(
    load: Load, tmp_path: Path, name: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(StageError, match=message):
        pruned(load(name), tmp_path, **options)


def test_the_number_of_heads_can_be_stated(load: Load, tmp_path: Path) -> None:
    after = pruned(load("unsaid"), tmp_path, heads=4)
    assert widths(after.value)["layers.0.query"] == (32, 16)


def test_attention_can_be_chosen_and_what_is_left_is_told(load: Load, tmp_path: Path) -> None:
    after = pruned(load("apart"), tmp_path, exclude=["layers.0"])
    assert widths(after.value)["layers.0.query"] == (32, 32)
    assert widths(after.value)["layers.1.query"] == (32, 16)
    mixed = pruned(load("both"), tmp_path)
    assert any("layers.0 keeps its 4 heads" in note for note in mixed.notes)


def test_it_ships_smaller_through_the_exporter_and_in_integers(tmp_path: Path) -> None:
    (tmp_path / "nets.py").write_text(
        NETWORKS + "\nimport numpy as np\n"
        "x = np.random.default_rng(2).standard_normal((64, 5, 6)).astype('float32')\n"
        "def data(): return {'test': x, 'calibration': x}\n"
    )
    sizes = {}
    for step in ("", "  - {prune: heads, amount: 0.5}\n"):
        found = weigh(
            tmp_path,
            "model: {torch: nets.py:together}\ndata: nets.py:data\n"
            f"recipe:\n{step}  - {{quantize: static, engine: onnxruntime, reduce_range: true}}\n"
            "thresholds: {size: 1 MB}\n",
        )
        assert not found.failed, (found.message, found.failed)
        sizes[step != ""] = found.measurements["size"].candidate
    assert sizes[True] < 0.8 * sizes[False]
