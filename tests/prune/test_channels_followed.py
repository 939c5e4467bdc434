"""Modules that Torch-Pruning follows without end, or wrongly: the rest is pruned, and the error says what to exclude."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from weighbridge.contracts import Context, Model
from weighbridge.core.data import Data
from weighbridge.core.errors import StageError
from weighbridge.steps.prune.torch_channels import ChannelOptions, channels

pytest.importorskip("torch_pruning")


class Norm(nn.Module):
    """A normalization of the user's own, as decoders have it: nobody knows that it looks at all channels."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Any) -> Any:
        return self.weight * x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6)


class Rotary(nn.Module):
    """Attention whose halves change places, and whose keys and values are fewer than its queries."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v, self.o = (nn.Linear(64, width) for width in (64, 32, 32, 64))

    def forward(self, x: Any) -> Any:
        def turned(y: Any) -> Any:
            return y + torch.cat((-y[..., 8:], y[..., :8]), -1)

        q, k, v = (
            layer(x).view(x.shape[0], x.shape[1], -1, 16).transpose(1, 2)
            for layer in (self.q, self.k, self.v)
        )
        q, k = turned(q), turned(k)
        k, v = (
            y[:, :, None].expand(-1, -1, 2, -1, -1).reshape(x.shape[0], 4, x.shape[1], 16) for y in (k, v)
        )
        mixed = ((q @ k.transpose(-1, -2)).softmax(-1) @ v).transpose(1, 2)
        return self.o(mixed.reshape(x.shape[0], x.shape[1], -1))


class Decoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.attention = nn.Linear(8, 64), Norm(64), Rotary()
        self.up, self.down, self.head = nn.Linear(64, 128), nn.Linear(128, 64), nn.Linear(64, 4)

    def forward(self, x: Any) -> Any:
        x = self.first(x)
        x = x + self.attention(self.norm(x))
        return self.head((x + self.down(torch.relu(self.up(x)))).mean(1))


class Reshaped(nn.Module):
    """Its own forward knows a number of channels."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.head = nn.Linear(8, 64), nn.Linear(64, 4)

    def forward(self, x: Any) -> Any:
        return self.head(torch.relu(self.first(x)).view(x.shape[0], -1, 4, 16).flatten(2).mean(1))


def narrow(module: nn.Module, **options: Any) -> Model:
    torch.manual_seed(0)
    x = np.random.default_rng(0).standard_normal((16, 6, 8)).astype("float32")
    context = Context(Path(), Path(), 0, Data(splits={"test": (x, None)}))
    return channels(Model("torch", module.eval()), ChannelOptions(amount=0.25, **options), context)


def advised(error: StageError) -> list[str]:
    found = re.search(r"`exclude: \[(.*)\]`", error.message)
    assert found, error.message
    return found[1].split(", ")


def test_what_is_followed_without_end_is_left_and_named() -> None:
    with pytest.raises(StageError, match="'attention' does not run with fewer channels") as raised:
        narrow(Decoder())
    found = narrow(Decoder(), exclude=advised(raised.value))
    assert "channels removed: up 128 → 96" in found.notes
    assert "attention.q keeps its channels: they meet themselves again in another order" in found.notes
    assert found.value.attention.q.out_features == 64


def test_the_advice_for_a_forward_that_knows_a_number_names_the_layer() -> None:
    with pytest.raises(StageError, match="the module itself does not run with fewer channels") as raised:
        narrow(Reshaped())
    assert advised(raised.value) == ["first"]


def test_torch_pruning_is_itself_again() -> None:
    from torch_pruning.dependency import graph, group

    narrow(nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, 4)))
    assert graph.Group is group.Group
