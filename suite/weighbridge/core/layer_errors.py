"""Which layers lost a model's output: the output error that each causes alone, float against pruned or quantized."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

BIT = 6.0
"""dB that one bit is worth, 20 log10(2): what leaving layers in float must gain before it is proposed."""
_NAMED = 3


@dataclass(frozen=True)
class LayerError:
    """One layer. `sqnr_db` is signal to noise of the model's output where this layer alone is as the candidate has it."""

    name: str
    kind: str
    sqnr_db: float
    place: int
    """In the model's order, from 0."""


@dataclass(frozen=True)
class LayerErrors:
    """The layers of one step (or of a finished candidate), worst first, over a few samples of the test split."""

    step: str
    """As the case file writes it; empty of a finished candidate."""
    line: int
    samples: int
    inputs: str
    """`data`, or `random` where they were made up."""
    output_db: float
    """Of the output where all layers are as the candidate has them."""
    layers: tuple[LayerError, ...] = ()
    complete: bool = True
    """Whether every layer was looked at; False where that took too long."""
    exclude: tuple[str, ...] = ()
    """The step's `exclude` that was tried and gains a bit or more; empty where there is none."""
    excluded_db: float | None = None
    """Of the output with it."""
    before: str = ""
    """A step that was tried in front of this one and gains a bit or more, as a recipe has it; empty where there is none."""
    before_db: float | None = None
    """Of the output with it."""

    @property
    def layers_db(self) -> float:
        """What all layers together would leave if their noise added up and there were no other."""
        return -10 * math.log10(sum(10 ** (-layer.sqnr_db / 10) for layer in self.layers) or 1e-20)

    @property
    def culprits(self) -> tuple[LayerError, ...]:
        """The fewest layers, three or half of all at most, without which a bit is gained and that are a bit worse than the rest.

        Noise of single layers adds up, as independent errors do. Empty where it is spread over more layers.
        """
        noise = [10 ** (-layer.sqnr_db / 10) for layer in self.layers]
        needed = (1 - 10 ** (-BIT / 10)) * sum(noise)
        for count in range(1, min(_NAMED, max(1, len(noise) // 2)) + 1):
            worst, rest = self.layers[:count], self.layers[count:]
            apart = all(worst[-1].sqnr_db + BIT <= layer.sqnr_db for layer in rest)
            if sum(noise[:count]) >= needed and apart:
                return worst
        return ()

    @property
    def proposal(self) -> tuple[str, ...]:
        """What `exclude` could name, in the model's order: the culprits, where that leaves something to quantize."""
        if len(self.culprits) == len(self.layers):
            return ()
        return tuple(layer.name for layer in sorted(self.culprits, key=lambda layer: layer.place))


def read_layer_errors(row: Mapping[str, Any]) -> LayerErrors:
    """The errors that stand in a row of the report contract."""
    layers = tuple(LayerError(**layer) for layer in row["layers"])
    return LayerErrors(**{**row, "layers": layers, "exclude": tuple(row["exclude"])})
