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
from weighbridge.steps.prune import torch_heads

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


class Computed(Unsaid):
    """Says the number by a property that nobody can set, as one that asks a configuration."""
    n_heads = property(lambda self: 4)


class Bound(Computed):
    """And goes by it."""

    def forward(self, x):
        return self.out(attended(self.query(x), self.key(x), self.value(x), self.n_heads))


class Doubled(Apart):
    """One layer makes query and key."""

    def forward(self, x):
        return self.out(attended(self.query(x), self.query(x), self.value(x)))


class Halves(Apart):
    """Queries come in two parts."""

    def forward(self, x):
        query = torch.cat([self.query(x[:, :2]), self.query(x[:, 2:])], 1)
        return self.out(attended(query, self.key(x), self.value(x)))


class Named(Apart):
    """Calls its layers by keyword."""

    def forward(self, x):
        return self.out(input=attended(self.query(input=x), self.key(input=x), self.value(input=x)))


class Flat(Apart):
    """The next layer reads the steps of all samples one after the other."""

    def forward(self, x):
        given = attended(self.query(x), self.key(x), self.value(x))
        return self.out(given.flatten(0, 1)).unflatten(0, x.shape[:2])


class Pooled(Apart):
    def forward(self, x):
        return self.out(attended(self.query(x), self.key(x), self.value(x)).mean(1)).unsqueeze(1)


class Numbers(Apart):
    """Keeps other things, and other numbers, under the names of counts and widths."""

    def __init__(self):
        super().__init__()
        self.heads = nn.Parameter(torch.zeros(3))
        self.nhead, self.inner_dim, self.attn_dim = WIDTH, WIDTH // SIZE, WIDTH


class Block(nn.Module):
    """Says the number of heads as well, and has its feed-forward layers itself."""

    def __init__(self):
        super().__init__()
        self.n_head, self.attention = WIDTH // SIZE, Apart()
        self.wide, self.narrow = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(3 * WIDTH, WIDTH)

    def forward(self, x):
        return self.narrow(torch.relu(self.wide(x + self.attention(x))))


