"""ONNX Runtime on the CPU (or another execution provider that the case names)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from pydantic import Field

from weighbridge.contracts import ENGINES, Array, EngineOptions, Inputs, Mixed
from weighbridge.core.batches import Axes, axes_of, axis_of, cast, count, describe, take
from weighbridge.core.errors import StageError, did_you_mean, first_line
from weighbridge.core.results import Artifact
from weighbridge.engines.base import EngineBase
from weighbridge.formats.onnx_constants import dtype_of

LARGE = 2**30
"""Bytes of a model of which a second copy of the weights is not made without need."""


class OnnxRuntimeOptions(EngineOptions):
    provider: str = "CPUExecutionProvider"
    prepacking: bool = Field(
        True,
        description="Whether weights are copied into the order that kernels read them in: faster, and larger.",
    )


class OnnxRuntimeSession:
    """A session over a path or serialized bytes."""

    def __init__(
        self,
        model: str | bytes,
        threads: int = 1,
        provider: str = "CPUExecutionProvider",
        profile: str | None = None,
        prepacking: bool = True,
    ) -> None:
        import onnxruntime as ort

        if provider not in ort.get_available_providers():
            raise StageError(
                "open",
                f"ONNX Runtime has no provider '{provider}'{did_you_mean(provider, ort.get_available_providers())}",
            )
        options = ort.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = 3
        if not prepacking:
            options.add_session_config_entry("session.disable_prepacking", "1")
        if profile:
            options.enable_profiling, options.profile_file_prefix = True, profile
        try:
            self.session = ort.InferenceSession(model, options, providers=[provider])
        except Exception as error:  # ONNX Runtime's own exceptions share no base
            raise StageError("open", f"ONNX Runtime cannot load the model: {first_line(error)}") from error
        self.inputs = {value.name: value for value in self.session.get_inputs()}

    def fixed_batch(self, axes: Axes) -> int | None:
        """The batch that the model was exported with, where it is fixed. `axes` are the data's batch axes."""
        sizes = set()
        for name, value in self.inputs.items():
            axis = axes.get(name, 0)
            if axis is not None:
                size = value.shape[axis] if axis < len(value.shape) else None
                sizes.add(size if isinstance(size, int) else None)
        return sizes.pop() if len(sizes) == 1 else None

    def run(self, inputs: Inputs) -> tuple[Array, ...]:
        import numpy as np

        axes, n = axes_of(inputs), count(inputs)
        parts, size = [self.call(feed) for feed in self.feeds(inputs)], self.fixed_batch(axes)
        if size in (None, n):
            return parts[0]
        outputs = []
        for value, pieces in zip(self.session.get_outputs(), zip(*parts, strict=True), strict=True):
            axis = axes.get(value.name, 0)
            if axis is None:
                outputs.append(pieces[0])
                continue
            if pieces[0].shape[axis : axis + 1] != (size,):
                raise StageError(
                    "run",
                    f"the model takes batches of {size}, and its output '{value.name}' of shape {pieces[0].shape} has no "
                    f"such axis {axis}, so the outputs of {n} samples cannot be put together; name the axis in the case: "
                    f"`batch: {{{value.name}: 1}}`, or null for an output without one",
                )
            outputs.append(np.concatenate(pieces, axis)[(slice(None),) * axis + (slice(n),)])
        return tuple(outputs)

    def bind(self, inputs: Inputs) -> Callable[[], object]:
        feeds, run = self.feeds(inputs), self.session.run
        if len(feeds) == 1:
            only = feeds[0]
            return lambda: run(None, only)
        return lambda: [run(None, feed) for feed in feeds]

    def filled(self, inputs: Inputs) -> int:
        return -count(inputs) % (self.fixed_batch(axes_of(inputs)) or 1)

    def feeds(self, inputs: Inputs) -> list[dict[str, Array]]:
        """The named arrays of each call for this batch: one, or a slice a call where the model's batch is fixed.

        The last slice is filled up by repetition. Raises `StageError` as `feed` does.
        """
        import numpy as np

        n, size = count(inputs), self.fixed_batch(axes_of(inputs))
        if size is None or size == n:
            return [self.feed(inputs)]
        rows = [np.arange(start, start + size) % n for start in range(0, n, size)]
        return [self.feed(take(inputs, some)) for some in rows]

    def feed(self, inputs: Inputs) -> dict[str, Array]:
        """The batch by input name, in the types that the model declares; raises `StageError` on a wrong name or shape."""
        import numpy as np

        if not isinstance(inputs, dict) and len(inputs) != len(self.inputs):
            raise StageError(
                "data",
                f"the model takes {len(self.inputs)} inputs ({', '.join(self.inputs)}), the data gives {len(inputs)}: "
                f"{describe(inputs)}",
            )
        named = inputs if isinstance(inputs, dict) else dict(zip(self.inputs, inputs, strict=True))
        for name in named:
            if name not in self.inputs:
                raise StageError("data", f"the model has no input '{name}'{did_you_mean(name, self.inputs)}")
        missing = [name for name in self.inputs if name not in named]
        if missing:
            raise StageError(
                "data",
                f"the model's input {self._declared(missing[0])} is missing; the data gives {describe(inputs)}",
            )
        for name, array in named.items():
            self._check_shape(name, array, axis_of(inputs, name))
        return {
            name: np.asarray(cast(array, _dtype(self.inputs[name].type) or str(array.dtype), name), order="C")
            for name, array in named.items()
        }

    def _check_shape(self, name: str, array: Array, axis: int | None) -> None:
        shape = self.inputs[name].shape
        if not shape:
            return  # a scalar, or a shape that the file does not tell
        unlike = len(shape) != array.ndim or any(
            isinstance(want, int) and want > 0 and want != have and index != axis
            for index, (want, have) in enumerate(zip(shape, array.shape, strict=False))
        )
        if unlike:
            raise StageError(
                "data",
                f"the model's input {self._declared(name)} does not take the data's {array.dtype} {list(array.shape)}",
            )

    def _declared(self, name: str) -> str:
        """`'ids' int64 [batch, 24]`, as the file declares it."""
        value = self.inputs[name]
        shape = ", ".join("?" if size is None else str(size) for size in value.shape)
        return f"'{name}' {_dtype(value.type) or value.type} [{shape}]"

    def dtype(self, name: str) -> str:
        """The type of one input, as numpy calls it."""
        return _dtype(self.inputs[name].type) or "float32"

    def call(self, feed: dict[str, Array]) -> tuple[Array, ...]:
        """One run; raises `StageError` that names what was fed."""
        try:
            return tuple(self.session.run(None, feed))
        except Exception as error:  # ONNX Runtime's own exceptions share no base
            reason = str(error).rpartition("Status Message: ")[2].strip().splitlines()
            raise StageError(
                "run",
                f"the model does not run on {describe(feed)}; ONNX Runtime says: "
                f"{reason[0] if reason else type(error).__name__}",
            ) from error


def _dtype(type_: str) -> str:
    """numpy's name of what ONNX Runtime calls `tensor(float)`; empty where numpy by itself has no such type."""
    import numpy as np

    name = dtype_of(type_.removeprefix("tensor(").removesuffix(")"))
    return name if name in np.sctypeDict else ""


class OnnxRuntime(EngineBase):
    name = "onnxruntime"
    formats = ("onnx",)
    options: type[EngineOptions] = OnnxRuntimeOptions
    packages = ("onnxruntime",)
    sums_int8_in_pairs = True

    def open(self, artifact: Artifact, options: Any) -> OnnxRuntimeSession:
        return OnnxRuntimeSession(
            str(artifact.path), options.threads, options.provider, prepacking=options.prepacking
        )

    def untimed(self, artifact: Artifact, options: Any) -> Any:
        if sum(path.stat().st_size for path in artifact.files) < LARGE:
            return options
        return options.model_copy(update={"prepacking": False})

    def mixed(self, original: Artifact, candidate: Artifact, options: Any) -> Iterator[Mixed]:
        from weighbridge.engines.onnxruntime_mixed import mixed

        return mixed(original, candidate, options)


ENGINES.add(OnnxRuntime.name, OnnxRuntime())
