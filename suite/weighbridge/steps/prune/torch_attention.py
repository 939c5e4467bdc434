"""Attention found in a torch module by running it.

It is three layers of one width that stand together, key and value on the same input, or one of three times its input, and
the next layer that reads their width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from weighbridge.core.errors import StageError
from weighbridge.core.listed import few
from weighbridge.steps.selection import Layer, LayerOptions, select
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

    Each has `heads` of them, or as many as its module says. Raises `StageError` where none is found.
    """
    import torch

    runs = _runs(module, samples)
    found, left = list[Attention](), list[str]()
    for owner in dict.fromkeys(each.owner for each in runs):
        count = heads or _count(module.get_submodule(owner))
        attention = _attention(owner, count, runs) if count else None
        if attention is not None:
            found.append(attention)
        elif count and not heads:
            left.append(
                f"{owner} keeps its {count} heads: no query, key and value of one width are found in it"
            )
    left += [
        f"{name} keeps its heads: torch.nn.MultiheadAttention has as many as its width holds"
        for name, layer in module.named_modules()
        if isinstance(layer, torch.nn.MultiheadAttention)
    ]
    if not found:
        raise StageError(
            "prune",
            f"no attention is found whose number of heads is known{f' ({few(left)})' if left else ''}: its module says it "
            f"in one of {', '.join(COUNTS)}, or the step in `heads:`",
        )
    every = [
        Layer(each.name, type(module.get_submodule(each.name)).__name__, frozenset(each.parts))
        for each in found
    ]
    chosen = {each.name for each in select("prune", "no attention", every, options.layers, options.exclude)}
    found = [each for each in found if each.name in chosen]
    return found, left


@dataclass(frozen=True)
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
            lambda each, given, name=name: runs.append(_Run(name, each, given[0]))
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
    triples = [list(each) for each in zip(own, own[1:], own[2:], strict=False) if _is_triple(each)]
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


def _is_triple(runs: Sequence[_Run]) -> bool:
    """Whether the three have one width, and key and value, which stand together, one input."""
    _, one, other = runs
    same = one.read is other.read or runs[0].read is one.read
    return same and len({each.layer.out_features for each in runs}) == 1
