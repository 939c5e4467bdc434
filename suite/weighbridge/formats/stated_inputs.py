"""How a case states what one sample is, where a model's file leaves that open."""

from __future__ import annotations

from collections.abc import Sequence

from weighbridge.contracts import Port
from weighbridge.core.flow import flow


def stated_inputs(ports: Sequence[Port]) -> tuple[str, ...]:
    """The lines `inputs` and, where the batch is not axis 0, `batch` of a case, with the file's own names of open sizes.

    The batch is what an input begins with, an open size before a fixed one; in an input that begins with something else,
    as a recurrent state does with its layers, it is the first axis of that size. Empty where there are no ports.
    """
    if not ports:
        return ()
    firsts = [port["shape"][0] for port in ports if port["shape"]]
    size_of_batch = min(firsts, key=lambda size: isinstance(size, int), default=0)
    shapes, batch = {}, {}
    for port in ports:
        shape = list(port["shape"])
        axis = next((at for at, size in enumerate(shape) if _same(size, size_of_batch)), None)
        if axis is not None:
            del shape[axis]
        if axis != 0:
            batch[port["name"]] = axis
        shapes[port["name"]] = shape
    lines = (f"inputs: {flow(shapes)}",)
    return (*lines, f"batch: {flow(batch)}") if batch else lines


def _same(one: int | str, other: int | str) -> bool:
    """Whether both are one fixed size, or both open, whatever they are called."""
    return one == other if isinstance(one, int) and isinstance(other, int) else type(one) is type(other)
