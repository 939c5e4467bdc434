"""ONNX Runtime on the CPU (or another execution provider that the case names)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from weighbridge.contracts import ENGINES, Array, EngineOptions, Inputs, Requirement
from weighbridge.core.errors import StageError, did_you_mean
from weighbridge.core.results import Artifact


class OnnxRuntimeOptions(EngineOptions):
    provider: str = "CPUExecutionProvider"


class OnnxRuntimeSession:
    """A session over a path or serialized bytes."""

    def __init__(
        self,
        model: str | bytes,
        threads: int = 1,
        provider: str = "CPUExecutionProvider",
        profile: str | None = None,
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
        if profile:
            options.enable_profiling, options.profile_file_prefix = True, profile
        try:
            self.session = ort.InferenceSession(model, options, providers=[provider])
        except Exception as error:  # ONNX Runtime's own exceptions share no base
            raise StageError(
                "open", f"ONNX Runtime cannot load the model: {str(error).splitlines()[0]}"
            ) from error
        self.inputs = {value.name: value for value in self.session.get_inputs()}
        batches = {
            value.shape[0] if value.shape and isinstance(value.shape[0], int) else None
            for value in self.inputs.values()
        }
        self.batch: int | None = batches.pop() if len(batches) == 1 else None
        """The batch that the model was exported with, where it is fixed."""

    def run(self, inputs: Inputs) -> tuple[Array, ...]:
        import numpy as np

        feed = self.feed(inputs)
        n = len(next(iter(feed.values())))
        if self.batch is None or n == self.batch:
            return tuple(self.session.run(None, feed))
        parts = []
        for start in range(0, n, self.batch):  # the last part is filled up by repetition and cut again
            rows = np.arange(start, start + self.batch) % n
            parts.append(self.session.run(None, {name: array[rows] for name, array in feed.items()}))
        for output, value in zip(parts[0], self.session.get_outputs(), strict=True):
            if output.shape[:1] != (self.batch,):
                raise StageError(
                    "run",
                    f"the model takes batches of {self.batch}, and its output '{value.name}' of shape {output.shape} "
                    f"has no such first axis, so the outputs of {n} samples cannot be put together",
                )
        return tuple(np.concatenate(outputs)[:n] for outputs in zip(*parts, strict=True))

    def bind(self, inputs: Inputs) -> Callable[[], object]:
        import numpy as np

        feed, run = self.feed(inputs), self.session.run
        n = len(next(iter(feed.values())))
        if self.batch is not None and n != self.batch:
            feed = {name: array[np.arange(self.batch) % n] for name, array in feed.items()}
        return lambda: run(None, feed)

    def feed(self, inputs: Inputs) -> dict[str, Array]:
        """The batch by input name, in the types that the model declares; raises `StageError` on a wrong name or count."""
        import numpy as np

        if isinstance(inputs, dict):
            unknown = [name for name in inputs if name not in self.inputs]
            if unknown:
                raise StageError(
                    "run", f"the model has no input '{unknown[0]}'{did_you_mean(unknown[0], self.inputs)}"
                )
            named = inputs
        else:
            if len(inputs) != len(self.inputs):
                raise StageError(
                    "run",
                    f"the model takes {len(self.inputs)} inputs ({', '.join(self.inputs)}), the data gives {len(inputs)}",
                )
            named = dict(zip(self.inputs, inputs, strict=True))
        return {
            name: np.ascontiguousarray(array, dtype=_DTYPES.get(self.inputs[name].type))
            for name, array in named.items()
        }


_DTYPES = {
    "tensor(float)": "float32",
    "tensor(double)": "float64",
    "tensor(float16)": "float16",
    "tensor(int64)": "int64",
    "tensor(int32)": "int32",
    "tensor(int8)": "int8",
    "tensor(uint8)": "uint8",
    "tensor(bool)": "bool",
}


class OnnxRuntime:
    name = "onnxruntime"
    formats = ("onnx",)
    options: type[EngineOptions] = OnnxRuntimeOptions
    requires: tuple[Requirement, ...] = ()

    def open(self, artifact: Artifact, options: Any) -> OnnxRuntimeSession:
        return OnnxRuntimeSession(str(artifact.path), options.threads, options.provider)


ENGINES.add(OnnxRuntime.name, OnnxRuntime())
