"""A small transformer encoder that reads a handwritten digit row by row."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from safetensors.torch import load_model
from torch import Tensor, nn

WIDTH, HEADS, HIDDEN, LAYERS = 64, 4, 192, 3
ROWS = 8
OUTLIER = 40
HERE = Path(__file__).parent


class Layer(nn.Module):
    """Attention and two dense layers, each behind a normalization; [N, rows, WIDTH] to the same."""

    def __init__(self) -> None:
        super().__init__()
        self.before_attention = nn.LayerNorm(WIDTH)
        self.query = nn.Linear(WIDTH, WIDTH)
        self.key = nn.Linear(WIDTH, WIDTH)
        self.value = nn.Linear(WIDTH, WIDTH)
        self.out = nn.Linear(WIDTH, WIDTH)
        self.before_dense = nn.LayerNorm(WIDTH)
        self.up = nn.Linear(WIDTH, HIDDEN)
        self.down = nn.Linear(HIDDEN, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        normal = self.before_attention(x)
        query, key, value = (heads(part(normal)) for part in (self.query, self.key, self.value))
        weights = torch.softmax(query @ key.transpose(-1, -2) / math.sqrt(WIDTH // HEADS), -1)
        x = x + self.out((weights @ value).transpose(1, 2).flatten(2))
        return x + self.down(torch.relu(self.up(self.before_dense(x))))


def heads(x: Tensor) -> Tensor:
    """[N, rows, WIDTH] as [N, HEADS, rows, WIDTH / HEADS]; however many heads there are."""
    return x.unflatten(-1, (-1, WIDTH // HEADS)).transpose(1, 2)


class Encoder(nn.Module):
    """Rows of eight pixels, their places, and the classes of the mean; input [N, 1, 8, 8], output [N, 10]."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(ROWS, WIDTH)
        self.place = nn.Parameter(torch.randn(1, ROWS, WIDTH) * 0.1)
        self.layers = nn.ModuleList(Layer() for _ in range(LAYERS))
        self.last = nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x.flatten(1, 2)) + self.place
        for layer in self.layers:
            x = layer(x)
        return self.head(self.last(x.mean(1)))


def encoder() -> nn.Module:
    return Encoder()


def with_outliers() -> nn.Module:
    """The trained encoder, with the outliers that large language models have: in front of the dense layers a few channels are
    40 times as loud, and read as much more quietly. It computes the same.
    """
    module = Encoder()
    load_model(module, HERE / "encoder.safetensors")
    loud = slice(0, WIDTH, 12)
    with torch.no_grad():
        for layer in module.layers:
            for norm, readers in (
                (layer.before_attention, (layer.query, layer.key, layer.value)),
                (layer.before_dense, (layer.up,)),
            ):
                norm.weight[loud] *= OUTLIER
                norm.bias[loud] *= OUTLIER
                for reader in readers:
                    reader.weight[:, loud] /= OUTLIER
    return module
