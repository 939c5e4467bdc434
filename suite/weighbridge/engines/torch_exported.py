"""An exported program, run by torch: its inputs have names, types and sizes, as those of a file do."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from weighbridge.contracts import Array, Inputs
from weighbridge.engines.named import Declared, NamedSession, numpys
from weighbridge.engines.torch_eager import (
    TorchOptions,
    as_array,
    calling,
    first_of,
    leaves,
    one_tensor,
    placed,
    served,
)
from weighbridge.formats.torch_device import two_devices

if TYPE_CHECKING:
    import torch


class ExportedSession(NamedSession):
    """Calls the program as it was exported, by place or by name, whichever way the data gives its inputs.

    A program that was exported with one batch is called once for each batch of that size.
    """

    engine = "torch"

    def __init__(self, program: Any, options: TorchOptions) -> None:
        self.module = placed(served(program.module()), options.device)
        self.threads, self.device = options.threads, options.device
        self._spec, self._given = program.call_spec.in_spec, tuple(program.graph_signature.user_inputs)
        values = {node.name: node.meta.get("val") for node in program.graph.nodes}
        self.inputs = {name: _declared(values.get(name)) for name in self._given if isinstance(name, str)}
        self._gives = [name for name in program.graph_signature.user_outputs if isinstance(name, str)]
        self.outputs = self._gives

    def infer(self, feed: Mapping[str, Array]) -> Sequence[Array]:
        import torch

        before = torch.get_num_threads()
        torch.set_num_threads(self.threads)
        try:
            given = dict(zip(self._gives, leaves(self._call(feed)()), strict=True))
            return tuple(as_array(given[name]) for name in self.outputs)
        finally:
            torch.set_num_threads(before)

    def bind(self, inputs: Inputs) -> Callable[[], object]:
        """Threads stay set: this is for measuring, where nothing else runs."""
        import torch

        torch.set_num_threads(self.threads)
        calls = [self._call(feed) for feed in self.feeds(inputs)]
        if len(calls) == 1:
            return calls[0]
        return lambda: [call() for call in calls]

    def reason(self, error: Exception) -> str:
        return f"{first_of(error)}{'' if self.device.startswith('cuda') else two_devices(error)}"

    def _call(self, feed: Mapping[str, Array]) -> Callable[[], object]:
        from torch.utils import _pytree as pytree

        tensors = [
            one_tensor(feed[name], name, self.device, self._floats(name)) if isinstance(name, str) else name
            for name in self._given
        ]
        positional, named = pytree.tree_unflatten(tensors, self._spec)
        return calling(self.module, positional, named, self.device)

    def _floats(self, name: str) -> torch.dtype | None:
        """What numpy has no type for is handed over as torch's."""
        import torch

        return torch.bfloat16 if self.inputs[name].type == "bfloat16" else None


def _declared(value: Any) -> Declared:
    """Of the tensor that the program was traced with; an open size is named as torch names it."""
    kind = str(getattr(value, "dtype", "")).removeprefix("torch.")
    shape = [size if isinstance(size, int) else str(size) for size in getattr(value, "shape", ())]
    return Declared(shape, numpys(kind), kind)
