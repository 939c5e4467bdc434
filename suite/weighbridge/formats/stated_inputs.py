"""How a case states what one sample is, where a model's file leaves that open."""

from __future__ import annotations

from collections.abc import Sequence

from weighbridge.contracts import Port


def stated_inputs(ports: Sequence[Port]) -> tuple[str, ...]:
    """The lines `inputs` and, where the batch is not axis 0, `batch` of a case, with the file's own names of open sizes.

    Where the batch of one input is open, an axis 0 of fixed size is another's: a recurrent state begins with its layers.
    Empty where there are no ports.
    """
    if not ports:
        return ()
    open_batch = any(port["shape"] and not isinstance(port["shape"][0], int) for port in ports)
    shapes, batch = {}, {}
    for port in ports:
        shape = list(port["shape"])
        axis = 0 if shape else None
        if open_batch and shape and isinstance(shape[0], int):
            axis = next((at for at, size in enumerate(shape) if not isinstance(size, int)), None)
        if axis is not None:
            del shape[axis]
        if axis != 0:
            batch[port["name"]] = axis
        shapes[port["name"]] = shape
    lines = (_line("inputs", shapes),)
    return (*lines, _line("batch", batch)) if batch else lines


def _line(key: str, value: object) -> str:
    import yaml

    text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=float("inf"))
    return f"{key}: {text.strip()}"
