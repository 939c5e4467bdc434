"""Whole heads taken out of the attention of a torch module: Michel, Levy and Neubig, 2019 (arXiv 1905.10650).

Which rows a head has is believed only if the smaller module computes what the original does without those heads.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from weighbridge.contracts import STEPS, Context, Model, Step
from weighbridge.core.batches import count
from weighbridge.core.errors import StageError, first_line
from weighbridge.core.listed import few
from weighbridge.steps.prune.narrowed import Narrowed, compute_alike
from weighbridge.steps.prune.ranking import at_most
from weighbridge.steps.prune.torch_attention import COUNTS, WIDTHS, Attention, find
from weighbridge.steps.prune.torch_channels import BATCHES, SAMPLES
from weighbridge.steps.selection import LayerOptions
from weighbridge.steps.torch_layers import read_by, rebuilt_by, working_copy
from weighbridge.steps.train.training import forward, supervised

if TYPE_CHECKING:
    import torch


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


def heads(model: Model, options: HeadOptions | TaylorHeadOptions, context: Context) -> Model:
    """A copy whose attention has fewer heads. Raises `StageError` where none is found, or it cannot do with fewer."""
    import torch

    original = working_copy(model, "prune")
    samples = context.data.sample(SAMPLES)
    found, left = find(original, options.heads, options, samples)
    _refuse_tied(original, found)
    by_loss = _by_loss(original, found, options, context) if isinstance(options, TaylorHeadOptions) else []
    together = any(len(each.parts) == 1 for each in found)
    for by_head in (False, True) if together else (False,):
        module = _copied(original)
        worth = by_loss or [_norms(module, each, options, by_head) for each in found]
        ranked = _least(found, worth, options)
        narrowed, facts = _narrow(module, found, ranked, by_head)
        whole, smaller = _copied(original), _copied(module)
        try:
            with torch.inference_mode():
                compute_alike(whole, smaller, narrowed, samples)
            break
        except StageError:
            if by_head or not together:
                raise
    source = rebuilt_by(model, _key(options), options, facts)
    said = few(
        f"{each.label} {each.heads} → {each.heads - len(gone)}"
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


def _copied(module: torch.nn.Module) -> Any:
    return working_copy(Model("torch", module), "prune")


def _refuse_tied(module: torch.nn.Module, found: Sequence[Attention]) -> None:
    """Raise `StageError` where a layer that would be cut shares a parameter: the module ties the two again when it is
    opened, and they are no longer one."""
    places: dict[int, list[str]] = {}
    for name, layer in module.named_modules():
        for own, parameter in layer.named_parameters(name, recurse=False):
            places.setdefault(parameter.data_ptr(), []).append(own)
    for attention in found:
        for name in (*attention.parts, attention.out):
            for parameter in module.get_submodule(name).parameters():
                if len(tied := places[parameter.data_ptr()]) > 1:
                    raise StageError(
                        "prune",
                        f"{' and '.join(tied)} are one parameter: two once heads are cut, and tied again to be one "
                        f"where the module is opened: untie it, or leave '{attention.label}' to `exclude`",
                    )


def _least(
    found: Sequence[Attention], worth: Sequence[Sequence[float]], options: _HeadOptions
) -> list[list[int]]:
    """Of each attention the heads that go. Raises `StageError` where that is none at all."""
    most = [at_most(options.amount, each.heads) for each in found]
    if options.scope == "global":
        most = [each.heads for each in found]
    left = at_most(options.amount, sum(each.heads for each in found))
    gone: list[list[int]] = [[] for _ in found]
    order = sorted((one, place, head) for place, each in enumerate(worth) for head, one in enumerate(each))
    for _, place, head in order:
        if left and len(gone[place]) < min(most[place], found[place].heads - 1):
            gone[place].append(head)
            left -= 1
    if not any(gone):
        counts = few(f"{each.label} has {each.heads}" for each in found)
        raise StageError("prune", f"`amount: {options.amount:g}` removes no head: {counts}")
    return gone


def _by_loss(
    module: torch.nn.Module, found: Sequence[Attention], options: TaylorHeadOptions, context: Context
) -> list[list[float]]:
    """What each head of each attention is worth: |d loss / d gate| over the samples, with a gate of 1 on what the head gives.

    Nothing, where the loss does not ask for it. Raises `StageError` where that is so everywhere, and where the module or the
    loss has no gradient.
    """
    loss = supervised(module, options.loss, context, "prune")
    worth = [[0.0] * each.heads for each in found]
    given: dict[str, list[Any]] = {}

    def watch(name: str, read: Any) -> None:
        given.setdefault(name, []).append(read if read.requires_grad else read.requires_grad_())
        read.retain_grad()

    hooks = [
        module.get_submodule(each.out).register_forward_pre_hook(
            lambda _, inputs, named, name=each.name: watch(name, read_by(inputs, named)), with_kwargs=True
        )
        for each in found
    ]
    try:
        for inputs, targets in islice(context.data.split("train").batches(options.batch_size), BATCHES):
            given.clear()
            with _explained(options):
                loss(inputs, forward(module, inputs), targets).backward()
            for each, sums in zip(found, worth, strict=True):
                reads = [read for read in given.get(each.name, ()) if read.grad is not None]
                gates = sum(_gates(read, each.heads, count(inputs)) for read in reads)
                for head, one in enumerate(gates.abs().sum(0).tolist() if reads else ()):
                    sums[head] += one
    finally:
        for hook in hooks:
            hook.remove()
    for parameter in module.parameters():
        parameter.grad = None
    if not any(map(any, worth)):
        raise StageError(
            "prune",
            f"`loss: {options.loss}` does not ask for what the attention gives: no gradient comes from the loss to "
            f"{few(each.label for each in found)}, as where it runs under torch.no_grad(); `prune: heads` needs none",
        )
    return worth


def _gates(read: Any, heads: int, samples: int) -> Any:
    """d loss / d gate of each head for each sample, [samples, heads].

    A layer may read the steps of a sample along axes of their own, one after the other ([samples * steps, width]), or
    pooled; where it reads no whole number of them for each sample, all count as one sample.
    """
    gates = (read.detach() * read.grad).unflatten(-1, (heads, -1)).sum(-1).reshape(-1, heads)
    return gates.unflatten(0, (samples if len(gates) % samples == 0 else 1, -1)).sum(1)


@contextmanager
def _explained(options: TaylorHeadOptions) -> Iterator[None]:
    """What the module, the loss or the way back raises for a batch."""
    try:
        yield
    except StageError:
        raise
    except Exception as error:  # the module and the loss are the user's code
        raise StageError(
            "prune",
            f"a batch of `train` does not go through the model and `loss: {options.loss}` and back, as `taylor_heads` needs "
            f"({type(error).__name__}: {first_line(error)}); a loss of your own is written `loss: file.py:function`, and "
            "`prune: heads` needs no gradient",
        ) from error


def _narrow(
    module: torch.nn.Module, found: Sequence[Attention], ranked: Sequence[Sequence[int]], by_head: bool
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
        owner = module.get_submodule(attention.name)
        stated = dict.fromkeys(COUNTS, (attention.heads, len(gone)))
        stated |= dict.fromkeys(WIDTHS, (attention.width, len(columns)))
        facts[attention.name] = {
            name: before - less
            for name, (before, less) in stated.items()
            if isinstance(value := getattr(owner, name, None), int)
            and value == before
            and not _computed(owner, name)
        }
    _tell(module, facts)
    narrowed.measure()
    return narrowed, facts


def _norms(module: torch.nn.Module, attention: Attention, options: Any, by_head: bool) -> list[float]:
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


def _computed(owner: Any, name: str) -> bool:
    """Whether an attribute is a property that nobody can set: whether the module goes by it, its answers say."""
    attribute = getattr(type(owner), name, None)
    return isinstance(attribute, property) and attribute.fset is None


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
