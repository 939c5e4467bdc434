"""Whole heads taken out of the attention of a torch module: Michel, Levy and Neubig, 2019 (arXiv 1905.10650).

Attention is found by running it: three layers of one width that stand together, key and value on the same input, or one
of three times its input, and the next layer that reads their width. Which rows a head has is then believed only if the
smaller module computes what the original does without those heads.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from weighbridge.contracts import STEPS, Context, Model, Step
from weighbridge.core.errors import StageError
from weighbridge.core.listed import few
from weighbridge.steps.prune.narrowed import Narrowed, compute_alike
from weighbridge.steps.prune.torch_channels import BATCHES, SAMPLES
from weighbridge.steps.selection import Layer, LayerOptions, select
from weighbridge.steps.torch_layers import rebuilt_by, working_copy
from weighbridge.steps.train.training import forward, supervised

if TYPE_CHECKING:
    import torch

COUNTS = ("num_heads", "num_attention_heads", "n_heads", "n_head", "nhead", "heads")
"""Attributes in which modules keep how many heads they have."""
WIDTHS = ("all_head_size", "inner_dim", "attn_dim")
"""Attributes in which they keep the width of all heads together."""


class _HeadOptions(LayerOptions):
    tunes: ClassVar = {"amount": (0.25, 0.5), "scope": ("global", "local")}
    amount: float = Field(
        0.5,
        gt=0,
        lt=1,
        description="Share of the heads to remove, of each attention or of all; one always stays.",
    )
    scope: Literal["local", "global"] = Field(
        "global", description="Rank within each attention, or across all of them."
    )
    heads: int | None = Field(
        None,
        ge=2,
        description=f"How many heads an attention has whose module does not say it in one of {', '.join(COUNTS)}.",
    )


class HeadOptions(_HeadOptions):
    rank: Literal["l2", "l1"] = Field("l2", description="What a head is worth: the norm of its weights.")


class TaylorHeadOptions(_HeadOptions):
    """A head is worth what the loss of a sample changes by without it, to first order."""

    loss: str = Field("cross_entropy", description="As in finetune: cross_entropy, mse, or file.py:function.")
    batch_size: int = Field(64, ge=1)


@dataclass(frozen=True)
class _Attention:
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


def heads(model: Model, options: HeadOptions | TaylorHeadOptions, context: Context) -> Model:
    """A copy whose attention has fewer heads. Raises `StageError` where none is found, or it cannot do with fewer."""
    import torch

    original = working_copy(model, "prune")
    samples = context.data.sample(SAMPLES)
    found, left = _find(original, options, samples)
    by_loss = _by_loss(original, found, options, context) if isinstance(options, TaylorHeadOptions) else []
    together = any(len(each.parts) == 1 for each in found)
    for by_head in (False, True) if together else (False,):
        module = copy.deepcopy(original)
        worth = by_loss or [_norms(module, each, options, by_head) for each in found]
        ranked = _least(found, worth, options)
        narrowed, facts = _narrow(module, found, ranked, by_head)
        try:
            with torch.inference_mode():
                compute_alike(copy.deepcopy(original), copy.deepcopy(module), narrowed, samples)
            break
        except StageError:
            if by_head or not together:
                raise
    source = rebuilt_by(model, _key(options), options, facts)
    said = few(
        f"{each.name or 'the module'} {each.heads} → {each.heads - len(gone)}"
        for each, gone in zip(found, ranked, strict=True)
        if gone
    )
    return Model("torch", module, source, (*model.notes, f"heads removed: {said}", *left))


def rebuild(model: Model, options: _HeadOptions, facts: Mapping[str, Any]) -> Model:
    """A fresh module told how many heads there are; what its layers are follows from the checkpoint."""
    _tell(model.value, facts)
    return model


def _key(options: _HeadOptions) -> str:
    return "prune:taylor_heads" if isinstance(options, TaylorHeadOptions) else "prune:heads"


def _find(module: torch.nn.Module, options: _HeadOptions, samples: Any) -> tuple[list[_Attention], list[str]]:
    """The attention that the options choose, and why other attention keeps its heads."""
    import torch

    runs = _runs(module, samples)
    found, left = list[_Attention](), list[str]()
    for owner in dict.fromkeys(each.owner for each in runs):
        count = options.heads or _count(module.get_submodule(owner))
        attention = _attention(owner, count, runs) if count else None
        if attention is not None:
            found.append(attention)
        elif count and not options.heads:
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


def _attention(owner: str, heads: int, runs: Sequence[_Run]) -> _Attention | None:
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
    return _Attention(owner, heads, tuple(each.name for each in parts), out.name, width)


def _is_triple(runs: Sequence[_Run]) -> bool:
    """Whether the three have one width, and key and value, which stand together, one input."""
    _, one, other = runs
    same = one.read is other.read or runs[0].read is one.read
    return same and len({each.layer.out_features for each in runs}) == 1


def _least(
    found: Sequence[_Attention], worth: Sequence[Sequence[float]], options: _HeadOptions
) -> list[list[int]]:
    """Of each attention the heads that go. Raises `StageError` where that is none at all."""
    most = [int(options.amount * each.heads) for each in found]
    if options.scope == "global":
        most = [each.heads for each in found]
    left = int(options.amount * sum(each.heads for each in found))
    gone: list[list[int]] = [[] for _ in found]
    order = sorted((one, place, head) for place, each in enumerate(worth) for head, one in enumerate(each))
    for _, place, head in order:
        if left and len(gone[place]) < min(most[place], found[place].heads - 1):
            gone[place].append(head)
            left -= 1
    if not any(gone):
        counts = few(f"{each.name} has {each.heads}" for each in found)
        raise StageError("prune", f"`amount: {options.amount:g}` removes no head: {counts}")
    return gone


def _by_loss(
    module: torch.nn.Module, found: Sequence[_Attention], options: TaylorHeadOptions, context: Context
) -> list[list[float]]:
    """What each head of each attention is worth: |d loss / d gate| over the samples, with a gate of 1 on what the head gives."""
    loss = supervised(module, options.loss, context, "prune")
    worth = [[0.0] * each.heads for each in found]
    given: dict[str, Any] = {}

    def watch(name: str, inputs: Any) -> None:
        given[name] = inputs[0] if inputs[0].requires_grad else inputs[0].requires_grad_()
        given[name].retain_grad()

    hooks = [
        module.get_submodule(each.out).register_forward_pre_hook(
            lambda _, inputs, name=each.name: watch(name, inputs)
        )
        for each in found
    ]
    try:
        for inputs, targets in islice(context.data.split("train").batches(options.batch_size), BATCHES):
            loss(inputs, forward(module, inputs), targets).backward()
            for each, sums in zip(found, worth, strict=True):
                read = given[each.name]
                gates = (read.detach() * read.grad).unflatten(-1, (each.heads, -1)).sum(-1)
                for head, one in enumerate(gates.flatten(1, -2).sum(1).abs().sum(0).tolist()):
                    sums[head] += one
    finally:
        for hook in hooks:
            hook.remove()
    for parameter in module.parameters():
        parameter.grad = None
    return worth


def _narrow(
    module: torch.nn.Module, found: Sequence[_Attention], ranked: Sequence[Sequence[int]], by_head: bool
) -> tuple[Narrowed, dict[str, Any]]:
    """Remove the heads `ranked`, and what the rebuilt module has to be told."""
    narrowed = Narrowed({layer: name for name, layer in module.named_modules()})
    facts: dict[str, Any] = {}
    for attention, gone in zip(found, ranked, strict=True):
        rows = sorted(row for head in gone for row in attention.rows(head, by_head))
        columns = sorted(column for head in gone for column in attention.columns(head))
        parts = [module.get_submodule(name) for name in attention.parts]
        out = module.get_submodule(attention.out)
        narrowed.remember([*((part, True, rows) for part in parts), (out, False, columns)])
        for part in parts:
            _cut(part, 0, rows)
        _cut(out, 1, columns)
        told = {name: attention.heads - len(gone) for name in COUNTS}
        told |= dict.fromkeys(WIDTHS, attention.width - len(columns))
        owner = module.get_submodule(attention.name)
        before = (attention.heads, attention.width)
        facts[attention.name] = {
            name: value for name, value in told.items() if getattr(owner, name, None) in before
        }
    _tell(module, facts)
    narrowed.measure()
    return narrowed, facts


def _norms(module: torch.nn.Module, attention: _Attention, options: Any, by_head: bool) -> list[float]:
    """Of the weights of each head, of which larger ones are thought to do more."""
    power = 2 if options.rank == "l2" else 1
    out: Any = module.get_submodule(attention.out)
    parts: list[Any] = [module.get_submodule(name) for name in attention.parts]
    found = []
    for head in range(attention.heads):
        weights = [part.weight[attention.rows(head, by_head)] for part in parts]
        weights.append(out.weight[:, attention.columns(head)])
        found.append(sum(float(each.detach().double().abs().pow(power).sum()) for each in weights))
    return found


def _cut(layer: Any, axis: int, gone: Sequence[int]) -> None:
    """Take rows (axis 0) or columns (axis 1) out of a Linear layer."""
    import torch

    left = torch.tensor([index for index in range(layer.weight.shape[axis]) if index not in {*gone}])
    trained = layer.weight.requires_grad
    layer.weight = torch.nn.Parameter(layer.weight.detach().index_select(axis, left), trained)
    if axis == 0 and layer.bias is not None:
        layer.bias = torch.nn.Parameter(layer.bias.detach()[left], layer.bias.requires_grad)
    layer.out_features, layer.in_features = layer.weight.shape


def _tell(module: torch.nn.Module, facts: Mapping[str, Any]) -> None:
    for name, attributes in facts.items():
        for attribute, value in attributes.items():
            setattr(module.get_submodule(name), attribute, value)


def _register(method: str, options: type[_HeadOptions], splits: tuple[str, ...]) -> None:
    step = Step(
        "prune",
        method,
        ("torch",),
        options,
        heads,
        must="sparsify",
        splits=splits,
        rebuild=rebuild,
        random=False,
    )
    STEPS.add(step.key, step)


_register("heads", HeadOptions, ())
_register("taylor_heads", TaylorHeadOptions, ("train",))
