"""Attention found in a torch module by running it.

It is three layers of one width that stand together, key and value on the same input, or one of three times its input, and
the next layer that reads their width.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from weighbridge.core.errors import StageError
from weighbridge.core.listed import few
from weighbridge.steps.selection import Layer, LayerOptions, select
from weighbridge.steps.torch_layers import read_by
from weighbridge.steps.train.training import forward

if TYPE_CHECKING:
    import torch

COUNTS = ("num_heads", "num_attention_heads", "n_heads", "n_head", "nhead", "heads")
"""Attributes in which modules keep how many heads they have."""
WIDTHS = ("all_head_size", "inner_dim", "attn_dim")
"""Attributes in which they keep the width of all heads together."""


@dataclass(frozen=True)
class Attention:
    """`name` is of the module that holds the layers `parts`: query, key and value in any order, or one layer of all three."""

    name: str
    heads: int
    parts: tuple[str, ...]
    out: str
    width: int
    """Of all heads together."""

    @property
    def label(self) -> str:
        return labelled(self.name)

    def rows(self, head: int, by_head: bool) -> list[int]:
        """Of a head in each of `parts`. Where one layer holds all three: its query, key and value together if `by_head`."""
        size, times = self.width // self.heads, 1 if len(self.parts) == 3 else 3
        if by_head:
            return list(range(head * size * times, (head + 1) * size * times))
        return [part * self.width + column for part in range(times) for column in self.columns(head)]

    def columns(self, head: int) -> list[int]:
        """Of a head in what `out` reads."""
        size = self.width // self.heads
        return list(range(head * size, (head + 1) * size))


def find(
    module: torch.nn.Module, heads: int | None, options: LayerOptions, samples: Any
) -> tuple[list[Attention], list[str]]:
    """The attention that the options choose, and why other attention keeps its heads.

    Each has `heads` of them, or as many as its module says. A module around attention is none itself, whatever it says: the
    number is its part's, and its own layers are those of a block. Raises `StageError` where none is found.
    """
    import torch

    runs = _runs(module, samples)
    owners = dict.fromkeys(each.owner for each in runs)
    counts = {owner: count for owner in owners if (count := heads or _count(module.get_submodule(owner)))}
    every = {owner: _attention(owner, count, runs) for owner, count in counts.items()}
    inner = [owner for owner, attention in every.items() if attention is not None]
    every = {owner: one for owner, one in every.items() if not any(_inside(each, owner) for each in inner)}
    found = [attention for attention in every.values() if attention is not None]
    left = [
        f"{labelled(owner)} keeps its {counts[owner]} heads: no query, key and value of one width are found in it"
        for owner, attention in every.items()
        if attention is None and not heads
    ]
    left += [
        f"{labelled(name)} keeps its heads: torch.nn.MultiheadAttention has as many as its width holds"
        for name, layer in module.named_modules()
        if isinstance(layer, torch.nn.MultiheadAttention)
    ]
    if not found:
        raise StageError(
            "prune",
            f"no attention is found whose number of heads is known{f' ({few(left)})' if left else ''}: its module says it "
            f"in one of {', '.join(COUNTS)}, or the step in `heads:`; only torch.nn.Linear layers are followed, "
            "not Conv1D as in GPT-2 of transformers",
        )
    layers = [
        Layer(each.name, type(module.get_submodule(each.name)).__name__, frozenset(each.parts))
        for each in found
    ]
    chosen = {each.name for each in select("prune", "no attention", layers, options.layers, options.exclude)}
    return [each for each in found if each.name in chosen], left


def labelled(name: str) -> str:
    """A module as messages call it: the whole one has no name."""
    return name or "the module"


def _inside(name: str, owner: str) -> bool:
    return name != owner and name.startswith(f"{owner}." if owner else "")


@dataclass(frozen=True, eq=False)
class _Run:
    """A Linear layer that was run, and what it read."""

    name: str
    layer: Any
    read: Any

    @property
    def owner(self) -> str:
        return self.name.rpartition(".")[0]

    @property
    def widths(self) -> tuple[int, int]:
        """Output and input."""
        return self.layer.out_features, self.layer.in_features


def _runs(module: torch.nn.Module, samples: Any) -> list[_Run]:
    """The Linear layers in the order in which they run."""
    import torch

    runs: list[_Run] = []
    hooks = [
        layer.register_forward_pre_hook(
            lambda each, given, named, name=name: runs.append(_Run(name, each, read_by(given, named))),
            with_kwargs=True,
        )
        for name, layer in module.named_modules()
        if isinstance(layer, torch.nn.Linear)
    ]
    try:
        with torch.no_grad():
            forward(module, samples)
    finally:
        for hook in hooks:
            hook.remove()
    return runs


def _count(owner: Any) -> int | None:
    """The number of heads that a module says it has."""
    counts = (getattr(owner, name, None) for name in COUNTS)
    return next((count for count in counts if isinstance(count, int) and count > 1), None)


def _attention(owner: str, heads: int, runs: Sequence[_Run]) -> Attention | None:
    """What `owner` attends by; None where its layers are no query, key and value of `heads` heads."""
    own = [each for each in runs if each.owner == owner]
    triples = [list(each) for each in zip(own, own[1:], own[2:], strict=False) if _is_triple(each, own)]
    fused = [[each] for each in own if each.widths[0] == 3 * each.widths[1]]
    parts = next(iter(triples or fused), None)
    if parts is None:
        return None
    width = parts[0].widths[0] // (1 if triples else 3)
    after = runs[max(runs.index(each) for each in parts) + 1 :]
    out = next((each for each in after if each.widths[1] == width), None)
    if out is None or width % heads:
        return None
    return Attention(owner, heads, tuple(each.name for each in parts), out.name, width)


def _is_triple(runs: Sequence[_Run], own: Sequence[_Run]) -> bool:
    """Whether they are three layers of one width, of which two that stand together can be key and value: these have one input,
    and run equally often, unlike one layer that makes both query and key."""
    often = Counter(each.name for each in own)
    pairs = pairwise(runs)
    paired = any(a.read is b.read and often[a.name] == often[b.name] for a, b in pairs)
    return paired and len({each.name for each in runs}) == 3 and len({each.widths[0] for each in runs}) == 1
