"""A fresh module given the shapes of a checkpoint: for steps that remove channels and bring no `rebuild`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from weighbridge.core.errors import StageError

if TYPE_CHECKING:
    import torch


def fit_shapes(module: torch.nn.Module, tensors: Mapping[str, torch.Tensor]) -> None:
    """Give the parameters and buffers of `module` the shapes that those of the same name have in `tensors`.

    Linear layers, convolutions, norms and embeddings are told their new sizes; a layer of the user's own is not, and
    computes with what its weights are. Raises `StageError` for attention and recurrent layers, which split theirs.
    """
    import torch

    made: dict[int, torch.nn.Parameter] = {}  # a tied parameter stays one
    for name, old in module.state_dict(keep_vars=True).items():
        new = tensors.get(name)
        if new is None or not isinstance(old, torch.Tensor) or old.is_quantized or new.shape == old.shape:
            continue
        path, _, attribute = name.rpartition(".")
        owner: Any = module.get_submodule(path)
        if isinstance(owner, torch.nn.RNNBase | torch.nn.MultiheadAttention):
            raise StageError(
                "open",
                f"a step changed '{name}' from {list(old.shape)} to {list(new.shape)}; to build a "
                f"{type(owner).__name__} of other sizes it must register `rebuild`",
            )
        if attribute in owner._parameters:
            fresh = made.setdefault(id(old), torch.nn.Parameter(torch.empty_like(new), old.requires_grad))
            owner._parameters[attribute] = fresh
        else:
            owner._buffers[attribute] = torch.empty_like(new)
        if attribute == "weight":
            _tell(owner, tuple(new.shape))


def _tell(layer: Any, shape: tuple[int, ...]) -> None:
    """The attributes that repeat the weight's shape. A depthwise convolution stays one."""
    from torch import nn

    if isinstance(layer, nn.Linear):
        layer.out_features, layer.in_features = shape
    elif isinstance(layer, nn.modules.conv._ConvNd):
        if layer.groups > 1 and layer.groups == layer.in_channels:
            layer.groups = shape[0]
        first, second = shape[0], shape[1] * layer.groups
        layer.in_channels, layer.out_channels = (first, second) if layer.transposed else (second, first)
    elif isinstance(layer, nn.Embedding):
        layer.num_embeddings, layer.embedding_dim = shape
    elif isinstance(layer, nn.LayerNorm):
        layer.normalized_shape = shape
    elif isinstance(layer, nn.modules.batchnorm._NormBase):
        layer.num_features = shape[0]
