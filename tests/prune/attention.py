"""Small networks with attention of every kind, as a user's file, and what is asked of them once heads are taken out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from weighbridge.contracts import FORMATS, STEPS, Context, Model
from weighbridge.core.data import Data

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


def network(name: str, folder: Path) -> Model:
    """One of `NETWORKS`, by the function that makes it."""
    (folder / "nets.py").write_text(NETWORKS)
    return FORMATS.get("torch").load(f"nets.py:{name}", None, folder)


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
