"""A broken property, told so that a person can find the number and repeat it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from weighbridge.numerics.elements import Array

if TYPE_CHECKING:
    from weighbridge.numerics.trial import Trial


class Violation(AssertionError):
    """A property that does not hold: which, for which quantizer and scheme, at which layer, index, value, code."""

    def __init__(
        self, property_name: str, trial: Trial, message: str, index: tuple[int, ...] | None = None
    ) -> None:
        self.property, self.trial, self.index = property_name, trial, index
        where = f" of layer '{trial.layer}'" if trial.layer else ""
        lines = [
            f"{property_name}: quantizer '{trial.quantizer.name}' breaks it under {describe(trial.scheme)}{where}",
            f"  {message}",
        ]
        if index is not None:
            lines.append(f"  {_place(trial, index)}")
        lines += ["to reproduce:", reproduction(trial, property_name)]
        super().__init__("\n".join(lines))


def describe(scheme: object) -> str:
    """A scheme by the fields that differ from the default."""
    fields = getattr(scheme, "__dataclass_fields__", {})
    told = [f"{name}={getattr(scheme, name)!r}" for name, field in fields.items()
            if name == "element" or getattr(scheme, name) != field.default]  # fmt: skip
    return f"Scheme({', '.join(told)})"


def reproduction(trial: Trial, property_name: str) -> str:
    """Python that runs the property once more on the same tensor."""
    drawn = ""
    if trial.drawn is not None:
        scale, zero_point = trial.drawn.scale, trial.drawn.zero_point
        drawn = f",\n    Parameters({literal(scale)}, {literal(zero_point)})"
    return "\n".join(
        f"    {line}"
        for line in (
            "import numpy as np",
            "from weighbridge.numerics import QUANTIZERS, Parameters, Scheme, Trial, check",
            f"quantizer = QUANTIZERS.get({trial.quantizer.name!r})",
            f"x = {layout(trial.x)}",
            f"trial = Trial(quantizer, {describe(trial.scheme)}, x{drawn})",
            f"check(trial, {property_name!r})",
        )
    )


def layout(x: Array) -> str:
    """`literal`, in the same memory layout where it is not the usual one."""
    if x.flags.c_contiguous:
        return literal(x)
    if x.flags.f_contiguous:
        return f"np.asfortranarray({literal(x)})"
    return f"np.repeat({literal(x)}, 2, axis=-1)[..., ::2]"


def literal(x: Array) -> str:
    """An array as exact source: short ones by their numbers, long ones by their bytes."""
    if x.size > 4096:
        return f"...  # {x.size} numbers, the layer's own weight: too many to print"
    if x.size > 64:
        raw = np.ascontiguousarray(x).tobytes().hex()
        return f"np.frombuffer(bytes.fromhex({raw!r}), np.{x.dtype.name}).reshape({x.shape})"
    # repr of a float is the shortest text that reads back as the same number, also through float64.
    numbers = repr(x.tolist()).replace("nan", "np.nan").replace("inf", "np.inf")
    shape = f".reshape({x.shape})" if x.size == 0 else ""
    return f"np.array({numbers}, np.{x.dtype.name}){shape}"


def _place(trial: Trial, index: tuple[int, ...]) -> str:
    """Index, channel, value and code of the offending number."""
    told = [f"index {index}"] if index else []
    if trial.scheme.axis is not None:
        told.append(f"channel {index[trial.scheme.axis]}")
    told.append(f"value {float(trial.x[index])!r}")
    codes = trial.__dict__.get("codes")  # only if it got so far
    if codes is not None and codes.shape == trial.x.shape:
        told.append(f"code {codes[index]:g}")
        told.append(f"scale {np.broadcast_to(trial.scale, trial.x.shape)[index]:.9g}")
        told.append(f"zero point {np.broadcast_to(trial.zero_point, trial.x.shape)[index]:g}")
    return ", ".join(told)
