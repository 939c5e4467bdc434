"""What became of each layer that a quantize step could have converted: asked for, convertible, converted, and why not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from weighbridge.core.listed import few


@dataclass(frozen=True)
class LayerCoverage:
    """One layer that holds weights. `reason` says why it stays in float; empty where it was converted."""

    name: str
    kind: str
    """The operator or layer type, as the format names it: `Gemm`, `Linear`, `FULLY_CONNECTED`."""
    asked: bool
    """Whether the step's patterns chose it."""
    convertible: bool
    """Whether the quantizer has something to convert such a layer to."""
    converted: bool
    reason: str = ""
    weights: tuple[str, ...] = ()
    """Its weights as the artifact calls those in float, where the step knows."""


@dataclass(frozen=True)
class Coverage:
    """The layers of one model after one quantize step."""

    layers: tuple[LayerCoverage, ...] = ()

    @property
    def left(self) -> tuple[LayerCoverage, ...]:
        """The layers whose weights are still float numbers."""
        return tuple(layer for layer in self.layers if not layer.converted)

    def to_json(self) -> dict[str, Any]:
        """Plain values for the row: the counts, and every layer with its reason."""
        return {
            "asked": sum(layer.asked for layer in self.layers),
            "convertible": sum(layer.convertible for layer in self.layers),
            "converted": sum(layer.converted for layer in self.layers),
            "layers": [asdict(layer) for layer in self.layers],
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Coverage:
        """The reverse of `to_json`."""
        return cls(
            tuple(LayerCoverage(**{**layer, "weights": tuple(layer["weights"])}) for layer in value["layers"])
        )

    def sentences(self) -> tuple[str, ...]:
        """One sentence a reason, with the layers it holds for; nothing where every layer was converted."""
        reasons: dict[str, list[LayerCoverage]] = {}
        for layer in self.left:
            reasons.setdefault(layer.reason, []).append(layer)
        return tuple(
            f"{few(f'{layer.name} ({layer.kind})' for layer in layers)} left in float: {reason}"
            for reason, layers in reasons.items()
        )