class Conv1D(nn.Module):
    """As in transformers: a Linear layer that is none."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(WIDTH, WIDTH))

    def forward(self, x):
        return x @ self.weight


class Convs(Apart):
    def __init__(self):
        super().__init__()
        self.query, self.key, self.value, self.out = (Conv1D() for _ in range(4))


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


class InPlace(Net):
    def forward(self, x):
        x = self.embed(x)
        for layer in self.layers:
            x += layer(x)
        return self.head(x.mean(1))


class Around(nn.Module):
    """Says the number of heads as well, and has a layer of its own; `unread` gives what no loss asks for."""

    def __init__(self, net, unread=None, gradient=True):
        super().__init__()
        self.n_heads, self.gradient = 4, gradient
        self.net, self.unread, self.last = net, unread, nn.Linear(3, 3)

    def forward(self, x):
        with torch.set_grad_enabled(self.gradient and torch.is_grad_enabled()):
            given = self.net(x)
        return self.last(given) if self.unread is None else (self.last(given), self.unread(x))


class Twice(nn.Module):
    """One attention runs twice, the second time for nothing."""

    def __init__(self):
        super().__init__()
        self.embed, self.layer, self.head = nn.Linear(6, WIDTH), Apart(), nn.Linear(WIDTH, 3)

    def forward(self, x):
        x = self.embed(x)
        x = x + self.layer(x)
        return self.head((x + 0 * self.layer(x)).mean(1))


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
def computed(): return of(Computed)
def bound(): return of(Bound)
def torchs(): return of(Torchs)
def doubled(): return of(Doubled, Apart)
def halves(): return of(Halves)
def named(): return of(Named)
def single(): return of(Apart)
def flat(): return of(Flat)
def pooled(): return of(Pooled)
def numbers(): return of(Numbers)
def blocks(): return of(Block, Block)
def convs(): return of(Convs)
def in_place(): torch.manual_seed(5); return InPlace(Apart()).eval()
def around(): return Around(of(Apart)).eval()
def unread(): return Around(of(Apart), of(Apart)).eval()
def no_grad(): return Around(of(Apart), gradient=False).eval()
def twice(): torch.manual_seed(5); return Twice().eval()
def around_grouped(): net = Around(of(Apart)); net.net.layers[0] = Grouped(); return net.eval()


def tied(*parts):
    net = of(Apart, Apart, Apart)
    for part in parts:
        getattr(net.layers[1], part).weight = getattr(net.layers[0], part).weight
    return net


def tied_parts(): return tied("query", "key", "value")
def tied_out(): return tied("out")
def tied_memory():
    net = tied()
    net.layers[1].key.weight.data = net.layers[0].key.weight.data
    return net
def shared(): layer = Apart(); return of(lambda: layer, lambda: layer)
def tied_elsewhere():
    net = Around(of(Apart), of(Apart))
    net.unread.embed.weight.data = net.net.embed.weight.data
    return net.eval()
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


def kept(model: Model, after: Model, layer: str) -> list[int]:
    """The heads that are left of a query."""
    before, now = (each.value.get_submodule(layer).weight.detach() for each in (model, after))
    return [head for head in range(4) if any(torch.equal(row, before[8 * head]) for row in now)]


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
        ("bound", {}, "'layers.0' does not run with fewer channels"),
        ("turned", {}, "computes something else than the original"),
        ("unsaid", {}, "no attention is found whose number of heads is known: .*or the step in `heads:`"),
        ("grouped", {}, "layers.0 keeps its 4 heads: no query, key and value of one width"),
        ("convs", {}, "only torch.nn.Linear layers are followed, not Conv1D"),
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


def test_a_tied_weight_is_refused_by_name(load: Load, tmp_path: Path) -> None:
    """Its two places lose other heads, and the module makes one of them again when it is opened."""
    for name, part in (("tied_parts", "query"), ("tied_out", "out"), ("tied_memory", "key")):
        one, other = (f"layers.{place}.{part}.weight" for place in (0, 1))
        with pytest.raises(StageError, match=f"{one} and {other} are one parameter.*'layers.0' to `exclude`"):
            pruned(load(name), tmp_path)
        after = pruned(load(name), tmp_path, exclude=["layers.0", "layers.1"])
        assert widths(after.value)["layers.2.query"] == (32, 16)


def test_one_attention_at_two_places_is_cut_once(load: Load, tmp_path: Path) -> None:
    for method in ("heads", "taylor_heads"):
        after = pruned(load("shared"), tmp_path, method)
        assert after.value.layers[0] is after.value.layers[1]
        opened = FORMATS.get("torch").open(FORMATS.get("torch").save(after, tmp_path, method))
        np.testing.assert_array_equal(answers(opened.value), answers(after.value))


def test_what_shares_memory_beside_attention_still_does(load: Load, tmp_path: Path) -> None:
    after = pruned(load("tied_elsewhere"), tmp_path).value
    assert after.unread.embed.weight.data_ptr() == after.net.embed.weight.data_ptr()


@pytest.mark.parametrize("method", ["heads", "taylor_heads"])
def test_frozen_weights_stay_frozen(load: Load, tmp_path: Path, method: str) -> None:
    model = load("apart")
    model.value.requires_grad_(False)
    model.value.head.requires_grad_(True)
    after = pruned(model, tmp_path, method)
    trained = [name for name, parameter in after.value.named_parameters() if parameter.requires_grad]
    assert trained == ["head.weight", "head.bias"]
    assert widths(after.value) != widths(model.value)


def test_the_rank_says_which_weights_are_large(load: Load, tmp_path: Path) -> None:
    """Heads 0 and 1 have one large weight each, heads 2 and 3 many small ones."""
    model = load("single")
    with torch.no_grad():
        for part in model.value.layers[0].children():
            part.weight.fill_(0.1)
        for part in (model.value.layers[0].query, model.value.layers[0].key, model.value.layers[0].value):
            part.weight[:16] = 0
        model.value.layers[0].out.weight[:, :16] = 0
        model.value.layers[0].query.weight[[0, 8], [0, 1]] = 10
        model.value.layers[0].query.weight[[16, 24], [0, 1]] = 0.2
    assert kept(model, pruned(model, tmp_path), "layers.0.query") == [0, 1]
    assert kept(model, pruned(model, tmp_path, rank="l1"), "layers.0.query") == [2, 3]


def test_the_loss_is_asked_however_the_next_layer_reads(load: Load, tmp_path: Path) -> None:
    """Heads 1 and 2 give next to nothing."""
    for name in ("single", "flat", "pooled", "named", "halves"):
        model = load(name)
        with torch.no_grad():
            model.value.layers[0].out.weight[:, 8:24] *= 1e-4
        after = pruned(model, tmp_path, "taylor_heads")
        assert kept(model, after, "layers.0.query") == [0, 3], name


def test_steps_count_as_those_of_their_sample_along_whatever_axes() -> None:
    """Worth is a sum of what single samples give, so that what one gives and another takes does not cancel."""

    def gates(*shape: int) -> torch.Tensor:
        read = torch.arange(96.0).reshape(shape).requires_grad_()
        (read * torch.linspace(-1, 1, 96).reshape(shape)).sum().backward()
        return torch_heads._gates(read, 4, 2)

    expected = (torch.arange(96.0) * torch.linspace(-1, 1, 96)).reshape(2, 3, 4, 4).sum((1, 3))
    for shape in ((2, 3, 16), (6, 16), (2, 3, 1, 16)):
        torch.testing.assert_close(gates(*shape), expected)
    assert gates(3, 32).shape == (1, 4)


def test_worth_is_a_sum_over_samples_whatever_the_batches(load: Load, tmp_path: Path) -> None:
    (tmp_path / "loss.py").write_text(
        "from torch.nn.functional import cross_entropy\n\n\n"
        "def summed(outputs, targets):\n    return cross_entropy(outputs, targets, reduction='sum')\n"
    )
    data = Data({"test": (X, Y), "train": (X, Y)})
    module = load("apart").value
    worth = []
    for size in (24, 8, 7):
        options = torch_heads.TaylorHeadOptions(loss="loss.py:summed", batch_size=size)
        found, _ = torch_heads.find(module, None, options, data.sample(8))
        context = Context(tmp_path, tmp_path, 0, data)
        worth.append(torch_heads._by_loss(module, found, options, context))
    np.testing.assert_allclose(worth[1], worth[0], rtol=1e-4)
    np.testing.assert_allclose(worth[2], worth[0], rtol=1e-4)


def test_every_run_of_an_attention_counts(load: Load, tmp_path: Path) -> None:
    """Only the first run does something; heads 0 and 1 do most of it."""
    model = load("twice")
    with torch.no_grad():
        model.value.layer.out.weight[:, 16:] *= 1e-4
    assert kept(model, pruned(model, tmp_path, "taylor_heads"), "layer.query") == [0, 1]


def test_attention_that_the_loss_does_not_ask_for_goes_first(load: Load, tmp_path: Path) -> None:
    after = pruned(load("unread"), tmp_path, "taylor_heads", amount=0.375)
    assert widths(after.value)["unread.layers.0.query"] == (32, 8)
    assert widths(after.value)["net.layers.0.query"] == (32, 32)


def test_a_loss_without_a_way_back_is_told(load: Load, tmp_path: Path) -> None:
    with pytest.raises(
        StageError, match=r"no gradient comes from the loss to net\.layers\.0.*`prune: heads`"
    ):
        pruned(load("no_grad"), tmp_path, "taylor_heads")
    with pytest.raises(StageError, match=r"and back, as `taylor_heads` needs .*inplace operation"):
        pruned(load("in_place"), tmp_path, "taylor_heads")
    assert widths(pruned(load("in_place"), tmp_path).value)["layers.0.query"] == (32, 16)


def test_query_key_and_value_are_three_layers(load: Load, tmp_path: Path) -> None:
    after = pruned(load("doubled"), tmp_path)
    assert any("layers.0 keeps its 4 heads: no query, key and value" in note for note in after.notes)
    assert widths(after.value)["layers.0.query"] == (32, 32)
    assert widths(after.value)["layers.1.query"] == (32, 16)


def test_only_numbers_of_heads_and_widths_are_set_anew(load: Load, tmp_path: Path) -> None:
    layer = pruned(load("numbers"), tmp_path).value.layers[0]
    assert (layer.num_heads, layer.nhead, layer.inner_dim, layer.attn_dim) == (2, 32, 4, 16)
    assert layer.heads.shape == (3,)


def test_a_number_that_is_computed_is_left_to_the_module(load: Load, tmp_path: Path) -> None:
    after = pruned(load("computed"), tmp_path)
    assert widths(after.value)["layers.0.query"] == (32, 16)
    opened = FORMATS.get("torch").open(FORMATS.get("torch").save(after, tmp_path, "smaller"))
    np.testing.assert_array_equal(answers(opened.value), answers(after.value))


@pytest.mark.parametrize("options", [{}, {"heads": 4}])
def test_a_module_around_attention_is_none(load: Load, tmp_path: Path, options: dict[str, Any]) -> None:
    for name, layer in (("blocks", "layers.0.attention"), ("around", "net.layers.0")):
        after = pruned(load(name), tmp_path, scope="local", **options)
        assert widths(after.value)[f"{layer}.query"] == (32, 16)
        assert not any("keeps its" in note for note in after.notes)


def test_the_whole_module_has_a_name_in_messages(load: Load, tmp_path: Path) -> None:
    with pytest.raises(StageError, match="the module keeps its 4 heads"):
        pruned(load("around_grouped"), tmp_path)


def test_the_number_of_heads_can_be_stated(load: Load, tmp_path: Path) -> None:
    after = pruned(load("unsaid"), tmp_path, heads=4)
    assert widths(after.value)["layers.0.query"] == (32, 16)


def test_attention_can_be_chosen_and_what_is_left_is_told(load: Load, tmp_path: Path) -> None:
    after = pruned(load("apart"), tmp_path, exclude=["layers.0"])
    assert widths(after.value)["layers.0.query"] == (32, 32)
    assert widths(after.value)["layers.1.query"] == (32, 16)
    mixed = pruned(load("both"), tmp_path)
    assert any("layers.0 keeps its 4 heads" in note for note in mixed.notes)


@pytest.mark.slow
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
