"""Weight clustering of a torch module: few distinct values a layer, found by k-means, whose centroids are then trained.

Han et al., Deep Compression, 2016 (arXiv 1510.00149), section 3: the weights of a cluster share one value and one gradient.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field

from weighbridge.contracts import STEPS, Array, Context, Model, Step
from weighbridge.core.errors import StageError
from weighbridge.steps.selection import LayerOptions
from weighbridge.steps.torch_layers import WeightLayer, chosen_layers, working_copy
from weighbridge.steps.train.finetune import Masks, pruned_weights
from weighbridge.steps.train.training import TrainingOptions, train

if TYPE_CHECKING:
    import torch

_ROUNDS = 30


class KmeansOptions(TrainingOptions, LayerOptions):
    epochs: int = Field(1, ge=0, description="0 leaves the centroids where k-means has them.")
    clusters: int = Field(
        16, ge=2, le=2**16, description="Distinct values of a layer's weights, beside the zeros of a pruning."
    )
    init: Literal["linear", "density"] = Field(
        "linear",
        description="Where centroids start: evenly from the least weight to the largest, which keeps the few large ones, or "
        "with as many weights each.",
    )


@dataclass(frozen=True)
class _Clusters:
    """A weight, the cluster of each of its numbers, and how many numbers each cluster has."""

    weight: torch.Tensor
    assigned: torch.Tensor
    counts: torch.Tensor
    zero: torch.Tensor | None
    """Where the zeros of a pruning are, which belong to no cluster."""

    def share(self) -> None:
        """Give each number its cluster's mean, in place."""
        import torch

        with torch.no_grad():
            self.weight.copy_(self._spread(self._sums(self.weight) / self.counts))

    def gradient(self, own: torch.Tensor) -> torch.Tensor:
        """Of each number, the gradient of its centroid: the sum over the cluster. What moves alike stays together."""
        return self._spread(self._sums(own))

    def _sums(self, numbers: torch.Tensor) -> torch.Tensor:
        import torch

        sums = torch.zeros(len(self.counts), dtype=torch.float64)
        return sums.index_add_(0, self.assigned, numbers.reshape(-1).double())

    def _spread(self, centroids: torch.Tensor) -> torch.Tensor:
        numbers = centroids[self.assigned].reshape(self.weight.shape).to(self.weight.dtype)
        return numbers if self.zero is None else numbers.masked_fill(self.zero, 0)


def kmeans(model: Model, options: KmeansOptions, context: Context) -> Model:
    """Cluster the weights of Linear and convolution layers, and train their centroids on the split `train`.

    The zeros of a pruning stay, as in fine-tuning. Raises `StageError` where the options leave no layer, or none with
    more values than clusters, and what `training.train` raises.
    """
    module = working_copy(model, "cluster")
    layers, notes = chosen_layers(module, options, "cluster")
    masks = pruned_weights(module, model.source.get("zeros", {}))
    clusters, few = _clusters(layers, masks, options)
    if not clusters:
        raise StageError(
            "cluster",
            f"no chosen layer has more than {options.clusters} values: {', '.join(few)}",
            "cluster: kmeans",
        )
    for one in clusters:
        one.share()
    if options.epochs:
        hooks = [one.weight.register_hook(one.gradient) for one in clusters if one.weight.requires_grad]
        train(module, options, context, "cluster")
        for hook in hooks:
            hook.remove()
    if few:
        notes = (
            *notes,
            f"left alone, since they have no more than {options.clusters} values: {', '.join(few)}",
        )
    return Model("torch", module.eval(), model.source, (*model.notes, *notes))


def _clusters(
    layers: Sequence[WeightLayer], masks: Masks, options: KmeansOptions
) -> tuple[list[_Clusters], list[str]]:
    """The clusters of each weight, and the layers that have no more distinct values than there are clusters."""
    import torch

    zeros = {weight.data_ptr(): zero for weight, zero in masks.values()}
    found, few = [], []
    for layer in layers:
        weight = layer.module.weight
        zero = zeros.get(weight.data_ptr())
        numbers = weight.detach().float().numpy().reshape(-1)
        free = np.ones(len(numbers), bool) if zero is None else ~zero.numpy().reshape(-1)
        if len(np.unique(numbers[free])) <= options.clusters:
            few.append(layer.label)
            continue
        assigned = np.full(len(numbers), options.clusters)
        assigned[free] = nearest(numbers[free], options)
        counts = np.bincount(assigned, minlength=options.clusters + 1).clip(1)
        found.append(_Clusters(weight, torch.from_numpy(assigned), torch.from_numpy(counts), zero))
    return found, few


def nearest(numbers: Array, options: KmeansOptions) -> Array:
    """The cluster of each of `numbers`, shape [N], by k-means in one dimension.

    Centroids and numbers are kept in order, so that each centroid's numbers are those between two borders.
    """
    ordered = np.sort(numbers.astype(np.float64))
    sums = np.concatenate([[0.0], np.cumsum(ordered)])
    if options.init == "linear":
        centroids = np.linspace(ordered[0], ordered[-1], options.clusters)
    else:
        centroids = np.quantile(ordered, (np.arange(options.clusters) + 0.5) / options.clusters)
    for _ in range(_ROUNDS):
        borders = np.searchsorted(ordered, (centroids[1:] + centroids[:-1]) / 2, side="right")
        ends = np.concatenate([[0], borders, [len(ordered)]])
        counts = np.diff(ends)
        moved = np.where(counts > 0, np.diff(sums[ends]) / counts.clip(1), centroids)
        if np.array_equal(moved, centroids):
            break
        centroids = moved
    assigned: Array = np.searchsorted((centroids[1:] + centroids[:-1]) / 2, numbers)
    return assigned


STEPS.add(
    "cluster:kmeans",
    Step("cluster", "kmeans", ("torch",), KmeansOptions, kmeans, must="change", splits=("train",)),
)
