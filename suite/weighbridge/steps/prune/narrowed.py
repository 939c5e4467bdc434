"""What went when channels were removed, and whether the smaller module computes what the original does without them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from weighbridge.core.errors import StageError, first_line
from weighbridge.core.flow import flow
from weighbridge.core.listed import few
from weighbridge.engines.torch_eager import float_type, leaves
from weighbridge.steps.alike import same_answers
from weighbridge.steps.train.training import forward

if TYPE_CHECKING:
    import torch


class Narrowed:
    """The channels that were removed, by the layer that had them or read them, numbered as in the original."""

    def __init__(self, names: Mapping[Any, str]) -> None:
        self._names = names
        self._before: dict[str, tuple[int, int]] = {}
        self._left: dict[tuple[str, bool], list[int]] = {}
        self._norms: dict[str, list[int]] = {}
        """What is left of each normalization that looks at all channels together."""
        self._layers: dict[str, Any] = {}
        self._together: list[dict[str, bool]] = []
        """Of each group its layers, and whether they lost outputs."""
        self.widths: dict[str, tuple[int, int]] = {}
        """Output channels before and after, of each layer that lost some."""

    def remember(self, group: Sequence[tuple[Any, bool, Sequence[int]]]) -> None:
        """Each layer of a group that is about to be pruned, whether its outputs or its inputs are, and which of them."""
        import torch

        self._together.append({})
        for layer, outputs, rows in group:
            name = self._names.get(layer)
            if name is None:  # an operator, or a parameter outside of layers
                continue
            if isinstance(layer, torch.nn.LayerNorm | torch.nn.GroupNorm):
                left = self._norms.setdefault(name, list(range(_normalized(layer))))
                for row in sorted(rows, reverse=True):
                    del left[row]
            if not isinstance(layer, torch.nn.Linear | torch.nn.modules.conv._ConvNd):
                self._together[-1].setdefault(name, False)
                continue
            self._together[-1][name] = outputs or self._together[-1].get(name, False)
            self._layers[name] = layer
            widths = self._before.setdefault(name, _widths(layer))
            left = self._left.setdefault((name, outputs), list(range(widths[0 if outputs else 1])))
            for row in sorted(rows, reverse=True):
                del left[row]

    def measure(self) -> None:
        """Take down the widths, once everything is pruned."""
        for name, layer in self._layers.items():
            before, after = self._before[name][0], _widths(layer)[0]
            if before != after:
                self.widths[name] = before, after

    def said(self) -> str:
        shown = few(f"{name} {before} → {after}" for name, (before, after) in self.widths.items())
        text = f"channels removed: {shown}"
        if self._norms:
            text += (
                f"; {', '.join(self._norms)} normalizes over what is left, so the outputs are not only those of the "
                "channels that stay"
            )
        return text

    def to_exclude(self, where: str) -> str:
        """What to write so that `where`, or the layers in it, keep what they read and give: one layer keeps its whole group."""
        names = [
            next((name for name, lost in group.items() if lost), "")
            for group in self._together
            if not where or any(f"{name}.".startswith(f"{where}.") for name in group)
        ]
        return f"`exclude: {flow(list(dict.fromkeys(filter(None, names))))}`" if any(names) else "`exclude`"

    def unread(self, original: torch.nn.Module) -> None:
        """Let `original` read none of the removed channels: weights become zero, and normalizations look at the others."""
        for (name, outputs), left in self._left.items():
            layer: Any = original.get_submodule(name)
            if not outputs and not _depthwise(layer):
                gone = sorted(set(range(_widths(layer)[1])) - set(left))
                _ignore(layer, gone)
        for name, kept in self._norms.items():
            _normalize_only(original.get_submodule(name), kept)


def compute_alike(
    original: torch.nn.Module, smaller: torch.nn.Module, narrowed: Narrowed, samples: Any
) -> None:
    """Raise `StageError` naming the layer where `smaller` does not run, or gives other outputs than `original` does
    when nobody reads the removed channels. Both are changed.

    In 64 bits where the module runs in them, since answers may differ by little more than 32 bits round.
    """
    narrowed.unread(original)
    expected, wanted = _run_precisely(original, samples)
    smaller.to(float_type(original))  # as it ran
    with _watched(smaller) as (found, running):
        try:
            given = leaves(forward(smaller, samples))
        except Exception as error:  # the user's own forward
            where = running[-1] if running else ""
            raise StageError(
                "prune",
                f"{_called(where)} does not run with fewer channels ({type(error).__name__}: {first_line(error)}): it knows "
                "their number from elsewhere, as attention with its heads in one matrix does; leave what it reads or gives to "
                f"{narrowed.to_exclude(where)}",
            ) from error
    if _alike(wanted, given):
        return
    where = next(
        (
            name
            for name in found
            if _same_shapes(expected.get(name), found[name]) and not _alike(expected[name], found[name])
        ),
        "",
    )
    raise StageError(
        "prune",
        f"{_called(where)} computes something else than the original with the removed channels unread: which channels belong "
        "together cannot be told from its shapes, or something before it looks at all of them, as a normalization of its own; "
        f"leave what it reads or gives to {narrowed.to_exclude(where)}",
    )


def _called(where: str) -> str:
    return f"'{where}'" if where else "the module itself"


def _run_precisely(module: torch.nn.Module, samples: Any) -> tuple[dict[str, list[Any]], list[Any]]:
    """What each layer gives, and the outputs."""
    import torch

    own = float_type(module)
    with _watched(module) as (given, running):
        try:
            return given, leaves(forward(module.double(), samples))
        except Exception:  # it converts to a type of its own somewhere
            running.clear()
            torch.nn.Module.to(module, own)
            return given, leaves(forward(module, samples))


@contextmanager
def _watched(module: torch.nn.Module) -> Iterator[tuple[dict[str, list[torch.Tensor]], list[str]]]:
    """What each layer gives, in the order of running, and the layers that are at work."""
    given: dict[str, list[torch.Tensor]] = {}
    running: list[str] = []

    def ended(name: str, outputs: Any) -> None:
        given[name] = leaves(outputs)
        running.pop()

    hooks = []
    for name, layer in module.named_modules():
        hooks.append(layer.register_forward_pre_hook(lambda *_, name=name: running.append(name)))
        hooks.append(layer.register_forward_hook(lambda *each, name=name: ended(name, each[-1])))
    try:
        yield given, running
    finally:
        for hook in hooks:
            hook.remove()


def _same_shapes(a: Sequence[torch.Tensor] | None, b: Sequence[torch.Tensor]) -> bool:
    return a is not None and [each.shape for each in a] == [each.shape for each in b]


def _alike(a: Sequence[torch.Tensor], b: Sequence[torch.Tensor]) -> bool:
    import torch

    return _same_shapes(a, b) and same_answers(
        [
            (
                one.double().numpy(),
                other.double().numpy(),
                torch.finfo(one.dtype).eps if one.is_floating_point() else None,
            )
            for one, other in zip(a, b, strict=True)
        ]
    )


def _widths(layer: Any) -> tuple[int, int]:
    """Output and input channels."""
    if hasattr(layer, "out_features"):
        return layer.out_features, layer.in_features
    return layer.out_channels, layer.in_channels


def _depthwise(layer: Any) -> bool:
    """Whether each channel only goes through, to be read by a later layer."""
    groups = getattr(layer, "groups", 1)
    return bool(groups > 1 and groups == layer.in_channels)


def _ignore(layer: Any, channels: Sequence[int]) -> None:
    """Let the layer read nothing of these input channels."""
    import torch

    groups, weight = getattr(layer, "groups", 1), layer.weight
    with torch.no_grad():
        if getattr(layer, "transposed", False):
            weight[list(channels)] = 0
            return
        rows, columns = weight.shape[0] // groups, weight.shape[1]
        for channel in channels:
            group, column = divmod(channel, columns)
            weight[group * rows : (group + 1) * rows, column] = 0


def _normalized(norm: Any) -> int:
    """Channels that a LayerNorm or GroupNorm looks at."""
    return int(norm.num_channels if hasattr(norm, "num_channels") else norm.normalized_shape[-1])


def _normalize_only(norm: Any, kept: Sequence[int]) -> None:
    """Let the layer normalize over these channels, and give zeros for the others."""
    import torch

    rows = torch.tensor(list(kept))
    axis = 1 if isinstance(norm, torch.nn.GroupNorm) else -1

    def instead(_: Any, inputs: tuple[Any, ...], output: Any) -> Any:
        weight, bias = (None if each is None else each[rows] for each in (norm.weight, norm.bias))
        part = inputs[0].index_select(axis, rows)
        if axis == 1:
            found = torch.nn.functional.group_norm(part, norm.num_groups, weight, bias, norm.eps)
        else:
            found = torch.nn.functional.layer_norm(part, (len(kept),), weight, bias, norm.eps)
        return torch.zeros_like(output).index_copy(axis % output.dim(), rows, found)

    norm.register_forward_hook(instead)
